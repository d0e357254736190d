"""Checkpoints of a deflated member: where inflating can start in its middle.

Deflate data (RFC 1951) is blocks of codes, at any bit, that refer to the 32 KiB before them. So a
checkpoint is a bit, and that window. At the start of a block no more is needed; within one, the
block's header as well, since it says how its codes are read: that is put before the code. Some
compressors (igzip -0) make one block of everything.
"""

from __future__ import annotations

import struct
import threading
import zlib
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from isal import isal_zlib

from s3zipfs.archive.decoders import Bytes, Deflate

WINDOW: Final = 32 << 10  # RFC 1951, section 2

SPACING: Final = 1 << 20  # bytes of content: isal makes these in 1 ms
# Checkpoints of one member; then every other one goes, and the spacing doubles. They are 4 to 32 kB
# each: 585 MiB of CSV have 5 MB of them.
MOST: Final = 1024

_OVERHEAD: Final = 300  # bytes of memory that one takes beside its window

# Empty blocks, as (bits, how many), to begin at any bit of a byte: one of fixed codes, and one that
# has its own codes and an odd length.
_EMPTY_EVEN: Final = (0x2, 10)
_EMPTY_ODD: Final = (0x4D5FF10000000000081C004, 91)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A place in a member where inflating can start."""

    position: int  # byte of the content
    bit: int  # of the compressed data: a block's header, or a code
    header: int  # bit where the header of the block begins
    header_bits: int  # 0: at the start of a block, which needs no other header
    window: bytes  # the content before `position`, zlib-compressed

    @property
    def start(self) -> int:
        """The first byte of the compressed data that is needed, a header apart."""
        return self.bit // 8

    @property
    def nbytes(self) -> int:
        """Bytes of memory that it takes."""
        return len(self.window) + _OVERHEAD


def compressed_window(content: Bytes) -> bytes:
    """A window as `Checkpoint` holds it."""
    packed: bytes = isal_zlib.compress(content, 1)
    return packed


class ResumedDeflate(Deflate):
    """A decoder that starts at a checkpoint; its first data is from `checkpoint.start` on.

    `header` is the compressed data from the byte in which the block's header begins.
    """

    def __init__(self, checkpoint: Checkpoint, header: Bytes) -> None:
        super().__init__(zlib.decompress(checkpoint.window))
        skipped = int.from_bytes(header, "little") >> checkpoint.header % 8
        bits = skipped & ((1 << checkpoint.header_bits) - 1)
        self._lead, self._lead_bits = _aligned(bits, checkpoint.header_bits, checkpoint.bit % 8)

    def decode(self, data: Bytes, limit: int) -> bytes:
        """See `Decoder`."""
        if data and self._lead_bits:
            shared = self._lead_bits % 8  # bits of the first byte that belong to what was before
            first = data[0] >> shared << self._lead_bits
            lead = (self._lead | first).to_bytes(self._lead_bits // 8 + 1, "little")
            data = lead + bytes(data[1:])
            self._lead_bits = 0
        return super().decode(data, limit)


def _aligned(bits: int, count: int, remainder: int) -> tuple[int, int]:
    """`bits` behind empty blocks, so that their number modulo 8 is `remainder`."""
    lead, length = _EMPTY_ODD if (remainder - count) % 2 else (0, 0)
    while (length + count) % 8 != remainder:
        lead |= _EMPTY_EVEN[0] << length
        length += _EMPTY_EVEN[1]
    return lead | bits << length, length + count


class Checkpoints:
    """Those of one member, in order. One thread adds, any number read."""

    def __init__(self, held: Sequence[Checkpoint] = (), *, spacing: int = SPACING) -> None:
        self.spacing = spacing  # bytes of content between two
        self._lock = threading.Lock()  # guards what follows
        self._held = list(held)
        self._nbytes = sum(c.nbytes for c in held)

    def __len__(self) -> int:
        return len(self._held)

    @property
    def nbytes(self) -> int:
        """Bytes of memory that they take."""
        return self._nbytes

    @property
    def last(self) -> int:
        """The position of the last one; 0 where there is none."""
        with self._lock:
            return self._held[-1].position if self._held else 0

    def add(self, checkpoint: Checkpoint) -> None:
        """Take one in, behind the last."""
        with self._lock:
            self._held.append(checkpoint)
            self._nbytes += checkpoint.nbytes
            if len(self._held) > MOST:
                self._held = self._held[1::2]
                self._nbytes = sum(c.nbytes for c in self._held)
                self.spacing *= 2

    def before(self, position: int) -> Checkpoint | None:
        """The last one at or before a byte of the content."""
        with self._lock:
            at = bisect_right(self._held, position, key=_position)
            return self._held[at - 1] if at else None

    def after(self, position: int) -> Checkpoint | None:
        """The first one at or behind that byte."""
        with self._lock:
            at = bisect_left(self._held, position, key=_position)
            return self._held[at] if at < len(self._held) else None

    def to_bytes(self) -> bytes:
        """All of them, little endian: how many, a row of numbers for each, then the windows."""
        with self._lock:
            held = self._held.copy()
        rows = [(c.position, c.bit, c.header, c.header_bits, len(c.window)) for c in held]
        table = np.array(rows, "<u8").tobytes()
        return b"".join((_COUNT.pack(len(rows)), table, *(c.window for c in held)))


def _position(checkpoint: Checkpoint) -> int:
    return checkpoint.position


_COUNT: Final = struct.Struct("<Q")
_FIELDS: Final = 5


def from_bytes(data: memoryview, *, compressed_size: int, uncompressed_size: int) -> Checkpoints:
    """What `Checkpoints.to_bytes` gave, for a member of these sizes.

    Raises:
        ValueError: it is not.
    """
    if len(data) < _COUNT.size:
        raise ValueError("too short")
    (count,) = _COUNT.unpack_from(data)
    at = _COUNT.size + 8 * _FIELDS * count
    if count > MOST or at > len(data):
        raise ValueError(f"{count} checkpoints in {len(data)} bytes")
    rows = np.frombuffer(data, "<u8", _FIELDS * count, _COUNT.size).reshape(count, _FIELDS)
    table = rows.tolist()
    if at + sum(row[4] for row in table) != len(data):
        raise ValueError(f"windows do not fill {len(data)} bytes")
    positions = [0, *(row[0] for row in table), uncompressed_size]
    if positions != sorted(positions) or any(row[1] >= 8 * compressed_size for row in table):
        raise ValueError("checkpoints outside of the member, or out of order")
    found: list[Checkpoint] = []
    for position, bit, header, header_bits, length in table:
        window = bytes(data[at : at + length])
        found.append(Checkpoint(position, bit, header, header_bits, window))
        at += length
    return Checkpoints(found)
