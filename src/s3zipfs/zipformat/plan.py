"""What to read of an object to find its central directory; pure, others perform the reads.

The end of an archive is searched once, strictly: parsers that disagree on where a directory is
show different members of the same bytes (ZipDiff, USENIX Security 2025). So exactly one end of
central directory record may validate, and it must be adjacent to all that it speaks of:

    [prefix] members [directory] [Zip64 record, Zip64 locator] end record [comment] | end of object
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from s3zipfs.errors import BadArchive
from s3zipfs.zipformat.records import (
    CENTRAL_DIRECTORY_HEADER_SIGNATURE,
    CENTRAL_DIRECTORY_HEADER_SIZE,
    END_OF_CENTRAL_DIRECTORY_SIGNATURE,
    END_OF_CENTRAL_DIRECTORY_SIZE,
    LOCAL_FILE_HEADER_SIGNATURE,
    U16_MAX,
    U32_MAX,
    ZIP64_END_OF_CENTRAL_DIRECTORY_SIGNATURE,
    ZIP64_END_OF_CENTRAL_DIRECTORY_SIZE,
    ZIP64_LOCATOR_SIGNATURE,
    ZIP64_LOCATOR_SIZE,
    EndOfCentralDirectoryRecord,
    MoreNeeded,
    Zip64EndOfCentralDirectoryRecord,
    parse_end_of_central_directory_record,
    parse_zip64_end_of_central_directory_record,
    parse_zip64_locator,
)

__all__ = ["FIRST_TAIL_BYTES", "DirectoryLocation", "MoreNeeded", "locate_directory", "plan_tail"]

# 65,535 + 22 + 20 + 56: longest comment, end record, Zip64 locator and record (4.3.14-4.3.16).
_SEARCH_BYTES: Final = (
    U16_MAX
    + END_OF_CENTRAL_DIRECTORY_SIZE
    + ZIP64_LOCATOR_SIZE
    + ZIP64_END_OF_CENTRAL_DIRECTORY_SIZE
)

# Holds the search above and, without a comment, the whole directory of about 1,500 members (46
# fixed bytes, 20 of name, 20 of extras). At 1 Gb/s it takes 1 ms, no more than the request itself.
FIRST_TAIL_BYTES: Final = 128 * 1024

_RECORD_SIGNATURES: Final = (
    CENTRAL_DIRECTORY_HEADER_SIGNATURE,
    LOCAL_FILE_HEADER_SIGNATURE,
    b"PK\x07\x08",  # data descriptor (4.3.9.3), and first in a split archive (8.5.3)
    ZIP64_END_OF_CENTRAL_DIRECTORY_SIGNATURE,
)

# A Zip64 record with an extensible data sector (4.3.14.4) is looked for this far before its
# locator. No known writer makes one of more than some hundred bytes.
_ZIP64_RECORD_MAX: Final = 64 * 1024

# Of an archive with a prefix so many bytes of the object's end are read to see what else stands
# at the recorded offset of the directory. Most self-extractors are smaller.
_PREFIXED_TAIL_BYTES: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class DirectoryLocation:
    """Where the central directory is: `[start, end)`, absolute in the object."""

    start: int
    end: int
    entry_count: int  # as recorded; without Zip64 true only modulo 65,536
    base: int  # bytes before the archive (self-extracting): every recorded offset lacks them
    is_zip64: bool = False

    @property
    def size(self) -> int:
        """Bytes of the directory."""
        return self.end - self.start


@dataclass(frozen=True, slots=True)
class _Tail:
    data: memoryview
    start: int
    object_size: int

    def at(self, position: int) -> memoryview:
        return self.data[position - self.start :]

    def has(self, position: int, signature: bytes) -> bool:
        return position >= self.start and self.at(position)[:4] == signature


def plan_tail(object_size: int) -> tuple[int, int]:
    """The first range to read of an object of that size.

    Raises:
        BadArchive: no zip is that small.
    """
    if object_size < END_OF_CENTRAL_DIRECTORY_SIZE:
        raise BadArchive(
            f"End of central directory record: expected an object of at least "
            f"{END_OF_CENTRAL_DIRECTORY_SIZE} bytes, found {object_size}"
        )
    return max(0, object_size - FIRST_TAIL_BYTES), object_size


def locate_directory(
    tail: memoryview, tail_start: int, object_size: int
) -> DirectoryLocation | MoreNeeded:
    """Find the one central directory that the end of the object speaks of.

    Args:
        tail: the bytes `[tail_start, object_size)` of the object.
        tail_start: absolute offset of `tail[0]`.
        object_size: bytes of the whole object.

    Returns:
        The directory's place, or the range to read in the place of `tail`.

    Raises:
        BadArchive: no record validates, or two that end with the object, or the archive is split.
    """
    plan_tail(object_size)
    if tail_start + len(tail) != object_size:
        raise ValueError(f"tail ends at {tail_start + len(tail)}, the object at {object_size}")
    window_start = max(0, object_size - _SEARCH_BYTES)
    if tail_start > window_start:
        return MoreNeeded(*plan_tail(object_size))
    source = _Tail(tail, tail_start, object_size)
    positions = list(_candidates(source, window_start))
    if not positions:
        raise BadArchive(
            "End of central directory record: expected signature "
            f"{END_OF_CENTRAL_DIRECTORY_SIGNATURE!r} in the last {object_size - window_start} "
            f"bytes of {object_size}, found none: not a zip, or cut off"
        )
    at_end = [p for p in positions if _record_end(source, p) == object_size]
    if not at_end:
        return _choose(source, positions, trailing_junk=True)
    # What stands in the comment of the first one is a candidate as well: most readers take the
    # last signature, whether its own comment ends with the object or not (ZipDiff C2).
    return _choose(source, [p for p in positions if p >= at_end[-1]], trailing_junk=False)


def _candidates(source: _Tail, window_start: int) -> Iterator[int]:
    """Absolute positions of the signature, from the end backwards."""
    low = window_start - source.start
    window = bytes(source.data[low:])
    high = len(window) - END_OF_CENTRAL_DIRECTORY_SIZE + 4
    while (at := window.rfind(END_OF_CENTRAL_DIRECTORY_SIGNATURE, 0, high)) >= 0:
        yield window_start + at
        high = at + 3


def _record_end(source: _Tail, position: int) -> int:
    record = parse_end_of_central_directory_record(source.at(position), offset=position)
    return position + END_OF_CENTRAL_DIRECTORY_SIZE + record.comment_length


def _choose(
    source: _Tail, positions: list[int], *, trailing_junk: bool
) -> DirectoryLocation | MoreNeeded:
    found: list[tuple[int, DirectoryLocation]] = []
    error: BadArchive | None = None
    for position in positions:
        try:
            location = _locate_from(source, position)
            if trailing_junk:
                _refuse_inner_archive(source, position, location)
        except BadArchive as refused:
            error = error or refused  # of the last record of the object: the likeliest cause
            continue
        if isinstance(location, MoreNeeded):
            return location
        found.append((position, location))
    if len(found) > 1:
        raise BadArchive(
            "End of central directory record: expected one that validates, found "
            f"{len(found)}, at offsets {', '.join(str(p) for p, _ in found[:3])}: "
            "two readers would see two archives"
        )
    if found:
        return _sole_directory(source, *found[0])
    raise error or BadArchive("End of central directory record: none validates")


def _refuse_inner_archive(
    source: _Tail, position: int, location: DirectoryLocation | MoreNeeded
) -> None:
    """Bytes after the archive are accepted only where it is not itself inside another.

    Cause: of an outer archive whose own end is damaged, a stored inner zip would be shown. It is
    not inside where nothing stands before it, or where the whole object is in hand and neither
    begins like a zip nor holds a record of one after this end.
    """
    if _record_end(source, position) > source.object_size:
        raise BadArchive(
            f"End of central directory record at offset {position}: expected its comment to end "
            f"at {source.object_size}, found {_record_end(source, position)}: cut off"
        )
    if isinstance(location, DirectoryLocation) and location.base:
        junk = bytes(source.at(_record_end(source, position)))
        if source.start == 0 and not any(s in junk or source.has(0, s) for s in _RECORD_SIGNATURES):
            return
        raise BadArchive(
            f"End of central directory record at offset {position}: expected it to end with the "
            f"object at {source.object_size}, found {_record_end(source, position)}, and "
            f"{location.base} foreign bytes before the archive as well"
        )


def _locate_from(source: _Tail, position: int) -> DirectoryLocation | MoreNeeded:
    """Validate the candidate at `position` with all that it refers to."""
    record = parse_end_of_central_directory_record(source.at(position), offset=position)
    locator_at = position - ZIP64_LOCATOR_SIZE
    if locator_at >= 0 and source.has(locator_at, ZIP64_LOCATOR_SIGNATURE):
        return _locate_zip64(source, position, record)
    _refuse_split(
        position,
        record.disk_number,
        record.central_directory_disk,
        record.entries_on_disk,
        record.entry_count,
    )
    return _place(
        source,
        position,
        end=position,
        size=record.central_directory_size,
        offset=record.central_directory_offset,
        entry_count=record.entry_count,
        is_zip64=False,
    )


def _refuse_split(
    position: int, disk: int, directory_disk: int, entries_on_disk: int, entry_count: int
) -> None:
    if (disk, directory_disk) != (0, 0) or entries_on_disk != entry_count:
        raise BadArchive(
            f"End of central directory record at offset {position}: expected one disk, found disk "
            f"{disk}, directory on disk {directory_disk}, {entries_on_disk} of {entry_count} "
            "entries on it: split archives are not read"
        )


def _locate_zip64(
    source: _Tail, position: int, record: EndOfCentralDirectoryRecord
) -> DirectoryLocation | MoreNeeded:
    """Follow the locator, and believe it only where it names the adjacent record.

    CVE-2025-8291: a reader that assumes the place, beside one that follows the offset, sees
    another archive. Both must agree here.
    """
    locator_at = position - ZIP64_LOCATOR_SIZE
    locator = parse_zip64_locator(source.at(locator_at), offset=locator_at)
    if locator.record_disk != 0 or locator.disk_count > 1:
        raise BadArchive(
            f"Zip64 end of central directory locator at offset {locator_at}: expected one disk, "
            f"found {locator.disk_count}: split archives are not read"
        )
    found = _zip64_record(source, locator_at, locator.record_offset)
    if isinstance(found, MoreNeeded):
        return found
    record_at, wide = found
    _refuse_split(
        record_at,
        wide.disk_number,
        wide.central_directory_disk,
        wide.entries_on_disk,
        wide.entry_count,
    )
    _compare_with_zip64(position, record, wide)
    location = _place(
        source,
        record_at,
        end=record_at,
        size=wide.central_directory_size,
        offset=wide.central_directory_offset,
        entry_count=wide.entry_count,
        is_zip64=True,
    )
    if locator.record_offset + location.base != record_at:
        raise BadArchive(
            f"Zip64 end of central directory locator at offset {locator_at}: expected the record "
            f"at {record_at - location.base}, found {locator.record_offset}"
        )
    return location


def _zip64_record(
    source: _Tail, locator_at: int, record_offset: int
) -> tuple[int, Zip64EndOfCentralDirectoryRecord] | MoreNeeded:
    """The record that ends where the locator begins, and its place."""
    name = "Zip64 end of central directory record"
    adjacent = locator_at - ZIP64_END_OF_CENTRAL_DIRECTORY_SIZE
    for at in (adjacent, record_offset):
        if not 0 <= at <= adjacent or locator_at - at > _ZIP64_RECORD_MAX:
            continue
        if at < source.start:
            return MoreNeeded(at, source.object_size)
        if source.has(at, ZIP64_END_OF_CENTRAL_DIRECTORY_SIGNATURE):
            record = parse_zip64_end_of_central_directory_record(source.at(at), offset=at)
            if at + record.record_size == locator_at:
                return at, record
    raise BadArchive(
        f"{name}: expected at offset {adjacent}, directly before its locator, "
        f"which names {record_offset}; found {bytes(source.at(max(adjacent, 0))[:4])!r}"
    )


def _compare_with_zip64(
    position: int, record: EndOfCentralDirectoryRecord, wide: Zip64EndOfCentralDirectoryRecord
) -> None:
    """Each narrow field defers to Zip64 or equals it (APPNOTE 4.4.1.4)."""
    for field, narrow, full, deferred in (
        ("disk number", record.disk_number, wide.disk_number, U16_MAX),
        ("directory disk", record.central_directory_disk, wide.central_directory_disk, U16_MAX),
        ("entries on this disk", record.entries_on_disk, wide.entries_on_disk, U16_MAX),
        ("entry count", record.entry_count, wide.entry_count, U16_MAX),
        ("directory size", record.central_directory_size, wide.central_directory_size, U32_MAX),
        (
            "directory offset",
            record.central_directory_offset,
            wide.central_directory_offset,
            U32_MAX,
        ),
    ):
        if narrow not in (deferred, full):
            raise BadArchive(
                f"End of central directory record at offset {position}: {field}: expected "
                f"{full} as in the Zip64 record, or {deferred}, found {narrow}"
            )


def _place(
    source: _Tail,
    position: int,
    *,
    end: int,
    size: int,
    offset: int,
    entry_count: int,
    is_zip64: bool,
) -> DirectoryLocation:
    """The directory of `size` bytes that ends at `end`; its recorded offset tells the base."""
    name = f"End of central directory record at offset {position}"
    start = end - size
    if start < 0:
        raise BadArchive(f"{name}: directory size: expected at most {end}, found {size}")
    base = start - offset
    if base < 0:
        raise BadArchive(f"{name}: directory offset: expected at most {start}, found {offset}")
    if entry_count * CENTRAL_DIRECTORY_HEADER_SIZE > size or (entry_count == 0 < size and is_zip64):
        raise BadArchive(
            f"{name}: entry count: expected at most {size // CENTRAL_DIRECTORY_HEADER_SIZE} "
            f"in {size} bytes of directory, found {entry_count}"
        )
    if size == 0 and base:
        # Any object that ends in 22 such bytes would else be an empty directory.
        raise BadArchive(f"{name}: expected an empty archive to begin at 0, found it at {base}")
    if size and start >= source.start and not source.has(start, CENTRAL_DIRECTORY_HEADER_SIGNATURE):
        raise BadArchive(
            f"Central directory header at offset {start}: expected signature "
            f"{CENTRAL_DIRECTORY_HEADER_SIGNATURE!r}, found {bytes(source.at(start)[:4])!r}"
        )
    return DirectoryLocation(start, end, entry_count, base, is_zip64)


def _sole_directory(
    source: _Tail, position: int, location: DirectoryLocation
) -> DirectoryLocation | MoreNeeded:
    """Refuse a second directory where the recorded offset points without the base (ZipDiff C4).

    Whoever takes offsets for absolute reads that one, and whoever takes the directory for adjacent
    reads this one. Not looked for where it would take more than a mebibyte.
    """
    recorded = location.start - location.base
    if not location.base:
        return location
    if recorded < source.start:
        enough = source.object_size - recorded <= _PREFIXED_TAIL_BYTES
        return MoreNeeded(recorded, source.object_size) if enough else location
    if source.has(recorded, CENTRAL_DIRECTORY_HEADER_SIGNATURE):
        raise BadArchive(
            f"End of central directory record at offset {position}: expected one directory, found "
            f"one at {location.start} before it and one at {recorded} as recorded: two readers "
            "would see two archives"
        )
    return location
