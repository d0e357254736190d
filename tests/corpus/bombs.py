"""Zips that are far larger inside than outside, or say so; each function makes one object.

`BOMBS` says what each member is: read in full, whatever its size, or refused, in bounded memory.
"""

from __future__ import annotations

import bz2
import lzma
import struct
import zlib
from collections.abc import Callable
from functools import cache

from corpus.raw_zip import U16, End, Entry, end_records, write_zip, zip64_extra
from isal import isal_zlib
from packed import zstd

from s3zipfs.zipformat import methods

GIB = 1 << 30
QUARTER = GIB // 4  # for the methods that take seconds for a gibibyte
UNIT = 64 << 20  # bytes of zeros that are compressed once, and repeated


@cache
def crc_of_zeros(size: int) -> int:
    """CRC-32 of so many zeros, without reading them."""
    if size <= UNIT:
        return zlib.crc32(bytes(size))
    half = size // 2
    return isal_zlib.crc32_combine(crc_of_zeros(size - half), crc_of_zeros(half), half)


def _zeros(method: int, body: bytes, *, size: int = GIB, declared: int | None = None) -> bytes:
    """An archive with so many zeros, `body` under that method, and a small neighbour."""
    bomb = Entry(b"bomb", b"", method=method, body=body, crc=crc_of_zeros(size))
    bomb.uncompressed_size = size if declared is None else declared
    return write_zip([bomb, Entry(b"neighbour", b"whole")])


def _deflated_gibibyte() -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    unit = packer.compress(bytes(UNIT)) + packer.flush(zlib.Z_FULL_FLUSH)
    return unit * (GIB // UNIT) + packer.flush()


def deflate_bomb() -> bytes:
    """1 GiB in 1 MB."""
    return _zeros(methods.DEFLATED, _deflated_gibibyte())


def bzip2_bomb() -> bytes:
    """256 MiB in 400 bytes."""
    return _zeros(methods.BZIP2, bz2.compress(bytes(UNIT)) * (QUARTER // UNIT), size=QUARTER)


def zstd_bomb() -> bytes:
    """1 GiB in 33 KB."""
    return _zeros(methods.ZSTANDARD, zstd.compress(bytes(UNIT)) * (GIB // UNIT))


def xz_bomb() -> bytes:
    """256 MiB in 40 KB."""
    body = lzma.compress(bytes(UNIT), preset=0) * (QUARTER // UNIT)
    return _zeros(methods.XZ, body, size=QUARTER)


def deflate_bomb_that_says_1000_bytes() -> bytes:
    """More than is declared."""
    return _zeros(methods.DEFLATED, _deflated_gibibyte(), declared=1000)


def bzip2_bomb_that_says_1000_bytes() -> bytes:
    """More than is declared."""
    body = bz2.compress(bytes(UNIT)) * (GIB // UNIT)
    return _zeros(methods.BZIP2, body, declared=1000)


def zstd_bomb_that_says_1000_bytes() -> bytes:
    """More than is declared."""
    body = zstd.compress(bytes(UNIT)) * (GIB // UNIT)
    return _zeros(methods.ZSTANDARD, body, declared=1000)


def thousand_bytes_that_say_a_tebibyte() -> bytes:
    """Less than is declared."""
    packer = zlib.compressobj(wbits=-15)
    body = packer.compress(bytes(1000)) + packer.flush()
    entry = Entry(
        b"bomb",
        b"",
        method=methods.DEFLATED,
        body=body,
        crc=crc_of_zeros(1000),
        uncompressed_size=0xFFFFFFFF,
        extra=zip64_extra(1 << 40),
        local_extra=zip64_extra(1 << 40, len(body)),
    )
    return write_zip([entry, Entry(b"neighbour", b"whole")])


def quoted_overlap() -> bytes:
    """Fifield's: before the kernel each member's data quotes the header of the next one.

    A quotation is a stored block of deflate (RFC 1951, 3.2.4), and the data goes on in the next
    member's own.
    """
    entries = [Entry(b"kernel", bytes(1 << 20), method=methods.DEFLATED)]
    body = entries[0].local()
    for number in range(250):
        inner = entries[-1]
        header = body[: 30 + len(inner.name)]
        length = len(header)
        block = struct.pack("<B2H", 0, length, length ^ U16) + header
        data = header + inner.data
        packed = block + inner.stored_body()
        entries.append(Entry(b"%04d" % number, data, method=methods.DEFLATED, body=packed))
        body = entries[-1].local()
    directory, at = b"", 0
    for entry in reversed(entries):
        directory += entry.central(at)
        at += 30 + len(entry.name) + 5  # to the header that its first block quotes
    return body + directory + end_records(End(), len(entries), len(body), len(directory))


def full_overlap() -> bytes:
    """CVE-2024-0450: a thousand names of one member's bytes."""
    kernel = Entry(b"0000", bytes(1 << 20), method=8)
    body = kernel.local()
    crc, packed, full = kernel.sizes()
    names = [b"%04d" % number for number in range(1000)]
    directory = b"".join(
        Entry(name, method=8, crc=crc, compressed_size=packed, uncompressed_size=full).central(0)
        for name in names
    )
    return body + directory + end_records(End(), len(names), len(body), len(directory))


WHOLE = f"{GIB} {crc_of_zeros(GIB):08x}"
WHOLE_QUARTER = f"{QUARTER} {crc_of_zeros(QUARTER):08x}"
NEIGHBOUR = f"5 {zlib.crc32(b'whole'):08x}"

# By maker: what each member is, as `isolated.describe` says it. "*": all others.
BOMBS: dict[Callable[[], bytes], dict[str, str]] = {
    deflate_bomb: {"bomb": WHOLE, "neighbour": NEIGHBOUR},
    bzip2_bomb: {"bomb": WHOLE_QUARTER, "neighbour": NEIGHBOUR},
    zstd_bomb: {"bomb": WHOLE, "neighbour": NEIGHBOUR},
    xz_bomb: {"bomb": WHOLE_QUARTER, "neighbour": NEIGHBOUR},
    deflate_bomb_that_says_1000_bytes: {"bomb": "BadMember", "neighbour": NEIGHBOUR},
    bzip2_bomb_that_says_1000_bytes: {"bomb": "BadMember", "neighbour": NEIGHBOUR},
    zstd_bomb_that_says_1000_bytes: {"bomb": "BadMember", "neighbour": NEIGHBOUR},
    thousand_bytes_that_say_a_tebibyte: {"bomb": "BadMember", "neighbour": NEIGHBOUR},
    quoted_overlap: {"*": "BadMember"},
    full_overlap: {"0000": f"{1 << 20} {crc_of_zeros(1 << 20):08x}", "*": "BadMember"},
}
