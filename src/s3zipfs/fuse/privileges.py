"""What this process may do, and how it gives that up (capabilities(7), prctl(2), proc(5))."""

from __future__ import annotations

import ctypes
import os
import time
from pathlib import Path

from s3zipfs.errors import MountError

CAP_SYS_ADMIN = 21  # linux/capability.h
_CAP_SETPCAP = 8
_CAPABILITY_VERSION_3 = 0x20080522
_PR_CAPBSET_READ, _PR_CAPBSET_DROP = 23, 24  # linux/prctl.h
_PR_SET_NO_NEW_PRIVS = 38
_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 47, 4

_STATUS = Path("/proc/self/status")
_TASKS = Path("/proc/self/task")
_ENDING_SECONDS = 1.0  # for a thread that was joined: the kernel lists it a moment longer
_libc = ctypes.CDLL(None, use_errno=True)


def may_mount() -> bool:
    """Whether mount(2) and umount2(2) may be called."""
    return bool(_effective() >> CAP_SYS_ADMIN & 1)


def may_unmount() -> bool:
    """The same, or fusermount3 may be asked: its privileges are those of a setuid program."""
    return may_mount() or _status("NoNewPrivs") != "1"


def umask() -> int:
    """The permissions that new files don't get."""
    # os.umask tells it by changing it, for all threads. This line is there since Linux 4.7.
    return int(_status("Umask"), 8)


def drop() -> None:
    """Give up every capability, for good: permitted, effective, inheritable, ambient, bounding.

    The bounding set needs CAP_SETPCAP, which a unit need not grant; in any case no program that is
    executed from here on gains anything (no_new_privs).

    Raises:
        MountError: threads run already, which would keep theirs; or the kernel refuses.
    """
    give_up = time.monotonic() + _ENDING_SECONDS
    while len(list(_TASKS.iterdir())) > 1:
        if time.monotonic() > give_up:
            raise MountError(
                "privileges can't be dropped: threads run already, and would keep theirs"
            )
        time.sleep(0.001)
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    if _effective() >> _CAP_SETPCAP & 1:
        number = 0
        while _libc.prctl(_PR_CAPBSET_READ, number, 0, 0, 0) >= 0:  # EINVAL behind the last one
            _prctl(_PR_CAPBSET_DROP, number)
            number += 1
    _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    if _libc.capset(header, (ctypes.c_uint32 * 6)()) != 0:
        _refused("capset")


def _effective() -> int:
    return int(_status("CapEff") or "0", 16)


def _status(field: str) -> str:
    for line in _STATUS.read_text().splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return value.strip()
    return ""


def _prctl(option: int, argument: int) -> None:
    if _libc.prctl(option, argument, 0, 0, 0) != 0:
        _refused(f"prctl {option}")


def _refused(call: str) -> None:
    raise MountError(f"privileges can't be dropped: {call}: {os.strerror(ctypes.get_errno())}")
