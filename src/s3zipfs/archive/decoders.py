"""Decoders of compressed members by method; the table `METHODS` is the whole list.

To add a method: a class that keeps `Decoder`, a function that makes one, and a line in `METHODS`.
Decoders know neither where bytes come from nor sizes and CRC of the member: `inflate` minds those.

What follows the end of the compressed data is an error for deflate, deflate64 and lzma. bzip2, xz
and zstd data may be several frames one after another, as `bunzip2`, `xz` and `zstd` read them (xz:
with zeros between them, in multiples of 4; zstd: with skippable frames); all else is an error.
"""

from __future__ import annotations

import bz2
import lzma
import struct
import sys
from collections.abc import Callable
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, Final, NamedTuple, Protocol, cast

from inflate64 import Inflater as Inflater64
from isal import isal_zlib

from s3zipfs.archive.windows import COMMON_WINDOW, bounded_window, xz_window, zstd_window
from s3zipfs.errors import BadMember, UnsupportedMember
from s3zipfs.zipformat.member import Member
from s3zipfs.zipformat.methods import (
    BZIP2,
    DEFLATE64,
    DEFLATED,
    LZMA,
    XZ,
    ZSTANDARD,
    ZSTANDARD_DEPRECATED,
    method_name,
)

if sys.version_info >= (3, 14):
    from compression import zstd  # deptry: ignore[DEP001]
else:
    from backports import zstd

Bytes = bytes | memoryview

IsalError = cast("type[Exception]", isal_zlib.IsalError)  # its stub says: an instance

# Bytes of compressed data from which a decoder is made: an xz stream header and the largest
# header of a block (xz format 1.2.1, 2.1.1 and 3.1.1).
HEAD: Final = 12 + 1024

FLAG_LZMA_END_MARKER: Final = 1 << 1  # APPNOTE 4.4.4

_FIRST_TASTE: Final = 4096  # bytes given first to a frame that follows another


class Decoder(Protocol):
    """Compressed data in, content out, in pieces that the caller bounds. For one thread at a time.

    `decode` raises BadMember where the data contradicts its format; the decoder is useless then.
    """

    memory: int  # bytes that it may hold
    needs_input: bool  # `decode` gives nothing more without new data
    complete: bool  # the data may end here

    def decode(self, data: Bytes, limit: int) -> bytes:
        """At most `limit` bytes; none is not the end.

        `data` continues what was given before, and is empty unless `needs_input`.
        """


class Method(NamedTuple):
    """How a method's members are read."""

    open: Callable[[Member, memoryview], Decoder]
    overhead: int  # bytes that a decoder holds at most beside its window


def open_decoder(member: Member, head: memoryview) -> Decoder:
    """A decoder for a member's compressed data, of which `head` is the first `HEAD` bytes.

    Nothing of `head` is consumed.

    Raises:
        BadMember: the head is not one of the method.
        UnsupportedMember: it asks for a window over `MAX_WINDOW`, or the method is unknown.
    """
    method = METHODS.get(member.method)
    if method is None:
        raise UnsupportedMember(f"method {method_name(member.method)}")
    return method.open(member, head)


def goes_on(name: str) -> BadMember:
    """The error for data behind the end of the compressed data."""
    return BadMember(f"{name} data goes on after its end")


# Deflate


class Deflate:
    """Deflate data (RFC 1951) that follows `window`, the last bytes that came out before."""

    memory = 64 << 10  # its window, and tables

    def __init__(self, window: bytes = b"") -> None:
        self._inflater = isal_zlib.decompressobj(-15, zdict=window)
        self._rest: Bytes = b""
        self.needs_input = True
        self.complete = False

    def decode(self, data: Bytes, limit: int) -> bytes:
        """See `Decoder`."""
        if self.complete:
            raise goes_on("deflate")
        try:
            piece = self._inflater.decompress(self._rest or data, limit)
        except IsalError as error:
            raise BadMember(f"deflate data: {error}") from error
        self.complete = self._inflater.eof
        if self._inflater.unused_data:
            raise goes_on("deflate")
        self._rest = self._inflater.unconsumed_tail
        # It takes up to 8 bytes ahead, and they may hold kilobytes: full, it may have more.
        self.needs_input = self.complete or not (self._rest or len(piece) == limit)
        return piece


# Deflate64


class _Deflate64:
    """Around what inflate64 1.0.4 leaves open.

    It does not bound its output: it gets slices so small that theirs is bounded. It never lets go
    of a buffer that it was given: they are used again. It does not tell how much of one it used:
    it gets the member's last byte by itself, and has to end there.
    """

    slice_size = 256  # 18 bits make 65,538 bytes at most, a slice 7.5 MB
    memory = 8 << 20
    _buffers: SimpleQueue[dict[int, bytearray]] = SimpleQueue()  # one set for each thread at work

    def __init__(self, compressed_size: int) -> None:
        self._inflater = Inflater64()
        self._left = compressed_size  # bytes not given to the inflater yet
        self._input = memoryview(b"")
        self._output = memoryview(b"")
        self.needs_input = True
        self.complete = False

    def decode(self, data: Bytes, limit: int) -> bytes:
        if data:
            self._input = memoryview(data)
        parts: list[memoryview] = []
        while limit and (self._output or self._input):
            if not self._output:
                self._output = memoryview(self._inflate())
            part, self._output = self._output[:limit], self._output[limit:]
            parts.append(part)
            limit -= len(part)
        self.needs_input = not (self._output or self._input)
        return b"".join(parts)

    def _inflate(self) -> bytes:
        if self.complete:
            raise goes_on("deflate64")
        size = min(self.slice_size, len(self._input), max(self._left - 1, 1))
        size = 1 << (size.bit_length() - 1)
        try:
            buffers = self._buffers.get_nowait()
        except Empty:
            buffers = {1 << log: bytearray(1 << log) for log in range(9)}
        buffer = buffers[size]
        buffer[:] = self._input[:size]
        self._input = self._input[size:]
        self._left -= size
        try:
            piece: bytes = self._inflater.inflate(buffer)
        except ValueError as error:
            raise BadMember(f"deflate64 data: {error}") from error
        finally:
            self._buffers.put(buffers)
        self.complete = bool(self._inflater.eof)
        if self.complete and self._left:
            raise goes_on("deflate64")
        return piece


# bzip2, lzma, xz, zstd


class _Decompressor(Protocol):
    """What the decompressors of the standard library have in common."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: Any, max_length: int = -1) -> bytes: ...


class _Frames:
    """Frames one after another, each through a decompressor of its own."""

    def __init__(
        self,
        name: str,
        start: Callable[[], _Decompressor],
        *,
        faults: tuple[type[Exception], ...],
        memory: int,
        skip: int = 0,  # bytes before the first frame
        most: int | None = None,  # frames
        padding: int = 0,  # zero bytes between frames come in multiples of it
    ) -> None:
        self._name = name
        self._start = start
        self._faults = faults
        self.memory = memory
        self._skip = skip
        self._more = most
        self._padding = padding
        self._padded = 0  # zero bytes seen after the last frame
        self._rest = memoryview(b"")
        self._frame: _Decompressor | None = None
        self.needs_input = True
        self.complete = False

    def decode(self, data: Bytes, limit: int) -> bytes:
        if data:
            self._rest = memoryview(data)
            if self._skip:
                skipped = min(self._skip, len(self._rest))
                self._skip -= skipped
                self._rest = self._rest[skipped:]
        if self._frame is not None and self._frame.eof:
            if self._padding:
                self._skip_padding()
            self._frame = None if self._rest else self._frame
        try:
            piece = self._decode(limit)
        except self._faults as error:
            raise BadMember(f"{self._name} data: {error}") from error
        ended = self._frame is not None and self._frame.eof
        self.complete = ended and not self._rest and not (self._padding and self._padded)
        self.needs_input = not self._rest and (
            self._frame is None or self._frame.eof or self._frame.needs_input
        )
        return piece

    def _decode(self, limit: int) -> bytes:
        frame, given = self._frame, self._rest
        if frame is None:
            if not given:
                return b""
            if self._more == 0 or (self._padding and self._padded % self._padding):
                raise goes_on(self._name)
            frame = self._frame = self._start()
            if self._more is not None:
                self._more -= 1
            # What stands behind the end of a frame is copied: that is little for many small ones.
            given = given[:_FIRST_TASTE]
            self._padded = 0
        elif frame.eof:
            return b""
        elif not frame.needs_input:
            given = given[:0]
        piece = frame.decompress(given, limit)
        unused = frame.unused_data if frame.eof else b""
        if len(unused) <= len(given):
            self._rest = self._rest[len(given) - len(unused) :]
        else:  # it was given before
            self._rest = memoryview(unused + self._rest[len(given) :])
        return piece

    def _skip_padding(self) -> None:
        left = len(bytes(self._rest).lstrip(b"\0"))
        self._padded = (self._padded + len(self._rest) - left) % self._padding
        self._rest = self._rest[len(self._rest) - left :]


def _open_deflate(_member: Member, _head: memoryview) -> Decoder:
    return Deflate()


def _open_deflate64(member: Member, _head: memoryview) -> Decoder:
    return _Deflate64(member.compressed_size)


def _open_bzip2(_member: Member, _head: memoryview) -> Decoder:
    overhead = METHODS[BZIP2].overhead
    return _Frames("bzip2", bz2.BZ2Decompressor, faults=(OSError, ValueError), memory=overhead)


def _open_lzma(member: Member, head: memoryview) -> Decoder:
    """APPNOTE 5.8.8: version, size of the properties, properties, then LZMA1 data.

    It is dressed as an .lzma file, whose decoder knows when it ends.
    """
    if len(head) < 9:
        raise BadMember(f"lzma data: expected a header of 9 bytes, found {len(head)}")
    size, properties, window = struct.unpack_from("<2xHBL", head)
    if size != 5:
        raise BadMember(f"lzma data: expected 5 bytes of properties, found {size}")
    # A distance never passes what has come out before.
    window = bounded_window("lzma", min(window, max(member.uncompressed_size, 4096)))
    length = member.uncompressed_size
    if member.flags & FLAG_LZMA_END_MARKER:
        length = (1 << 64) - 1  # not known: up to the marker
    header = struct.pack("<BLQ", properties, window, length)

    def start() -> _Decompressor:
        decompressor = lzma.LZMADecompressor(lzma.FORMAT_ALONE, memlimit=window + (1 << 20))
        decompressor.decompress(header)
        return decompressor

    memory = window + METHODS[LZMA].overhead
    return _Frames("lzma", start, faults=(lzma.LZMAError,), memory=memory, skip=9, most=1)


def _open_xz(member: Member, head: memoryview) -> Decoder:
    window = bounded_window("xz", xz_window(head))
    memlimit = max(window, COMMON_WINDOW) + (1 << 20)
    return _Frames(
        "xz",
        partial(lzma.LZMADecompressor, lzma.FORMAT_XZ, memlimit=memlimit),
        faults=(lzma.LZMAError,),
        memory=min(window, member.uncompressed_size) + METHODS[XZ].overhead,
        padding=4,
    )


def _open_zstd(member: Member, head: memoryview) -> Decoder:
    window = bounded_window("zstd", zstd_window(head))
    log = (max(window, COMMON_WINDOW) - 1).bit_length()
    options: dict[int, int] = {zstd.DecompressionParameter.window_log_max: log}
    return _Frames(
        "zstd",
        partial(zstd.ZstdDecompressor, options=options),
        faults=(zstd.ZstdError,),
        memory=min(window, member.uncompressed_size) + METHODS[ZSTANDARD].overhead,
    )


METHODS: Final[dict[int, Method]] = {
    DEFLATED: Method(_open_deflate, Deflate.memory),
    DEFLATE64: Method(_open_deflate64, _Deflate64.memory),
    BZIP2: Method(_open_bzip2, 4 << 20),  # bzip2(1): 100 kB + 4 x 900 kB
    LZMA: Method(_open_lzma, 256 << 10),
    ZSTANDARD_DEPRECATED: Method(_open_zstd, 512 << 10),
    ZSTANDARD: Method(_open_zstd, 512 << 10),
    XZ: Method(_open_xz, 256 << 10),
}
