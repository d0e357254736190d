"""libfuse3's low-level API by ctypes: the declarations, and a session.

Library and structs are mfusepy's, which follows the library's version; the operation table and
the entry are declared here, after `fuse_lowlevel.h` of libfuse 3.10 and later. The high-level API
would tie an inode to a path, and so two versions of an archive to one page cache.
"""

from __future__ import annotations

import contextlib
import ctypes as c
import os
import struct
from collections.abc import Callable, Mapping, Sequence
from ctypes.util import find_library
from typing import Any

from s3zipfs.errors import MountError

MINIMUM_VERSION = (3, 10)
CONFIG_VERSION = (3, 12)  # since then fuse_loop_cfg_create(); before, a plain struct

# Where libfuse 2 is installed as well, mfusepy prefers it unless told otherwise.
os.environ.setdefault("FUSE_LIBRARY_PATH", find_library("fuse3") or "libfuse3.so.3")
try:
    import mfusepy
except (OSError, AttributeError) as _error:
    raise MountError(f"libfuse3 can't be loaded ({_error}); apt install fuse3") from _error

version: tuple[int, int] = (mfusepy.fuse_version_major, mfusepy.fuse_version_minor)
if version < MINIMUM_VERSION:
    raise MountError(f"libfuse {version[0]}.{version[1]} is too old; 3.10 or later is needed")

lib: Any = mfusepy._libfuse  # noqa: SLF001 - its library is what we take from it
Stat: Any = mfusepy.c_stat
StatVfs: Any = mfusepy.c_statvfs
FileInfo: Any = mfusepy.fuse_file_info
ConnInfo: Any = mfusepy.fuse_conn_info

# Before this version FUSE_PARALLEL_DIROPS is wanted by default and never sent (libfuse #861).
DIROPS_VERSION = (3, 17)

CAP_READDIRPLUS = 1 << 13  # fuse_common.h
CAP_READDIRPLUS_AUTO = 1 << 14
CAP_PARALLEL_DIROPS = 1 << 18
CAP_CACHE_SYMLINKS = 1 << 23

# Flags of INIT in linux/fuse.h
_ASYNC_READ, _BIG_WRITES, _ASYNC_DIO, _MAX_PAGES = 1 << 0, 1 << 5, 1 << 15, 1 << 22
_INIT_FLAGS = _ASYNC_READ | _BIG_WRITES | _ASYNC_DIO | _MAX_PAGES
_INIT_REPLY = struct.Struct("=IiQ IIII HHII HH I 7I")  # fuse_out_header, fuse_init_out of 7.28
_INIT_UNIQUE = 2  # the first request of a connection, FUSE_REQ_ID_STEP, since Linux 4.20

_request = c.c_void_p
_ino = c.c_uint64
_file = c.POINTER(FileInfo)
_any = c.c_void_p


class Entry(c.Structure):
    """`struct fuse_entry_param`."""

    _fields_ = (
        ("ino", c.c_uint64),
        ("generation", c.c_uint64),
        ("attr", Stat),
        ("attr_timeout", c.c_double),
        ("entry_timeout", c.c_double),
    )


class Forgotten(c.Structure):
    """`struct fuse_forget_data`."""

    _fields_ = (("ino", c.c_uint64), ("nlookup", c.c_uint64))


class IoVector(c.Structure):
    """`struct iovec`."""

    _fields_ = (("base", c.c_void_p), ("length", c.c_size_t))


class _Arguments(c.Structure):
    _fields_ = (
        ("argc", c.c_int),
        ("argv", c.POINTER(c.c_char_p)),
        ("allocated", c.c_int),
    )


class _OldLoopConfig(c.Structure):
    _fields_ = (("clone_fd", c.c_int), ("max_idle_threads", c.c_uint))


def _callback(*arguments: Any) -> Any:
    return c.CFUNCTYPE(None, *arguments)


# `struct fuse_lowlevel_ops`, in its order; those without a prototype are never set.
_OPERATIONS: tuple[tuple[str, Any], ...] = (
    ("init", _callback(_any, c.POINTER(ConnInfo))),
    ("destroy", _callback(_any)),
    ("lookup", _callback(_request, _ino, c.c_char_p)),
    ("forget", _callback(_request, _ino, c.c_uint64)),
    ("getattr", _callback(_request, _ino, _file)),
    ("setattr", _any),
    ("readlink", _callback(_request, _ino)),
    ("mknod", _any),
    ("mkdir", _any),
    ("unlink", _any),
    ("rmdir", _any),
    ("symlink", _any),
    ("rename", _any),
    ("link", _any),
    ("open", _callback(_request, _ino, _file)),
    ("read", _callback(_request, _ino, c.c_size_t, c.c_int64, _file)),
    ("write", _any),
    ("flush", _any),
    ("release", _callback(_request, _ino, _file)),
    ("fsync", _any),
    ("opendir", _callback(_request, _ino, _file)),
    ("readdir", _callback(_request, _ino, c.c_size_t, c.c_int64, _file)),
    ("releasedir", _callback(_request, _ino, _file)),
    ("fsyncdir", _any),
    ("statfs", _callback(_request, _ino)),
    ("setxattr", _any),
    ("getxattr", _callback(_request, _ino, c.c_char_p, c.c_size_t)),
    ("listxattr", _callback(_request, _ino, c.c_size_t)),
    ("removexattr", _any),
    ("access", _any),
    ("create", _any),
    ("getlk", _any),
    ("setlk", _any),
    ("bmap", _any),
    ("ioctl", _any),
    ("poll", _any),
    ("write_buf", _any),
    ("retrieve_reply", _any),
    ("forget_multi", _callback(_request, c.c_size_t, c.POINTER(Forgotten))),
    ("flock", _any),
    ("fallocate", _any),
    ("readdirplus", _callback(_request, _ino, c.c_size_t, c.c_int64, _file)),
    ("copy_file_range", _any),
    ("lseek", _any),
)


class _Operations(c.Structure):
    _fields_ = _OPERATIONS


def _declare() -> None:
    declared: dict[str, tuple[Any, list[Any]]] = {
        "fuse_reply_err": (c.c_int, [_request, c.c_int]),
        "fuse_reply_none": (None, [_request]),
        "fuse_reply_entry": (c.c_int, [_request, c.POINTER(Entry)]),
        "fuse_reply_attr": (c.c_int, [_request, c.POINTER(Stat), c.c_double]),
        "fuse_reply_readlink": (c.c_int, [_request, c.c_char_p]),
        "fuse_reply_open": (c.c_int, [_request, _file]),
        "fuse_reply_buf": (c.c_int, [_request, c.c_void_p, c.c_size_t]),
        "fuse_reply_iov": (c.c_int, [_request, c.POINTER(IoVector), c.c_int]),
        "fuse_reply_statfs": (c.c_int, [_request, c.POINTER(StatVfs)]),
        "fuse_req_interrupted": (c.c_int, [_request]),
        "fuse_add_direntry": (
            c.c_size_t,
            [_request, _any, c.c_size_t, c.c_char_p, c.POINTER(Stat), c.c_int64],
        ),
        "fuse_add_direntry_plus": (
            c.c_size_t,
            [_request, _any, c.c_size_t, c.c_char_p, c.POINTER(Entry), c.c_int64],
        ),
        "fuse_session_new": (
            _any,
            [c.POINTER(_Arguments), c.POINTER(_Operations), c.c_size_t, _any],
        ),
        "fuse_session_mount": (c.c_int, [_any, c.c_char_p]),
        "fuse_session_loop_mt": (c.c_int, [_any, _any]),
        "fuse_session_exit": (None, [_any]),
        "fuse_session_fd": (c.c_int, [_any]),
        "fuse_session_unmount": (None, [_any]),
        "fuse_session_destroy": (None, [_any]),
        "fuse_lowlevel_notify_inval_entry": (c.c_int, [_any, _ino, c.c_char_p, c.c_size_t]),
        "fuse_lowlevel_notify_inval_inode": (c.c_int, [_any, _ino, c.c_int64, c.c_int64]),
    }
    if version >= CONFIG_VERSION:
        declared |= {
            "fuse_loop_cfg_create": (_any, []),
            "fuse_loop_cfg_destroy": (None, [_any]),
            "fuse_loop_cfg_set_max_threads": (None, [_any, c.c_uint]),
            "fuse_loop_cfg_set_idle_threads": (None, [_any, c.c_uint]),
            "fuse_loop_cfg_set_clone_fd": (None, [_any, c.c_uint]),
        }
    for name, (result, arguments) in declared.items():
        function = getattr(lib, name)
        function.restype, function.argtypes = result, arguments


_declare()


class Session:
    """One mount. `handlers` are named after `struct fuse_lowlevel_ops`; each replies itself."""

    def __init__(
        self,
        handlers: Mapping[str, Callable[..., None]],
        mountpoint: str,
        options: Sequence[str],
        max_threads: int,
    ) -> None:
        self.mountpoint = os.path.abspath(mountpoint)  # noqa: PTH100 - libfuse does chdir("/")
        self._max_threads = max_threads
        # Held here, since libfuse keeps only their addresses.
        self._operations = _Operations()
        handlers = {**handlers, "init": self._initialising(handlers.get("init"))}
        self._callbacks = [
            prototype(handlers[name]) for name, prototype in _OPERATIONS if name in handlers
        ]
        names = [name for name, _ in _OPERATIONS if name in handlers]
        for name, callback in zip(names, self._callbacks, strict=True):
            setattr(self._operations, name, callback)
        words = (c.c_char_p * 3)(b"s3zipfs", b"-o", os.fsencode(",".join(options)))
        arguments = _Arguments(3, words, 0)
        self._session = lib.fuse_session_new(
            c.byref(arguments), c.byref(self._operations), c.sizeof(self._operations), None
        )
        if not self._session:
            raise MountError(f"libfuse refused the mount options {','.join(options)}")

    def _initialising(self, init: Callable[..., None] | None) -> Callable[..., None]:
        def initialise(userdata: Any, connection: Any) -> None:
            if init is not None:
                init(userdata, connection)
            if version < DIROPS_VERSION and connection.contents.want & CAP_PARALLEL_DIROPS:
                self._answer_init(connection.contents)

        return initialise

    def _answer_init(self, info: Any) -> None:
        """Reply to INIT before libfuse does, with the flag that it forgets.

        Without it the kernel lets one look-up or listing of a directory through at a time, and
        those behind it wait for a mutex: one that is slow, and `kill -9` no longer ends the
        others. The kernel takes the first reply; libfuse is silent where its own comes second.
        Should this one be refused (ENOENT), libfuse's is the first.
        """
        flags = _INIT_FLAGS | CAP_PARALLEL_DIROPS
        flags |= info.want & (CAP_READDIRPLUS | CAP_CACHE_SYMLINKS)
        pages = (info.max_write - 1) // os.sysconf("SC_PAGESIZE") + 1
        body = (7, 31, info.max_readahead, flags, info.max_background, info.congestion_threshold)
        body = (*body, info.max_write, 1, pages, 0, 0, *[0] * 7)
        reply = _INIT_REPLY.pack(_INIT_REPLY.size, 0, _INIT_UNIQUE, *body)
        with contextlib.suppress(FileNotFoundError):
            os.write(lib.fuse_session_fd(self._session), reply)

    def mount(self) -> None:
        """Mount; libfuse prints the reason to stderr where it fails."""
        if lib.fuse_session_mount(self._session, os.fsencode(self.mountpoint)):
            raise MountError(f"{self.mountpoint}: could not be mounted")

    def run(self) -> int:
        """Answer requests until unmounted or told to exit; returns libfuse's status."""
        if version < CONFIG_VERSION:
            old = _OldLoopConfig(0, self._max_threads)
            return int(lib.fuse_session_loop_mt(self._session, c.byref(old)))
        config = lib.fuse_loop_cfg_create()
        lib.fuse_loop_cfg_set_max_threads(config, self._max_threads)
        lib.fuse_loop_cfg_set_idle_threads(config, self._max_threads)
        lib.fuse_loop_cfg_set_clone_fd(config, 0)
        try:
            return int(lib.fuse_session_loop_mt(self._session, config))
        finally:
            lib.fuse_loop_cfg_destroy(config)

    def exit(self) -> None:
        """Make `run` end after the requests under way; it notices at the next request."""
        lib.fuse_session_exit(self._session)

    def unmount(self) -> None:
        """Unmount, as far as libfuse is able to."""
        lib.fuse_session_unmount(self._session)

    def invalidate_entry(self, parent: int, name: bytes) -> int:
        """Make the kernel look that name up again. Never call it from a handler (deadlock)."""
        return int(lib.fuse_lowlevel_notify_inval_entry(self._session, parent, name, len(name)))

    def invalidate_pages(self, inode: int) -> int:
        """Make the kernel forget all bytes of a file. Never call it from a handler (deadlock)."""
        return int(lib.fuse_lowlevel_notify_inval_inode(self._session, inode, 0, 0))
