"""Archives around the limits of the narrow fields, of which only the records are in memory."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

from corpus.bombs import crc_of_zeros
from corpus.raw_zip import U16, U32, End, Entry, Layout, end_records, write_zip, zip64_extra

from s3zipfs.stores.memory import Computed

AFTER = b"behind it"


def sparse(size: int, pieces: Sequence[tuple[int, bytes]]) -> Computed:
    """An object of zeros but for the pieces, given in order by their offsets."""
    starts = [start for start, _ in pieces]

    def give(start: int, end: int) -> bytes:
        given = bytearray(end - start)
        for number in range(max(0, bisect_right(starts, start) - 1), len(pieces)):
            at, data = pieces[number]
            if at >= end:
                break
            low, high = max(start, at), min(end, at + len(data))
            if low < high:
                given[low - start : high - start] = data[low - at : high - at]
        return bytes(given)

    return Computed(size, give)


def stored_zeros(size: int, *, gap: int = 0) -> Computed:
    """A stored member `zeros` of that size, then `after`; `gap` bytes before the directory.

    Each field is deferred to Zip64 where it does not fit its 32 bits (APPNOTE 4.4.8, 4.4.16).
    """
    wide = size >= U32
    zeros = Entry(
        b"zeros",
        b"",
        crc=crc_of_zeros(size),
        compressed_size=min(size, U32),
        uncompressed_size=min(size, U32),
        extra=zip64_extra(size, size) if wide else b"",
        local_extra=zip64_extra(size, size) if wide else b"",
    )
    header = zeros.local()
    offset = len(header) + size
    after = Entry(b"after", AFTER, extra=zip64_extra(offset) if offset >= U32 else b"")
    start = offset + len(after.local()) + gap
    directory = zeros.central(0) + after.central(min(offset, U32))
    end = end_records(End(zip64=start >= U32), 2, start, len(directory))
    pieces = [(0, header), (offset, after.local()), (start, directory + end)]
    return sparse(start + len(directory) + len(end), pieces)


def directory_at(start: int) -> Computed:
    """The directory begins exactly there."""
    return stored_zeros(1000, gap=start - 1000 - _OVERHEAD)


_OVERHEAD = len(Entry(b"zeros").local()) + len(Entry(b"after", AFTER).local())


def member_at(offset: int) -> Computed:
    """The second member begins exactly there."""
    narrow = len(Entry(b"zeros").local())
    size = offset - narrow
    return stored_zeros(size if size < U32 else size - len(zip64_extra(0, 0)))


def many(count: int, *, zip64: bool) -> bytes:
    """So many empty members; the number has two bytes without Zip64 (4.4.22)."""
    entries = [Entry(b"%02x/%03x" % divmod(n, 4096), b"") for n in range(count - 1)]
    end = End(zip64=zip64) if zip64 else End(entry_count=count & U16, entries_on_disk=count & U16)
    return write_zip([*entries, Entry(b"last", b"last")], Layout(end=end))
