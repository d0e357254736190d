"""Many entries of READDIRPLUS at once, as the kernel reads them.

One at a time each costs Python some 5 µs; the members of an archive stand in columns, from which a
whole reply is made in about 1 µs an entry. The layout is the kernel's ABI (linux/fuse.h:
`fuse_direntplus`), the same that libfuse's `fuse_add_direntry_plus` writes.
"""

from __future__ import annotations

import stat
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from s3zipfs.fuse.shown import Shown
from s3zipfs.zipformat.index import MemberIndex

_DIRENTPLUS = np.dtype(
    [
        ("nodeid", "u8"),
        ("generation", "u8"),
        ("entry_valid", "u8"),
        ("attr_valid", "u8"),
        ("entry_valid_nsec", "u4"),
        ("attr_valid_nsec", "u4"),
        ("attr_ino", "u8"),
        ("size", "u8"),
        ("blocks", "u8"),
        ("atime", "u8"),
        ("mtime", "u8"),
        ("ctime", "u8"),
        ("atimensec", "u4"),
        ("mtimensec", "u4"),
        ("ctimensec", "u4"),
        ("mode", "u4"),
        ("nlink", "u4"),
        ("uid", "u4"),
        ("gid", "u4"),
        ("rdev", "u4"),
        ("blksize", "u4"),
        ("flags", "u4"),
        ("ino", "u8"),
        ("off", "u8"),
        ("namelen", "u4"),
        ("type", "u4"),
    ]
)  # 152 bytes; the name follows, padded to 8 (FUSE_DIRENTPLUS_SIZE)


@dataclass(frozen=True, slots=True)
class Stamp:
    """What all entries of a mount have in common."""

    shown: Shown
    block_size: int
    timeout: int  # seconds


def pack(
    index: MemberIndex, numbers: range, room: int, *, first_inode: int, offset: int, stamp: Stamp
) -> tuple[NDArray[np.uint8], int]:
    """As many of these consecutive members as fit into `room` bytes, and how many they are.

    Args:
        index: whose members they are.
        numbers: of the members, in order.
        room: bytes left in the reply.
        first_inode: of the first of them; the others count on.
        offset: of the first entry; each entry carries that of the next.
        stamp: the mount's own.
    """
    most = min(len(numbers), room // (_DIRENTPLUS.itemsize + 8) + 1)
    chosen = slice(numbers.start, numbers.start + most)
    starts = index.name_start[chosen].astype(np.int64)
    lengths = index.name_end[chosen].astype(np.int64) - starts
    ends = np.cumsum((_DIRENTPLUS.itemsize + lengths + 7) & ~7)
    count = int(np.searchsorted(ends, room, "right"))
    if count == 0:
        return np.empty(0, np.uint8), 0
    chosen = slice(numbers.start, numbers.start + count)
    starts, lengths, ends = starts[:count], lengths[:count], ends[:count]
    positions = np.concatenate((np.zeros(1, np.int64), ends[:-1]))
    reply = np.zeros(int(ends[-1]), np.uint8)
    fixed = _fixed(index, chosen, lengths, first_inode=first_inode, offset=offset, stamp=stamp)
    reply[positions[:, None] + np.arange(_DIRENTPLUS.itemsize)] = fixed
    # Byte k of all names together: from its place in the blob to its place in the reply.
    before = np.cumsum(lengths) - lengths
    within = np.arange(int(lengths.sum())) - np.repeat(before, lengths)
    names = index.names[np.repeat(starts, lengths) + within]
    reply[np.repeat(positions + _DIRENTPLUS.itemsize, lengths) + within] = names
    return reply, count


def _fixed(
    index: MemberIndex,
    chosen: slice,
    lengths: NDArray[np.int64],
    *,
    first_inode: int,
    offset: int,
    stamp: Stamp,
) -> NDArray[Any]:
    entries = np.zeros(len(lengths), _DIRENTPLUS)
    count = np.arange(len(lengths), dtype=np.uint64)
    modes = index.modes[chosen].astype(np.uint32)
    kinds = modes & stat.S_IFMT(0xFFFF)
    entries["nodeid"] = entries["attr_ino"] = entries["ino"] = count + np.uint64(first_inode)
    entries["entry_valid"] = entries["attr_valid"] = stamp.timeout
    entries["size"] = np.where(kinds == stat.S_IFDIR, 0, index.sizes[chosen])
    entries["blocks"] = (entries["size"] + 511) // 512
    times = index.mtimes[chosen]
    seconds = np.floor(times)
    for field in ("atime", "mtime", "ctime"):
        entries[field] = seconds.astype(np.int64).view(np.uint64)  # before 1970: two's complement
        entries[f"{field}nsec"] = ((times - seconds) * 1e9).astype(np.uint32)
    permissions = np.where(modes & 0o111, 0o555, 0o444) & ~stamp.shown.umask
    for kind in (stat.S_IFDIR, stat.S_IFREG):
        if (given := stamp.shown.mode_for(kind)) is not None:
            permissions[kinds == kind] = given
    entries["mode"] = kinds | permissions.astype(np.uint32)
    entries["nlink"] = 1
    entries["uid"], entries["gid"] = stamp.shown.uid, stamp.shown.gid
    entries["blksize"] = stamp.block_size
    entries["off"] = count + np.uint64(offset + 1)
    entries["namelen"] = lengths
    entries["type"] = kinds >> 12  # DT_… of dirent.h
    return entries.view(np.uint8).reshape(len(lengths), _DIRENTPLUS.itemsize)
