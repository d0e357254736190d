"""The records of the zip format, one dataclass and one `parse_` each (APPNOTE 6.3.10).

Pure: bytes in, values out. `offset` is always the record's absolute place in the object, and
serves the message only: each rejection names the record, the offset, what was expected and what
was found.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from s3zipfs.errors import BadArchive, BadMember
from s3zipfs.zipformat.member import ENCRYPTED_FLAGS, FLAG_DATA_DESCRIPTOR, Member
from s3zipfs.zipformat.methods import method_name

U16_MAX: Final = 0xFFFF
U32_MAX: Final = 0xFFFFFFFF

END_OF_CENTRAL_DIRECTORY_SIGNATURE: Final = b"PK\x05\x06"
ZIP64_LOCATOR_SIGNATURE: Final = b"PK\x06\x07"
ZIP64_END_OF_CENTRAL_DIRECTORY_SIGNATURE: Final = b"PK\x06\x06"
CENTRAL_DIRECTORY_HEADER_SIGNATURE: Final = b"PK\x01\x02"
LOCAL_FILE_HEADER_SIGNATURE: Final = b"PK\x03\x04"
DIGITAL_SIGNATURE_SIGNATURE: Final = b"PK\x05\x05"

ZIP64_EXTRA: Final = 0x0001  # APPNOTE 4.5.3

_END_OF_CENTRAL_DIRECTORY = struct.Struct("<4s4H2LH")
_ZIP64_LOCATOR = struct.Struct("<4sLQL")
_ZIP64_END_OF_CENTRAL_DIRECTORY = struct.Struct("<4sQ2H2L4Q")
_CENTRAL_DIRECTORY_HEADER = struct.Struct("<4s6H3L5H2L")
_LOCAL_FILE_HEADER = struct.Struct("<4s5H3L2H")

END_OF_CENTRAL_DIRECTORY_SIZE: Final = _END_OF_CENTRAL_DIRECTORY.size  # 22
ZIP64_LOCATOR_SIZE: Final = _ZIP64_LOCATOR.size  # 20
ZIP64_END_OF_CENTRAL_DIRECTORY_SIZE: Final = _ZIP64_END_OF_CENTRAL_DIRECTORY.size  # 56
CENTRAL_DIRECTORY_HEADER_SIZE: Final = _CENTRAL_DIRECTORY_HEADER.size  # 46
LOCAL_FILE_HEADER_SIZE: Final = _LOCAL_FILE_HEADER.size  # 30

# Local extras seen in life: Info-ZIP times and ids 28, Zip64 20, zipalign up to 4 KiB (rare).
LOCAL_EXTRA_SLACK: Final = 256


@dataclass(frozen=True, slots=True)
class MoreNeeded:
    """The bytes in hand do not decide: read `[start, end)` and ask again.

    Of the object for its tail, relative to the header for a local header: as was asked.
    """

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class EndOfCentralDirectoryRecord:
    """APPNOTE 4.3.16. Values are the record's own; 0xFFFF and 0xFFFFFFFF defer to Zip64."""

    disk_number: int  # 4.4.19
    central_directory_disk: int  # 4.4.20
    entries_on_disk: int  # 4.4.21
    entry_count: int  # 4.4.22
    central_directory_size: int  # 4.4.23
    central_directory_offset: int  # 4.4.24
    comment_length: int  # 4.4.25


@dataclass(frozen=True, slots=True)
class Zip64EndOfCentralDirectoryLocator:
    """APPNOTE 4.3.15."""

    record_disk: int
    record_offset: int  # relative to the archive's start, as all offsets of the format
    disk_count: int


@dataclass(frozen=True, slots=True)
class Zip64EndOfCentralDirectoryRecord:
    """APPNOTE 4.3.14."""

    record_size: int  # whole record: the field of 4.3.14.1 plus its leading 12 bytes
    version_made_by: int  # 4.4.2
    version_needed: int  # 4.4.3
    disk_number: int
    central_directory_disk: int
    entries_on_disk: int
    entry_count: int
    central_directory_size: int
    central_directory_offset: int


@dataclass(frozen=True, slots=True)
class CentralDirectoryHeader:
    """APPNOTE 4.3.12, one record; `scan` reads whole directories by the same layout."""

    version_made_by: int  # 4.4.2
    version_needed: int  # 4.4.3
    flags: int  # 4.4.4
    method: int  # 4.4.5
    modified_time: int  # 4.4.6, MS-DOS
    modified_date: int
    crc32: int  # 4.4.7
    compressed_size: int  # 4.4.8
    uncompressed_size: int  # 4.4.9
    disk_number_start: int  # 4.4.13
    internal_attributes: int  # 4.4.14
    external_attributes: int  # 4.4.15
    local_header_offset: int  # 4.4.16
    name: bytes
    extra: bytes
    comment: bytes


@dataclass(frozen=True, slots=True)
class LocalFileHeader:
    """APPNOTE 4.3.7."""

    version_needed: int
    flags: int
    method: int
    modified_time: int
    modified_date: int
    crc32: int
    compressed_size: int
    uncompressed_size: int
    name: bytes
    extra: bytes


def _unpack(
    layout: struct.Struct, data: memoryview, *, record: str, offset: int, signature: bytes
) -> tuple[int, ...]:
    if len(data) < layout.size:
        raise BadArchive(
            f"{record} at offset {offset}: expected {layout.size} bytes, found {len(data)}"
        )
    found, *fields = layout.unpack_from(data)
    if found != signature:
        raise BadArchive(
            f"{record} at offset {offset}: expected signature {signature!r}, found {found!r}"
        )
    return tuple(fields)


def parse_end_of_central_directory_record(
    data: memoryview, *, offset: int
) -> EndOfCentralDirectoryRecord:
    """Read the record that `data` begins with; raises BadArchive."""
    return EndOfCentralDirectoryRecord(
        *_unpack(
            _END_OF_CENTRAL_DIRECTORY,
            data,
            record="End of central directory record",
            offset=offset,
            signature=END_OF_CENTRAL_DIRECTORY_SIGNATURE,
        )
    )


def parse_zip64_locator(data: memoryview, *, offset: int) -> Zip64EndOfCentralDirectoryLocator:
    """Read the locator that `data` begins with; raises BadArchive."""
    return Zip64EndOfCentralDirectoryLocator(
        *_unpack(
            _ZIP64_LOCATOR,
            data,
            record="Zip64 end of central directory locator",
            offset=offset,
            signature=ZIP64_LOCATOR_SIGNATURE,
        )
    )


def parse_zip64_end_of_central_directory_record(
    data: memoryview, *, offset: int
) -> Zip64EndOfCentralDirectoryRecord:
    """Read the record that `data` begins with; raises BadArchive."""
    size, *rest = _unpack(
        _ZIP64_END_OF_CENTRAL_DIRECTORY,
        data,
        record="Zip64 end of central directory record",
        offset=offset,
        signature=ZIP64_END_OF_CENTRAL_DIRECTORY_SIGNATURE,
    )
    return Zip64EndOfCentralDirectoryRecord(size + 12, *rest)


def parse_central_directory_header(data: memoryview, *, offset: int) -> CentralDirectoryHeader:
    """Read the header that `data` begins with; raises BadArchive."""
    record = "Central directory header"
    (
        version_made_by, version_needed, flags, method, modified_time, modified_date, crc32,
        compressed_size, uncompressed_size, name_length, extra_length, comment_length,
        disk_number_start, internal_attributes, external_attributes, local_header_offset,
    ) = _unpack(
        _CENTRAL_DIRECTORY_HEADER,
        data,
        record=record,
        offset=offset,
        signature=CENTRAL_DIRECTORY_HEADER_SIGNATURE,
    )  # fmt: skip
    name_end = CENTRAL_DIRECTORY_HEADER_SIZE + name_length
    extra_end = name_end + extra_length
    end = extra_end + comment_length
    if len(data) < end:
        raise BadArchive(f"{record} at offset {offset}: expected {end} bytes, found {len(data)}")
    return CentralDirectoryHeader(
        version_made_by=version_made_by,
        version_needed=version_needed,
        flags=flags,
        method=method,
        modified_time=modified_time,
        modified_date=modified_date,
        crc32=crc32,
        compressed_size=compressed_size,
        uncompressed_size=uncompressed_size,
        disk_number_start=disk_number_start,
        internal_attributes=internal_attributes,
        external_attributes=external_attributes,
        local_header_offset=local_header_offset,
        name=bytes(data[CENTRAL_DIRECTORY_HEADER_SIZE:name_end]),
        extra=bytes(data[name_end:extra_end]),
        comment=bytes(data[extra_end:end]),
    )


def parse_local_file_header(
    data: memoryview, *, offset: int
) -> tuple[LocalFileHeader, int] | MoreNeeded:
    """Read the header that `data` begins with, and the number of bytes that it takes.

    Raises:
        BadMember: it does not begin with the signature.
    """
    if len(data) < LOCAL_FILE_HEADER_SIZE:
        return MoreNeeded(0, LOCAL_FILE_HEADER_SIZE)
    (
        signature, version_needed, flags, method, modified_time, modified_date, crc32,
        compressed_size, uncompressed_size, name_length, extra_length,
    ) = _LOCAL_FILE_HEADER.unpack_from(data)  # fmt: skip
    if signature != LOCAL_FILE_HEADER_SIGNATURE:
        raise BadMember(
            f"Local file header at offset {offset}: expected signature "
            f"{LOCAL_FILE_HEADER_SIGNATURE!r}, found {signature!r}"
        )
    name_end = LOCAL_FILE_HEADER_SIZE + name_length
    end = name_end + extra_length
    if len(data) < end:
        return MoreNeeded(0, end)
    header = LocalFileHeader(
        version_needed=version_needed,
        flags=flags,
        method=method,
        modified_time=modified_time,
        modified_date=modified_date,
        crc32=crc32,
        compressed_size=compressed_size,
        uncompressed_size=uncompressed_size,
        name=bytes(data[LOCAL_FILE_HEADER_SIZE:name_end]),
        extra=bytes(data[name_end:end]),
    )
    return header, end


def local_header_span(member: Member) -> int:
    """How many bytes from `local_header_offset` on are fairly sure to hold the local header."""
    return LOCAL_FILE_HEADER_SIZE + len(member.raw_name) + LOCAL_EXTRA_SLACK


def parse_local_header(data: memoryview, member: Member) -> int | MoreNeeded:
    """Verify the local header against the central directory; where the member's data begins.

    Args:
        data: bytes of the object from `member.local_header_offset` on, as many as are in hand.
        member: what the central directory says.

    Returns:
        The data's offset relative to the local header (30 + n + m), or the range to read,
        relative to the local header too.

    Raises:
        BadMember: signature, name or encryption differ; or, without bit 3, the method, a size or
            the CRC. With bit 3 the central directory wins (APPNOTE 4.4.4), and the CRC decides.
    """
    offset = member.local_header_offset
    if member.damaged is not None:
        raise BadMember(f"{_printable(member.raw_name)}: {member.damaged}")
    parsed = parse_local_file_header(data, offset=offset)
    if isinstance(parsed, MoreNeeded):
        return parsed
    header, end = parsed
    checks: list[tuple[str, object, object]] = [
        ("name", member.raw_name, header.name),
        ("encryption", bool(member.flags & ENCRYPTED_FLAGS), bool(header.flags & ENCRYPTED_FLAGS)),
    ]
    if not header.flags & FLAG_DATA_DESCRIPTOR:
        compressed, uncompressed = _local_sizes(header)
        checks += [
            ("method", method_name(member.method), method_name(header.method)),
            ("CRC-32", f"{member.crc32:#010x}", f"{header.crc32:#010x}"),
            ("compressed size", member.compressed_size, compressed),
            ("uncompressed size", member.uncompressed_size, uncompressed),
        ]
    for field, expected, found in checks:
        if expected != found:
            raise BadMember(
                f"Local file header of {_printable(member.raw_name)} at offset {offset}: "
                f"{field}: expected {expected!r} as in the central directory, found {found!r}"
            )
    return end


def _local_sizes(header: LocalFileHeader) -> tuple[int, int]:
    """Compressed and uncompressed size; in a local header Zip64 holds both (APPNOTE 4.5.3)."""
    compressed, uncompressed = header.compressed_size, header.uncompressed_size
    if U32_MAX in (compressed, uncompressed):
        at = 0
        while at + 4 <= len(header.extra):
            identifier, size = struct.unpack_from("<2H", header.extra, at)
            if identifier == ZIP64_EXTRA and size >= 16 and at + 20 <= len(header.extra):
                wide_uncompressed, wide_compressed = struct.unpack_from("<2Q", header.extra, at + 4)
                if uncompressed == U32_MAX:
                    uncompressed = wide_uncompressed
                if compressed == U32_MAX:
                    compressed = wide_compressed
                break
            at += 4 + size
    return compressed, uncompressed


def _printable(name: bytes) -> str:
    return repr(name.decode("utf-8", "backslashreplace"))
