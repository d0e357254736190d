"""Extended attributes for the kernel: one at a time, or their names."""

from __future__ import annotations

import errno
from collections.abc import Callable

from s3zipfs.fuse import protocol as p
from s3zipfs.fuse.inodes import Inodes
from s3zipfs.fuse.protocol import Opcode
from s3zipfs.fuse.session import Handler, Request
from s3zipfs.tree.tree import Tree
from s3zipfs.tree.xattrs import PREFIX, xattrs
from s3zipfs.waiting import Wait


class ExtendedAttributes:
    """The handlers. Without them all is ENOSYS, and the kernel asks no more."""

    def __init__(self, tree: Tree, inodes: Inodes, wait_of: Callable[[Request], Wait]) -> None:
        self._tree = tree
        self._inodes = inodes
        self._wait_of = wait_of

    def handlers(self) -> dict[Opcode, Handler]:
        """By what the kernel asks for."""
        return {Opcode.GETXATTR: self._get, Opcode.LISTXATTR: self._list}

    def _get(self, request: Request) -> None:
        (room,) = p.GETXATTR_IN.unpack_from(request.body)
        name = bytes(request.body[p.GETXATTR_IN.size : -1])
        # `ls -l` asks each file for what SELinux and ACLs would be called.
        value = self._of(request).get(name) if name.startswith(PREFIX) else None
        if value is None:
            request.fail(errno.ENODATA)
        else:
            _reply(request, value, room)

    def _list(self, request: Request) -> None:
        (room,) = p.GETXATTR_IN.unpack_from(request.body)
        _reply(request, b"".join(name + b"\0" for name in self._of(request)), room)

    def _of(self, request: Request) -> dict[bytes, bytes]:
        return xattrs(self._tree, self._inodes.node(request.inode), self._wait_of(request))


def _reply(request: Request, value: bytes, room: int) -> None:
    """The value; how long it is where nothing else is asked; ERANGE where it has no room."""
    if room == 0:
        request.reply(p.getxattr_out(len(value)))
    elif len(value) > room:
        request.fail(errno.ERANGE)
    else:
        request.reply(value)
