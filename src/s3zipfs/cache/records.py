"""A record of the cache on disk: one range of one object version, that says so and is checked.

Little endian, without padding:

    magic 8 | identity 20 | start 8 | length 4 | CRC-32 of the head 4 | CRC-32 of each chunk | data

The identity is a hash of what the bytes belong to. The head's checksum covers all before it and the
chunks' checksums. Chunks are 64 KiB, so that a small part of a large record is verified by reading
little more than that part.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from isal import isal_zlib

from s3zipfs.stores.base import ObjectId

FORMAT: Final = 1  # to be raised with every change of the layout here or in `blockindex`

CHUNK: Final = 64 << 10  # isal checks these at 30 GB/s, as fast as larger ones
LARGEST: Final = 16 << 20  # bytes of data; one GET brings half of it

_MAGIC: Final = b"s3zipfsB"
_HEAD: Final = struct.Struct("<8s20sQI")
_CRC: Final = struct.Struct("<I")


class DamagedRecordError(Exception):
    """Why a record is not what the index says."""


@dataclass(frozen=True, slots=True)
class Identity:
    """What a record belongs to, as it is written: in the record, and as the index's key."""

    digest: bytes
    key: int  # 64 bits of it, with a sign, as SQLite has integers


@lru_cache(maxsize=1024)
def identity_of(oid: ObjectId) -> Identity:
    """The identity of a version; another format is another identity."""
    text = json.dumps([FORMAT, oid.endpoint, oid.bucket, oid.key, oid.etag, oid.version_id])
    digest = hashlib.blake2b(text.encode(), digest_size=20).digest()
    return Identity(digest, int.from_bytes(digest[:8], "little", signed=True))


def head_size(length: int) -> int:
    """Bytes that stand before `length` bytes of data."""
    return _HEAD.size + _CRC.size * (1 + -(-length // CHUNK))


def encode_head(identity: Identity, start: int, data: memoryview) -> bytes:
    """What is to stand before the data."""
    fixed = _HEAD.pack(_MAGIC, identity.digest, start, len(data))
    chunks = range(0, len(data), CHUNK)
    table = b"".join(_CRC.pack(isal_zlib.crc32(data[at : at + CHUNK])) for at in chunks)
    return fixed + _CRC.pack(isal_zlib.crc32(table, isal_zlib.crc32(fixed))) + table


@dataclass(frozen=True, slots=True)
class Place:
    """Where the index says that the bytes `[start, end)` of a version stand."""

    start: int
    end: int
    segment: int
    offset: int  # of the head, in the segment

    @property
    def length(self) -> int:
        """Bytes of data."""
        return self.end - self.start


def read_record(
    descriptor: int, identity: Identity, place: Place, start: int, end: int
) -> memoryview:
    """The bytes `[start, end)` of the object, which lie within the record, verified.

    Raises:
        DamagedRecordError: it is cut, of something else, or its bytes have changed.
        OSError: the disk failed.
    """
    head = head_size(place.length)
    if start == place.start and end == place.end:
        # One read and no copy; a `bytes` of 8 MiB is filled at 6.5 GB/s, a new numpy array at 1.5.
        whole = _read(descriptor, head + place.length, place.offset)
        _check_head(whole[:head], identity, place)
        _check_chunks(whole[_HEAD.size + _CRC.size : head], whole[head:], place.start)
        return whole[head:]
    before = _read(descriptor, head, place.offset)
    _check_head(before, identity, place)
    first = (start - place.start) // CHUNK
    begin = first * CHUNK
    stop = min(place.length, -(-(end - place.start) // CHUNK) * CHUNK)
    data = _read(descriptor, stop - begin, place.offset + head + begin)
    _check_chunks(before[_HEAD.size + _CRC.size * (1 + first) :], data, place.start + begin)
    part = data[start - place.start - begin : end - place.start - begin]
    # What is kept must not hold much more memory than it has bytes.
    return part if 2 * len(part) > len(data) else memoryview(bytes(part))


def _read(descriptor: int, size: int, offset: int) -> memoryview:
    data = memoryview(os.pread(descriptor, size, offset))
    if len(data) != size:
        raise DamagedRecordError("truncated")
    return data


def _check_head(head: memoryview, identity: Identity, place: Place) -> None:
    fixed = _HEAD.pack(_MAGIC, identity.digest, place.start, place.length)
    if head[: _HEAD.size] != fixed:
        raise DamagedRecordError("of something else")
    table = head[_HEAD.size + _CRC.size :]
    if _CRC.unpack_from(head, _HEAD.size)[0] != isal_zlib.crc32(table, isal_zlib.crc32(fixed)):
        raise DamagedRecordError("its head is damaged")


def _check_chunks(table: memoryview, data: memoryview, start: int) -> None:
    for number, at in enumerate(range(0, len(data), CHUNK)):
        crc32 = isal_zlib.crc32(data[at : at + CHUNK])
        if crc32 != _CRC.unpack_from(table, number * _CRC.size)[0]:
            raise DamagedRecordError(f"checksum differs at {start + at}")
