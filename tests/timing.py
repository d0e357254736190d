"""What is promised in seconds, measured so that a machine's other work counts little."""

from __future__ import annotations

import signal
import statistics
import subprocess
import time
from collections.abc import Collection, Sequence
from pathlib import Path

from mounting import wait_until

TRIES = 3

# System calls of x86-64 in which a process waits for a file system.
READING = {"0", "17"}  # read, pread64
LOOKING_UP = {"257", "262", "332"}  # openat, newfstatat, statx
LISTING = {"217"}  # getdents64


def fastest(*command: str) -> float:
    """Seconds that the fastest of a few takes: the others may have waited for the machine."""

    def once() -> float:
        start = time.monotonic()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=60)
        return time.monotonic() - start

    return min(once() for _ in range(TRIES))


def median_to_end(processes: Sequence[subprocess.Popen[bytes]], number: signal.Signals) -> float:
    """Seconds from a signal to the end of a process, one by one; the median, for that reason."""
    taken = []
    for process in processes:
        process.send_signal(number)
        start = time.monotonic()
        process.wait(60)
        taken.append(time.monotonic() - start)
    return statistics.median(taken)


def wait_until_blocked(
    processes: Sequence[subprocess.Popen[bytes]], calls: Collection[str]
) -> None:
    """Until each is its own program, and in one of those system calls."""
    wait_until(
        lambda: all(_is_in(each, calls) for each in processes),
        seconds=60,
        what="all of them blocked in the kernel",
    )


def _is_in(process: subprocess.Popen[bytes], calls: Collection[str]) -> bool:
    assert isinstance(process.args, list)
    folder = Path(f"/proc/{process.pid}")
    last = b"\0%s\0" % str(process.args[-1]).encode()
    try:
        is_itself = (folder / "cmdline").read_bytes().endswith(last)
        call = (folder / "syscall").read_text().partition(" ")[0]
    except OSError:  # it ends
        return False
    return is_itself and call in calls
