"""Whether what is to be kept has room on disk, before any of it is fetched."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from s3zipfs.cache.blockwriter import ALLOCATED_AHEAD, LEFT_FREE
from s3zipfs.cache.records import head_size
from s3zipfs.cache.upkeep import block_usage

_GET: Final = 8 << 20  # bytes of a record, mostly
_ROW: Final = 200  # bytes of a record in SQLite's file, both trees, and its log


def disk_size(size: int, ranges: int) -> int:
    """Bytes of disk that so many bytes of content take, in so many ranges or some more."""
    records = ranges + size // _GET
    return size + records * (head_size(0) + _ROW) + 4 * (size >> 16)


def needed_cache_size(size: int, ranges: int) -> int:
    """The least `--cache-size` that holds them, all else having given way."""
    least = disk_size(size, ranges) + 2 * ALLOCATED_AHEAD
    return max(least + (8 << 20), least * 8 // 7)  # the bound that a writer keeps below


def free_for_blocks(cache_dir: Path) -> int:
    """Bytes that the file system has for blocks: what is free and may be used, and what they take.

    Raises:
        OSError: the disk can't be asked.
    """
    there = next(each for each in (cache_dir, *cache_dir.parents) if each.exists())
    disk = os.statvfs(there)
    free = (disk.f_bavail - disk.f_blocks * LEFT_FREE) * disk.f_frsize
    return max(0, int(free)) + block_usage(cache_dir).used_bytes
