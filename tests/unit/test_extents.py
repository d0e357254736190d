"""The extent cache: fetched once, never overlapping, never above the budget."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s3zipfs.budget import MemoryBudget
from s3zipfs.cache.extents import OVERHEAD, ExtentCache, joined, slices
from s3zipfs.errors import BadMember

CONTENT = bytes(range(256)) * 64  # 16 KiB


def fetch(cache: ExtentCache, start: int, end: int, *, chunk: int = 1000) -> bytes:
    covering, missing = cache.claim("x", start, end, chunk=chunk)
    for extent in missing:
        cache.complete(extent, memoryview(CONTENT)[extent.start : extent.end])
    return bytes(joined(slices(covering, [e.future.result(5) for e in covering], start, end)))


ranges = st.tuples(st.integers(0, len(CONTENT) - 1), st.integers(1, 5000)).map(
    lambda pair: (pair[0], min(pair[0] + pair[1], len(CONTENT)))
)


@given(st.lists(ranges, max_size=30), st.integers(6_000, 60_000))
def test_any_reads_return_the_content_within_the_budget(
    reads: list[tuple[int, int]], limit: int
) -> None:
    budget = MemoryBudget(limit)
    cache = ExtentCache(budget)
    for start, end in reads:
        assert fetch(cache, start, end) == CONTENT[start:end]
        peeked = cache.peek("x", start, end)
        assert peeked is None or b"".join(peeked) == CONTENT[start:end]
        assert budget.used <= limit + 5000 + 7 * OVERHEAD  # one read's own bytes


def test_what_is_cached_is_not_claimed_again() -> None:
    cache = ExtentCache(MemoryBudget(1 << 20))
    fetch(cache, 1000, 3000)
    _, missing = cache.claim("x", 500, 3500, chunk=10_000)
    assert [(e.start, e.end) for e in missing] == [(500, 1000), (3000, 3500)]


def test_two_readers_of_one_range_share_one_fetch() -> None:
    cache = ExtentCache(MemoryBudget(1 << 20))
    first, owned = cache.claim("x", 0, 100, chunk=1000)
    second, none = cache.claim("x", 0, 100, chunk=1000)
    assert first == second
    assert not none
    cache.complete(owned[0], memoryview(CONTENT)[:100])
    assert second[0].future.result(0) == CONTENT[:100]


def test_a_failed_fetch_is_tried_again_and_costs_nothing() -> None:
    budget = MemoryBudget(1 << 20)
    cache = ExtentCache(budget)
    _, owned = cache.claim("x", 0, 100, chunk=1000)
    cache.fail(owned[0], BadMember("no"))
    with pytest.raises(BadMember):
        owned[0].future.result(0)
    assert budget.used == 0
    assert fetch(cache, 0, 100) == CONTENT[:100]


def test_the_least_recently_used_gives_way() -> None:
    cache = ExtentCache(MemoryBudget(3 * (1000 + OVERHEAD)))
    for start in (0, 1000, 2000):
        fetch(cache, start, start + 1000)
    fetch(cache, 0, 1000)
    fetch(cache, 3000, 4000)
    assert cache.peek("x", 0, 1000) is not None
    assert cache.peek("x", 1000, 2000) is None


def test_what_was_read_in_part_gives_way_after_what_was_read_to_its_end() -> None:
    data = memoryview(bytes(100))
    cache = ExtentCache(MemoryBudget(2 * (len(data) + OVERHEAD)))
    assert cache.keep("x", 0, data, asked=50)
    assert cache.keep("y", 0, data, asked=200)
    assert cache.keep("y", 100, data, asked=200)
    assert cache.holds("x", 0, 100)
    assert not cache.holds("y", 0, 100)
    assert cache.holds("y", 100, 200)


def test_to_ask_whether_it_is_there_is_no_use_of_it() -> None:
    data = memoryview(bytes(100))
    cache = ExtentCache(MemoryBudget(4 * (len(data) + OVERHEAD)))
    assert cache.keep("x", 0, data, asked=None)
    assert cache.keep("x", 100, data, asked=None)
    assert cache.holds("x", 0, 200)
    assert not cache.holds("x", 0, 201)
    assert cache.counts.ahead_used == 0
    assert not cache.keep("x", 200, data, asked=None), "it takes more than its half"


def test_read_ahead_gives_way_where_memory_is_in_flight() -> None:
    budget = MemoryBudget(10_000)
    cache = ExtentCache(budget)
    cache.claim("x", 0, 8000, chunk=10_000)  # never completed: nothing can be reclaimed
    assert cache.claim_ahead("x", 8000, 12_000, chunk=10_000) is None


def test_many_threads_fetch_every_byte_once() -> None:
    cache = ExtentCache(MemoryBudget(1 << 20))
    fetched, lock = [0] * len(CONTENT), threading.Lock()

    def read(start: int) -> None:
        covering, missing = cache.claim("x", start, start + 2000, chunk=700)
        for extent in missing:
            with lock:
                for at in range(extent.start, extent.end):
                    fetched[at] += 1
            cache.complete(extent, memoryview(CONTENT)[extent.start : extent.end])
        data = [extent.future.result(5) for extent in covering]
        assert joined(slices(covering, data, start, start + 2000)) == CONTENT[start : start + 2000]

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(read, [(n * 997) % 14_000 for n in range(200)]))
    assert max(fetched) == 1


def test_what_is_fetched_for_a_reader_to_come_gives_way_after_what_was_read() -> None:
    cache = ExtentCache(MemoryBudget(1 << 20), most_read=0)
    _, owned = cache.claim("x", 0, 1000, chunk=1000, asked=0)
    assert [(extent.wanted, extent.through) for extent in owned] == [(True, False)]
    cache.complete(owned[0], memoryview(CONTENT)[:1000])
    assert cache.holds("x", 0, 1000)
    assert cache.peek("x", 0, 1000) is not None
    assert fetch(cache, 1000, 2000) == CONTENT[1000:2000]
    assert not cache.holds("x", 0, 1000)


@pytest.mark.parametrize("is_first_complete", [True, False])
def test_an_extent_is_done_once(is_first_complete: bool) -> None:
    budget = MemoryBudget(1 << 20)
    cache = ExtentCache(budget)
    _, owned = cache.claim("x", 0, 100, chunk=1000)
    if is_first_complete:
        cache.complete(owned[0], memoryview(CONTENT)[:100])
    else:
        cache.fail(owned[0], BadMember("no"))
    used = budget.used
    cache.complete(owned[0], memoryview(CONTENT)[:100])
    cache.fail(owned[0], BadMember("no"))
    assert budget.used == used
    assert cache.holds("x", 0, 100) == is_first_complete
    assert cache._read_cost == used, "what it could give way for"
    cache.discard("x")
    assert budget.used == 0
