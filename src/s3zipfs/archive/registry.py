"""The archives that are open, each loaded once, closed when memory is needed."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass

from s3zipfs.archive.archive import Archive
from s3zipfs.archive.checkpoints import Checkpoints
from s3zipfs.archive.decodeahead import DecodeAhead
from s3zipfs.archive.faults import Faults
from s3zipfs.archive.loading import LoadGate, Progress, load_index
from s3zipfs.archive.metadata import MetadataMembers, MetadataTable
from s3zipfs.archive.raw import span_of_read
from s3zipfs.archive.seekable import SeekTable
from s3zipfs.archive.streampool import StreamPool
from s3zipfs.budget import MemoryBudget
from s3zipfs.cache.checkpointfile import PersistedCheckpoints
from s3zipfs.cache.extents import ExtentCache
from s3zipfs.cache.indexes import PersistedIndexes
from s3zipfs.cache.indexfile import Opened
from s3zipfs.cache.reader import Fetcher, ObjectReader
from s3zipfs.errors import BadArchive, DeadlineExceeded, ObjectChanged
from s3zipfs.stores.base import ObjectId, ObjectInfo
from s3zipfs.telemetry.loads import LoadMeter, Origin
from s3zipfs.waiting import Wait
from s3zipfs.zipformat.index import MemberIndex
from s3zipfs.zipformat.member import Member
from s3zipfs.zipformat.methods import DEFLATED

log = logging.getLogger(__name__)

REFUSED = 10_000  # versions remembered as broken, so that a look inside costs requests once
MAPPED = 256  # indexes on disk in use at once: each holds one of, usually, 1024 descriptors


@dataclass(slots=True)
class _Open:
    archive: Archive
    charged: int  # bytes: what is mapped from disk is the kernel's, and can be taken back by it
    is_mapped: bool


@dataclass(frozen=True, slots=True)
class _Loading:
    future: Future[Archive]
    progress: Progress


class Archives:
    """Archives by `ObjectId`. An archive that was closed for memory is loaded again when used.

    A large index is written to disk after its first answer was given, and served from there from
    then on: its memory goes back.

    Args:
        on_changed: told of a version that was replaced while its index was read.
        unwrap: leave a top-level directory out where an archive holds nothing beside it.
    """

    def __init__(
        self,
        fetcher: Fetcher,
        cache: ExtentCache,
        budget: MemoryBudget,
        indexes: PersistedIndexes,
        *,
        encoding: str | None,
        max_directory_bytes: int,
        on_changed: Callable[[ObjectInfo], None],
        unwrap: bool,
    ) -> None:
        self._fetcher = fetcher
        self._cache = cache
        self._budget = budget
        self._indexes = indexes
        self._encoding = encoding
        self._max_directory_bytes = max_directory_bytes
        self._on_changed = on_changed
        self._unwrap = unwrap
        self.loads = LoadMeter()
        self._streams = StreamPool(budget)
        self._ahead = DecodeAhead(self._streams)
        self._seeks = SeekTable(budget, PersistedCheckpoints(indexes.folder))
        self._faults = Faults()
        self._metadata = MetadataTable(budget)
        self._gate = LoadGate(budget, budget.limit // 2)
        self._writing = asyncio.Lock()  # one index is written at a time
        self._writes: set[asyncio.Task[None]] = set()  # asyncio itself keeps no task alive
        self._lock = threading.Lock()  # guards _open, _loading, _refused
        self._open: OrderedDict[ObjectId, _Open] = OrderedDict()  # the most recently used last
        self._loading: dict[ObjectId, _Loading] = {}
        self._refused: OrderedDict[ObjectId, str] = OrderedDict()
        budget.add_reclaimer(self._reclaim)

    def get(self, info: ObjectInfo, wait: Wait) -> Archive:
        """The archive, loaded if need be. The deadline counts from the last part of a directory.

        Raises:
            BadArchive: this version is not a zip that can be trusted; remembered.
        """
        with self._lock:
            held = self._open.get(info.id)
            if held is not None:
                self._open.move_to_end(info.id)
                return held.archive
            if info.id in self._refused:
                raise BadArchive(self._refused[info.id])
            loading = self._loading.get(info.id)
            if loading is None:
                progress = Progress()
                future = self._fetcher.network.submit(self._load(info, progress))
                loading = self._loading[info.id] = _Loading(future, progress)
        while True:
            steps = loading.progress.steps
            try:
                return wait.result(loading.future)
            except DeadlineExceeded:
                if loading.future.done() or loading.progress.steps == steps:
                    raise

    @property
    def open_count(self) -> int:
        """How many archives are open now."""
        return len(self._open)

    def held(self, info: ObjectInfo) -> Archive | None:
        """The archive where it is loaded; it is not loaded for that."""
        with self._lock:
            held = self._open.get(info.id)
        return None if held is None else held.archive

    def is_index_kept(self, info: ObjectInfo) -> bool:
        """Whether its index has a file of its own on disk."""
        return self._indexes.open(info) is not None

    def checkpoints(self, info: ObjectInfo, member: Member, wait: Wait) -> Checkpoints | None:
        """Where reading a large deflated member may begin; None where it was not gone through."""
        if member.method != DEFLATED or span_of_read(member, 0, 1) is not None:
            return None
        return self._seeks.checkpoints(info, member, wait)

    def finish_writes(self, wait: Wait) -> None:
        """Wait until the indexes that were loaded are on disk."""
        wait.result(self._fetcher.network.submit(self._finish_writes()))

    async def _finish_writes(self) -> None:
        while self._writes:
            await asyncio.wait(self._writes)

    def close(self) -> None:
        """Stop the threads that work on their own; before the network is."""
        self._ahead.close()
        self._seeks.close()

    async def _load(self, info: ObjectInfo, progress: Progress) -> Archive:
        began = time.monotonic()
        origin: Origin | None = None
        try:
            archive, opened, in_tail = await self._read(info, progress)
        except BadArchive as error:
            raise self._refuse(info, error) from None
        except ObjectChanged:
            self._on_changed(info)
            raise
        else:
            self._keep(info, archive, opened, in_tail=in_tail)
            origin = "disk" if opened else "store"
            return archive
        finally:
            self.loads.ended(origin, time.monotonic() - began)
            with self._lock:
                del self._loading[info.id]

    async def _read(
        self, info: ObjectInfo, progress: Progress
    ) -> tuple[Archive, Opened | None, bool]:
        """The archive; its index's file where there is one; whether the tail held the index."""
        opened = await asyncio.to_thread(self._indexes.open, info)
        reader = ObjectReader(info, self._fetcher)
        if opened is not None:
            index, in_tail = opened.index, False
        else:
            index, in_tail = await load_index(
                reader,
                self._fetcher,
                self._gate,
                encoding=self._encoding,
                max_directory_bytes=self._max_directory_bytes,
                progress=progress,
            )
        archive = Archive(
            reader,
            self._shown(index),
            self._cache,
            self._budget,
            streams=self._streams,
            ahead=self._ahead,
            seeks=self._seeks,
            faults=self._faults,
            metadata=MetadataMembers(info, self._fetcher, self._metadata),
        )
        return archive, opened, in_tail

    def _refuse(self, info: ObjectInfo, error: BadArchive) -> BadArchive:
        """Remember that a version can't be trusted; the error that tells."""
        text = f"{info.id}: {error}"  # the error itself would hold all that was read
        with self._lock:
            self._refused[info.id] = text
            while len(self._refused) > REFUSED:
                self._refused.popitem(last=False)
        return BadArchive(text)

    def _shown(self, index: MemberIndex) -> MemberIndex:
        return index.unwrapped() if self._unwrap else index

    def _keep(
        self, info: ObjectInfo, archive: Archive, opened: Opened | None, *, in_tail: bool
    ) -> None:
        held = _Open(archive, archive.nbytes, is_mapped=False)
        if opened is not None:
            held.charged += opened.resident - opened.index.nbytes
            held.is_mapped = opened.is_mapped
        self._budget.charge(held.charged)
        with self._lock:
            self._open[info.id] = held
        self._close_spare_mappings()
        if opened is None and self._indexes.wants(archive.index, in_tail=in_tail):
            write = asyncio.ensure_future(self._persist(info))
            self._writes.add(write)
            write.add_done_callback(self._written)

    def _written(self, write: asyncio.Task[None]) -> None:
        self._writes.discard(write)
        if not write.cancelled() and (error := write.exception()) is not None:
            log.error("an index could not be kept: unexpected error", exc_info=error)

    async def _persist(self, info: ObjectInfo) -> None:
        """Write the index of an open archive, and take it from the file where that can be mapped.

        Nobody waits for it; what is under way at the end of the process is abandoned.
        """
        async with self._writing:
            with self._lock:
                held = self._open.get(info.id)  # not held while others are written
            if held is None:
                return
            index = held.archive.index
            if not await asyncio.to_thread(self._indexes.save, info, index):
                return
            opened = await asyncio.to_thread(self._indexes.open, info)
        if opened is None or not opened.is_mapped:
            return
        with self._lock:
            if self._open.get(info.id) is not held:
                return
            held.archive.index = self._shown(opened.index)  # equal but for where its bytes are
            held.is_mapped = True
            held.charged -= index.nbytes
        self._budget.release(index.nbytes)
        self._close_spare_mappings()

    def _close_spare_mappings(self) -> None:
        freed = 0
        with self._lock:
            mapped = [oid for oid, held in self._open.items() if held.is_mapped]
            for oid in mapped[:-MAPPED]:
                freed += self._open.pop(oid).charged
        self._budget.release(freed)

    def _reclaim(self, size: int) -> int:
        freed = 0
        with self._lock:
            # The last one stays: it is in use, and would only be loaded again.
            while freed < size and len(self._open) > 1:
                freed += self._open.popitem(last=False)[1].charged
        self._budget.release(freed)
        return freed
