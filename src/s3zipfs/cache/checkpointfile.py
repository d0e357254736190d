"""Checkpoints of large deflated members on disk, in the folder of indexes.

A file is, little endian and without padding:

    magic 8 | format 4 | hash of what it belongs to 20 | length 8 | CRC-32 of all else 4 | payload
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
from collections.abc import Callable
from functools import partial
from typing import Any, Final, TypeVar

from isal import isal_zlib

from s3zipfs.cache.indexfolder import IndexFolder, UnusableError, identity_of_version
from s3zipfs.stores.base import ObjectInfo
from s3zipfs.zipformat.member import Member

T = TypeVar("T")

# To be raised with every change of the layout here, or of the payload's (`archive.checkpoints`).
FORMAT: Final = 1

_MAGIC: Final = b"s3zipfsD"
_HEAD: Final = struct.Struct("<8sI20sQ")
_CRC: Final = struct.Struct("<I")
_LONGEST: Final = 64 << 20  # bytes of payload


class PersistedCheckpoints:
    """One file for each member; nothing here raises for the disk's sake (`IndexFolder`)."""

    def __init__(self, folder: IndexFolder) -> None:
        self._folder = folder

    def open(self, info: ObjectInfo, member: Member, parse: Callable[[memoryview], T]) -> T | None:
        """What `parse` makes of the payload; None where there is none to be had.

        `parse` raises ValueError for what it can't use; the file is removed then.
        """
        identity = _identity(info, member)
        return self._folder.open(identity, partial(_read, digest=_digest(identity), parse=parse))

    def save(self, info: ObjectInfo, member: Member, payload: bytes) -> bool:
        """Write a payload; whether it is there now."""
        identity = _identity(info, member)
        head = _HEAD.pack(_MAGIC, FORMAT, _digest(identity), len(payload))
        crc32 = isal_zlib.crc32(payload, isal_zlib.crc32(head))
        content = b"".join((head, _CRC.pack(crc32), payload))
        return self._folder.save(identity, len(content), partial(_write, content=content))


def _identity(info: ObjectInfo, member: Member) -> dict[str, Any]:
    return {
        "checkpoints": FORMAT,
        **identity_of_version(info),
        "local_header": member.local_header_offset,
        "compressed_size": member.compressed_size,
        "uncompressed_size": member.uncompressed_size,
        "crc32": member.crc32,
    }


def _digest(identity: dict[str, Any]) -> bytes:
    encoded = json.dumps(identity, sort_keys=True).encode()
    return hashlib.blake2b(encoded, digest_size=20).digest()


def _read(descriptor: int, digest: bytes, parse: Callable[[memoryview], T]) -> T:
    start = os.pread(descriptor, _HEAD.size + _CRC.size, 0)
    if len(start) < _HEAD.size + _CRC.size:
        raise UnusableError("too short for a header")
    magic, number, found, length = _HEAD.unpack_from(start)
    if magic != _MAGIC or number != FORMAT:
        raise UnusableError("not checkpoints of this format")
    if found != digest or length > _LONGEST:
        raise UnusableError("of another member")
    payload = os.pread(descriptor, length + 1, len(start))
    if len(payload) != length:
        raise UnusableError(f"{length} bytes expected, {len(payload)} found")
    head = start[: _HEAD.size]
    if _CRC.unpack_from(start, _HEAD.size)[0] != isal_zlib.crc32(payload, isal_zlib.crc32(head)):
        raise UnusableError("checksum differs")
    try:
        return parse(memoryview(payload))
    except ValueError as error:
        raise UnusableError(f"not understood: {error}") from error


def _write(descriptor: int, content: bytes) -> None:
    left = memoryview(content)
    while left:
        left = left[os.write(descriptor, left) :]
