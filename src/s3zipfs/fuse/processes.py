"""Which process a thread of it is, from /proc: the kernel says which thread asks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

PROC: Final = Path("/proc")
# Of proc_pid_stat(5), among the fields behind the name
_FLAGS = 9 - 3
_STARTED = 22 - 3
_KERNEL_THREAD = 0x0020_0000  # PF_KTHREAD of linux/sched.h: nfsd asks for whoever is at its clients


@dataclass(frozen=True, slots=True)
class Process:
    """One process. Its number is used again; the time it started tells it from the next."""

    pid: int  # in the namespace of the mount; 0: the kernel's own, or of another namespace
    started: int  # clock ticks since the machine started; 0: not told
    name: str  # what ps calls it: 15 bytes at most (TASK_COMM_LEN)

    @property
    def key(self) -> tuple[int, int]:
        """What no other process shares, and exec(2) does not change."""
        return self.pid, self.started


NOBODY: Final = Process(0, 0, "(kernel or another namespace)")


def process_of(thread: int, proc: Path = PROC) -> Process:
    """The process that a thread belongs to, as it is called now.

    Of its files `status` and `stat` only: others wait for the memory map's lock, which a reader
    that waits for our answer to a page fault may hold.
    """
    if thread == 0:
        return NOBODY
    pid = thread
    try:
        for line in (proc / str(thread) / "status").read_bytes().split(b"\n"):
            if line.startswith(b"Tgid:"):
                pid = int(line[5:])
                break
        # The name is anybody's, and may have parentheses.
        head, _, fields = (proc / str(pid) / "stat").read_bytes().rpartition(b")")
        name = head.partition(b"(")[2].decode(errors="backslashreplace")
        told = fields.split()
        if int(told[_FLAGS]) & _KERNEL_THREAD:
            return NOBODY
        return Process(pid, int(told[_STARTED]), name)
    except (OSError, ValueError, IndexError):
        # It ended while it was read ahead for, or may not be looked at (hidepid).
        return Process(pid, 0, "(unknown)")
