"""How much of its output a decoder has to remember, as the head of the compressed data tells it."""

from __future__ import annotations

from typing import Final

from s3zipfs.errors import UnsupportedMember

# The most that a decoder may remember of its output: the largest that a preset asks for (7-Zip's
# -mx=9: 256 MiB; zstd --ultra -22: 128 MiB; xz -9: 64 MiB).
MAX_WINDOW: Final = 256 << 20
# What every frame or block may ask for, however small the first one's (RFC 8878, 3.1.1.1.2).
COMMON_WINDOW: Final = 8 << 20


def bounded_window(name: str, window: int) -> int:
    """The window, in bytes, that data of that method may have.

    Raises:
        UnsupportedMember: it is over `MAX_WINDOW`.
    """
    if window > MAX_WINDOW:
        raise UnsupportedMember(
            f"{name} data that needs a window of {window >> 20} MiB; "
            f"at most {MAX_WINDOW >> 20} MiB are given"
        )
    return window


def xz_window(head: memoryview) -> int:
    """Bytes of the dictionary of the first block (xz format 3.1, 5.3.1); 0 where none is told."""
    at = 12  # the stream header
    if len(head) < at + 2 or head[at] == 0:  # no block, only an index
        return 0
    end = min(at + 4 * head[at] + 4, len(head))
    flags = head[at + 1]
    at += 2
    for present in (0x40, 0x80):  # compressed and uncompressed size
        if flags & present:
            at = _skip_integer(head, at, end)
    for _ in range((flags & 3) + 1):
        if at + 2 >= end:
            return 0
        if head[at] == 0x21 and head[at + 1] == 1:  # LZMA2, always the last
            bits = head[at + 2] & 0x3F
            return (2 | bits & 1) << (bits // 2 + 11)
        # Identifiers and sizes of all filters that exist are single bytes (5.3).
        at += 2 + head[at + 1]
    return 0


def _skip_integer(data: memoryview, at: int, end: int) -> int:
    while at < end and data[at] & 0x80:
        at += 1
    return at + 1


def zstd_window(head: memoryview) -> int:
    """Bytes of the window of the first frame (RFC 8878, 3.1.1.1); 0 where none is told."""
    if len(head) < 6 or bytes(head[:4]) != b"\x28\xb5\x2f\xfd":
        return 0
    descriptor = head[4]
    if not descriptor & 0x20:
        exponent, mantissa = head[5] >> 3, head[5] & 7
        return (1 << (10 + exponent)) // 8 * (8 + mantissa)
    # A single segment: the window is the content.
    at = 5 + (0, 1, 2, 4)[descriptor & 3]
    width = (1, 2, 4, 8)[descriptor >> 6]
    return int.from_bytes(head[at : at + width], "little") + (256 if width == 2 else 0)
