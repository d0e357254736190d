"""The file of one index: written, verified, mapped.

Little endian, columns aligned to 64 bytes:

    magic 8 | format 4 | length of the header 4 | CRC-32 of the header 4 | header: JSON | columns

The header says of what the index is, and has for each column its type, length, offset and CRC-32.
All of it is verified before the first use, by reading and not through the mapping, so that only
what is used is mapped into this process: 70 MB take 5 ms from the kernel's cache, 25 ms from an
SSD. So a file is written without fsync: a torn one fails its checksums.
"""

from __future__ import annotations

import ctypes
import json
import mmap
import os
import stat
import struct
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

from s3zipfs.cache.indexfolder import UnusableError
from s3zipfs.zipformat.index import COLUMNS, Columns, MemberIndex

Arrays: TypeAlias = dict[str, NDArray[Any]]

# To be raised with every change of the layout here, or of what `zipformat` makes of a directory:
# a test compares a fingerprint of its columns.
FORMAT: Final = 1

# Smaller files are read into memory: a mapping holds one of the process's descriptors.
SMALLEST_MAPPED: Final = 4 << 20

_MAGIC: Final = b"s3zipfsX"
_START: Final = struct.Struct("<8sIII")
_LONGEST_HEADER: Final = 1 << 20
_ALIGNMENT: Final = 64
# A line of the table has five fields of at most 20 digits or characters, and is punctuated.
_LONGEST_COLUMN_TABLE: Final = 512 + 128 * len(COLUMNS)
_PIECE: Final = 1 << 20  # bytes verified at once: they stay in the processor's cache
_WRITE: Final = 8 << 20  # bytes written at once
_TYPES: Final = frozenset({"|u1", "<u2", "<u4", "<u8", "<f8"})

# statfs(2): local file systems, on which an unlinked file stays whole for who has it open.
_LOCAL: Final = frozenset(
    {
        0xEF53,  # ext2, ext3, ext4
        0x58465342,  # XFS
        0x9123683E,  # Btrfs
        0x01021994,  # tmpfs
        0x2FC12FC1,  # ZFS
        0xF2F52010,  # F2FS
        0xCA451A4E,  # bcachefs
        0x794C7630,  # overlayfs
    }
)


@dataclass(frozen=True, slots=True)
class Opened:
    """An index from disk, and the bytes of this process's own memory that it takes: 0 if mapped."""

    index: MemberIndex
    resident: int

    @property
    def is_mapped(self) -> bool:
        """Whether its columns are the kernel's pages of the file."""
        return self.resident == 0


@dataclass(frozen=True, slots=True)
class _Column:
    name: str
    dtype: str
    length: int  # elements
    offset: int  # in the file
    crc32: int

    @property
    def end(self) -> int:
        return self.offset + self.length * np.dtype(self.dtype).itemsize


@dataclass(frozen=True, slots=True)
class Header:
    """Of what the index is, and where its columns stand."""

    identity: dict[str, Any]
    member_count: int
    hidden_count: int
    duplicate_count: int
    columns: tuple[_Column, ...]

    @property
    def file_size(self) -> int:
        """Bytes of the whole file: it ends with its last column."""
        return max(column.end for column in self.columns)


# Writing


def describe(identity: dict[str, Any], index: MemberIndex) -> tuple[Header, Arrays]:
    """The header of an index's file, and its columns as they are to be written."""
    arrays = {name: np.ascontiguousarray(index.columns[name]) for name in COLUMNS}
    arrays = {n: a.astype(a.dtype.newbyteorder("<"), copy=False) for n, a in arrays.items()}
    columns = []
    offset = _START.size + _LONGEST_COLUMN_TABLE + len(json.dumps(identity))
    for name, array in arrays.items():
        offset = -(-offset // _ALIGNMENT) * _ALIGNMENT
        crc32 = isal_zlib.crc32(array.data.cast("B"))
        columns.append(_Column(name, array.dtype.str, len(array), offset, crc32))
        offset = columns[-1].end
    header = Header(
        identity, index.member_count, index.hidden_count, index.duplicate_count, tuple(columns)
    )
    return header, arrays


def write_file(descriptor: int, header: Header, columns: Arrays) -> None:
    """Write a whole file, of what `describe` gave."""
    _write_all(descriptor, 0, memoryview(_encode(header)))
    for column in header.columns:
        _write_all(descriptor, column.offset, columns[column.name].data)


def _encode(header: Header) -> bytes:
    text = json.dumps(
        {
            "identity": header.identity,
            "counts": [header.member_count, header.hidden_count, header.duplicate_count],
            "columns": [[c.name, c.dtype, c.length, c.offset, c.crc32] for c in header.columns],
        }
    ).encode()
    return _START.pack(_MAGIC, FORMAT, len(text), isal_zlib.crc32(text)) + text


def _write_all(descriptor: int, offset: int, data: memoryview) -> None:
    left = data.cast("B")
    while left:
        written = os.pwrite(descriptor, left[:_WRITE], offset)
        offset += written
        left = left[written:]


# Reading


def read_file(descriptor: int, identity: dict[str, Any]) -> Opened:
    """The index in an open file, verified. The descriptor is of no further use.

    Raises:
        UnusableError: another format, another identity, or damage.
        OSError: the disk failed, or there is no memory to map it.
    """
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        raise UnusableError("not a file")
    header = _read_header(descriptor, status.st_size, identity)
    if header.file_size != status.st_size:
        raise UnusableError(f"{header.file_size} bytes expected, {status.st_size} found")
    content: mmap.mmap | NDArray[np.uint8]
    if status.st_size >= SMALLEST_MAPPED and is_local(descriptor):
        _verify_file(descriptor, header)
        content, resident = mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ), 0
    else:
        content, resident = _read_all(descriptor, status.st_size), status.st_size
        _verify_memory(content, header)
    arrays = {
        c.name: np.frombuffer(content, np.dtype(c.dtype), c.length, c.offset)
        for c in header.columns
    }
    columns = Columns(arrays, header.member_count, header.hidden_count, header.duplicate_count)
    return Opened(MemberIndex(columns), resident)


def _read_header(descriptor: int, size: int, identity: dict[str, Any]) -> Header:
    start = os.pread(descriptor, _START.size, 0)
    if len(start) < _START.size:
        raise UnusableError("too short for a header")
    magic, number, length, crc32 = _START.unpack(start)
    if magic != _MAGIC or number != FORMAT or length > _LONGEST_HEADER:
        raise UnusableError(f"format {number}, not {FORMAT}" if magic == _MAGIC else "not ours")
    text = os.pread(descriptor, length, _START.size)
    if len(text) != length or isal_zlib.crc32(text) != crc32:
        raise UnusableError("header damaged")
    try:
        decoded = json.loads(text)
        counts = [int(number) for number in decoded["counts"]]
        columns = tuple(_Column(*line) for line in decoded["columns"])
        header = Header(decoded["identity"], counts[0], counts[1], counts[2], columns)
    except (ValueError, TypeError, LookupError) as error:
        raise UnusableError(f"header not understood: {error}") from error
    if header.identity != identity:
        raise UnusableError("of another object, version or encoding")
    _check_columns(header, size)
    return header


def _check_columns(header: Header, size: int) -> None:
    """That `MemberIndex` may believe the columns' types and lengths."""
    lengths = {c.name: c.length for c in header.columns}
    nodes = lengths.get("modes", 0)
    expected = dict.fromkeys(COLUMNS, nodes)
    expected |= {"names": lengths.get("names", -1), "child_start": nodes + 1}
    if lengths != expected or len(header.columns) != len(COLUMNS):
        raise UnusableError("columns missing, or of different lengths")
    for column in header.columns:
        if column.dtype not in _TYPES or not np.dtype(column.dtype).isnative:
            raise UnusableError(f"{column.name}: type {column.dtype}")
        if column.offset % _ALIGNMENT or not _START.size <= column.offset <= column.end <= size:
            raise UnusableError(f"{column.name}: at {column.offset} to {column.end} of {size}")


def _read_all(descriptor: int, size: int) -> NDArray[np.uint8]:
    content = np.empty(size, np.uint8)
    at = 0
    while at < size:
        got = os.preadv(descriptor, [content[at:].data], at)
        if got == 0:
            raise UnusableError("truncated")
        at += got
    return content


def _verify_file(descriptor: int, header: Header) -> None:
    piece = memoryview(bytearray(_PIECE))
    for column in header.columns:
        crc32, at = 0, column.offset
        while at < column.end:
            got = os.preadv(descriptor, [piece[: min(_PIECE, column.end - at)]], at)
            if got == 0:
                raise UnusableError("truncated")
            crc32 = isal_zlib.crc32(piece[:got], crc32)
            at += got
        if crc32 != column.crc32:
            raise UnusableError(f"{column.name}: checksum differs")


def _verify_memory(content: NDArray[np.uint8], header: Header) -> None:
    for column in header.columns:
        if isal_zlib.crc32(content[column.offset : column.end].data) != column.crc32:
            raise UnusableError(f"{column.name}: checksum differs")


def is_local(descriptor: int) -> bool:
    """Whether the file system keeps an unlinked file for who has it open; fstatfs(2)."""
    answer = (ctypes.c_long * 32)()  # struct statfs begins with f_type; 120 bytes of it are used
    if ctypes.CDLL(None).fstatfs(descriptor, answer) != 0:
        return False
    return answer[0] & 0xFFFFFFFF in _LOCAL
