"""Members as they stand in their object: which bytes reads of them take, and reading those."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

import numpy as np

from s3zipfs.archive.inflate import broken
from s3zipfs.cache.extents import joined
from s3zipfs.cache.reader import ObjectReader
from s3zipfs.waiting import Wait
from s3zipfs.zipformat.member import Member
from s3zipfs.zipformat.methods import STORED
from s3zipfs.zipformat.records import (
    LOCAL_EXTRA_SLACK,
    MoreNeeded,
    local_header_span,
    parse_local_header,
)

# A compressed member up to this size is decoded whole and verified before its first byte is
# served; unless its compressed data is larger than any writer makes of that.
WHOLE_DECODED: Final = 16 << 20
WHOLE_COMPRESSED: Final = 32 << 20
# A stored member up to this size is fetched whole when it is read from its start; a larger one,
# or one entered in the middle, by the ranges that are asked for (a Zarr shard is read that way).
WHOLE_STORED: Final = 1 << 20


def span_of_read(member: Member, start: int, end: int) -> tuple[int, int] | None:
    """The bytes of a member's data that a read of `[start, end)` of its content takes at once.

    None where it goes through a decoder piece by piece (`streaming`).
    """
    size = member.uncompressed_size
    if member.method == STORED:
        return (0, size) if start == 0 and size <= WHOLE_STORED else (start, end)
    if size <= WHOLE_DECODED and member.compressed_size <= WHOLE_COMPRESSED:
        return 0, member.compressed_size
    return None


def read_header(
    member: Member, view: memoryview, size: int, read: Callable[[int, int], memoryview]
) -> tuple[int, memoryview]:
    """The bytes that a member's local header has before the data, and all that was read from it.

    Args:
        member: whose header it is.
        view: the object from the header on, as long as it was guessed to be.
        size: of the object, in bytes.
        read: gives bytes `[start, end)` of the object, where the header turns out to be longer.

    Raises:
        BadMember: the header is not the member's own, or it passes the object's end.
    """
    header = member.local_header_offset
    while isinstance(found := parse_local_header(view, member), MoreNeeded):
        if header + found.end > size:
            raise broken(member, "its local header passes the end of the object")
        view = read(header, header + found.end)
    return found, view


class RawMembers:
    """The data of one archive's members. Safe for any number of threads."""

    def __init__(self, reader: ObjectReader, node_count: int) -> None:
        self._reader = reader
        # Bytes from a local header to its data (30 + n + m, APPNOTE 4.3.7); 0: not read yet.
        self._data_starts = np.zeros(node_count, dtype=np.int32)

    @property
    def nbytes(self) -> int:
        """Bytes of memory that it holds."""
        return self._data_starts.nbytes

    def read(self, member: Member, start: int, end: int, wait: Wait) -> list[memoryview]:
        """Bytes `[start, end)` of the member's data as it stands in the object.

        The first read near the start of a member takes its local header in the same request.

        Raises:
            BadMember: its local header is not its own, or it passes the object's end.
        """
        header = member.local_header_offset
        data = int(self._data_starts[member.number])
        if data:
            return self._read_data(header + data, member, start, end, wait)
        limit = self._reader.info.size
        span = local_header_span(member)
        reach = span + end if start <= WHOLE_STORED else span
        until = header + span + member.compressed_size
        view = joined(self._reader.read(header, min(header + reach, limit), wait, until=until))
        data, view = read_header(
            member, view, limit, lambda first, last: joined(self._reader.read(first, last, wait))
        )
        if header + data + member.compressed_size > limit:
            raise broken(member, "its data passes the end of the object")
        self._data_starts[member.number] = data
        if data + end <= len(view):
            return [view[data + start : data + end]]
        return self._read_data(header + data, member, start, end, wait)

    def _read_data(
        self, at: int, member: Member, start: int, end: int, wait: Wait
    ) -> list[memoryview]:
        """The same where it is known at which offset of the object the data begins."""
        return self._reader.read(at + start, at + end, wait, until=at + member.compressed_size)

    def needed(self, member: Member, start: int, end: int) -> Iterator[tuple[int, int]]:
        """Which bytes of the object that will ask for, or a few more: a header may be longer."""
        header, data = member.local_header_offset, int(self._data_starts[member.number])
        if start >= end:
            return
        if data:
            yield header + data + start, header + data + end
            return
        span = local_header_span(member)
        if start <= WHOLE_STORED:
            yield header, header + span + end
            return
        yield header, header + span
        yield header + span - LOCAL_EXTRA_SLACK + start, header + span + end

    def discard(self, member: Member) -> None:
        """Forget a member's bytes, on disk too: they turned out not to be those of the store."""
        header = member.local_header_offset
        reach = int(self._data_starts[member.number]) or local_header_span(member)
        self._reader.discard(header, header + reach + member.compressed_size)
