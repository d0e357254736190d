"""The wait primitive and the memory budget."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future

import pytest
from mounting import wait_until

from s3zipfs import budget as budgets
from s3zipfs import waiting
from s3zipfs.budget import MemoryBudget
from s3zipfs.errors import DeadlineExceeded, Interrupted, NotFound
from s3zipfs.waiting import Transfer, Wait


def test_a_wait_ends_at_its_deadline() -> None:
    with pytest.raises(DeadlineExceeded):
        Wait(0.05).result(Future[int]())


def test_the_deadline_of_a_transfer_counts_from_its_last_progress() -> None:
    transfer = Transfer[int]()
    over = threading.Event()

    def progress() -> None:
        for _ in range(30):
            transfer.progress()
            over.wait(0.1)
        transfer.set_result(1)

    working = threading.Thread(target=progress)
    working.start()
    assert Wait(2.0).result(transfer) == 1  # after 3 s
    working.join()
    with pytest.raises(DeadlineExceeded):
        Wait(0.05).result(Transfer[int]())


def test_a_wait_is_interrupted_within_the_polling_time() -> None:
    interrupted = threading.Event()
    threading.Timer(0.05, interrupted.set).start()
    start = time.monotonic()
    with pytest.raises(Interrupted):
        Wait(60, interrupted.is_set).result(Future[int]())
    assert time.monotonic() - start < 5


def test_a_pause_passes_and_is_interrupted_as_any_wait() -> None:
    Wait(60).pause(0.01)
    interrupted = threading.Event()
    threading.Timer(0.05, interrupted.set).start()
    with pytest.raises(Interrupted):
        Wait(0.001, interrupted.is_set).pause(3600)


def test_who_says_that_it_is_interrupted_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "SELDOM_SECONDS", 3600.0)
    interrupted = threading.Event()
    wakes: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()

    def interrupt() -> None:
        wake = wakes.get()
        interrupted.set()
        wake()

    interrupting = threading.Thread(target=interrupt)
    interrupting.start()
    with pytest.raises(Interrupted):
        Wait(3600, interrupted.is_set, on_interrupt=wakes.put).result(Future[int]())
    interrupting.join()
    with pytest.raises(Interrupted):  # before it waits, and told nobody
        Wait(3600, lambda: True, on_interrupt=wakes.put).result(Future[int]())


def test_a_wait_passes_results_and_errors_on() -> None:
    done, failed, timed_out = Future[int](), Future[int](), Future[int]()
    done.set_result(1)
    failed.set_exception(NotFound("no"))
    timed_out.set_exception(TimeoutError("the operation's own"))
    assert Wait(1).result(done) == 1
    with pytest.raises(NotFound):
        Wait(1).result(failed)
    with pytest.raises(TimeoutError, match="the operation's own"):
        Wait(1).result(timed_out)


def test_caches_give_way_before_a_charge() -> None:
    budget = MemoryBudget(100)
    freed: list[int] = []

    def reclaim(size: int) -> int:
        budget.release(size)
        freed.append(size)
        return size

    budget.charge(90)
    budget.add_reclaimer(reclaim, spare=lambda: 90)
    assert budget.try_charge(30)
    assert freed == [20]
    assert budget.used == 100


def test_what_is_optional_takes_nothing_where_it_is_not_enough() -> None:
    budget = MemoryBudget(100)
    asked: list[int] = []

    def reclaim(size: int) -> int:
        asked.append(size)
        return 0

    budget.charge(90)
    budget.add_reclaimer(reclaim, spare=lambda: 10)
    budget.add_reclaimer(reclaim)
    assert not budget.try_charge(30)
    assert asked == []
    budget.charge(30)
    assert asked == [20, 20]


def test_try_charge_takes_nothing_where_it_does_not_fit() -> None:
    budget = MemoryBudget(100)
    budget.charge(90)
    assert not budget.try_charge(30)
    assert budget.used == 90


def test_a_reservation_waits_until_it_fits() -> None:
    budget = MemoryBudget(100)
    entered, leave, second = threading.Event(), threading.Event(), threading.Event()

    def first() -> None:
        with budget.reserved(80, Wait(60)):
            entered.set()
            leave.wait(60)

    def other() -> None:
        with budget.reserved(80, Wait(60)):
            second.set()

    threads = [threading.Thread(target=first)]
    threads[0].start()
    assert entered.wait(60)
    threads.append(threading.Thread(target=other))
    threads[1].start()
    assert not second.wait(0.2)
    leave.set()
    assert second.wait(60)
    for thread in threads:
        thread.join()
    assert budget.used == 0


def test_one_reservation_above_the_limit_is_admitted() -> None:
    budget = MemoryBudget(100)
    with budget.reserved(1000, Wait(1)):
        assert budget.used == 1000
        with pytest.raises(DeadlineExceeded), budget.reserved(1, Wait(0.05)):
            raise AssertionError("two at once")
    assert budget.used == 0


def test_who_can_not_be_let_in_has_no_cache_emptied() -> None:
    budget = MemoryBudget(64)
    held = 0  # bytes in a cache

    def reclaim(_size: int) -> int:
        nonlocal held
        freed, held = held, 0
        budget.release(freed)
        return freed

    budget.add_reclaimer(reclaim, spare=lambda: held)
    entered, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with budget.reserved(40, Wait(60)):
            entered.set()
            leave.wait(60)

    holding = threading.Thread(target=hold)
    holding.start()
    assert entered.wait(60)
    budget.charge(20)
    held = 20
    with pytest.raises(DeadlineExceeded), budget.reserved(30, Wait(0.05)):
        raise AssertionError("more than the limit is reserved")
    assert held == 20
    with budget.reserved(24, Wait(60)):  # beside what is reserved there is room for it
        assert (held, budget.used) == (0, 64)
    leave.set()
    holding.join()
    budget.charge(20)
    held = 20
    with budget.reserved(50, Wait(60)):
        assert (held, budget.used) == (0, 50)
    assert budget.used == 0


def test_a_cache_that_has_nothing_to_give_is_no_progress() -> None:
    budget = MemoryBudget(100)
    asked = 0

    def reclaim(_size: int) -> int:
        nonlocal asked
        asked += 1
        budget.release(0)
        assert asked < 100, "waits for ever"
        return 0

    budget.add_reclaimer(reclaim)
    with budget.reserved(10, Wait(1)):
        budget.charge(90)
        with pytest.raises(DeadlineExceeded), budget.reserved(50, Wait(0.05)):
            raise AssertionError("let in")
    assert asked > 0


def test_reservations_are_admitted_in_turn_and_woken_by_what_happens(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for module in (waiting, budgets):
        monkeypatch.setattr(module, "POLL_SECONDS", 3600.0)
    budget = MemoryBudget(100)
    admitted: list[int] = []
    hold = threading.Event()

    def reserve(number: int, size: int) -> None:
        with budget.reserved(size, Wait(60)):
            admitted.append(number)
            if number == 0:
                hold.wait(60)

    threads = []
    for number, size in enumerate([90, 80, 5]):
        threads.append(threading.Thread(target=reserve, args=(number, size)))
        threads[-1].start()
        wait_until(
            lambda number=number: len(budget._waiting) == number and admitted,  # type: ignore[misc]
            seconds=60,
            what=f"{number} waits behind the first",
        )
    assert admitted == [0]  # the last would fit, but is not in turn
    hold.set()
    for thread in threads:
        thread.join(60)
    assert admitted == [0, 1, 2]


def test_who_waits_behind_another_is_told_of_progress_and_of_the_end() -> None:
    budget = MemoryBudget(100)
    budget.charge(50)
    hold, admitted = threading.Event(), queue.SimpleQueue[str]()

    def reserve(name: str, size: int, timeout: float) -> None:
        try:
            with budget.reserved(size, Wait(timeout)):
                admitted.put(name)
                hold.wait(60)
        except DeadlineExceeded as error:
            admitted.put(f"{name}: {error}")

    threads = []
    for name, size, timeout in (("holds", 50, 60.0), ("large", 90, 60.0), ("late", 1, 0.05)):
        threads.append(threading.Thread(target=reserve, args=(name, size, timeout)))
        threads[-1].start()
        if name == "holds":
            assert admitted.get(timeout=60) == "holds"
        elif name == "large":
            wait_until(lambda: budget._waiting, seconds=60, what="its turn")
    assert admitted.get(timeout=60) == "late: no memory was freed within 0.05 s"
    hold.set()
    assert admitted.get(timeout=60) == "large"
    for thread in threads:
        thread.join()
    assert budget.used == 50
