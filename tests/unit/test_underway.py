"""What is under way, what the kernel is told to forget meanwhile, and what is reported as stuck."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from s3zipfs.fuse import invalidation
from s3zipfs.fuse.invalidation import Invalidations
from s3zipfs.fuse.underway import UnderWay
from s3zipfs.fuse.watchdog import GRACE_SECONDS, PAUSE_SECONDS, Watchdog

SECONDS = 30.0  # within which a thread must have done something


class Clock:
    """Stands still unless it is set."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def under_way(clock: Clock) -> UnderWay:
    return UnderWay(clock)


@contextmanager
def operation(under_way: UnderWay, name: str, inode: int) -> Iterator[None]:
    """An operation in a thread of its own, which stands in `blocked_here` until the block ends."""
    began, end = threading.Event(), threading.Event()

    def blocked_here() -> None:
        under_way.begin(name, inode)
        began.set()
        end.wait(SECONDS)
        under_way.end()

    thread = threading.Thread(target=blocked_here)
    thread.start()
    assert began.wait(SECONDS)
    try:
        yield
    finally:
        end.set()
        thread.join()


class Session:
    """What the kernel was told."""

    def __init__(self) -> None:
        self.names: queue.SimpleQueue[tuple[int, bytes]] = queue.SimpleQueue()
        self.pages: queue.SimpleQueue[int] = queue.SimpleQueue()

    def invalidate_entry(self, parent: int, name: bytes) -> None:
        self.names.put((parent, name))

    def invalidate_pages(self, inode: int) -> None:
        self.pages.put(inode)


@pytest.fixture
def invalidations(under_way: UnderWay) -> Iterator[Invalidations]:
    made = Invalidations(under_way)
    yield made
    made.stop()


def test_draining_waits_for_what_is_under_way(under_way: UnderWay) -> None:
    assert under_way.drain(0)
    with operation(under_way, "read", 7):
        assert not under_way.drain(0.01)
    assert under_way.drain(SECONDS)


def test_a_name_and_an_inode_are_told_once(
    under_way: UnderWay, invalidations: Invalidations
) -> None:
    session = Session()
    for _ in range(3):
        invalidations.add_name(1, b"x.zip")
        invalidations.add_pages(9)
    invalidations.add_name(1, b"y.zip")
    invalidations.serve(session)
    assert session.names.get(timeout=SECONDS) == (1, b"x.zip")
    assert session.names.get(timeout=SECONDS) == (1, b"y.zip")
    assert session.pages.get(timeout=SECONDS) == 9
    assert session.names.empty()
    assert session.pages.empty()


@pytest.mark.parametrize("name", ["lookup", "readdir", "readdirplus"])
def test_no_name_is_told_behind_a_stalled_look_up_and_other_directories_do_not_wait(
    clock: Clock, under_way: UnderWay, invalidations: Invalidations, name: str
) -> None:
    session = Session()
    with operation(under_way, name, 1), operation(under_way, "read", 2):
        clock.now += 100
        invalidations.add_name(1, b"behind")
        clock.now += 100  # it has waited for longer than any patience
        invalidations.add_name(2, b"beside")
        invalidations.serve(session)
        assert session.names.get(timeout=SECONDS) == (2, b"beside")
        assert session.names.empty()
    assert session.names.get(timeout=SECONDS) == (1, b"behind")


def test_short_look_ups_without_a_pause_do_not_keep_a_name_waiting(
    clock: Clock, under_way: UnderWay, invalidations: Invalidations
) -> None:
    session = Session()
    invalidations.add_name(1, b"x.zip")
    clock.now += 2
    with operation(under_way, "lookup", 1):
        invalidations.serve(session)
        assert session.names.get(timeout=SECONDS) == (1, b"x.zip")


def test_what_waits_is_bounded(
    monkeypatch: pytest.MonkeyPatch, under_way: UnderWay, invalidations: Invalidations
) -> None:
    monkeypatch.setattr(invalidation, "MOST", 3)
    for number in range(5):
        invalidations.add_name(1, b"%d" % number)
        invalidations.add_pages(number)
    assert len(invalidations._names) == len(invalidations._pages) == 3


def test_an_operation_past_its_deadline_is_reported_once_with_all_stacks(
    clock: Clock, under_way: UnderWay, caplog: pytest.LogCaptureFixture
) -> None:
    watchdog = Watchdog(under_way, timeout=60)
    with operation(under_way, "read", 77):
        clock.now += 60 + GRACE_SECONDS - 1
        watchdog.look()
        assert caplog.records == []
        clock.now += 2
        watchdog.look()
        clock.now += 2 * PAUSE_SECONDS
        watchdog.look()
    (record,) = caplog.records
    assert "read of inode 77: for 66 s" in record.getMessage()
    assert "in blocked_here" in record.getMessage()
    assert "MainThread" in record.getMessage()


def test_reports_are_a_minute_apart(
    clock: Clock, under_way: UnderWay, caplog: pytest.LogCaptureFixture
) -> None:
    watchdog = Watchdog(under_way, timeout=60)
    with operation(under_way, "read", 1):
        clock.now += 100
        watchdog.look()
        with operation(under_way, "read", 2):
            clock.now += 66
            watchdog.look()
            assert len(caplog.records) == 2
        with operation(under_way, "read", 3):
            clock.now += PAUSE_SECONDS + 66
            watchdog.look()
            watchdog.look()
            assert len(caplog.records) == 3
            with operation(under_way, "read", 4):
                clock.now += PAUSE_SECONDS - 1
                watchdog.look()
                assert len(caplog.records) == 3
                clock.now += 66
                watchdog.look()
                assert len(caplog.records) == 4
