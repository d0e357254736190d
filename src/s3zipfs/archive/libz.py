"""Inflating by the system's zlib, which tells where in the bits it stands.

Python's bindings of zlib and isal do not tell. The calls used here are documented in zlib.h, the
same since 1.2.7.1 (2013), and `inflateInit2_` refuses a library of another ABI; zlib-ng in its
compatible form has them too. Python's own `zlib` module may have the library built in, so it is
opened by name.
"""

from __future__ import annotations

import ctypes
import weakref
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np

from s3zipfs.errors import BadMember

LIBRARY: Final = "libz.so.1"

_OK, _STREAM_END, _BUFFER_ERROR = 0, 1, -5
_UNTIL_HEADER: Final = 6  # Z_TREES: stop where a block ends, and where its header does
_RAW: Final = -15  # windowBits: deflate data without a header, a window of 32 KiB

# z_stream.data_type after inflate(): bits not used of the last byte taken, and what was reached.
_UNUSED_BITS: Final = 63
_LAST_BLOCK: Final = 64
_BLOCK_END: Final = 128
_HEADER_END: Final = 256

_STATE: Final = 48 << 10  # bytes: struct inflate_state and its window (zlib.h, "about 44 kB")


class _Stream(ctypes.Structure):
    """z_stream."""

    _fields_ = (
        ("next_in", ctypes.c_void_p),
        ("avail_in", ctypes.c_uint),
        ("total_in", ctypes.c_ulong),
        ("next_out", ctypes.c_void_p),
        ("avail_out", ctypes.c_uint),
        ("total_out", ctypes.c_ulong),
        ("msg", ctypes.c_char_p),
        ("state", ctypes.c_void_p),
        ("zalloc", ctypes.c_void_p),
        ("zfree", ctypes.c_void_p),
        ("opaque", ctypes.c_void_p),
        ("data_type", ctypes.c_int),
        ("adler", ctypes.c_ulong),
        ("reserved", ctypes.c_ulong),
    )


@lru_cache(maxsize=1)
def _library() -> Any:
    """The library, or None where there is none."""
    try:
        library = ctypes.CDLL(LIBRARY)
        library.zlibVersion.restype = ctypes.c_char_p
        library.inflate.argtypes = [ctypes.POINTER(_Stream), ctypes.c_int]
        library.inflateEnd.argtypes = [ctypes.POINTER(_Stream)]
        library.inflateMark.argtypes = [ctypes.POINTER(_Stream)]
        library.inflateMark.restype = ctypes.c_long
    except (OSError, AttributeError):
        return None
    return library


def is_available() -> bool:
    """Whether there is such a library on this machine."""
    return _library() is not None


@dataclass(frozen=True, slots=True)
class Code:
    """A literal, or a length with its distance, that is decoded next or in part already."""

    bit: int  # of the input, where it begins
    emitted: int  # bytes that it has given already, up to 257


class BlockInflater:
    """Raw deflate data into the caller's buffer, a header or a block at a time. For one thread."""

    memory: Final = _STATE

    def __init__(self) -> None:
        self._library = _library()
        self._stream = _Stream()
        self._input = np.empty(0, np.uint8)
        self._given = 0  # bytes of input in all
        size = ctypes.c_int(ctypes.sizeof(_Stream))
        version = self._library.zlibVersion()
        if self._library.inflateInit2_(ctypes.byref(self._stream), _RAW, version, size) != _OK:
            raise MemoryError(f"inflateInit2: {self._stream.msg!r}")
        self.ended = False
        self.stuck = False
        # The library's own memory goes with this object, also where it is dropped half way.
        close = weakref.finalize(self, self._library.inflateEnd, self._stream)
        close.atexit = False  # a thread may be inflating still

    @property
    def pending(self) -> int:
        """Bytes of the input not taken yet."""
        return int(self._stream.avail_in)

    def give(self, data: bytes | memoryview) -> None:
        """The next input; what was given before is used up."""
        self._input = np.frombuffer(data, np.uint8)
        self._stream.next_in = self._input.ctypes.data
        self._stream.avail_in = len(self._input)
        self._given += len(self._input)

    def inflate(self, buffer: bytearray, start: int, end: int) -> int:
        """Fill `buffer[start:end]` until a block or header ends, or it is full; how many bytes.

        None of that and no bytes: `stuck` without new input, or more room.

        Raises:
            BadMember: not deflate data.
        """
        stream = self._stream
        before = stream.avail_in, stream.data_type
        into = (ctypes.c_char * (end - start)).from_buffer(buffer, start)
        stream.next_out = ctypes.addressof(into)
        stream.avail_out = end - start
        result = self._library.inflate(ctypes.byref(stream), _UNTIL_HEADER)
        if result not in (_OK, _STREAM_END, _BUFFER_ERROR):
            raise BadMember(f"deflate data: {(stream.msg or b'damaged').decode()}")
        self.ended = result == _STREAM_END
        made = end - start - int(stream.avail_out)
        # Z_BUF_ERROR says less: the end of a block is one where it took no byte.
        self.stuck = not made and before == (stream.avail_in, stream.data_type)
        return made

    @property
    def at_block(self) -> bool:
        """Whether a block has ended and another follows."""
        return int(self._stream.data_type) & (_BLOCK_END | _LAST_BLOCK) == _BLOCK_END

    @property
    def at_header_end(self) -> bool:
        """Whether the header of a block has just ended."""
        return bool(self._stream.data_type & _HEADER_END)

    @property
    def bit(self) -> int:
        """Bits of the input used so far."""
        taken = self._given - self.pending
        return 8 * taken - (int(self._stream.data_type) & _UNUSED_BITS)

    def code(self) -> Code | None:
        """The code that it is at; None in a header or a stored block, where there are none."""
        mark = int(self._library.inflateMark(ctypes.byref(self._stream)))
        back = mark >> 16
        return None if back < 0 else Code(self.bit - back, mark & 0xFFFF)
