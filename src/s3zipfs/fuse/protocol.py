"""The kernel's side of FUSE: requests, replies and notifications as linux/fuse.h has them. Pure.

Records are those of protocol 7.31 (Linux 5.4), which every later kernel still speaks; numbers are
in the machine's own byte order.
"""

from __future__ import annotations

import enum
import struct

MAJOR, MINOR = 7, 31
OLDEST_MINOR = 28  # Linux 4.20: max_pages, and so reads of a mebibyte

# The kernel wants room for the largest write, and no less than this (FUSE_MIN_READ_BUFFER): nothing
# is written here, and a list of forgotten inodes is cut to fit.
MAX_WRITE = 4096
REQUEST_SIZE = 8192 + MAX_WRITE


class Opcode(enum.IntEnum):
    """What a request asks for (`enum fuse_opcode`), as far as it is answered here."""

    LOOKUP = 1
    FORGET = 2
    GETATTR = 3
    READLINK = 5
    OPEN = 14
    READ = 15
    STATFS = 17
    GETXATTR = 22
    LISTXATTR = 23
    INIT = 26
    OPENDIR = 27
    READDIR = 28
    RELEASEDIR = 29
    INTERRUPT = 36
    DESTROY = 38
    BATCH_FORGET = 42
    READDIRPLUS = 44


class Flag(enum.IntFlag):
    """What the two sides agree on in INIT."""

    ASYNC_READ = 1 << 0
    BIG_WRITES = 1 << 5
    DO_READDIRPLUS = 1 << 13
    ASYNC_DIO = 1 << 15
    PARALLEL_DIROPS = 1 << 18
    MAX_PAGES = 1 << 22
    CACHE_SYMLINKS = 1 << 23


class OpenFlag(enum.IntFlag):
    """FOPEN_…, of a reply to OPENDIR."""

    KEEP_CACHE = 1 << 1
    CACHE_DIR = 1 << 3


class Notification(enum.IntEnum):
    """What we tell the kernel unasked (`enum fuse_notify_code`)."""

    INVAL_INODE = 2
    INVAL_ENTRY = 3


# Requests: the header, and what follows it.
IN_HEADER = struct.Struct("=IIQQIIII")  # length, opcode, unique, inode, uid, gid, pid, -
INIT_IN = struct.Struct("=IIII")  # major, minor, max_readahead, flags
FORGET_IN = struct.Struct("=Q")  # lookups
BATCH_FORGET_IN = struct.Struct("=II")  # how many, -
FORGET_ONE = struct.Struct("=QQ")  # inode, lookups
READ_IN = struct.Struct("=QQIIQII")  # handle, offset, size, …
RELEASE_IN = struct.Struct("=Q")  # handle, …
GETXATTR_IN = struct.Struct("=I4x")  # size
INTERRUPT_IN = struct.Struct("=Q")  # unique

# Replies
OUT_HEADER = struct.Struct("=IiQ")  # length, minus errno, unique
_INIT_OUT = struct.Struct("=IIII HHII HH 8I")
_ATTR = "QQQqqqIIIIIIIIII"  # inode, size, blocks, atime, mtime, ctime, …
_ATTR_OUT = struct.Struct("=QII" + _ATTR)
_ENTRY_OUT = struct.Struct("=QQQQII" + _ATTR)
_OPEN_OUT = struct.Struct("=QII")
_STATFS_OUT = struct.Struct("=QQQQQIIII 6I")
_GETXATTR_OUT = struct.Struct("=I4x")
_DIRENT = struct.Struct("=QQII")  # inode, offset, length of the name, type

# Notifications, behind an OUT_HEADER whose errno is their code
_INVAL_INODE = struct.Struct("=Qqq")
_INVAL_ENTRY = struct.Struct("=QII")

NO_ENTRY_ATTR = (0,) * 16


def init_out(*, max_readahead: int, flags: Flag, max_background: int, max_pages: int) -> bytes:
    """`struct fuse_init_out`."""
    congestion = max_background * 3 // 4
    head = (MAJOR, MINOR, max_readahead, flags, max_background, congestion, MAX_WRITE)
    return _INIT_OUT.pack(*head, 1, max_pages, 0, *(0,) * 8)  # time in nanoseconds


def attr(
    inode: int, mode: int, size: int, modified: float, *, uid: int, gid: int, block_size: int
) -> tuple[int, ...]:
    """The fields of `struct fuse_attr`, all three times the same; one link (see `Answers`)."""
    seconds = int(modified // 1)
    nanoseconds = int((modified - seconds) * 1e9)
    times = (seconds, seconds, seconds, nanoseconds, nanoseconds, nanoseconds)
    return (inode, size, (size + 511) // 512, *times, mode, 1, uid, gid, 0, block_size, 0)


def attr_out(attributes: tuple[int, ...], timeout: float) -> bytes:
    """`struct fuse_attr_out`; `timeout` in seconds."""
    return _ATTR_OUT.pack(*_split(timeout), 0, *attributes)


def entry_out(
    inode: int, attributes: tuple[int, ...], *, entry_timeout: float, attr_timeout: float
) -> bytes:
    """`struct fuse_entry_out`; inode 0 is "no such name", believed for `entry_timeout` seconds."""
    entry, entry_nsec = _split(entry_timeout)
    attribute, attribute_nsec = _split(attr_timeout)
    times = (entry, attribute, entry_nsec, attribute_nsec)
    return _ENTRY_OUT.pack(inode, 0, *times, *attributes)


def open_out(handle: int, flags: OpenFlag) -> bytes:
    """`struct fuse_open_out`."""
    return _OPEN_OUT.pack(handle, flags, 0)


def statfs_out(*, blocks: int, files: int, block_size: int, name_length: int) -> bytes:
    """`struct fuse_statfs_out`: all of it free."""
    counts = (blocks, blocks, blocks, files, files)
    return _STATFS_OUT.pack(*counts, block_size, name_length, block_size, 0, *(0,) * 6)


def getxattr_out(size: int) -> bytes:
    """`struct fuse_getxattr_out`: how many bytes there are, where no more is asked."""
    return _GETXATTR_OUT.pack(size)


def dirent(inode: int, offset: int, kind: int, name: bytes) -> bytes:
    """`struct fuse_dirent`, padded to 8 bytes; `kind` are the S_IFMT bits."""
    record = _DIRENT.pack(inode, offset, len(name), kind >> 12) + name
    return record + bytes(-len(record) % 8)


def inval_inode(inode: int) -> bytes:
    """The kernel forgets all bytes of a file."""
    return _notification(Notification.INVAL_INODE, _INVAL_INODE.pack(inode, 0, 0))


def inval_entry(parent: int, name: bytes) -> bytes:
    """The kernel looks that name up again."""
    body = _INVAL_ENTRY.pack(parent, len(name), 0) + name + b"\0"
    return _notification(Notification.INVAL_ENTRY, body)


def _notification(code: Notification, body: bytes) -> bytes:
    return OUT_HEADER.pack(OUT_HEADER.size + len(body), code, 0) + body


def _split(seconds: float) -> tuple[int, int]:
    whole = int(seconds)
    return whole, int((seconds - whole) * 1e9)
