"""Readers of one member side by side: its bytes are fetched once, and who waits is not given up."""

from __future__ import annotations

import asyncio
import random
import threading
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing

import pytest
from trees import WAIT, zipped

from s3zipfs.build import build_tree
from s3zipfs.errors import Interrupted, TooManyWaiting
from s3zipfs.settings import Settings
from s3zipfs.stores.arrivals import tell
from s3zipfs.stores.base import ObjectId
from s3zipfs.stores.counting import CountingStore
from s3zipfs.stores.memory import MemoryStore
from s3zipfs.waiting import Wait

SECONDS = 20.0
READ = 128 << 10
BEAT = 0.1  # seconds
CONTENT = random.Random(1).randbytes(12 << 20)
ARCHIVE = zipped({"m": CONTENT}, zipfile.ZIP_DEFLATED)


class SlowStore(CountingStore):
    """Gives no bytes before it is told to, or so many beats have passed, each with some of them."""

    def __init__(self) -> None:
        memory = MemoryStore()
        memory.put("lab", "x.zip", ARCHIVE)
        super().__init__(memory)
        self.go_on = threading.Event()
        self.go_on.set()
        self.beats = 1 << 30

    async def get_range(self, oid: ObjectId, start: int, end: int) -> memoryview:
        beats = 0
        while not self.go_on.is_set() and beats < self.beats:
            await asyncio.sleep(BEAT)
            tell(memoryview(b"x"))
            beats += 1
        return await super().get_range(oid, start, end)


@pytest.fixture
def store() -> SlowStore:
    return SlowStore()


class Readers:
    """Threads that read one member of a store that is slow from now on."""

    def __init__(self, read: Callable[[int, Wait], bytes]) -> None:
        self._read = read
        self._threads = ThreadPoolExecutor(8)

    def start(
        self, at: int, *, timeout: float = SECONDS, killed: threading.Event | None = None
    ) -> Future[bytes]:
        """A read that has come to wait."""
        waits = threading.Event()

        def interrupted() -> bool:
            waits.set()
            return killed is not None and killed.is_set()

        done = self.submit(at, Wait(timeout, interrupted))
        assert waits.wait(SECONDS), "it did not wait"
        return done

    def submit(self, at: int, wait: Wait) -> Future[bytes]:
        return self._threads.submit(self._read, at, wait)

    def close(self) -> None:
        self._threads.shutdown()


class NoPlaces:
    """Nowhere to wait, as is told once it is allowed."""

    def __init__(self) -> None:
        self.asked, self.may_tell = threading.Event(), threading.Event()

    def acquire(self) -> bool:
        self.asked.set()
        assert self.may_tell.wait(SECONDS)
        return False

    def release(self) -> None:
        raise AssertionError("there was none")


@pytest.fixture
def readers(store: SlowStore) -> Iterator[Readers]:
    tree = build_tree(Settings(memory=32 << 20, cache_size=0), ["s3://lab"], store=store)
    node = tree.resolve(b"x.zip/m", WAIT)
    store.reset()
    store.go_on.clear()
    threads = Readers(lambda at, wait: b"".join(tree.read(node, at, at + READ, wait)))
    yield threads
    store.go_on.set()
    threads.close()
    tree.close()


def content(at: int) -> bytes:
    return CONTENT[at : at + READ]


def test_reads_side_by_side_of_a_member_that_is_decoded_whole_fetch_it_once(
    store: SlowStore, readers: Readers
) -> None:
    """There is no memory to keep it beside its decoding: the next read found nothing of it."""
    starts = [number << 20 for number in range(8)]
    reads = [readers.start(at) for at in starts]
    store.go_on.set()
    for at, done in zip(starts, reads, strict=True):
        assert done.result(SECONDS) == content(at)
    assert store.bytes_read <= len(ARCHIVE)


def test_who_waits_for_a_member_that_another_reads_waits_as_long_as_bytes_arrive(
    store: SlowStore, readers: Readers
) -> None:
    store.beats = 20  # two seconds
    reads = [readers.start(at, timeout=0.5) for at in (0, READ)]
    assert [done.result(SECONDS) for done in reads] == [content(0), content(READ)]


def test_a_member_whose_reader_is_killed_is_read_by_who_waits(
    store: SlowStore, readers: Readers
) -> None:
    killed = threading.Event()
    reads = [readers.start(0, killed=killed), readers.start(READ), readers.start(2 * READ)]
    killed.set()
    with pytest.raises(Interrupted):
        reads[0].result(SECONDS)
    store.go_on.set()
    assert [done.result(SECONDS) for done in reads[1:]] == [content(READ), content(2 * READ)]
    assert store.bytes_read <= len(ARCHIVE)


def test_a_member_whose_reader_may_not_wait_is_read_by_who_does(
    store: SlowStore, readers: Readers
) -> None:
    places = NoPlaces()
    refused = readers.submit(0, Wait(SECONDS, places=places))
    assert places.asked.wait(SECONDS)
    waiting = readers.start(READ)
    places.may_tell.set()
    with pytest.raises(TooManyWaiting):
        refused.result(SECONDS)
    store.go_on.set()
    assert waiting.result(SECONDS) == content(READ)


def test_what_is_asked_for_beforehand_does_not_count_as_read() -> None:
    memory = MemoryStore()
    memory.put("lab", "x.zip", zipped({"m": bytes(READ)}, zipfile.ZIP_DEFLATED))
    with closing(build_tree(Settings(cache_size=0), ["s3://lab"], store=memory)) as tree:
        node = tree.resolve(b"x.zip/m", WAIT)
        tree.read(node, 0, READ, WAIT)
        cache = tree._archives._cache
        found = cache.counts.found
        tree.start_reads([(node, 0, READ)], WAIT, max_gap=0)
        assert cache.counts.found == found
