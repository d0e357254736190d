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
        self._lock = threading.Lock()  # guards all below
        self._emptied = threading.Condition(self._lock)
        self._is_draining = False  # else nobody waits to be told
        self._operations: dict[int, Operation] = {}

    def __len__(self) -> int:
        """How many there are."""
        return len(self._operations)

    def begin(self, name: str, inode: int) -> float:
        """This thread has a request to answer; when it began, by the clock."""
        began = self.clock()
        operation = Operation(name, inode, began)
        with self._lock:  # entered by its Condition it takes three times as long
            self._operations[threading.get_ident()] = operation
        return began

    def end(self) -> float:
        """It was answered; the seconds that it took."""
        with self._lock:
            operation = self._operations.pop(threading.get_ident())
            if self._is_draining and not self._operations:
                self._emptied.notify_all()
        return self.clock() - operation.began

    def drain(self, seconds: float) -> bool:
        """Wait until nothing is under way; False where something still is after that time."""
        with self._lock:
            self._is_draining = True  # a mount does so at its end
            return self._emptied.wait_for(lambda: not self._operations, timeout=seconds)

    def older_than(self, seconds: float) -> list[tuple[int, Operation]]:
        """What began longer ago, with its thread."""
        before = self.clock() - seconds
        with self._lock:
            return [(t, each) for t, each in self._operations.items() if each.began <= before]

    def longest_in(self, directory: int) -> float | None:
        """Seconds since the oldest look-up or listing in a directory began; None: there is none."""
        with self._lock:
            began = [
                each.began
                for each in self._operations.values()
                if each.inode == directory and each.name in READS_DIRECTORY
            ]
        return self.clock() - min(began) if began else None
