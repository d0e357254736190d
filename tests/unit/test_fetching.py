"""What an object's reader has fetched: all of it once, and nothing is left that nobody brings."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from s3zipfs.budget import MemoryBudget
from s3zipfs.cache import reader as cache_reader
from s3zipfs.cache.disk import DiskCache
from s3zipfs.cache.extents import Extent, ExtentCache
from s3zipfs.cache.planned import PlannedGets
from s3zipfs.cache.reader import Fetcher, ObjectReader
from s3zipfs.errors import BadResponse, Interrupted
from s3zipfs.stores.base import ObjectId, ObjectInfo
from s3zipfs.stores.memory import MemoryStore
from s3zipfs.stores.network import Network
from s3zipfs.waiting import Wait

MIB = 1 << 20
READ = 64 << 10
WAIT = Wait(5.0)
CONTENT = bytes(range(256)) * (20 << 12)  # 20 MiB
INFO = ObjectInfo(ObjectId("http://here", "lab", "a.zip", '"1"'), 96 * MIB, 0.0)


def test_what_was_asked_for_together_is_not_dropped_before_it_is_read() -> None:
    """96 MiB, of which a quarter of the memory may be kept once it is read."""
    cache = ExtentCache(MemoryBudget(256 * MIB), most_read=64 * MIB)
    gets = PlannedGets(cache, window=8 * MIB, disk=None, known=[])
    reader = ObjectReader(INFO, gets)
    reader.start(0, INFO.size)
    for start in range(0, INFO.size, READ):
        reader.read(start, start + READ, WAIT)
    assert (len(gets.gets), gets.bytes) == (12, INFO.size)


def test_what_is_fetched_for_reads_to_come_was_found_by_none() -> None:
    cache = ExtentCache(MemoryBudget(64 * MIB))
    reader = ObjectReader(INFO, PlannedGets(cache, window=MIB, disk=None, known=[]))
    reader.start(0, MIB)
    reader.start(0, MIB)
    assert cache.counts.found == 0
    reader.read(0, MIB, WAIT)
    assert cache.counts.found == MIB


@pytest.fixture
def fetcher(tmp_path: Path) -> Iterator[Fetcher]:
    budget = MemoryBudget(256 * MIB)
    disk = DiskCache(tmp_path / "cache", max_bytes=64 * MIB, budget=budget)
    cache, store = ExtentCache(budget), MemoryStore()
    running = Fetcher(store, Network(), cache, disk, in_threads=2, on_loop=16)
    with contextlib.closing(running):
        yield running


@pytest.fixture
def info(fetcher: Fetcher) -> ObjectInfo:
    assert isinstance(fetcher.store, MemoryStore)
    return fetcher.store.put("lab", "a.zip", CONTENT)


def raising_at(call: int, error: BaseException, inner: Callable[..., Any]) -> Callable[..., Any]:
    """`inner`, but for one call of it."""
    calls = iter(range(1, 1000))

    def function(*arguments: Any) -> Any:
        if next(calls) == call:
            raise error
        return inner(*arguments)

    return function


@pytest.mark.parametrize("call", [1, 2])
@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("no thread")], ids=repr)
def test_who_is_interrupted_as_he_asks_leaves_nothing_that_nobody_brings(
    fetcher: Fetcher,
    info: ObjectInfo,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    call: int,
) -> None:
    monkeypatch.setattr(fetcher.disk, "look", raising_at(call, error, fetcher.disk.look))
    reader = ObjectReader(info, fetcher)
    with pytest.raises(type(error)):
        reader.read(0, len(CONTENT), WAIT)
    assert b"".join(reader.read(0, len(CONTENT), WAIT)) == CONTENT


@pytest.mark.parametrize("is_ahead", [False, True])
def test_what_cannot_be_begun_in_another_thread_fails(
    fetcher: Fetcher, info: ObjectInfo, monkeypatch: pytest.MonkeyPatch, is_ahead: bool
) -> None:
    error = RuntimeError("no thread")
    monkeypatch.setattr(fetcher.disk, "look", raising_at(1, error, fetcher.disk.look))
    _, missing = fetcher.cache.claim(info.id, 0, READ, chunk=READ)
    start = fetcher.start_ahead if is_ahead else fetcher.start_elsewhere
    start(info, missing)
    assert missing[0].future.exception(5) is error
    assert b"".join(ObjectReader(info, fetcher).read(0, READ, WAIT)) == CONTENT[:READ]


def test_a_fault_of_what_keeps_a_copy_keeps_nobody_waiting(
    fetcher: Fetcher, info: ObjectInfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    def try_range(_oid: ObjectId, start: int, end: int) -> memoryview:
        return memoryview(CONTENT)[start:end]

    monkeypatch.setattr(fetcher.store, "try_range", try_range)
    error = RuntimeError("no thread")
    monkeypatch.setattr(fetcher.disk, "offer", raising_at(1, error, fetcher.disk.offer))
    assert b"".join(ObjectReader(info, fetcher).read(0, READ, WAIT)) == CONTENT[:READ]


def test_closing_ends_all_threads_though_a_client_is_still_being_opened(
    fetcher: Fetcher, info: ObjectInfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def close() -> None:
        await asyncio.Event().wait()

    before = set(threading.enumerate())
    assert ObjectReader(info, fetcher).read(0, READ, WAIT)
    loops = {t for t in set(threading.enumerate()) - before if t.name == "s3zipfs-network"}
    assert len(loops) == 1
    monkeypatch.setattr(cache_reader, "CLOSE_SECONDS", 0.01)
    monkeypatch.setattr(fetcher.store, "close", close)
    fetcher.close()
    assert not loops & set(threading.enumerate())


def test_who_asks_once_all_is_closed_is_interrupted_and_starts_no_thread(
    fetcher: Fetcher, info: ObjectInfo
) -> None:
    fetcher.close()
    before = set(threading.enumerate())
    for _ in range(2):
        with pytest.raises(Interrupted):
            ObjectReader(info, fetcher).read(0, READ, WAIT)
    assert set(threading.enumerate()) <= before
    fetcher.close()


def gets_in_order(*, interrupted: bool) -> list[tuple[int, int]]:
    """The GETs of reads in order, of which one waits for what somebody else fetches."""
    gets = PlannedGets(ExtentCache(MemoryBudget(64 * MIB)), window=8 * MIB, disk=None, known=[])
    reader, slow = ObjectReader(INFO, gets), range(2 * READ, 3 * READ)
    _, owned = gets.cache.claim(INFO.id, slow.start, slow.stop, chunk=READ)
    for start in range(0, 16 * MIB, READ):
        if start == slow.start:
            if interrupted:
                with pytest.raises(Interrupted):
                    reader.read(start, start + READ, Wait(5.0, lambda: True))
            gets.cache.complete(owned[0], memoryview(bytes(READ)))
            if interrupted:
                continue
        reader.read(start, start + READ, WAIT)
    return gets.gets


def test_who_waits_no_longer_leaves_what_is_fetched_ahead_of_his_stream() -> None:
    assert gets_in_order(interrupted=True) == gets_in_order(interrupted=False)


def test_a_stream_whose_bytes_failed_is_none() -> None:
    gets = PlannedGets(ExtentCache(MemoryBudget(64 * MIB)), window=8 * MIB, disk=None, known=[])
    reader = ObjectReader(INFO, gets)
    start = gets.start

    def failing(info: ObjectInfo, missing: list[Extent]) -> None:
        assert info is INFO
        for extent in missing:
            gets.cache.fail(extent, BadResponse("no"))

    reader.read(0, READ, WAIT)
    gets.start = failing  # type: ignore[method-assign]
    with pytest.raises(BadResponse):
        reader.read(READ, 2 * READ, WAIT)
    gets.start = start  # type: ignore[method-assign]
    asked = len(gets.gets)
    reader.read(2 * READ, 3 * READ, WAIT)
    assert gets.gets[asked:] == [(2 * READ, 3 * READ)], "nothing ahead of who begins anew"
