"""The operations that are under way: who must be waited for, and who has waited too long."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import NamedTuple

READS_DIRECTORY = frozenset({"lookup", "readdir", "readdirplus"})


class Operation(NamedTuple):
    """One request of the kernel."""

    name: str  # as FUSE has it: "lookup", "read"
    inode: int
    began: float  # monotonic seconds


class UnderWay:
    """What is asked and not answered yet, by thread: each answers one request at a time."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self._changed = threading.Condition()  # guards _operations
        self._operations: dict[int, Operation] = {}

    def begin(self, name: str, inode: int) -> None:
        """This thread has a request to answer."""
        operation = Operation(name, inode, self.clock())
        with self._changed:
            self._operations[threading.get_ident()] = operation

    def end(self) -> None:
        """It was answered."""
        with self._changed:
            del self._operations[threading.get_ident()]
            if not self._operations:
                self._changed.notify_all()

    def drain(self, seconds: float) -> bool:
        """Wait until nothing is under way; False where something still is after that time."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._operations, timeout=seconds)

    def older_than(self, seconds: float) -> list[tuple[int, Operation]]:
        """What began longer ago, with its thread."""
        before = self.clock() - seconds
        with self._changed:
            return [(t, each) for t, each in self._operations.items() if each.began <= before]

    def longest_in(self, directory: int) -> float | None:
        """Seconds since the oldest look-up or listing in a directory began; None: there is none."""
        with self._changed:
            began = [
                each.began
                for each in self._operations.values()
                if each.inode == directory and each.name in READS_DIRECTORY
            ]
        return self.clock() - min(began) if began else None
