"""The CRC-32 of a member that is read in parts, in any order."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from itertools import islice

from isal import isal_zlib

# 64 readers of one member, each in order, and the kernel's reads out of order between them.
MOST_RUNS = 256


@dataclass(frozen=True, slots=True)
class _Run:
    start: int
    end: int
    crc32: int
    noted: int  # when: a number that grows
    is_joined: bool = False  # of parts side by side: somebody may be reading in order


class CrcLedger:
    """Adds up the CRC-32 of the parts seen, until it is that of the whole. Not thread-safe.

    Of a member that is read here and there the single parts are forgotten, the oldest first, and
    only then what was read in order: that may become the whole yet.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._noted = 0
        self._runs: list[_Run] = []  # in order, neither overlapping nor adjacent

    @property
    def whole(self) -> int | None:
        """The CRC-32 of all bytes once each was seen, else None."""
        if len(self._runs) == 1 and self._runs[0].start == 0 and self._runs[0].end == self._size:
            return self._runs[0].crc32
        return None

    def add(self, start: int, data: memoryview) -> None:
        """Note the bytes from `start` on; what was seen before is not counted again."""
        end = start + len(data)
        for gap_start, gap_end in self._gaps(start, end):
            crc32 = isal_zlib.crc32(data[gap_start - start : gap_end - start])
            self._noted += 1
            self._insert(_Run(gap_start, gap_end, crc32, self._noted))
        if len(self._runs) > MOST_RUNS:
            self._runs.remove(min(self._runs, key=lambda run: (run.is_joined, run.noted)))

    def _gaps(self, start: int, end: int) -> list[tuple[int, int]]:
        gaps = []
        for run in islice(
            self._runs, bisect_right(self._runs, start, key=lambda run: run.end), None
        ):
            if run.start >= end:
                break
            if run.start > start:
                gaps.append((start, run.start))
            start = max(start, run.end)
        if start < end:
            gaps.append((start, end))
        return gaps

    def _insert(self, run: _Run) -> None:
        at = bisect_left(self._runs, run.start, key=lambda held: held.start)
        if at < len(self._runs) and self._runs[at].start == run.end:
            run = _joined(run, self._runs.pop(at))
        if at > 0 and self._runs[at - 1].end == run.start:
            at -= 1
            run = _joined(self._runs.pop(at), run)
        self._runs.insert(at, run)


def _joined(left: _Run, right: _Run) -> _Run:
    crc32 = isal_zlib.crc32_combine(left.crc32, right.crc32, right.end - right.start)
    noted = max(left.noted, right.noted)
    return _Run(left.start, right.end, crc32, noted, is_joined=True)
