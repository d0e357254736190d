"""Compressed data of every method that is read, made by the libraries themselves."""

from __future__ import annotations

import bz2
import lzma
import struct
import sys
import zlib
from collections.abc import Callable
from typing import Any, cast

import inflate64
from corpus.raw_zip import Entry

from s3zipfs.zipformat import methods

if sys.version_info >= (3, 14):
    from compression import zstd as zstd  # noqa: PLC0414 - for tests to import
else:
    from backports import zstd as zstd  # noqa: PLC0414 - for tests to import

LZMA_END_MARKER = 1 << 1  # APPNOTE 4.4.4


def deflate(content: bytes) -> bytes:
    packer = zlib.compressobj(6, zlib.DEFLATED, -15)
    return packer.compress(content) + packer.flush()


def deflate64(content: bytes) -> bytes:
    packer = inflate64.Deflater()
    return cast("bytes", packer.deflate(content) + packer.flush())


def bzip2(content: bytes) -> bytes:
    return bz2.compress(content, 1)


def lzma1(content: bytes, **options: int) -> bytes:
    """With an end marker, which this library always writes: flag bit 1 has to be set."""
    filters: list[dict[str, Any]] = [{"id": lzma.FILTER_LZMA1, "preset": 1, **options}]
    properties = lzma._encode_filter_properties(filters[0])  # type: ignore[attr-defined]
    header = struct.pack("<BBH", 9, 4, len(properties)) + properties
    packed: bytes = header + lzma.compress(content, lzma.FORMAT_RAW, filters=filters)
    return packed


def xz(content: bytes, **options: int) -> bytes:
    return lzma.compress(
        content, filters=[{"id": lzma.FILTER_LZMA2, "preset": 1, **options}], check=lzma.CHECK_CRC32
    )


def zstandard(content: bytes) -> bytes:
    return zstd.compress(content, 1)


PACK: dict[int, Callable[[bytes], bytes]] = {
    methods.STORED: bytes,
    methods.DEFLATED: deflate,
    methods.DEFLATE64: deflate64,
    methods.BZIP2: bzip2,
    methods.LZMA: lzma1,
    methods.ZSTANDARD_DEPRECATED: zstandard,
    methods.ZSTANDARD: zstandard,
    methods.XZ: xz,
}
COMPRESSED = [number for number in PACK if number != methods.STORED]


def flags(method: int) -> int:
    return LZMA_END_MARKER if method == methods.LZMA else 0


def entry(name: bytes, content: bytes, method: int, **fields: Any) -> Entry:
    """A member of `content`, for `corpus.raw_zip.write_zip`."""
    fields = {"body": PACK[method](content), "flags": flags(method), **fields}
    return Entry(name, content, method, **fields)
