"""Writing blocks to disk: records appended to segments, their index, and what gives way for them.

A segment is a file that only grows, written by one process at a time (flock), and removed as a
whole: eviction is one `unlink`, and who reads from it meanwhile still does. It is allocated ahead
of what is written, so that a full disk is met between records, and since it is faster: 0.1 to 0.5 s
of the processor per GiB on ext4, and 0.4 to 0.6 without. Records are written before their rows are
committed, so what a killed process leaves behind a segment's committed length is
nobody's, and is written over.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
import shutil
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from s3zipfs.cache.blockindex import (
    SEGMENT_SUFFIX,
    BlockIndex,
    DamagedIndexError,
    OtherFormatError,
    create_index,
)
from s3zipfs.cache.indexfile import is_local
from s3zipfs.cache.records import Identity, Place, encode_head, head_size

# A segment is a small part of the cache, so that little goes at once; and not a tiny file.
SMALLEST_SEGMENT: Final = 16 << 20
LARGEST_SEGMENT: Final = 128 << 20
SEGMENTS: Final = 32

ALLOCATED_AHEAD: Final = 16 << 20  # bytes

# Of the file system, left free for others.
LEFT_FREE: Final = 0.05

TIMEOUT: Final = 5.0  # seconds for another process to finish its transaction

_ADOPTABLE: Final = 8  # the newest segments, of which one that nobody writes to is continued
_BUFFERS: Final = 512  # of one writev(2); IOV_MAX is 1024
_REPLACED: Final = ".replaced"


def segment_size(max_bytes: int) -> int:
    """Bytes of a full segment, of a cache of `max_bytes`."""
    return min(max(max_bytes // SEGMENTS, SMALLEST_SEGMENT), LARGEST_SEGMENT)


def segment_path(folder: Path, number: int) -> str:
    """The file of a segment."""
    return f"{folder}/{number}{SEGMENT_SUFFIX}"


@dataclass(frozen=True, slots=True)
class Block:
    """Bytes of one version to be written."""

    identity: Identity
    start: int
    data: memoryview
    replaces: bool = False  # records that lie in it are of no use any more

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return head_size(len(self.data)) + len(self.data)


@dataclass(slots=True)
class Outcome:
    """What became of a batch."""

    written_bytes: int = 0
    dropped: int = 0  # blocks
    evicted: int = 0  # segments


@dataclass(slots=True)
class Batch:
    """What is to be written at once."""

    blocks: list[Block] = field(default_factory=list)
    ranges: list[tuple[Identity, int, int]] = field(default_factory=list)  # to be forgotten
    places: list[tuple[Identity, Place]] = field(default_factory=list)  # records that were damaged
    missing: set[int] = field(default_factory=set)  # segments without a file
    touched: set[int] = field(default_factory=set)  # segments that were read

    @property
    def is_urgent(self) -> bool:
        """Whether there is more in it than what was read."""
        return bool(self.blocks or self.ranges or self.places or self.missing)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing in it."""
        return not (self.is_urgent or self.touched)


class _SegmentGoneError(Exception):
    """Another process evicted the segment that we were writing to."""


class _Segment:
    """The segment that this process appends to."""

    def __init__(self, number: int, descriptor: int, length: int, allocated: int) -> None:
        self.number = number
        self.descriptor = descriptor
        self.length = length
        self.allocated = allocated

    def append(self, blocks: list[Block]) -> list[Place]:
        """Write blocks one after another; where each is."""
        places: list[Place] = []
        buffers: list[bytes | memoryview] = []
        end = self.length
        for block in blocks:
            last = block.start + len(block.data)
            places.append(Place(block.start, last, self.number, end))
            buffers += [encode_head(block.identity, block.start, block.data), block.data]
            end += block.size
        at = self.length
        for first in range(0, len(buffers), _BUFFERS):
            at = _write_all(self.descriptor, buffers[first : first + _BUFFERS], at)
        self.length = end
        return places


class BlockWriter:
    """Writes to one folder, which other processes may read and write too. Not thread-safe.

    Raises `OSError`, `sqlite3.Error` and `DamagedIndexError`; after that it is to be closed.
    """

    def __init__(self, folder: Path, *, max_bytes: int, segment_bytes: int) -> None:
        """Open the index, or make it anew where it is damaged or of an older format.

        Raises:
            OtherFormatError: it is of a newer program, which may be running.
        """
        self.folder = folder
        self.max_bytes = max_bytes
        self._segment_bytes = segment_bytes
        self._segment: _Segment | None = None
        try:
            self.index = self._open()
        except OtherFormatError as other:
            if other.is_newer:
                raise
            self.index = self._replaced()
        except DamagedIndexError:
            self.index = self._replaced()

    def _open(self) -> BlockIndex:
        create_index(self.folder, timeout=TIMEOUT)
        folder = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            if not is_local(folder):  # SQLite's log is in memory that processes share
                raise OSError(errno.ENOTSUP, "not on a local disk", str(self.folder))
        finally:
            os.close(folder)
        return BlockIndex(self.folder, timeout=TIMEOUT)

    def _replaced(self) -> BlockIndex:
        remove_folder(self.folder)
        return self._open()

    def close(self) -> None:
        """Give back what was allocated ahead, and close all."""
        with contextlib.suppress(OSError, sqlite3.Error, DamagedIndexError):
            self.rest()
        if self._segment is not None:
            self._forget(self._segment)
        self.index.close()

    def rest(self) -> None:
        """End the segment that is being written: another process may continue it."""
        segment = self._segment
        if segment is None:
            return
        os.ftruncate(segment.descriptor, segment.length)
        with self.index.transaction():
            self.index.reserve(segment.number, segment.length)
        self._forget(segment)

    def write(self, batch: Batch) -> Outcome:
        """Write the blocks, then note all the rest."""
        outcome = Outcome()
        left = batch.blocks
        while left:
            fitting = self._fitting(left, outcome)
            if not fitting:
                outcome.dropped += 1
                left = left[1:]
                continue
            try:
                self._append(fitting, outcome)
            except _SegmentGoneError:
                outcome.dropped += len(fitting)
            left = left[len(fitting) :]
        self._note(batch)
        return outcome

    def _fitting(self, blocks: list[Block], outcome: Outcome) -> list[Block]:
        """As many of the first blocks as go into one segment, which is open then."""
        if blocks[0].size > self._segment_bytes:
            return []
        if self._segment and self._segment.length + blocks[0].size > self._segment_bytes:
            self.rest()
        if self._segment is None:
            self._segment = self._adopted(blocks[0].size) or self._created(outcome)
        room = self._segment_bytes - self._segment.length
        count = 0
        while count < len(blocks) and blocks[count].size <= room:
            room -= blocks[count].size
            count += 1
        return blocks[:count]

    def _append(self, blocks: list[Block], outcome: Outcome) -> None:
        segment = self._segment
        assert segment is not None  # noqa: S101 - `_fitting` has opened it
        size = sum(block.size for block in blocks)
        self._allocate(segment, segment.length + size, outcome)
        places = segment.append(blocks)
        with self.index.transaction():
            if not self.index.set_length(segment.number, segment.length):
                self._forget(segment)
                raise _SegmentGoneError
            for block in blocks:
                if block.replaces:
                    end = block.start + len(block.data)
                    self.index.drop_within(block.identity.key, block.start, end)
            keys = [block.identity.key for block in blocks]
            self.index.add_records(zip(keys, places, strict=True))
            self._make_room(0, segment.number, outcome)
        outcome.written_bytes += size

    def _note(self, batch: Batch) -> None:
        if not (batch.ranges or batch.places or batch.missing or batch.touched):
            return  # no empty transaction after each batch
        with self.index.transaction():
            for identity, start, end in batch.ranges:
                self.index.drop_range(identity.key, start, end)
            for identity, place in batch.places:
                self.index.drop_record(identity.key, place)
            for number in batch.missing:
                if not Path(segment_path(self.folder, number)).exists():
                    self.index.drop_segment(number)
            self.index.touch(batch.touched)

    # Segments

    def _adopted(self, size: int) -> _Segment | None:
        """A segment with room that nobody writes to, as a process leaves it that was killed."""
        for number in self.index.newest_segments(_ADOPTABLE):
            length = self.index.length(number)
            if length is None or length + size > self._segment_bytes:
                continue
            try:
                descriptor = _locked(segment_path(self.folder, number), os.O_RDWR)
            except (FileNotFoundError, BlockingIOError):
                continue
            # Whoever held the lock until now may have written more.
            length = self.index.length(number)
            if length is not None and length + size <= self._segment_bytes:
                return _Segment(number, descriptor, length, os.fstat(descriptor).st_size)
            os.close(descriptor)
        return None

    def _created(self, outcome: Outcome) -> _Segment:
        with self.index.transaction():
            number = self.index.add_segment()
            self._make_room(0, number, outcome)
            descriptor = _locked(
                segment_path(self.folder, number), os.O_RDWR | os.O_CREAT | os.O_TRUNC
            )
        return _Segment(number, descriptor, 0, 0)

    def _allocate(self, segment: _Segment, end: int, outcome: Outcome) -> None:
        if end <= segment.allocated:
            return
        target = min(-(-end // ALLOCATED_AHEAD) * ALLOCATED_AHEAD, self._segment_bytes)
        with self.index.transaction():
            if not self.index.reserve(segment.number, target):
                self._forget(segment)
                raise _SegmentGoneError
            self._make_room(target - segment.allocated, segment.number, outcome)
        os.posix_fallocate(segment.descriptor, 0, target)
        segment.allocated = target

    def _forget(self, segment: _Segment) -> None:
        self._segment = None
        os.close(segment.descriptor)

    # Room

    def _make_room(self, more: int, own: int, outcome: Outcome) -> None:
        """Remove segments, least recently used first, for what is in the index as reserved already.

        `more` bytes of that are not on the disk yet. Within a transaction: no other process then
        takes what is freed.
        """
        # What the log may grow by until the next look.
        bound = self.max_bytes - min(8 << 20, self.max_bytes // 8)
        while self.index.used_bytes() > bound or not self._leaves_free(more):
            victim = self.index.least_used(excepting=own)
            if victim is None:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.folder))
            self.remove(victim)
            outcome.evicted += 1

    def _leaves_free(self, more: int) -> bool:
        if not more:
            return True
        disk = os.statvfs(self.folder)
        return disk.f_bavail * disk.f_frsize - more >= disk.f_blocks * disk.f_frsize * LEFT_FREE

    def remove(self, number: int) -> None:
        """Remove a segment, within a transaction."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(segment_path(self.folder, number))  # noqa: PTH108 - no path made
        self.index.drop_segment(number)

    def prune(self, max_bytes: int) -> int:
        """Remove the least recently used until at most that many bytes are left; how many went."""
        removed = 0
        with self.index.transaction():
            while self.index.used_bytes() > max_bytes:
                victim = self.index.least_used(excepting=None)
                if victim is None:
                    break
                self.remove(victim)
                removed += 1
        return removed


def remove_folder(folder: Path) -> None:
    """Take a folder of blocks away at once, then remove it, and what was left of others so."""
    away = folder.with_name(f"{folder.name}.{secrets.token_hex(8)}{_REPLACED}")
    with contextlib.suppress(FileNotFoundError):
        folder.rename(away)
    for replaced in folder.parent.glob(f"{folder.name}.*{_REPLACED}"):
        shutil.rmtree(replaced, ignore_errors=True)


def _locked(path: str, flags: int) -> int:
    """Open a segment to be its only writer.

    Raises:
        BlockingIOError: another is.
    """
    descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _write_all(descriptor: int, buffers: Iterable[bytes | memoryview], offset: int) -> int:
    """Write them all; the offset behind them."""
    left = [memoryview(each) for each in buffers]
    while left:
        written = os.pwritev(descriptor, left, offset)
        offset += written
        while left and written >= len(left[0]):
            written -= len(left[0])
            left.pop(0)
        if written:
            left[0] = left[0][written:]
    return offset
