"""Says where all threads stand when an operation is long past its deadline."""

from __future__ import annotations

import logging
import sys
import threading
import traceback

from s3zipfs.fuse.underway import UnderWay

log = logging.getLogger(__name__)

GRACE_SECONDS = 5.0  # behind the deadline: every wait ends there by itself
LOOK_SECONDS = 2.0
PAUSE_SECONDS = 60.0  # between two reports: they are long


class Watchdog:
    """Reports each operation once.

    One that still progresses may be among them: a deadline counts from the last byte, and this
    from the beginning.
    """

    def __init__(self, under_way: UnderWay, *, timeout: float) -> None:
        self._under_way = under_way
        self._limit = timeout + GRACE_SECONDS
        self._stop = threading.Event()
        self._reported: set[tuple[int, float]] = set()  # threads, and when they began
        self._quiet_until = 0.0  # monotonic seconds

    def start(self) -> None:
        """Look from time to time, in a thread of its own."""

        def watch() -> None:
            while not self._stop.wait(LOOK_SECONDS):
                self.look()

        threading.Thread(target=watch, name="s3zipfs-watchdog", daemon=True).start()

    def stop(self) -> None:
        """Look no more."""
        self._stop.set()

    def look(self) -> None:
        """Report what is overdue and has not been reported."""
        overdue = self._under_way.older_than(self._limit)
        now = self._under_way.clock()
        found = {(thread, operation.began) for thread, operation in overdue}
        self._reported &= found
        if found <= self._reported or now < self._quiet_until:
            return
        self._reported |= found
        self._quiet_until = now + PAUSE_SECONDS
        lines = [
            f"{each.name} of inode {each.inode}: for {now - each.began:.0f} s, thread {thread}"
            for thread, each in overdue
        ]
        log.error("past their deadline:\n%s\n%s", "\n".join(lines), _stacks())


def _stacks() -> str:
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    stacks = []
    for ident, top in sys._current_frames().items():  # noqa: SLF001 - the documented way
        calls = "".join(traceback.format_stack(top))
        stacks.append(f"thread {ident} ({names.get(ident, 'not of Python')}):\n{calls}")
    return "\n".join(stacks)
