"""Who makes a mount: this process by mount(2), a child that keeps the right to, or fusermount3.

A mount is made late, once the store has answered: until then readers of a dead one are told that it
is dead. A capability is to be dropped early, before there are threads. So a user with CAP_SYS_ADMIN
leaves it to a child, which mounts when it is told to, and ends.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import stat
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn, Protocol

from s3zipfs.errors import MountError
from s3zipfs.fuse import mountpoint, privileges

# sys/mount.h
_MS_RDONLY, _MS_NOSUID, _MS_NODEV, _MS_NOEXEC = 1, 2, 4, 8
_libc = ctypes.CDLL(None, use_errno=True)

_MADE: Final = b"\0"  # the child's answer; all else is the reason why not
_LONGEST: Final = 65536


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be mounted where."""

    path: Path
    source: str  # the first column of the kernel's table
    allow_other: bool
    exec: bool = True  # whether programs on it may be run

    def perform(self, make: Callable[[], int]) -> int:
        """Clear the place of a dead mount of ours, and call `make` there."""
        mountpoint.prepare(self.path, allow_other=self.allow_other)
        with mountpoint.claimed(self.path):
            return make()


class Mounter(Protocol):
    """Mounts once."""

    @property
    def plan(self) -> Plan:
        """What, and where."""

    def mount(self) -> int:
        """Make the mount: the descriptor of /dev/fuse on which the kernel asks.

        Raises:
            MountError: it was refused; nothing is left.
        """


def mounter(plan: Plan) -> Mounter:
    """The one for this process; to be called before it has threads.

    A user's capabilities are dropped. Root's are not: root without them owns the machine's files
    all the same, and has to unmount.

    Raises:
        MountError: what is needed for it is missing.
    """
    if not privileges.may_mount():
        return _ByLibfuse(plan)
    return _ByItself(plan) if os.getuid() == 0 else _ByChild(plan)


def _open_device() -> int:
    try:
        return os.open(mountpoint.DEVICE, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise MountError(f"{mountpoint.DEVICE} may not be opened ({error.strerror})") from error


def _call_mount(plan: Plan, device: int) -> None:
    """mount(2), with the options of fuse(4)."""
    options = [f"fd={device}", f"rootmode={stat.S_IFDIR:o}", "default_permissions"]
    options += [f"user_id={os.getuid()}", f"group_id={os.getgid()}"]
    if plan.allow_other:
        options.append("allow_other")
    flags = _MS_RDONLY | _MS_NOSUID | _MS_NODEV | (0 if plan.exec else _MS_NOEXEC)
    done = _libc.mount(
        os.fsencode(plan.source),
        os.fsencode(plan.path),
        mountpoint.TYPE.encode(),
        ctypes.c_ulong(flags),
        ",".join(options).encode(),
    )
    if done != 0:
        why = os.strerror(ctypes.get_errno())
        raise MountError(f"{plan.path}: could not be mounted ({why})")


class _ByItself:
    def __init__(self, plan: Plan) -> None:
        self.plan = plan

    def mount(self) -> int:
        return self.plan.perform(self._make)

    def _make(self) -> int:
        device = _open_device()
        try:
            _call_mount(self.plan, device)
        except BaseException:
            os.close(device)
            raise
        return device


class _ByChild:
    """The child shares the descriptor of /dev/fuse. It ends with us, if it is never told."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._device = _open_device()
        self._channel, its = socket.socketpair()
        self._child = os.fork()
        if self._child == 0:
            self._channel.close()
            _serve(its, plan, self._device)
        its.close()
        privileges.drop()

    def mount(self) -> int:
        answer = b""
        with self._channel, contextlib.suppress(ConnectionError):  # where it was ended
            self._channel.sendall(b"mount")
            self._channel.shutdown(socket.SHUT_WR)
            while part := self._channel.recv(_LONGEST):
                answer += part
        os.waitpid(self._child, 0)
        if answer != _MADE:
            os.close(self._device)
            raise MountError(answer.decode(errors="replace") or "the process that mounts was ended")
        return self._device


def _serve(channel: socket.socket, plan: Plan, device: int) -> NoReturn:
    """What the child does: wait for the word, mount, say how it went, end."""
    answer = b"the process that mounts has failed"
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal: the parent's to decide

        def make() -> int:
            _call_mount(plan, device)
            return device

        if not channel.recv(_LONGEST):
            os._exit(0)  # the parent is gone
        try:
            plan.perform(make)
            answer = _MADE
        except (MountError, OSError) as error:
            answer = str(error).encode(errors="backslashreplace")
    finally:
        with contextlib.suppress(OSError):  # nobody waits for it any more
            channel.sendall(answer)
        os._exit(0)


class _ByLibfuse:
    """libfuse3 knows how to talk to fusermount3."""

    def __init__(self, plan: Plan) -> None:
        from s3zipfs.fuse import lowlevel  # noqa: PLC0415 - needed by ordinary users only

        self.plan = plan
        self._mount = lowlevel.Mount(libfuse_options(plan))

    def mount(self) -> int:
        return self.plan.perform(self._make)

    def _make(self) -> int:
        """Mount; what libfuse and fusermount3 print is the error's text, not lines of its own."""
        path = str(self.plan.path)
        with _stderr_kept() as printed:
            if not self._mount.mount(path):
                raise MountError(f"{path}: could not be mounted ({printed() or 'no reason given'})")
        return self._mount.device


def libfuse_options(plan: Plan) -> list[str]:
    """For `-o` (fuse_opt.h)."""
    escaped = plan.source.replace("\\", "\\\\").replace(",", "\\,")
    options = ["ro", "nosuid", "nodev", "default_permissions", f"fsname={escaped}"]
    options.append("subtype=s3zipfs")
    if plan.allow_other:
        options.append("allow_other")
    if not plan.exec:
        options.append("noexec")
    return options


@contextlib.contextmanager
def _stderr_kept() -> Iterator[Callable[[], str]]:
    """Gather what is written to descriptor 2, by C code and child processes too."""
    kept, before = os.memfd_create("stderr"), os.dup(2)
    os.dup2(kept, 2)
    try:
        yield lambda: os.pread(kept, 4096, 0).decode(errors="replace").strip()
    finally:
        if sys.stderr is not None:
            sys.stderr.flush()
        os.dup2(before, 2)
        os.close(before)
        os.close(kept)
