"""Fetch the central directory of one object version in pieces, and make its index."""

from __future__ import annotations

import asyncio
import ctypes
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass

from s3zipfs.budget import MemoryBudget
from s3zipfs.cache.reader import Fetcher, ObjectReader
from s3zipfs.errors import BadArchive
from s3zipfs.stores.arrivals import heard_by
from s3zipfs.stores.base import ObjectId
from s3zipfs.zipformat.index import IndexBuilder, MemberIndex, build_index
from s3zipfs.zipformat.plan import DirectoryLocation, locate_directory, plan_tail

DIRECTORY_GET = 8 << 20  # bytes of central directory per request
PIECES_HELD = 4  # on their way, or being parsed

# Bytes that an index takes while it is built, for each byte of its directory. Measured for a
# million members: 2.6 with names of 5 bytes, 2.8 of 20, 1.8 of 60; 6.7 where each has a directory
# of its own.
BUILDING_FACTOR = 3


class Progress:
    """Counts the steps of a load, so that who waits for it can tell slow from stuck."""

    def __init__(self) -> None:
        self.steps = 0  # written by the network loop only

    def step(self) -> None:
        """One more piece is here, or a part of one."""
        self.steps += 1


class LoadGate:
    """Bounds what indexes take while they are built, in all: first come, first served.

    One is always let in, so that what is larger than `capacity` (bytes) is slow rather than
    impossible. Who holds a place waits for no other, so that there is no deadlock. For the
    coroutines of the network loop; it has no lock.
    """

    def __init__(self, budget: MemoryBudget, capacity: int) -> None:
        self._budget = budget
        self._capacity = capacity
        self._held = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @asynccontextmanager
    async def holding(self, size: int) -> AsyncIterator[None]:
        """Hold `size` bytes, charged to the memory budget, while the block runs."""
        await self._enter(size)
        self._budget.charge(size)
        try:
            yield
        finally:
            self._budget.release(size)
            self._leave(size)

    async def _enter(self, size: int) -> None:
        if not self._waiting and self._fits(size):
            self._held += size
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append((size, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._leave(size)  # let in and cancelled at once
            raise

    def _leave(self, size: int) -> None:
        self._held -= size
        while self._waiting and (self._waiting[0][1].done() or self._fits(self._waiting[0][0])):
            first, turn = self._waiting.popleft()
            if not turn.done():
                self._held += first
                turn.set_result(None)

    def _fits(self, size: int) -> bool:
        return self._held == 0 or self._held + size <= self._capacity


@dataclass(frozen=True, slots=True)
class FoundDirectory:
    """Where an archive's central directory is, and the end of the object that tells."""

    location: DirectoryLocation
    tail: memoryview
    tail_start: int

    @property
    def is_in_tail(self) -> bool:
        """Whether all of it is at hand."""
        return self.location.start >= self.tail_start

    def pieces(self) -> list[tuple[int, int]]:
        """What of it is still to be fetched, a GET each."""
        location = self.location
        stop = min(self.tail_start, location.end)
        starts = range(location.start, stop, DIRECTORY_GET)
        return [(at, min(at + DIRECTORY_GET, stop)) for at in starts]


async def find_directory(reader: ObjectReader) -> FoundDirectory:
    """Read the end of an object, as much of it as is needed to know where its directory is.

    Raises:
        BadArchive: not a zip, or it contradicts itself.
    """
    size = reader.info.size
    start, end = plan_tail(size)
    tail = await reader.fetch(start, end)
    while not isinstance(found := locate_directory(tail, start, size), DirectoryLocation):
        start, end = found.start, found.end
        tail = await reader.fetch(start, end)
    return FoundDirectory(found, tail, start)


async def load_index(
    reader: ObjectReader,
    fetcher: Fetcher,
    gate: LoadGate,
    *,
    encoding: str | None,
    max_directory_bytes: int,
    progress: Progress,
) -> tuple[MemberIndex, bool]:
    """Fetch and parse the central directory; runs on the network loop, parses beside it.

    One GET where the tail takes it in; else one more, or one for each 8 MiB of directory, all of
    one version (If-Match). Told with the index: whether the tail took it in.

    Raises:
        BadArchive: not a zip, contradicts itself, or its directory is over the bound.
        ObjectChanged: the version was replaced meanwhile.
    """
    found = await find_directory(reader)
    location, tail, start = found.location, found.tail, found.tail_start
    progress.step()
    if location.size > max_directory_bytes:
        raise BadArchive(
            f"a central directory of {location.size} bytes; "
            f"--max-directory-bytes allows {max_directory_bytes}"
        )
    if found.is_in_tail:
        directory = tail[location.start - start : location.end - start]
        return await asyncio.to_thread(build_index, directory, location, encoding=encoding), True
    in_tail = tail[: max(0, location.end - start)]
    held = min(PIECES_HELD * DIRECTORY_GET, location.size) + BUILDING_FACTOR * location.size
    async with gate.holding(held):
        pieces = _fetch_in_order(fetcher, reader.info.id, found.pieces(), progress)
        builder = IndexBuilder(location, encoding=encoding)
        async with aclosing(pieces):
            index = await _build(builder, pieces, in_tail, progress)
        await asyncio.to_thread(_give_back_memory)
        return index, False


async def _build(
    builder: IndexBuilder,
    pieces: AsyncIterator[memoryview],
    last: memoryview,
    progress: Progress,
) -> MemberIndex:
    """Feed the pieces, then `last`, in a thread of this load's own.

    One thread: each has an arena of malloc's, and what one leaves free is not for the others. Its
    own: the loop's executor has 5 to 6 on a small machine, and others wait for them.
    """
    loop = asyncio.get_running_loop()
    thread = ThreadPoolExecutor(1, "s3zipfs-index")
    try:
        async for piece in pieces:
            await loop.run_in_executor(thread, builder.feed, piece)
            progress.step()
        await loop.run_in_executor(thread, builder.feed, last)
        await loop.run_in_executor(thread, _give_back_memory)
        return MemberIndex(await loop.run_in_executor(thread, builder.finish))
    finally:
        thread.shutdown(wait=False)  # what runs ends by itself: one piece, or the last step


def _give_back_memory() -> None:
    """Have malloc return what is free inside its arenas (glibc; elsewhere nothing).

    Measured, a million members: a peak of 270 MB instead of 340, and 120 MB afterwards instead of
    190; it takes some milliseconds.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


async def _fetch_in_order(
    fetcher: Fetcher, oid: ObjectId, pieces: list[tuple[int, int]], progress: Progress
) -> AsyncGenerator[memoryview, None]:
    """Pieces fetched in parallel, given in their order, from the disk where they are there.

    One piece is with the caller while the next ones are on their way. The disk is not given them:
    the index will have a file of its own.
    """

    async def get(start: int, end: int) -> memoryview:
        # Four that share a slow link take longer than any deadline, each of them.
        with heard_by(lambda _part: progress.step()):
            return (await fetcher.get_once(oid, start, end))[0]

    left = iter(pieces)
    under_way: deque[asyncio.Task[memoryview]] = deque()
    try:
        while True:
            while len(under_way) < PIECES_HELD and (piece := next(left, None)) is not None:
                under_way.append(asyncio.ensure_future(get(*piece)))
            if not under_way:
                return
            yield await under_way.popleft()
    finally:
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
