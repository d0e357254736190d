"""How long things took: a histogram that costs its observer a microsecond at most."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from typing import Final

# Seconds. Names and cached bytes take 10 to 100 µs, a request on a near link 1 to 10 ms, on a far
# one 0.1 to 1 s; the last is the default deadline.
BOUNDS: Final = (0.0001, 0.00025, 0.001, 0.0025, 0.01, 0.025, 0.1, 0.25, 1.0, 2.5, 10.0, 60.0)


@dataclass(frozen=True, slots=True)
class Histogram:
    """Durations as they were at one moment."""

    counts: tuple[int, ...]  # up to each of `BOUNDS`, and above the last one; not cumulative
    seconds: float  # of all of them

    @property
    def count(self) -> int:
        """How many there were."""
        return sum(self.counts)


NONE: Final = Histogram((0,) * (len(BOUNDS) + 1), 0.0)


class Durations:
    """Durations by size. Not thread-safe: its owner guards it."""

    __slots__ = ("_counts", "_seconds")

    def __init__(self) -> None:
        self._counts = [0] * (len(BOUNDS) + 1)
        self._seconds = 0.0

    def add(self, seconds: float) -> None:
        """One more."""
        self._counts[bisect_left(BOUNDS, seconds)] += 1
        self._seconds += seconds

    def read(self) -> Histogram:
        """All of them until now."""
        return Histogram(tuple(self._counts), self._seconds)
