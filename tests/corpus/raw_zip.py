"""Write zips field by field, so that any field may lie. Nothing is checked here.

`Entry` holds one member as its two headers tell of it: a `local_` field that is None repeats the
central one. `write_zip` lays members, directory and end records out.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeVar

U16 = 0xFFFF
U32 = 0xFFFFFFFF
UNIX = 3

_T = TypeVar("_T", int, bytes)


@dataclass
class Entry:
    """One member; by default a stored file from a Unix host."""

    name: bytes
    data: bytes = b""  # uncompressed
    method: int = 0
    body: bytes | None = None  # as it stands in the archive; None: `data` under `method`
    flags: int = 0
    host: int = UNIX
    attributes: int = 0o100644 << 16
    date: int = (44 << 9) | (5 << 5) | 17  # 2024-05-17
    time: int = (12 << 11) | (34 << 5) | (56 // 2)  # 12:34:56
    extra: bytes = b""
    comment: bytes = b""
    disk: int = 0
    crc: int | None = None
    compressed_size: int | None = None
    uncompressed_size: int | None = None
    offset: int | None = None
    local_signature: bytes = b"PK\x03\x04"
    local_name: bytes | None = None
    local_method: int | None = None
    local_flags: int | None = None
    local_crc: int | None = None
    local_compressed_size: int | None = None
    local_uncompressed_size: int | None = None
    local_extra: bytes = b""
    descriptor: bytes = b""

    def stored_body(self) -> bytes:
        if self.body is not None:
            return self.body
        if self.method == 8:
            packer = zlib.compressobj(wbits=-15)
            return packer.compress(self.data) + packer.flush()
        return self.data

    def sizes(self) -> tuple[int, int, int]:
        crc = zlib.crc32(self.data) if self.crc is None else self.crc
        packed = len(self.stored_body()) if self.compressed_size is None else self.compressed_size
        full = len(self.data) if self.uncompressed_size is None else self.uncompressed_size
        return crc, packed, full

    def local(self) -> bytes:
        crc, packed, full = self.sizes()
        name = _or(self.local_name, self.name)
        header = struct.pack(
            "<4s5H3L2H",
            self.local_signature,
            20,
            _or(self.local_flags, self.flags),
            _or(self.local_method, self.method),
            self.time,
            self.date,
            _or(self.local_crc, crc),
            _or(self.local_compressed_size, min(packed, U32)),
            _or(self.local_uncompressed_size, min(full, U32)),
            len(name),
            len(self.local_extra),
        )
        return header + name + self.local_extra + self.stored_body() + self.descriptor

    def central(self, offset: int) -> bytes:
        crc, packed, full = self.sizes()
        header = struct.pack(
            "<4s6H3L5H2L",
            b"PK\x01\x02",
            self.host << 8 | 30,
            20,
            self.flags,
            self.method,
            self.time,
            self.date,
            crc,
            min(packed, U32),
            min(full, U32),
            len(self.name),
            len(self.extra),
            len(self.comment),
            self.disk,
            0,
            self.attributes,
            _or(self.offset, offset),
        )
        return header + self.name + self.extra + self.comment


@dataclass
class End:
    """End records; None: the truth."""

    comment: bytes = b""
    comment_length: int | None = None
    entries_on_disk: int | None = None
    entry_count: int | None = None
    size: int | None = None
    offset: int | None = None
    disk: int = 0
    directory_disk: int = 0
    zip64: bool = False
    zip64_record_offset: int | None = None
    zip64_entry_count: int | None = None
    zip64_size: int | None = None
    zip64_offset: int | None = None
    zip64_extensible: bytes = b""
    disk_count: int = 1
    gap: bytes = b""  # between directory and end records


@dataclass
class Layout:
    """Around the archive."""

    prefix: bytes = b""
    junk: bytes = b""  # after the end
    gap: bytes = b""  # between the members and the directory
    end: End = field(default_factory=End)


def write_zip(entries: Sequence[Entry], layout: Layout | None = None) -> bytes:
    """The archive's bytes; offsets do not count the prefix, as in a self-extracting archive."""
    layout = layout or Layout()
    body, directory = bytearray(), bytearray()
    for entry in entries:
        directory += entry.central(len(body))
        body += entry.local()
    body += layout.gap
    end = end_records(layout.end, len(entries), len(body), len(directory))
    return layout.prefix + bytes(body) + bytes(directory) + end + layout.junk


def end_records(end: End, count: int, offset: int, size: int) -> bytes:
    """Zip64 record and locator where wanted, and the end of central directory record."""
    out = end.gap
    if end.zip64:
        record_at = offset + size + len(out)
        out += struct.pack(
            "<4sQ2H2L4Q",
            b"PK\x06\x06",
            44 + len(end.zip64_extensible),
            45,
            45,
            end.disk,
            end.directory_disk,
            _or(end.zip64_entry_count, count),
            _or(end.zip64_entry_count, count),
            _or(end.zip64_size, size),
            _or(end.zip64_offset, offset),
        )
        out += end.zip64_extensible
        out += struct.pack(
            "<4sLQL", b"PK\x06\x07", 0, _or(end.zip64_record_offset, record_at), end.disk_count
        )
    narrow = end.zip64
    out += struct.pack(
        "<4s4H2LH",
        b"PK\x05\x06",
        end.disk,
        end.directory_disk,
        _or(end.entries_on_disk, U16 if narrow else _or(end.entry_count, count) & U16),
        _or(end.entry_count, U16 if narrow else count & U16),
        _or(end.size, U32 if narrow else size),
        _or(end.offset, U32 if narrow else offset),
        _or(end.comment_length, len(end.comment)),
    )
    return out + end.comment


def extra(identifier: int, data: bytes) -> bytes:
    """One extra field (APPNOTE 4.5.1)."""
    return struct.pack("<2H", identifier, len(data)) + data


def zip64_extra(*values: int) -> bytes:
    """The Zip64 extra with the values given, 8 bytes each (APPNOTE 4.5.3)."""
    return extra(0x0001, struct.pack(f"<{len(values)}Q", *values))


def unicode_path(raw: bytes, name: bytes, *, crc: int | None = None) -> bytes:
    """The extra 0x7075 (APPNOTE 4.6.9)."""
    return extra(0x7075, struct.pack("<BL", 1, zlib.crc32(raw) if crc is None else crc) + name)


def _or(value: _T | None, default: _T) -> _T:
    return default if value is None else value
