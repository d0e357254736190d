"""A mount's life: signals and threads, from the first check to the last request."""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from s3zipfs.errors import MountError
from s3zipfs.fuse import mountpoint, privileges, readahead
from s3zipfs.fuse.heartbeat import Heartbeat
from s3zipfs.fuse.mounter import Mounter
from s3zipfs.fuse.mountpoint import MountEntry
from s3zipfs.fuse.notify import Notifier
from s3zipfs.fuse.operations import Operations
from s3zipfs.fuse.session import Session

log = logging.getLogger(__name__)

INIT_SECONDS = 10.0  # the kernel sends INIT as soon as the mount is made
DRAIN_SECONDS = 10.0  # for operations under way at SIGTERM; their waits end at once
END_SECONDS = 1.0  # for the session's loop, after the unmount
LAST_RESORT_SECONDS = 13.5  # from the signal to the exit, whatever is blocked; 15 are promised


@dataclass(frozen=True, slots=True)
class _Answered:
    """The kernel asked and was answered: the mount can be used."""


@dataclass(frozen=True, slots=True)
class _Ended:
    """The session is over: unmounted from outside, where there is no error."""

    error: Exception | None


_SIGNALS = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP})

# What the main thread waits for.
_Inbox = queue.SimpleQueue[signal.Signals | _Answered | _Ended]


def serve(
    operations: Operations,
    mounter: Mounter,
    notifier: Notifier,
    *,
    on_ready: Callable[[], None],
    on_hangup: Callable[[], None],
) -> None:
    """Mount and answer until it is unmounted, or SIGTERM or SIGINT comes.

    The main thread waits for what signals say; requests are answered by others. `on_ready` is
    called once the kernel has been answered and the mount is in its table, unless a signal comes
    first; `on_hangup` at each SIGHUP, while the mount goes on.

    The process is to end afterwards (`leave`): the signal handlers stay, and threads may be
    blocked.

    Raises:
        MountError: the mount could not be made or its loop failed; nothing is left behind.
    """
    path, source = mounter.plan.path, mounter.plan.source
    status = f"serving {source} at {path}"
    inbox: _Inbox = queue.SimpleQueue()
    _catch_signals(inbox)
    # As late as this: a dead mount says that it is dead, while an empty directory would lie.
    device, mounted = _mount(mounter)
    session = Session(device, operations.handlers(), operations.crew)
    loop = threading.Thread(target=_run, args=(session, inbox), name="s3zipfs-fuse", daemon=True)

    def reload() -> None:
        notifier.reloading()
        try:
            on_hangup()
        except Exception:  # whatever stands in the files: the mount goes on
            log.exception("nothing is reloaded: unexpected error")
        notifier.ready(status)

    try:
        loop.start()
        signalled = not _wait_until_answered(path, operations, inbox)
        if not signalled:
            readahead.widen(mounted)
            operations.start(session)
            log.info("ready: %s is mounted at %s", source, path)
            on_ready()
            notifier.ready(status)
            Heartbeat(operations.crew, notifier).start()
            signalled = _wait_for_the_end(inbox, mounted, reload)
        notifier.stopping()
    except BaseException:
        _end(session, operations, mounted, inbox, loop, status=1)
        raise
    if signalled:  # else it is unmounted already, and another mount may have taken the place
        _end(session, operations, mounted, inbox, loop, status=0)


def _mount(mounter: Mounter) -> tuple[int, MountEntry]:
    device, path = mounter.mount(), mounter.plan.path
    mounted = mountpoint.mount_at(path)
    if mounted is None or mounted.type != mountpoint.TYPE:
        os.close(device)
        with contextlib.suppress(MountError):
            mountpoint.detach(path)
        raise MountError(f"{path}: mounted, and not in the kernel's table (/proc/self/mountinfo)")
    return device, mounted


def _run(session: Session, inbox: _Inbox) -> None:
    try:
        status = session.run()
    except Exception as error:  # noqa: BLE001 - told to the main thread
        inbox.put(_Ended(error))
    else:
        inbox.put(
            _Ended(MountError(f"the session ended: {os.strerror(status)}") if status else None)
        )


def _wait_until_answered(path: Path, operations: Operations, inbox: _Inbox) -> bool:
    """False where a signal came first."""

    def ask() -> None:
        # statfs is answered by us and from no cache, and only after INIT.
        with contextlib.suppress(OSError):
            is_answered = operations.initialised.wait(INIT_SECONDS)
            if mountpoint.is_automount(path):  # nobody may look before we say that it is there
                if not is_answered:
                    return
            else:
                os.statvfs(path)
            inbox.put(_Answered())

    threading.Thread(target=ask, name="s3zipfs-ready", daemon=True).start()
    while True:
        try:
            event = inbox.get(timeout=INIT_SECONDS)
        except queue.Empty:
            raise MountError(f"{path}: the kernel did not answer the mount") from None
        match event:
            case _Answered():
                return True
            case _Ended(error):
                why = f": {error}" if error else ""
                raise MountError(f"{path}: unmounted before it could be used{why}")
            case _ if _ends(event):
                return False


def _wait_for_the_end(inbox: _Inbox, mounted: MountEntry, on_hangup: Callable[[], None]) -> bool:
    """True where a signal came, False where somebody else unmounted."""
    while not _ends(event := inbox.get()):
        if event is signal.SIGHUP:
            log.info("SIGHUP: reloading")
            on_hangup()
        elif isinstance(event, _Ended):
            if event.error is not None:
                raise MountError(f"the mount failed: {event.error}") from event.error
            there = mountpoint.mount_at(mounted.path)
            if there is not None and there.device == mounted.device:
                raise MountError(f"{mounted.path}: the connection to the kernel was aborted")
            return False
    return True


def _ends(event: signal.Signals | _Answered | _Ended) -> bool:
    """Whether it is a signal that ends the mount."""
    if isinstance(event, signal.Signals) and event is not signal.SIGHUP:
        log.info("%s: ending", event.name)
        return True
    return False


def _catch_signals(inbox: _Inbox) -> None:
    """Signals become events of the inbox, by a thread that reads their numbers.

    A handler in Python waits for the main thread to run Python: one that came just as that began to
    wait was never called (1 of 25 SIGTERM under load).
    """
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    for number in _SIGNALS:
        signal.signal(number, lambda *_: None)  # the wakeup descriptor is for those with a handler

    def read() -> None:
        while True:
            for number in os.read(reading, 1):
                if number in _SIGNALS:
                    inbox.put(signal.Signals(number))

    threading.Thread(target=read, name="s3zipfs-signals", daemon=True).start()


def _end(
    session: Session,
    operations: Operations,
    mounted: MountEntry,
    inbox: _Inbox,
    loop: threading.Thread,
    *,
    status: int,
) -> None:
    """Stop, let what is under way answer, unmount; in any case soon."""
    last_resort = threading.Timer(LAST_RESORT_SECONDS, _leave_at_once, [mounted, status])
    last_resort.daemon = True
    last_resort.start()
    operations.stop()
    give_up = time.monotonic() + DRAIN_SECONDS
    while loop.is_alive() and not operations.drain(0.2):
        if time.monotonic() > give_up or _told_again(inbox):
            log.warning("operations are still under way; their readers get an error")
            break
    _unmount(mounted)
    session.exit()
    if loop.ident is not None:
        loop.join(END_SECONDS)


def _unmount(mounted: MountEntry) -> None:
    if not privileges.may_unmount():
        log.info("%s is left to who started this: umount -l", mounted.path)
        return
    try:
        mountpoint.unmount(mounted.path, device=mounted.device)
    except MountError as error:
        log.warning("%s", error)  # somebody else was first
    else:
        log.info("unmounted: %s", mounted.path)


def _told_again(inbox: _Inbox) -> bool:
    """Whether whoever ends the mount has lost patience: a second signal."""
    with contextlib.suppress(queue.Empty):
        return _ends(inbox.get_nowait())
    return False


def _leave_at_once(mounted: MountEntry, status: int) -> None:
    # Writes no log: that may be what is blocked.
    with contextlib.suppress(MountError, OSError):
        mountpoint.unmount(mounted.path, device=mounted.device)
    os._exit(status)
