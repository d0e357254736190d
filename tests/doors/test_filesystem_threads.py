"""Several reads of one call at once, and what ends them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial

import pytest

from s3zipfs.filesystem import threads
from s3zipfs.filesystem.threads import Threads


@pytest.fixture
def pool() -> Iterator[Threads]:
    made = Threads()
    yield made
    if made._pool is not None:
        made._pool.shutdown()


def refuse(_thread: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


def test_ctrl_c_ends_all_calls_at_once(pool: Threads, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "AT_ONCE", 1)
    begun: list[int] = []

    def call(number: int) -> None:
        begun.append(number)
        if number == 0:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pool.run([partial(call, number) for number in range(3)])
    assert begun == [0]


def test_ctrl_c_waits_for_no_other_thread(pool: Threads, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "AT_ONCE", 2)
    here = threading.get_ident()
    other_began, released = threading.Event(), threading.Event()
    begun: list[bool] = []  # whether in this thread

    def call() -> None:
        begun.append(threading.get_ident() == here)
        if begun[-1]:
            assert other_began.wait(100)
            raise KeyboardInterrupt
        other_began.set()
        assert released.wait(20)

    with pytest.raises(KeyboardInterrupt):
        pool.run([call] * 5)
    is_under_way = not released.is_set()
    released.set()
    assert pool._pool is not None
    pool._pool.shutdown()
    assert is_under_way
    assert sorted(begun) == [False, True]


def test_an_error_of_one_call_is_raised_when_the_others_have_ended(pool: Threads) -> None:
    ended: list[int] = []

    def call(number: int) -> None:
        if number in {1, 3}:
            raise OSError(number)
        ended.append(number)

    with pytest.raises(OSError, match="1"):
        pool.run([partial(call, number) for number in range(20)])
    assert sorted(ended) == [0, 2, *range(4, 20)]


def test_where_no_thread_can_be_started_this_one_does_it_all(
    pool: Threads, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[int] = []

    def call(number: int) -> int:
        begun.append(number)
        return number

    calls = [partial(call, number) for number in range(20)]
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        assert pool.run(calls) == list(range(20))
    assert pool.run(calls) == list(range(20))  # what was queued before begins now: it has no call
    assert pool._pool is not None
    pool._pool.shutdown()
    assert sorted(begun) == sorted([*range(20)] * 2)
