"""What systemd hears from a mount."""

from __future__ import annotations

import os
import resource
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from s3zipfs.cli.serving import check_sources
from s3zipfs.fuse.crew import Crew
from s3zipfs.fuse.heartbeat import Heartbeat
from s3zipfs.fuse.notify import Notifier
from s3zipfs.settings import load_settings
from s3zipfs.waiting import Wait

Heard = Callable[[], list[str]]


@pytest.fixture
def heard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Heard]:
    """The lines of the next message."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(60)  # however busy the machine is
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        yield lambda: manager.recv(4096).decode().split("\n")


def test_each_state_is_told_in_the_words_of_sd_notify(heard: Heard) -> None:
    notifier = Notifier.from_environment()
    assert "NOTIFY_SOCKET" not in os.environ  # children are not asked
    notifier.waiting("waiting for the endpoint: refused\nby all", 2.5)
    assert heard() == [
        "STATUS=waiting for the endpoint: refused by all",
        "EXTEND_TIMEOUT_USEC=2500000",
    ]
    notifier.ready("serving s3://lab")
    assert heard() == ["READY=1", "STATUS=serving s3://lab"]
    before = time.monotonic()
    notifier.reloading()
    state, when, _ = heard()
    assert state == "RELOADING=1"
    name, usec = when.split("=")
    assert name == "MONOTONIC_USEC"
    assert before - 1 < int(usec) / 1e6 < time.monotonic() + 1
    notifier.stopping()
    assert heard()[0] == "STOPPING=1"


def test_an_abstract_socket_is_spoken_to(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("\0s3zipfs-test-" + str(os.getpid()))
        manager.settimeout(60)  # however busy the machine is
        monkeypatch.setenv("NOTIFY_SOCKET", f"@s3zipfs-test-{os.getpid()}")
        Notifier.from_environment().alive()
        assert manager.recv(100) == b"WATCHDOG=1"


def test_a_manager_that_is_gone_or_deaf_stops_nobody(tmp_path: Path) -> None:
    Notifier().ready("nobody asked")
    Notifier(str(tmp_path / "nothing")).ready("gone")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "deaf"))
        deaf = Notifier(str(tmp_path / "deaf"))
        for _ in range(1000):  # more than its queue holds
            deaf.alive()


@pytest.mark.parametrize(
    ("usec", "pid", "within"),
    [
        ("3000000", str(os.getpid()), 3.0),
        ("3000000", "", 3.0),
        ("3000000", "1", None),
        ("", "", None),
    ],
    ids=["ours", "any", "another's", "none"],  # no pid in a name: all workers have the same names
)
def test_the_watchdog_is_fed_by_the_process_that_it_watches(
    heard: Heard, monkeypatch: pytest.MonkeyPatch, usec: str, pid: str, within: float | None
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", usec)
    monkeypatch.setenv("WATCHDOG_PID", pid)
    assert Notifier.from_environment().watchdog == within


class Gathered:
    """A crew whose progress is as told, and the beats that were sent."""

    def __init__(self) -> None:
        self.now = (1, 0)
        self.beats = 0
        self.watchdog = 1.0

    def progress(self) -> tuple[int, int]:
        return self.now

    def alive(self) -> None:
        self.beats += 1


def test_the_heart_beats_only_while_requests_are_read() -> None:
    crew = Gathered()
    heart = Heartbeat(cast("Any", crew), cast("Any", crew))
    for progress, beats in [
        ((1, 0), 1),  # one waits for requests
        ((0, 7), 2),  # all are busy, and read some
        ((0, 7), 2),  # all are busy, and read none
        ((0, 7), 2),
        ((0, 8), 3),  # they go on
        ((2, 8), 4),
    ]:
        crew.now = progress
        heart.beat()
        assert crew.beats == beats, progress


def test_a_crew_that_stands_by_reads_and_one_that_is_stuck_does_not() -> None:
    import threading

    crew = Crew(most=2, waiting=1)
    begun, go_on = threading.Semaphore(0), threading.Event()

    def work() -> bool:
        crew.has_read()
        begun.release()
        go_on.wait(30)
        return False

    assert crew.progress() == (0, 0)
    crew.start(work)
    for _ in range(2):
        assert begun.acquire(timeout=30)
    assert crew.progress() == (0, 2)
    go_on.set()


def test_the_watchdog_is_fed_where_no_descriptor_is_left(heard: Heard) -> None:
    notifier = Notifier.from_environment()
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, before[1]))
    try:
        with pytest.raises(OSError, match="Too many open files"):
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        notifier.alive()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert heard() == ["WATCHDOG=1"]


def test_systemd_waits_for_the_first_answer_of_the_store_as_long_as_we_do(heard: Heard) -> None:
    class Answers:
        def check(self, _wait: Wait) -> None:
            pass

    settings = load_settings(timeout=500)
    check_sources(cast("Any", Answers()), settings, Notifier.from_environment())
    assert heard() == ["STATUS=asking the endpoint", "EXTEND_TIMEOUT_USEC=530000000"]


def test_nobody_listens_without_a_watchdog(heard: Heard) -> None:
    notifier = Notifier.from_environment()
    Heartbeat(Crew(most=1, waiting=1), notifier).start()
    notifier.stopping()
    assert heard()[0] == "STOPPING=1"  # and nothing before it


def test_beats_come_by_themselves(heard: Heard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "1000000")
    Heartbeat(cast("Any", Gathered()), Notifier.from_environment()).start()
    assert [heard(), heard()] == [["WATCHDOG=1"]] * 2
