"""Blocks on disk: what was fetched once is read from there, after a restart too.

`look` is asked before each GET, in the thread that wants the bytes or in one of a few that may wait
for the disk, never in the network's; `offer` hands what a GET brought to a thread that writes.
Nothing here raises: with any fault of the disk the store is asked, one warning says so, and the
disk is tried again a little later. Any number of processes share a folder.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from s3zipfs.budget import MemoryBudget
from s3zipfs.cache.blockindex import DamagedIndexError, OtherFormatError
from s3zipfs.cache.blockreader import BlockReader, Found, Held
from s3zipfs.cache.blockwriter import Batch, Block, BlockWriter, remove_folder, segment_size
from s3zipfs.cache.diskfaults import Faults
from s3zipfs.cache.records import LARGEST, Identity, identity_of
from s3zipfs.errors import DeadlineExceeded
from s3zipfs.stores.base import ObjectId
from s3zipfs.stores.threads import Once
from s3zipfs.waiting import POLL_SECONDS, Wait

log = logging.getLogger(__name__)

FOLDER: Final = "blocks"

RETRY_SECONDS: Final = 10.0  # after a fault of the disk
IDLE_SECONDS: Final = 5.0  # then the segment that was written is closed
GATHER_SECONDS: Final = 0.05  # blocks that come within that time are one transaction
GATHERED_BYTES: Final = 8 << 20  # or so many bytes of them
QUEUED_BYTES: Final = 64 << 20  # at most that wait to be written, and a quarter of the memory
MOST_AGAIN: Final = 1000  # ranges and places to be forgotten that are kept while nothing is written
READERS: Final = 4  # threads that read ahead from the disk

# Whoever looks has claimed the bytes: nothing may keep them from being fetched.
_FAULTS: Final = (OSError, sqlite3.Error, DamagedIndexError, OtherFormatError, MemoryError)


@dataclass(slots=True)
class Counts:
    """What became of the attempts, since the start."""

    hits: int = 0  # ranges that were wholly on disk
    partial: int = 0  # and partly
    misses: int = 0
    read_bytes: int = 0
    written_bytes: int = 0
    discarded: int = 0  # records that were damaged, or of something else
    dropped: int = 0  # blocks that were not written: the disk was slow, or did not work
    evicted: int = 0  # segments
    failed: int = 0  # faults of the disk
    used_bytes: int | None = None  # of all processes, after our last write; None: none yet


class DiskCache:
    """The blocks under one cache directory; safe for threads and processes.

    Args:
        cache_dir: made with mode 0700 when first written to; None keeps nothing.
        max_bytes: of all files together, a hard bound; 0 keeps nothing.
        budget: charged with what waits to be written.
        segment_bytes: of one file; the unit in which the least recently used goes.
    """

    def __init__(
        self,
        cache_dir: Path | None,
        *,
        max_bytes: int,
        budget: MemoryBudget,
        segment_bytes: int | None = None,
        retry_seconds: float = RETRY_SECONDS,
    ) -> None:
        self._folder = cache_dir / FOLDER if cache_dir is not None and max_bytes else None
        self._max_bytes = max_bytes
        self._segment_bytes = segment_bytes or segment_size(max_bytes)
        self._budget = budget
        self._queue_limit = min(QUEUED_BYTES, budget.limit // 4)
        self._faults = Faults(self._folder, retry_seconds)
        self._reader = BlockReader(self._folder) if self._folder else None
        self._pool: ThreadPoolExecutor | None = None
        self._lock = threading.Lock()  # guards all below
        self._changed = threading.Condition(self._lock)
        self._thread: threading.Thread | None = None
        self._batch = Batch()
        self._again = Batch()  # what is still to be forgotten: the disk did not work
        self._queued_bytes = 0
        self._is_flushing = False
        self._is_closed = False
        self._is_damaged = False  # the index; it is to be made anew
        self.counts = Counts()

    @property
    def keeps(self) -> bool:
        """Whether anything is kept at all."""
        return self._folder is not None

    # Reading

    def look(self, oid: ObjectId, start: int, end: int) -> Held | None:
        """What is on disk of `[start, end)`, verified; None where nothing is to be had."""
        if self._reader is None or not self._faults.may_try("reading"):
            return None
        identity = identity_of(oid)
        try:
            found = self._reader.find(identity, start, end)
        except _FAULTS as error:
            self._failed("reading", error)
            return None
        self._faults.works("reading")
        self._note(identity, found, end - start)
        return found.held

    def gaps(self, oid: ObjectId, start: int, end: int) -> tuple[tuple[int, int], ...]:
        """What of `[start, end)` would have to be fetched; the rest counts as used just now.

        The index is believed: nothing is read.
        """
        nothing = ((start, end),) if start < end else ()
        if self._reader is None or not self._faults.may_try("reading"):
            return nothing
        try:
            gaps, segments = self._reader.gaps(identity_of(oid), start, end)
        except _FAULTS as error:
            self._failed("reading", error)
            return nothing
        self._faults.works("reading")
        with self._lock:
            if segments - self._batch.touched:
                self._batch.touched |= segments
                self._wake()
        return gaps

    def reach(self, oid: ObjectId, start: int, end: int) -> int:
        """How far `[start, end)` is on disk without a gap, by the index."""
        gaps = self.gaps(oid, start, end)
        return gaps[0][0] if gaps else end

    def _note(self, identity: Identity, found: Found, length: int) -> None:
        held, counts = found.held, self.counts
        with self._lock:
            if held is None:
                counts.misses += 1
            else:
                counts.hits += not held.gaps
                counts.partial += bool(held.gaps)
                counts.read_bytes += length - sum(last - first for first, last in held.gaps)
            counts.discarded += len(found.damaged)
            is_news = bool(found.damaged or found.missing or found.touched - self._batch.touched)
            self._batch.touched |= found.touched
            self._batch.missing |= found.missing
            self._batch.places += [(identity, place) for place in found.damaged]
            if is_news:
                self._wake()
        for place in found.damaged:
            log.info("%s: a damaged record, %d to %d", self._folder, place.start, place.end)

    def run(self, task: Callable[[], None]) -> None:
        """Run it, in the caller's context, where it may wait for the disk.

        At once, where there is no disk, or no thread for it.
        """
        once = Once(task)
        with self._lock:
            if self._reader is not None and self._pool is None and not self._is_closed:
                self._pool = ThreadPoolExecutor(READERS, thread_name_prefix="s3zipfs-disk")
            if self._pool is not None:
                with contextlib.suppress(RuntimeError):  # the process may have no more threads
                    self._pool.submit(copy_context().run, once)
                    return
        once()

    # Writing

    def offer(self, oid: ObjectId, start: int, data: memoryview) -> None:
        """Write these bytes of a version before long, where the disk keeps up; returns at once."""
        if self._folder is None or not 0 < len(data) <= LARGEST:
            return
        block = Block(identity_of(oid), start, data)
        is_wanted = self._faults.may_try("writing") and self._budget.try_charge(len(data))
        with self._lock:
            is_taken = (
                is_wanted
                and not self._is_closed
                and self._queued_bytes + len(data) <= self._queue_limit
            )
            if is_taken:
                self._queued_bytes += len(data)
                self._batch.blocks.append(block)
                self._wake()
            else:
                self.counts.dropped += 1
        if is_wanted and not is_taken:
            self._budget.release(len(data))

    def put(self, oid: ObjectId, start: int, data: memoryview, wait: Wait) -> bool:
        """Have these bytes written, in place of what is there of them; waits until others are.

        False where nothing is kept, or the disk does not work.

        Raises:
            Interrupted, DeadlineExceeded: of `wait`.
        """
        if self._folder is None or not self._faults.may_try("writing"):
            return False
        block = Block(identity_of(oid), start, data, replaces=True)
        give_up = time.monotonic() + wait.timeout
        self._budget.charge(len(data))
        with self._lock:
            while self._queued_bytes and self._queued_bytes + len(data) > self._queue_limit:
                if wait.interrupted() or self._is_closed or time.monotonic() > give_up:
                    self._budget.release(len(data))
                    wait.check()
                    raise DeadlineExceeded(f"{self._folder}: nothing was written in time")
                self._changed.wait(POLL_SECONDS)
            self._queued_bytes += len(data)
            self._batch.blocks.append(block)
            self._wake()
        return True

    def discard(self, oid: ObjectId, start: int, end: int) -> None:
        """Forget a range, as when a member's CRC turned out wrong."""
        if self._folder is None:
            return
        with self._lock:
            self._batch.ranges.append((identity_of(oid), start, end))
            self._wake()

    def flush(self, seconds: float) -> bool:
        """Wait until all is written that was offered; whether it is within that time."""
        with self._lock:
            if self._thread is None:
                return True
            self._is_flushing = True
            self._changed.notify_all()
            return self._changed.wait_for(lambda: not self._is_flushing, seconds)

    def close(self) -> None:
        """Write what is left and stop the threads; nothing is kept afterwards."""
        with self._lock:
            self._is_closed = True
            pool, self._pool = self._pool, None
            thread = self._thread
            self._changed.notify_all()
        if pool is not None:
            pool.shutdown(wait=True)
        if thread is not None:
            thread.join(RETRY_SECONDS)
        if self._reader is not None:
            self._reader.forget()

    # The thread that writes

    def _wake(self) -> None:
        """There is something to be written; the lock is held."""
        if self._thread is None and not self._is_closed:
            # Not at construction: who forks or drops privileges first has no thread yet.
            thread = threading.Thread(
                target=self._keep_writing, name="s3zipfs-disk-writer", daemon=True
            )
            try:
                thread.start()
            except RuntimeError as error:  # the process may have no more threads
                self._faults.failed("writing", error)
                self.counts.failed += 1
                batch = self._take()
                self._drop(batch)
                self._release(batch)
                return
            self._thread = thread
        self._changed.notify_all()

    def _keep_writing(self) -> None:
        writer: BlockWriter | None = None
        while (batch := self._next(is_open=writer is not None)) is not None:
            writer = self._write(writer, batch)
        if writer is not None:
            writer.close()

    def _next(self, *, is_open: bool) -> Batch | None:
        """What is to be written now; an empty batch after a while without, None at the end."""
        with self._lock:
            while not self._batch.is_urgent:
                is_ending = self._is_flushing or self._is_closed
                if self._batch.touched and is_ending:
                    break
                self._is_flushing = False
                self._changed.notify_all()
                if self._is_closed:
                    return None
                is_waiting = is_open or self._batch.touched or self._again.is_urgent
                if not self._changed.wait(IDLE_SECONDS if is_waiting else None):
                    break
            else:
                self._changed.wait_for(self._has_gathered, GATHER_SECONDS)
            return self._take()

    def _take(self) -> Batch:
        """What is queued, which is no longer; the lock is held."""
        batch, self._batch = self._batch, Batch()
        batch.ranges[:0] = self._again.ranges
        batch.places[:0] = self._again.places
        self._again = Batch()
        self._queued_bytes = 0
        self._changed.notify_all()
        return batch

    def _has_gathered(self) -> bool:
        return self._is_flushing or self._is_closed or self._queued_bytes >= GATHERED_BYTES

    def _write(self, writer: BlockWriter | None, batch: Batch) -> BlockWriter | None:
        """Write it; the writer to go on with."""
        try:
            if batch.is_empty:
                if writer is not None:
                    writer.close()
                return None
            if not self._faults.may_try("writing"):
                with self._lock:
                    self._drop(batch)
                return writer
            writer = self._current(writer)
            outcome = writer.write(batch)
            used = writer.index.used_bytes()
        except _FAULTS as error:
            self._failed("writing", error)
            with self._lock:
                self._drop(batch)
            if writer is not None:
                writer.close()
            return None
        finally:
            self._release(batch)
        self._faults.works("writing")
        with self._lock:
            self.counts.written_bytes += outcome.written_bytes
            self.counts.dropped += outcome.dropped
            self.counts.evicted += outcome.evicted
            self.counts.used_bytes = used
        return writer

    def _drop(self, batch: Batch) -> None:
        """It is not written, and what it was to forget is tried again; the lock is held."""
        self.counts.dropped += len(batch.blocks)
        self._again = Batch(ranges=batch.ranges[-MOST_AGAIN:], places=batch.places[-MOST_AGAIN:])

    def _release(self, batch: Batch) -> None:
        self._budget.release(sum(len(block.data) for block in batch.blocks))

    def _current(self, writer: BlockWriter | None) -> BlockWriter:
        """The writer, or a new one: there is none, its folder was removed, or is to be."""
        assert self._folder is not None and self._reader is not None  # noqa: S101, PT018 - `offer`
        with self._lock:
            is_damaged, self._is_damaged = self._is_damaged, False
        if writer is not None and not is_damaged and writer.index.is_current():
            return writer
        if writer is not None:
            writer.close()
        if is_damaged:
            remove_folder(self._folder)
        writer = BlockWriter(
            self._folder, max_bytes=self._max_bytes, segment_bytes=self._segment_bytes
        )
        self._reader.forget()
        if is_damaged:
            self._faults.works("reading")
        return writer

    def _failed(self, what: str, error: Exception) -> None:
        self._faults.failed(what, error)
        with self._lock:
            self.counts.failed += 1
            self._is_damaged |= isinstance(error, DamagedIndexError)
        if self._reader is not None:
            self._reader.forget()
