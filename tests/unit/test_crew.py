"""Who answers requests: few at work, and always somebody who reads the next one."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator

import pytest
from mounting import wait_until

from s3zipfs.fuse import crew as crews
from s3zipfs.fuse.crew import READING, STANDING_BY, Crew

SECONDS = 30.0
Job = Callable[[], None]


class Device:
    """Requests that a test makes; each is a call."""

    def __init__(self, *, most: int = 100, waiting: int = 50) -> None:
        self.crew = Crew(most=most, waiting=waiting)
        self.requests: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self.threads: set[threading.Thread] = set()
        self.lock = threading.Lock()  # guards what follows
        self.busy = self.most_busy = 0

    def work(self) -> bool:
        self.threads.add(threading.current_thread())
        job = self.requests.get()
        self.crew.has_read()
        if job is None:
            self.requests.put(None)  # for the others
            return False
        with self.lock:
            self.busy += 1
            self.most_busy = max(self.busy, self.most_busy)
        job()
        with self.lock:
            self.busy -= 1
        return True

    def ask(self, count: int, job: Job) -> threading.Semaphore:
        """Count requests; the semaphore is released once for each that is done."""
        done = threading.Semaphore(0)

        def perform() -> None:
            job()
            done.release()

        for _ in range(count):
            self.requests.put(perform)
        return done


def void(_result: object) -> None: ...


def all_done(done: threading.Semaphore, count: int) -> bool:
    return all(done.acquire(timeout=SECONDS) for _ in range(count))


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Iterator[Device]:
    monkeypatch.setattr(crews, "HELD_UP", 3600.0)
    made = Device()
    assert made.crew.start(made.work)
    yield made
    end(made)


def end(device: Device) -> None:
    device.requests.put(None)
    for thread in list(device.threads):
        thread.join(SECONDS)
        assert not thread.is_alive(), "it was not told of the end"


def test_no_more_read_and_work_at_once_than_there_are_cpus(device: Device) -> None:
    assert all_done(device.ask(500, lambda: None), 500)
    assert device.most_busy <= READING
    assert len(device.threads) <= READING


def test_who_waits_lets_another_one_work(device: Device) -> None:
    store = threading.Event()

    def wait_for_store() -> None:
        assert device.crew.acquire()
        store.wait(SECONDS)
        device.crew.release()

    waiting = device.ask(30, wait_for_store)
    assert all_done(device.ask(10, lambda: None), 10), "nobody was left to read"
    store.set()
    assert all_done(waiting, 30)
    assert all_done(device.ask(500, lambda: None), 500)


def test_after_a_burst_few_stand_by(device: Device) -> None:
    store = threading.Event()

    def wait_for_store() -> None:
        device.crew.acquire()
        store.wait(SECONDS)
        device.crew.release()

    waiting = device.ask(50, wait_for_store)
    wait_until(lambda: device.busy == 50, seconds=SECONDS, what="all of them wait")
    store.set()
    assert all_done(waiting, 50)
    most = READING + STANDING_BY
    wait_until(
        lambda: sum(t.is_alive() for t in device.threads) <= most, seconds=SECONDS, what="they end"
    )


def test_more_than_may_wait_are_told() -> None:
    device = Device(waiting=2)
    assert [device.crew.acquire() for _ in range(3)] == [True, True, False]
    device.crew.release()
    assert device.crew.acquire()


def test_those_who_are_held_up_are_replaced() -> None:
    """By a disk that hangs, say, of which nobody tells the crew."""
    device = Device()
    assert device.crew.start(device.work)
    disk = threading.Event()
    held_up = device.ask(2 * READING, lambda: void(disk.wait(SECONDS)))
    assert all_done(device.ask(10, lambda: None), 10)
    disk.set()
    assert all_done(held_up, 2 * READING)
    end(device)


class Pauses(threading.Event):
    """Ends of the crew as its lookout awaits them: each pause is as long as the test says."""

    def __init__(self) -> None:
        super().__init__()
        self.began = threading.Semaphore(0)
        self.pass_by = threading.Event()

    def wait(self, timeout: float | None = None) -> bool:
        self.began.release()
        self.pass_by.wait(SECONDS)
        return self.is_set()


def test_those_who_read_on_while_the_lookout_pauses_and_are_held_up_then_are_replaced(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    device, pauses = Device(), Pauses()
    monkeypatch.setattr(device.crew, "_ended", pauses)
    assert device.crew.start(device.work)
    met, disk, at_disk = threading.Barrier(READING + 1), threading.Event(), threading.Semaphore(0)

    def read_disk() -> None:
        at_disk.release()
        disk.wait()

    first = device.ask(READING, lambda: void(met.wait(SECONDS)))
    assert pauses.began.acquire(timeout=SECONDS), "nobody reads, and nobody looked out"
    held_up = device.ask(READING, read_disk)
    met.wait(SECONDS)
    assert all_done(first, READING)
    assert all_done(at_disk, READING)
    pauses.pass_by.set()
    assert all_done(device.ask(1, lambda: None), 1), "no request is read any more"
    disk.set()
    assert all_done(held_up, READING)
    end(device)


def test_without_threads_there_is_no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    device = Device()
    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert not device.crew.start(device.work)
