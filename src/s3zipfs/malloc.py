"""glibc's allocator, told how a mount uses memory: the same large buffers over and over."""

from __future__ import annotations

import ctypes
import logging

log = logging.getLogger(__name__)

# malloc.h
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8

LARGEST_KEPT = 32 << 20  # bytes; a larger buffer goes back to the system when it is freed
MOST_UNUSED = 64 << 20  # bytes kept at the top of the heap for the next buffer


def keep_freed_memory() -> None:
    """Use freed memory again instead of fetching fresh pages, for the whole process.

    Call it before there are threads. 1 GiB read in order, by default and so: page faults 114,000
    and 58,000, system time 1.6 and 0.85 s, peak RSS 309 and 252 MB, most of it by the one arena.
    """
    wanted = {
        _M_ARENA_MAX: 1,
        _M_MMAP_THRESHOLD: LARGEST_KEPT,
        _M_TRIM_THRESHOLD: MOST_UNUSED,
    }
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:  # another C library than glibc
        return
    for parameter, value in wanted.items():
        if not mallopt(parameter, value):
            log.debug("mallopt(%d, %d) was refused", parameter, value)
