"""Reading one object version through the extent cache, ahead of those who read in order."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Protocol, TypeVar

from s3zipfs.cache.blockreader import Held
from s3zipfs.cache.disk import DiskCache
from s3zipfs.cache.extents import Extent, ExtentCache, joined, slices
from s3zipfs.cache.streams import LARGEST_GET, MAX_WINDOW, StreamTable
from s3zipfs.errors import Interrupted, S3ZipError
from s3zipfs.stores.arrivals import heard_by
from s3zipfs.stores.base import ObjectId, ObjectInfo, RangeStore
from s3zipfs.stores.network import Network
from s3zipfs.stores.threads import Threads
from s3zipfs.waiting import Transfer, Wait

log = logging.getLogger(__name__)

T = TypeVar("T")

CLOSE_SECONDS = 5.0

# What a thread may fetch by itself: a member that is fetched whole, with its header.
AT_ONCE = (1 << 20) + 4096


class Fetches(Protocol):
    """What an `ObjectReader` has its bytes fetched by."""

    @property
    def window(self) -> int:
        """Bytes to read ahead of one stream."""

    @property
    def cache(self) -> ExtentCache:
        """Where the bytes are put."""

    def start(self, info: ObjectInfo, missing: list[Extent]) -> None:
        """Start to fetch each claimed extent, from the disk or by a GET, which complete or fail it.

        May read the disk in the calling thread.
        """

    def start_ahead(self, info: ObjectInfo, missing: list[Extent]) -> None:
        """The same for what nobody waits for yet."""

    def start_elsewhere(self, info: ObjectInfo, missing: list[Extent]) -> None:
        """The same for the network's thread, which must not wait for the disk."""

    def reach(self, info: ObjectInfo, start: int, end: int) -> int:
        """How far `[start, end)` can be had without a GET."""

    def discard(self, info: ObjectInfo, start: int, end: int) -> None:
        """Forget a range, on disk too."""


class Fetcher:
    """Puts the bytes of objects into the cache: the store, the loop it runs on, the cache."""

    def __init__(
        self,
        store: RangeStore,
        network: Network,
        cache: ExtentCache,
        disk: DiskCache,
        *,
        in_threads: int,
        on_loop: int,
        window: int = MAX_WINDOW,
    ) -> None:
        self.window = window  # bytes to read ahead of one stream
        self.store = store
        self.network = network
        self.cache = cache
        self.disk = disk
        self._threads = Threads(in_threads, name="s3zipfs-range")
        # Of the requests on the loop: a new range that somebody waits for finds one free. For each
        # endpoint, so that one which is silent holds up what is read ahead of no other.
        self._most_ahead = max(1, on_loop * 3 // 4)
        self._ahead: dict[str, asyncio.Semaphore] = {}

    def start(self, info: ObjectInfo, missing: list[Extent]) -> None:
        """See `Fetches`. Reads the disk in the calling thread."""
        begin = partial(self._begin, info, turn=contextlib.nullcontext(), at_once=True)
        self._start(missing, begin)

    def start_ahead(self, info: ObjectInfo, missing: list[Extent]) -> None:
        """See `Fetches`."""
        turn = self._ahead.setdefault(info.id.endpoint, asyncio.Semaphore(self._most_ahead))
        self._start_elsewhere(missing, partial(self._begin, info, turn=turn))

    def start_elsewhere(self, info: ObjectInfo, missing: list[Extent]) -> None:
        """See `Fetches`."""
        self._start_elsewhere(missing, partial(self._begin, info, turn=contextlib.nullcontext()))

    def _start_elsewhere(self, missing: list[Extent], begin: Callable[[Extent], None]) -> None:
        self._start(missing, lambda each: self.disk.run(partial(self._start, [each], begin)))

    def _start(self, missing: list[Extent], begin: Callable[[Extent], None]) -> None:
        """Begin each; where that raises, the rest fail: nobody would ever bring them."""
        begun = 0
        try:
            for extent in missing:
                begin(extent)
                begun += 1
        except BaseException as error:
            is_fault = isinstance(error, Exception)
            cause = error if is_fault else Interrupted("who was to fetch it was interrupted")
            for extent in missing[begun:]:
                self.cache.fail(extent, cause)
            raise

    def reach(self, info: ObjectInfo, start: int, end: int) -> int:
        """See `Fetches`."""
        return self.disk.reach(info.id, start, end)

    def discard(self, info: ObjectInfo, start: int, end: int) -> None:
        """See `Fetches`."""
        self.cache.discard(info.id)
        self.disk.discard(info.id, start, end)

    def get(self, oid: ObjectId, start: int, end: int, wait: Wait) -> memoryview:
        """Bytes from the store, past all that is kept. The deadline counts from the last part."""
        transfer: Transfer[memoryview] = Transfer()
        self.network.start(self._get_for(transfer, oid, start, end))
        return wait.result(transfer)

    async def _get_for(
        self, transfer: Transfer[memoryview], oid: ObjectId, start: int, end: int
    ) -> None:
        try:
            with heard_by(lambda _part: transfer.progress()):
                transfer.set_result(await self.store.get_range(oid, start, end))
        except asyncio.CancelledError:
            transfer.set_exception(Interrupted("the mount is stopping"))
            raise
        except BaseException as error:  # noqa: BLE001 - it is raised where the bytes are awaited
            transfer.set_exception(error)

    async def get_once(self, oid: ObjectId, start: int, end: int) -> tuple[memoryview, bool]:
        """Bytes that are not to be kept in memory, and whether the store was asked for them."""
        if (parts := self.cache.peek(oid, start, end)) is not None:
            return joined(parts), False
        if self.disk.keeps:
            held = await asyncio.to_thread(self.disk.look, oid, start, end)
            if held is not None and not held.gaps:
                return held.data, False
        return await self.store.get_range(oid, start, end), True

    def _begin(
        self,
        info: ObjectInfo,
        extent: Extent,
        *,
        turn: AbstractAsyncContextManager[None],
        at_once: bool = False,
    ) -> None:
        held = self.disk.look(info.id, extent.start, extent.end)
        if held is not None and not held.gaps:
            extent.fetched = False
            self.cache.complete(extent, held.data)
            return
        extent.fetched = True
        at_once = at_once and held is None and extent.end - extent.start <= AT_ONCE
        if at_once and self._threads.start(partial(self._fill_at_once, info, extent)):
            return
        self.network.start(self._fill(info, extent, held, turn))

    def _fill_at_once(self, info: ObjectInfo, extent: Extent) -> None:
        """One attempt in this thread, and else the usual way."""
        try:
            data = self.store.try_range(info.id, extent.start, extent.end)
            if data is None:
                self.network.start(self._fill(info, extent, None, contextlib.nullcontext()))
                return
        except BaseException as error:  # noqa: BLE001 - it is raised where the bytes are awaited
            self.cache.fail(extent, error)
            return
        try:
            self.disk.offer(info.id, extent.start, data)
        finally:
            self.cache.complete(extent, data)

    def close(self) -> None:
        """Close the store's connections and stop the threads of the network and the disk."""
        self._threads.close()
        self.disk.close()
        try:
            self.network.submit(self.store.close()).result(timeout=CLOSE_SECONDS)
        except Interrupted:
            return  # it was closed before
        except TimeoutError:  # a client is still being opened; its loop ends all the same
            log.warning("the connections could not be closed within %g s", CLOSE_SECONDS)
        self.network.close()

    async def _fill(
        self,
        info: ObjectInfo,
        extent: Extent,
        held: Held | None,
        turn: AbstractAsyncContextManager[None],
    ) -> None:
        try:
            async with turn:
                with heard_by(lambda _part: extent.future.progress()):
                    data = await self._get(info.id, extent, held)
        except asyncio.CancelledError:
            self.cache.fail(extent, Interrupted("the mount is stopping"))
            raise
        except BaseException as error:  # noqa: BLE001 - it is raised where the bytes are awaited
            self.cache.fail(extent, error)
        else:
            self.cache.complete(extent, data)

    async def _get(self, oid: ObjectId, extent: Extent, held: Held | None) -> memoryview:
        """The extent, of which some may have been on disk; what is fetched is kept there."""

        async def get(start: int, end: int) -> memoryview:
            data = await self.store.get_range(oid, start, end)
            self.disk.offer(oid, start, data)
            return data

        if held is None:
            return await get(extent.start, extent.end)
        for (start, _), data in zip(
            held.gaps, await asyncio.gather(*(get(*gap) for gap in held.gaps)), strict=True
        ):
            held.put(start, data)
        return held.data


class ObjectReader:
    """Positional reads of one object version. Safe for any number of threads at once."""

    def __init__(self, info: ObjectInfo, fetcher: Fetches) -> None:
        self.info = info
        self._fetcher = fetcher
        self._lock = threading.Lock()  # guards _streams
        self._streams = StreamTable(info.size, fetcher.window)

    def read(
        self, start: int, end: int, wait: Wait, *, until: int | None = None
    ) -> list[memoryview]:
        """The bytes `[start, end)`, in order, without a copy. `end` lies within the object.

        `until` is where the member that is read ends: up to there more is fetched ahead.
        """
        if end <= start:
            return []
        covering, missing = self._claim(start, end)
        self._fetcher.start(self.info, missing)
        is_kept = not any(extent.fetched for extent in covering)
        self._read_ahead(start, end, until, is_kept=is_kept)
        try:
            data = [wait.result(extent.future) for extent in covering]
        except S3ZipError:
            if any(e.future.done() and e.future.exception() for e in covering):
                with self._lock:
                    self._streams.forget(start, end)
            raise
        return slices(covering, data, start, end)

    def start(self, start: int, end: int) -> None:
        """Have the bytes `[start, end)` fetched for reads to come; waits for the disk only."""
        with self._lock:
            self._streams.ask(start, end)
        _, missing = self._claim(start, end, asked=start)  # of it nothing was read yet
        self._fetcher.start(self.info, missing)

    def _claim(
        self, start: int, end: int, asked: int | None = None
    ) -> tuple[list[Extent], list[Extent]]:
        cache = self._fetcher.cache
        return cache.claim(self.info.id, start, end, chunk=LARGEST_GET, asked=asked)

    def _read_ahead(self, start: int, end: int, until: int | None, *, is_kept: bool) -> None:
        with self._lock:
            ahead = self._streams.observe(start, end, until)
        if ahead is None:
            return
        if is_kept:  # who is served by the disk may want no more than is there: no GET yet
            first, last = ahead
            ahead = first, self._fetcher.reach(self.info, first, last)
            with self._lock:
                self._streams.shorten(last, ahead[1])
            if ahead[1] == first:
                return
        missing = self._fetcher.cache.claim_ahead(self.info.id, *ahead, chunk=LARGEST_GET)
        if missing is None:
            with self._lock:
                self._streams.refuse(*ahead)
        else:
            for extent in missing:  # as is supposed until the disk was asked
                extent.fetched = not is_kept
            self._fetcher.start_ahead(self.info, missing)

    async def fetch(self, start: int, end: int) -> memoryview:
        """The same bytes for a coroutine of the network loop, as one buffer."""
        covering, missing = self._claim(start, end)
        self._fetcher.start_elsewhere(self.info, missing)
        data = [await shared(extent.future) for extent in covering]
        return joined(slices(covering, data, start, end))

    def discard(self, start: int, end: int) -> None:
        """Forget `[start, end)`, on disk too: its bytes turned out not to be those of the store."""
        self._fetcher.discard(self.info, start, end)


def shared(future: Future[T]) -> asyncio.Future[T]:
    """Await a future that others wait for too: cancelling us must not cancel it for them."""
    return asyncio.shield(asyncio.wrap_future(future))
