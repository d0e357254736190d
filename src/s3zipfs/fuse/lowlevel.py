"""Mounting by libfuse3, which knows how: directly, or through fusermount3 for ordinary users.

The library is the one that mfusepy loads. What happens on the connection is `session.py`'s.
"""

from __future__ import annotations

import ctypes as c
import os
from collections.abc import Sequence
from ctypes.util import find_library
from typing import Any

from s3zipfs.errors import MountError

MINIMUM_VERSION = (3, 10)

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


class _Arguments(c.Structure):
    _fields_ = (
        ("argc", c.c_int),
        ("argv", c.POINTER(c.c_char_p)),
        ("allocated", c.c_int),
    )


def _declare() -> None:
    declared: dict[str, tuple[Any, list[Any]]] = {
        "fuse_session_new": (
            c.c_void_p,
            [c.POINTER(_Arguments), c.c_void_p, c.c_size_t, c.c_void_p],
        ),
        "fuse_session_mount": (c.c_int, [c.c_void_p, c.c_char_p]),
        "fuse_session_fd": (c.c_int, [c.c_void_p]),
        "fuse_session_unmount": (None, [c.c_void_p]),
    }
    for name, (result, arguments) in declared.items():
        function = getattr(lib, name)
        function.restype, function.argtypes = result, arguments


_declare()


class Mount:
    """libfuse's session, for the mount and nothing else: it has no operations."""

    def __init__(self, options: Sequence[str]) -> None:
        words = (c.c_char_p * 3)(b"s3zipfs", b"-o", os.fsencode(",".join(options)))
        arguments = _Arguments(3, words, 0)
        none = c.create_string_buffer(c.sizeof(c.c_void_p))  # `struct fuse_lowlevel_ops`, its start
        self._session = lib.fuse_session_new(c.byref(arguments), none, c.sizeof(none), None)
        if not self._session:
            raise MountError(f"libfuse refused the mount options {','.join(options)}")

    def mount(self, mountpoint: str) -> bool:
        """Whether it could; libfuse prints the reason to stderr where not."""
        return bool(lib.fuse_session_mount(self._session, os.fsencode(mountpoint)) == 0)

    @property
    def device(self) -> int:
        """The descriptor of /dev/fuse on which the kernel asks."""
        return int(lib.fuse_session_fd(self._session))

    def unmount(self) -> None:
        """Unmount, as far as libfuse is able to."""
        lib.fuse_session_unmount(self._session)
