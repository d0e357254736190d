"""Reading blocks from disk: the records that touch a range, verified and put together."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from s3zipfs.cache.blockindex import MOST_PLACES, BlockIndex, OtherFormatError
from s3zipfs.cache.blockwriter import segment_path
from s3zipfs.cache.records import LARGEST, DamagedRecordError, Identity, Place, read_record

TIMEOUT: Final = 1.0  # seconds for another process that recovers the index
IDLE_CONNECTIONS: Final = 8

# Two GETs around so few bytes cost more than fetching these once more.
WORTH_A_GET: Final = 64 << 10


@dataclass(frozen=True, slots=True)
class Held:
    """The bytes of a range of which some were on disk; `gaps` are those to be fetched."""

    start: int
    data: memoryview
    gaps: tuple[tuple[int, int], ...] = ()

    def put(self, start: int, data: memoryview) -> None:
        """Fill a gap, which begins at `start`."""
        self.data[start - self.start : start - self.start + len(data)] = data


@dataclass(slots=True)
class Found:
    """The answer of one look."""

    held: Held | None = None
    touched: set[int] = field(default_factory=set)  # segments
    missing: set[int] = field(default_factory=set)  # segments without a file
    damaged: list[Place] = field(default_factory=list)


class BlockReader:
    """Reads one folder; safe for threads. It makes nothing: where there is no folder, none is."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()  # guards _idle, _generation
        self._idle: list[BlockIndex] = []
        self._generation = 0

    def find(self, identity: Identity, start: int, end: int) -> Found:
        """What there is of `[start, end)`.

        Raises:
            OSError, sqlite3.Error, DamagedIndexError, OtherFormatError: see `BlockIndex`.
        """
        try:
            with self._connection() as index:
                places = index.lookup(identity.key, start, end)
        except FileNotFoundError:
            places = []
        except OtherFormatError as other:
            if other.is_newer:
                raise
            places = []  # the next write replaces it
        found = Found()
        if len(places) < MOST_PLACES:
            with contextlib.closing(_Segments(self._folder)) as segments:
                parts = _read(
                    found,
                    segments,
                    identity,
                    [(place, max(start, place.start), min(end, place.end)) for place in places],
                )
            found.held = _put_together(parts, start, end)
        return found

    def gaps(
        self, identity: Identity, start: int, end: int
    ) -> tuple[tuple[tuple[int, int], ...], set[int]]:
        """What of `[start, end)` there is not, by the index alone, and the segments of the rest.

        What a reader would give up, since it is in too many pieces, is not there either.

        Raises:
            OSError, sqlite3.Error, DamagedIndexError, OtherFormatError: see `BlockIndex`.
        """
        held: list[Place] = []
        try:
            with self._connection() as index:
                for first in range(start, end, LARGEST):
                    places = index.lookup(identity.key, first, min(first + LARGEST, end))
                    held += places if len(places) < MOST_PLACES else []
        except FileNotFoundError:
            held = []
        except OtherFormatError as other:
            if other.is_newer:
                raise
            held = []
        found = {each.segment for each in held}
        segments = {each for each in found if Path(segment_path(self._folder, each)).exists()}
        parts = [
            (max(start, each.start), min(end, each.end))
            for each in held
            if each.segment in segments
        ]
        return plan_gaps(parts, start, end), segments

    def forget(self) -> None:
        """Close what is open: the folder was made anew, or is to be left alone."""
        with self._lock:
            idle, self._idle = self._idle, []
            self._generation += 1
        for connection in idle:
            connection.close()

    @contextlib.contextmanager
    def _connection(self) -> Iterator[BlockIndex]:
        with self._lock:
            generation = self._generation
            index = self._idle.pop() if self._idle else None
        index = index or BlockIndex(self._folder, timeout=TIMEOUT)
        try:
            yield index
        except BaseException:
            index.close()
            raise
        with self._lock:
            is_kept = generation == self._generation and len(self._idle) < IDLE_CONNECTIONS
            if is_kept:
                self._idle.append(index)
        if not is_kept:
            index.close()


class _Segments:
    """The file of the segment that was read last, since records of one range mostly share it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open: tuple[int, int] | None = None

    def descriptor(self, number: int) -> int:
        if self._open is None or self._open[0] != number:
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(segment_path(self._folder, number), flags)
            self.close()
            self._open = (number, descriptor)
        return self._open[1]

    def close(self) -> None:
        if self._open is not None:
            os.close(self._open[1])
            self._open = None


def _read(
    found: Found,
    segments: _Segments,
    identity: Identity,
    wanted: list[tuple[Place, int, int]],
) -> list[tuple[int, memoryview]]:
    """The parts that are good, each with where it begins; what is not is noted in `found`."""
    parts: list[tuple[int, memoryview]] = []
    for place, start, end in wanted:
        if place.segment in found.missing:
            continue
        try:
            part = read_record(segments.descriptor(place.segment), identity, place, start, end)
        except FileNotFoundError:
            found.missing.add(place.segment)
        except DamagedRecordError:
            found.damaged.append(place)
        else:
            found.touched.add(place.segment)
            parts.append((start, part))
    return parts


def _put_together(parts: list[tuple[int, memoryview]], start: int, end: int) -> Held | None:
    if not parts:
        return None
    for at, part in parts:
        if at == start and len(part) == end - start:
            return Held(start, part)
    gaps = plan_gaps([(at, at + len(part)) for at, part in parts], start, end)
    if gaps == ((start, end),):
        return None
    held = Held(start, memoryview(bytearray(end - start)), gaps)
    for at, part in parts:
        held.put(at, part)
    return held


def plan_gaps(parts: list[tuple[int, int]], start: int, end: int) -> tuple[tuple[int, int], ...]:
    """What to fetch of `[start, end)` where `parts` of it, in order, are there already."""
    gaps: list[tuple[int, int]] = []
    position = start
    for first, last in [*parts, (end, end)]:
        if first > position:
            if gaps and position - gaps[-1][1] < WORTH_A_GET:
                gaps[-1] = (gaps[-1][0], first)
            else:
                gaps.append((position, first))
        position = max(position, last)
    return tuple(gaps)
