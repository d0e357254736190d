"""Which metadata members of an archive to fetch together, and when. Pure but for its futures.

Zarr keeps the metadata of each group and array in a small member of its own, and who opens a
hierarchy reads all of them, one after another. They are known by their names alone.
"""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from s3zipfs.archive.coalescing import plan_groups
from s3zipfs.zipformat.index import MemberIndex
from s3zipfs.zipformat.member import Member
from s3zipfs.zipformat.methods import DEFLATED, STORED
from s3zipfs.zipformat.named import numbers_named
from s3zipfs.zipformat.records import LOCAL_EXTRA_SLACK, LOCAL_FILE_HEADER_SIZE

NAMES: Final = (
    b"zarr.json",  # Zarr 3 core, "Storage"
    b".zarray", b".zgroup", b".zattrs",  # Zarr 2, "Storage"
    b".zmetadata",  # what zarr.consolidate_metadata writes
)  # fmt: skip

# What is larger is not one of many, and is read by itself.
LARGEST: Final = 256 << 10  # bytes
# A request costs 0.6 ms of CPU here and as much at the server, and a round trip: in that time more
# than these bytes arrive at 250 MB/s.
GAP: Final = 256 << 10
GROUP: Final = 2 << 20  # bytes of one request: the first reader waits for all of it
COST: Final = 16 << 20  # bytes fetched at a time, with GAP for each request: at most 64 of them
MOST: Final = 16_384  # members of one archive; further ones are read as any other member


@dataclass(frozen=True, slots=True)
class Group:
    """Members that are fetched by one request."""

    start: int  # bytes of the object, as `end`
    end: int
    numbers: tuple[int, ...]
    # Done once they are kept, or can't be had this way.
    here: Future[None] = field(default_factory=Future, compare=False)


class MetadataPlan:
    """What was asked for of one archive, and what comes next. Not thread-safe: its owner guards it.

    Args:
        most: bytes to fetch at a time, where that is less than `COST`.
    """

    def __init__(self, index: MemberIndex, size: int, *, most: int) -> None:
        self._index = index
        self._size = size  # bytes of the object
        self._most = most
        self._spans: _Spans | None = None  # None: none of them was read yet
        self._coming: dict[int, Future[None]] = {}  # of members that were ever asked for
        self._unread: set[int] = set()  # of them, those that nobody has read since

    def read(self, number: int) -> tuple[Future[None] | None, list[Group]]:
        """Note that a member is read: what to wait for, None being nothing, and what to fetch now.

        The member's own group comes first.
        """
        self._unread.discard(number)
        coming = self._coming.get(number)
        groups = self._groups(number) if coming is None else []
        return (groups[0].here if groups else coming), groups

    def _groups(self, number: int) -> list[Group]:
        if self._spans is None:
            self._spans = _find_spans(self._index, number, self._size)
        # Who opens one array of thousands needs few of them: no more before half were of use.
        if 2 * len(self._unread) > len(self._coming):
            return []
        groups = self._spans.take(number, cost=min(COST, self._most))
        if sum(len(group.numbers) for group in groups) < 2:
            return []
        for group in groups:
            self._coming.update(dict.fromkeys(group.numbers, group.here))
            self._unread.update(group.numbers)
        self._unread.discard(number)
        return groups


def may_be_metadata(member: Member) -> bool:
    """Whether it is one of those, by its name and size."""
    return member.uncompressed_size <= LARGEST and member.raw_name.endswith(NAMES)


def metadata_spans(index: MemberIndex, size: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where the metadata members stand in an object of that size: starts, ascending, and ends."""
    spans = _find_spans(index, -1, size)
    return spans.starts, spans.ends


class _Spans:
    """Where metadata members stand in the object, in the order in which they are to be fetched."""

    def __init__(
        self, numbers: NDArray[np.int64], starts: NDArray[np.int64], ends: NDArray[np.int64]
    ) -> None:
        self._numbers = numbers
        self.starts = starts
        self.ends = ends
        self._left = np.ones(len(numbers), np.bool_)

    def take(self, number: int, *, cost: int) -> list[Group]:
        """Groups of what was not taken yet, from one member on and then from the start."""
        at = np.flatnonzero(self._numbers == number)
        if not len(at) or not self._left[at[0]]:
            return []
        order = np.roll(np.arange(len(self._numbers)), -int(at[0]))
        order = order[self._left[order]]
        starts, ends = self.starts[order].tolist(), self.ends[order].tolist()
        groups = []
        for first, stop in plan_groups(starts, ends, gap=GAP, largest=GROUP, cost=cost):
            taken = order[first:stop]
            self._left[taken] = False
            numbers = tuple(self._numbers[taken].tolist())
            groups.append(Group(starts[first], max(ends[first:stop]), numbers))
        return groups


def _find_spans(index: MemberIndex, number: int, size: int) -> _Spans:
    """Of the members that may be read this way the next ones from `number` on."""
    columns = index.columns
    numbers = numbers_named(index, NAMES)
    methods, lengths = columns["methods"][numbers], columns["compressed_sizes"][numbers]
    fit = (methods == STORED) | (methods == DEFLATED)
    fit &= (lengths <= LARGEST) & (index.sizes[numbers] <= LARGEST)
    fit &= columns["local_header_offsets"][numbers] < size  # all else is told when it is read
    numbers = numbers[fit]
    starts = columns["local_header_offsets"][numbers].astype(np.int64)
    order = np.argsort(starts, kind="stable")
    # From `number` on, and round to the start.
    at = np.flatnonzero(numbers[order] == number)
    order = np.roll(order, -int(at[0]) if len(at) else 0)[:MOST]
    numbers, starts = numbers[order], starts[order]
    spans = LOCAL_FILE_HEADER_SIZE + LOCAL_EXTRA_SLACK + columns["raw_lengths"][numbers].astype("q")
    ends = starts + spans + columns["compressed_sizes"][numbers].astype(np.int64)
    return _Spans(numbers, starts, np.minimum(ends, size))
