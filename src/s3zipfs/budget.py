"""The one count of bytes held in memory: blocks, indexes, inflated members, transfers in flight."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from s3zipfs.errors import DeadlineExceeded
from s3zipfs.waiting import POLL_SECONDS, Transfer, Wait

Reclaim = Callable[[int], int]
"""Asked to free that many bytes; returns how many it did free."""
Spare = Callable[[], int]
"""How many bytes a cache could free now."""


class MemoryBudget:
    """A hard bound in bytes that every cache, index and transfer charges.

    Three kinds of charge. `try_charge` is for what may be left undone (read-ahead, keeping
    a copy): it fails where nothing more can be reclaimed. `charge` is for what an operation
    cannot do without; it always succeeds, and callers keep it small (one read of the
    kernel's size), so the overshoot is bounded by the number of readers. `reserved` is for
    large and needed: it waits for its turn.

    `charge` and `reserved` may ask every reclaimer, `try_charge` only those that have told how much
    they can spare, and only where that is enough: what is optional must not cost what is in use.

    What was charged must be released once, by whoever holds it then. Reclaimers are called
    without the lock, may take their own, and release what they free themselves.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._lock = threading.Lock()  # guards all below
        self._released = threading.Condition(self._lock)
        self._releases = 0  # how often something was released: progress, for those who wait
        self._waiting: deque[Transfer[None]] = deque()  # reservations; the first has its turn
        self._reservations = 0
        self._reserved = 0  # bytes of them
        self._used = 0
        self._peak = 0
        self._reclaimers: list[tuple[Reclaim, Spare | None]] = []

    def add_reclaimer(self, reclaim: Reclaim, *, spare: Spare | None = None) -> None:
        """Register a cache; asked in the order of registration, before any bytes are in use."""
        self._reclaimers.append((reclaim, spare))

    @property
    def used(self) -> int:
        """Bytes charged now."""
        return self._used

    @property
    def peak(self) -> int:
        """The most bytes ever charged at once."""
        return self._peak

    def charge(self, size: int) -> None:
        """Charge `size` bytes, whatever is in use; caches give way first."""
        self._make_room(size)
        with self._lock:
            self._add(size)

    def try_charge(self, size: int) -> bool:
        """Charge `size` bytes if they fit after caches gave what they can spare; else nothing."""
        spare = sum(told() for _, told in self._reclaimers if told is not None)
        if self._used + size - spare > self.limit:
            return False
        self._make_room(size, optional=True)
        with self._lock:
            if self._used + size > self.limit:
                return False
            self._add(size)
            return True

    def release(self, size: int) -> None:
        """Give back what was charged."""
        if not size:
            return  # a cache that had nothing to give: for those who wait that is no progress
        with self._lock:
            self._used -= size
            self._releases += 1
            for turn in self._waiting:
                turn.progress()
            self._released.notify_all()

    @contextmanager
    def reserved(self, size: int, wait: Wait) -> Iterator[None]:
        """Hold `size` bytes while the block runs; waits in turn until they fit.

        One reservation is always admitted, so that what is larger than the whole budget is
        slow rather than impossible. Never nest one in another. The deadline counts from the last
        release of anything.
        """
        self._reserve(size, wait)
        try:
            yield
        finally:
            with self._lock:
                self._reservations -= 1
                self._reserved -= size
            self.release(size)

    def _reserve(self, size: int, wait: Wait) -> None:
        turn: Transfer[None] = Transfer()
        with self._lock:
            self._waiting.append(turn)
            if self._waiting[0] is turn:
                turn.set_result(None)
        try:
            wait.result(turn)
            self._wait_for_room(size, wait)
        except DeadlineExceeded:
            raise DeadlineExceeded(f"no memory was freed within {wait.timeout:g} s") from None
        finally:
            with self._lock:
                was_first = self._waiting[0] is turn
                self._waiting.remove(turn)
                if was_first and self._waiting:
                    self._waiting[0].set_result(None)

    def _wait_for_room(self, size: int, wait: Wait) -> None:
        """Take it once it fits. It is asked for again and again, by the first in turn alone.

        What caches can give back grows without a release, as a block does that nobody reads any
        more.
        """
        releases, give_up = self._releases, time.monotonic() + wait.timeout
        while not self._admit(size):
            wait.check()
            if self._releases != releases:
                releases, give_up = self._releases, time.monotonic() + wait.timeout
            elif time.monotonic() > give_up:
                raise DeadlineExceeded("no memory")

    def _admit(self, size: int) -> bool:
        # Where what is reserved leaves no room for it, all that caches hold would be of no use.
        if not self._reservations or self._reserved + size <= self.limit:
            self._make_room(size)
        with self._lock:
            if self._used + size > self.limit and self._reservations:
                self._released.wait(POLL_SECONDS)
                return False
            self._add(size)
            self._reservations += 1
            self._reserved += size
            return True

    def _add(self, size: int) -> None:
        self._used += size
        self._peak = max(self._peak, self._used)

    def _make_room(self, size: int, *, optional: bool = False) -> None:
        missing = self._used + size - self.limit
        for reclaim, spare in self._reclaimers:
            if missing <= 0:
                return
            if spare is not None or not optional:
                missing -= reclaim(missing)
