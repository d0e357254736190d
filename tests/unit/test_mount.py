"""The signals and threads of a mount, without a kernel: the session is a stand-in."""

from __future__ import annotations

import errno
import os
import queue
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from s3zipfs.errors import MountError
from s3zipfs.fuse import mount, mountpoint, privileges
from s3zipfs.fuse.mounter import Plan
from s3zipfs.fuse.mountpoint import MountEntry
from s3zipfs.fuse.notify import Notifier

PATH = Path("/mnt/lab")
OURS = MountEntry(PATH, "fuse.s3zipfs", "s3://lab", "0:99")


class Session:
    """The kernel's requests, as far as `mount.serve` sees them. `run` goes on until unmounted."""

    status: int | Exception = 0
    latest: Session

    def __init__(self, *_: Any) -> None:
        self.ended = threading.Event()
        Session.latest = self

    def run(self) -> int:
        if self.status == 0:
            assert self.ended.wait(20)
        if isinstance(self.status, Exception):
            raise self.status
        return self.status

    def exit(self) -> None:
        self.ended.set()


class Mounter:
    """Makes no mount, or says why."""

    plan = Plan(PATH, "s3://lab", allow_other=False)
    refusal = ""

    def mount(self) -> int:
        if self.refusal:
            raise MountError(self.refusal)
        return -1


class Crew:
    def progress(self) -> tuple[int, int]:
        return 1, 0


class Operations:
    """Always ready; `busy` operations never end."""

    busy = False
    crew = Crew()

    def __init__(self) -> None:
        self.initialised = threading.Event()
        self.initialised.set()
        self.stopped = False

    def handlers(self) -> dict[str, Any]:
        return {}

    def start(self, _session: Session) -> None:
        pass

    def stop(self) -> None:
        self.stopped = True

    def drain(self, seconds: float) -> bool:
        return not threading.Event().wait(seconds) and not self.busy


class World:
    """What became of the mount."""

    def __init__(self) -> None:
        self.ready = 0
        self.hangups = 0
        self.unmounted: list[str | None] = []
        self.table = [OURS]  # of the kernel


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    made = World()

    def unmount(_path: Path, *, device: str | None = None) -> None:
        made.unmounted.append(device)
        made.table.clear()

    monkeypatch.setattr(mount, "Session", Session)
    monkeypatch.setattr(mountpoint, "mount_at", lambda _: made.table[-1] if made.table else None)
    monkeypatch.setattr(mountpoint, "unmount", unmount)
    monkeypatch.setattr(os, "statvfs", lambda _: None)
    before = {each: signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)}
    before[signal.SIGHUP] = signal.getsignal(signal.SIGHUP)
    monkeypatch.setattr(mount, "LAST_RESORT_SECONDS", 1e6)
    yield made
    signal.set_wakeup_fd(-1)
    for number, handler in before.items():
        signal.signal(number, handler)


def serve(
    world: World,
    *signals: signal.Signals,
    on_ready: Callable[[], None] = lambda: None,
    on_hangup: Callable[[], None] = lambda: None,
    notifier: Notifier | None = None,
) -> None:
    """Serve; these signals come as soon as it is ready."""

    def ready() -> None:
        world.ready += 1
        on_ready()
        for number in signals:
            os.kill(os.getpid(), number)

    def hung_up() -> None:
        world.hangups += 1
        on_hangup()

    operations: Any = Operations()
    notifier = notifier or Notifier()
    mount.serve(operations, Mounter(), notifier, on_ready=ready, on_hangup=hung_up)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_and_a_hangup_does_not(world: World, number: signal.Signals) -> None:
    serve(world, signal.SIGHUP, signal.SIGHUP, number)
    assert world.ready == 1
    assert world.hangups == 2
    assert world.unmounted == [OURS.device]


class Telling(Notifier):
    """What systemd is told."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[str] = []

    def _send(self, *lines: str) -> None:
        self.told.append(lines[0])


def test_a_reload_that_fails_as_nobody_expected_ends_nothing(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise RuntimeError("a slip")

    notifier = Telling()
    serve(world, signal.SIGHUP, signal.SIGTERM, on_hangup=fail, notifier=notifier)
    assert world.hangups == 1
    assert world.unmounted == [OURS.device]
    assert notifier.told == ["READY=1", "RELOADING=1", "READY=1", "STOPPING=1"]
    assert "nothing is reloaded" in caplog.text
    assert "a slip" in caplog.text


def test_a_signal_counts_though_the_main_thread_is_not_woken_by_it(world: World) -> None:
    def end_from_another_thread() -> None:
        main = Path(f"/proc/self/task/{os.getpid()}/wchan")
        waited = 0
        while waited < 20:  # it waits for a while, and not for the interpreter
            time.sleep(0.01)
            waited = waited + 1 if "futex" in main.read_text() else 0
        signal.pthread_kill(threading.get_ident(), signal.SIGTERM)

    killing = threading.Thread(target=end_from_another_thread)
    serve(world, on_ready=killing.start)
    killing.join()
    assert world.unmounted == [OURS.device]


def test_a_second_signal_ends_the_patience_with_what_is_under_way(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Operations, "busy", True)
    monkeypatch.setattr(mount, "DRAIN_SECONDS", 1e6)
    serve(world, signal.SIGTERM, signal.SIGHUP, signal.SIGTERM)
    assert world.unmounted == [OURS.device]


def test_what_is_under_way_is_waited_for_so_long_only(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Operations, "busy", True)
    monkeypatch.setattr(mount, "DRAIN_SECONDS", 0.3)
    serve(world, signal.SIGTERM)
    assert world.unmounted == [OURS.device]


def test_when_all_is_blocked_it_leaves_by_force(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    left: queue.SimpleQueue[int] = queue.SimpleQueue()

    def leave(status: int) -> None:
        left.put(status)
        os.kill(os.getpid(), signal.SIGTERM)  # so that this test ends

    monkeypatch.setattr(os, "_exit", leave)
    monkeypatch.setattr(Operations, "busy", True)
    monkeypatch.setattr(mount, "DRAIN_SECONDS", 1e6)
    monkeypatch.setattr(mount, "LAST_RESORT_SECONDS", 0.1)
    serve(world, signal.SIGTERM)
    assert left.get(timeout=5) == 0
    assert world.unmounted[0] == OURS.device


def test_an_unmount_from_outside_ends_it(world: World) -> None:
    def unmounted() -> None:
        world.table.clear()
        Session.latest.ended.set()

    serve(world, on_ready=unmounted)
    assert world.unmounted == []  # the place may have another mount by now


def test_a_connection_that_was_aborted_is_an_error_and_leaves_nothing(world: World) -> None:
    def aborted() -> None:
        Session.latest.ended.set()  # the loop ends as after an unmount, and it is still mounted

    with pytest.raises(MountError, match="aborted"):
        serve(world, on_ready=aborted)
    assert world.unmounted == [OURS.device]


@pytest.mark.parametrize("status", [-errno.EIO, RuntimeError("broken")])
def test_a_loop_that_fails_is_an_error_and_leaves_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch, status: int | Exception
) -> None:
    monkeypatch.setattr(Session, "status", status)
    with pytest.raises(MountError):
        serve(world)
    assert world.unmounted == [OURS.device]


def test_a_command_that_is_gone_when_it_is_ready_leaves_nothing(world: World) -> None:
    def gone() -> None:
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        serve(world, on_ready=gone)
    assert world.unmounted == [OURS.device]


def test_a_kernel_that_does_not_ask_is_an_error(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mount, "INIT_SECONDS", 0.2)
    monkeypatch.setattr(os, "statvfs", lambda _: threading.Event().wait(1))
    with pytest.raises(MountError, match="did not answer"):
        serve(world)
    assert world.unmounted == [OURS.device]
    assert world.ready == 0


def test_a_mount_that_is_refused_leaves_what_is_there(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Mounter, "refusal", "/mnt/lab: not empty")
    with pytest.raises(MountError, match="not empty"):
        serve(world)
    assert world.unmounted == []


def test_who_has_dropped_its_privileges_leaves_the_mount_to_its_unit(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(privileges, "may_unmount", lambda: False)
    with caplog.at_level("INFO"):
        serve(world, signal.SIGTERM)
    assert world.unmounted == []
    assert "left to who started this" in caplog.text
    assert "WARNING" not in caplog.text
