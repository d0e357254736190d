"""The folder of indexes on disk: files that are written once, checked by who reads them, bounded.

A file is `CACHE_DIR/indexes/HASH`, HASH of all that its content depends on, so that another
version, encoding or format is another file.

Files are written beside their place and renamed into it, never changed there, and removed by
unlink alone: whoever has one mapped keeps it, and any number of processes share the folder, of
which one writes at a time (flock). A mapped file that somebody else *truncates* kills the process
(SIGBUS), as does a disk that fails under it. Hence the folder must be ours and closed to others,
and on file systems where another machine can take a file away (NFS and the like) indexes are read
into memory instead.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from s3zipfs.cache.privatefolder import make_private
from s3zipfs.stores.base import ObjectInfo

T = TypeVar("T")

log = logging.getLogger(__name__)

FOLDER: Final = "indexes"
TEMPORARY: Final = ".tmp"

# A million members are written in 0.1 s; a process that was stopped meanwhile is not waited for.
LOCK_SECONDS: Final = 5.0


def identity_of_version(info: ObjectInfo) -> dict[str, Any]:
    """What a file's identity says of the object version that it was made from."""
    oid = info.id
    return {
        "endpoint": oid.endpoint,
        "bucket": oid.bucket,
        "key": oid.key,
        "etag": oid.etag,
        "version_id": oid.version_id,
        "size": info.size,
    }


class UnusableError(Exception):
    """Why a file is not what its name promises."""


@dataclass(slots=True)
class Counts:
    """What became of the attempts, since the start."""

    opened: int = 0
    missing: int = 0
    discarded: int = 0  # other format, other identity, damaged
    saved: int = 0
    evicted: int = 0
    failed: int = 0  # the disk, or the folder


class IndexFolder:
    """The files under one cache directory; safe for threads and processes.

    Nothing here raises for the disk's sake: whatever is wrong with it, the folder or a file, it is
    as if there was no cache, and one warning says so.

    Args:
        cache_dir: made with mode 0700 when first written to; None keeps nothing.
        max_bytes: of all files together; the least recently used are removed for a new one.
    """

    def __init__(self, cache_dir: Path | None, *, max_bytes: int) -> None:
        self.cache_dir = cache_dir
        self.max_bytes = max_bytes
        self._lock = threading.Lock()  # guards counts and _complained
        self._complained: set[str] = set()
        self.counts = Counts()

    def open(self, identity: dict[str, Any], read: Callable[[int], T]) -> T | None:
        """What `read` makes of the file of that identity; None where there is none to be had.

        `read` gets a descriptor, and raises UnusableError for a file that is then removed.
        """
        if self.cache_dir is None:
            return None
        name = _file_name(identity)
        try:
            with self._folder() as folder:
                try:
                    opened = _open_file(name, folder, read)
                except UnusableError as unusable:
                    os.unlink(name, dir_fd=folder)
                    self._count("discarded")
                    self._complain("a file", f"{name}: {unusable}; removed, and loaded afresh")
                    return None
        except FileNotFoundError:
            self._count("missing")
            return None
        except OSError as error:
            self._count("failed")
            self._complain("reading", f"{error}; indexes are loaded from the store")
            return None
        self._count("opened")
        return opened

    def save(self, identity: dict[str, Any], size: int, write: Callable[[int], None]) -> bool:
        """Let `write` write a file of `size` bytes to a descriptor; whether it is there now."""
        if self.cache_dir is None or size > self.max_bytes:
            return False
        try:
            make_private(self.cache_dir / FOLDER)
            with self._folder() as folder:
                if not _lock(folder):
                    return False
                self._make_room(folder, size)
                _write_beside(_file_name(identity), folder, write)
        except OSError as error:
            self._count("failed")
            self._complain("writing", f"{error}; indexes are not kept")
            return False
        with self._lock:
            self.counts.saved += 1
            self._complained.discard("writing")
        return True

    # The folder

    @contextmanager
    def _folder(self) -> Iterator[int]:
        """A descriptor of the folder, opened anew each time: it may be removed and come back.

        Raises:
            OSError: it is not there, or others may write to it: what is mapped must stay whole.
        """
        path = f"{self.cache_dir}/{FOLDER}"
        folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            status = os.fstat(folder)
            if status.st_uid != os.geteuid() or status.st_mode & 0o077:
                raise PermissionError(f"{path}: not ours alone (owner, or a mode wider than 0700)")
            yield folder
        finally:
            os.close(folder)

    def _make_room(self, folder: int, size: int) -> None:
        """Remove what a writer left that was killed, then the least recently used, to fit `size`.

        The folder is locked: whoever began a temporary file is gone.
        """
        held: list[tuple[int, int, str]] = []
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.endswith(TEMPORARY):
                    os.unlink(entry.name, dir_fd=folder)
                    continue
                with suppress(FileNotFoundError):
                    status = entry.stat(follow_symlinks=False)
                    held.append((status.st_mtime_ns, status.st_size, entry.name))
        free = self.max_bytes - sum(length for _, length, _ in held)
        for _, length, name in sorted(held):
            if free >= size:
                return
            with suppress(FileNotFoundError):
                os.unlink(name, dir_fd=folder)
            self._count("evicted")
            free += length

    # What went wrong

    def _count(self, what: str) -> None:
        with self._lock:
            setattr(self.counts, what, getattr(self.counts, what) + 1)

    def _complain(self, about: str, text: str) -> None:
        """Warn the first time, then only mention it, until writing works again."""
        with self._lock:
            level = logging.DEBUG if about in self._complained else logging.WARNING
            self._complained.add(about)
        log.log(level, "cache of indexes in %s: %s", self.cache_dir, text)


def _file_name(identity: dict[str, Any]) -> str:
    encoded = json.dumps(identity, sort_keys=True).encode()
    return hashlib.blake2b(encoded, digest_size=20).hexdigest()


def _open_file(name: str, folder: int, read: Callable[[int], T]) -> T:
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = os.open(name, flags, dir_fd=folder)
    try:
        opened = read(descriptor)
        with suppress(OSError):  # a read-only disk: then nothing is evicted either
            os.utime(descriptor)
        return opened
    finally:
        os.close(descriptor)


def _write_beside(name: str, folder: int, write: Callable[[int], None]) -> None:
    """Write a file under a temporary name, and rename it; on failure nothing is left."""
    temporary = f"{name}.{secrets.token_hex(8)}{TEMPORARY}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(temporary, flags, 0o600, dir_fd=folder)
    try:
        write(descriptor)
        os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary, dir_fd=folder)
        raise
    finally:
        os.close(descriptor)


def _lock(folder: int) -> bool:
    """Be the only writer until the descriptor is closed; whether we are within `LOCK_SECONDS`.

    Where a network file system has no locks writers may remove each other's temporary files: a
    write then fails, and no more.
    """
    give_up = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > give_up:
                return False
            time.sleep(LOCK_SECONDS / 100)
        except OSError:
            return True
        else:
            return True
