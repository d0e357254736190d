"""What the cache directory holds, and making it hold less; beside any number of running mounts."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from s3zipfs.cache.blockindex import BlockIndex, DamagedIndexError, OtherFormatError
from s3zipfs.cache.blockwriter import BlockWriter, remove_folder, segment_size
from s3zipfs.cache.disk import FOLDER
from s3zipfs.cache.indexfolder import FOLDER as INDEXES
from s3zipfs.errors import S3ZipError

TIMEOUT: Final = 5.0  # seconds for another process to finish its transaction


@dataclass(frozen=True, slots=True)
class BlockUsage:
    """The blocks. Counts are None where the index can't tell."""

    used_bytes: int = 0
    segments: int | None = 0
    objects: int | None = 0
    records: int | None = 0


@dataclass(frozen=True, slots=True)
class IndexUsage:
    """The indexes of archives, a file each."""

    used_bytes: int = 0
    files: int = 0


def block_usage(cache_dir: Path) -> BlockUsage:
    """Counts every file and every record.

    Raises:
        OSError: the folder can't be read.
        S3ZipError: another process does not let go of the index.
    """
    folder = cache_dir / FOLDER
    used = sum(size for _, size, _ in _files(folder))
    try:
        with _told(folder), BlockIndex(folder, timeout=TIMEOUT) as index:
            return BlockUsage(used, *index.totals())
    except FileNotFoundError:
        return BlockUsage(used)
    except (DamagedIndexError, OtherFormatError):
        return BlockUsage(used, None, None, None)


def index_usage(cache_dir: Path) -> IndexUsage:
    """Counts every file."""
    files = _files(cache_dir / INDEXES)
    return IndexUsage(sum(size for _, size, _ in files), len(files))


def prune_blocks(cache_dir: Path, max_bytes: int) -> None:
    """Remove the least recently used blocks until at most `max_bytes` are left.

    What can't be told apart, since the index is damaged or of an older format, goes as a whole.

    Raises:
        OSError: the folder can't be written to.
        S3ZipError: as `block_usage`; or the blocks are those of a newer program.
    """
    folder = cache_dir / FOLDER
    if not folder.exists():
        return
    try:
        with _told(folder):
            writer = BlockWriter(folder, max_bytes=max_bytes, segment_bytes=segment_size(max_bytes))
            try:
                writer.prune(max_bytes)
                with suppress(sqlite3.OperationalError):  # a mount is reading: next time
                    writer.index.shrink()
            finally:
                writer.close()
    except DamagedIndexError:
        remove_folder(folder)
    except OtherFormatError as error:
        raise S3ZipError(f"{folder}: {error}; `clear` removes it all the same") from error


def prune_indexes(cache_dir: Path, max_bytes: int) -> None:
    """Remove the least recently used indexes until at most `max_bytes` are left."""
    files = sorted(_files(cache_dir / INDEXES))
    left = sum(size for _, size, _ in files)
    for _, size, path in files:
        if left <= max_bytes:
            return
        path.unlink(missing_ok=True)
        left -= size


def clear(cache_dir: Path) -> None:
    """Remove all of it. What a mount has open it keeps until it looks again, within seconds."""
    remove_folder(cache_dir / FOLDER)
    prune_indexes(cache_dir, 0)


def _files(folder: Path) -> list[tuple[int, int, Path]]:
    """Of each file the time of its last use, its bytes, and its path."""
    found = []
    with suppress(FileNotFoundError):
        for path in folder.iterdir():
            with suppress(FileNotFoundError):
                status = path.lstat()
                found.append((status.st_mtime_ns, status.st_size, path))
    return found


@contextmanager
def _told(folder: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise S3ZipError(f"{folder}: {error}") from error
