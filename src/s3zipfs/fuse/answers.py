"""Attributes and entries in the kernel's terms, the same wherever they are answered."""

from __future__ import annotations

import os
from typing import Any

from s3zipfs.fuse import lowlevel as ll
from s3zipfs.fuse.inodes import Inodes
from s3zipfs.tree.nodes import FOREVER, Attributes, Member, Node, ObjectFile

PREFERRED_READ = 1 << 20  # st_blksize: what cp, cat and Python's buffers ask for at once
_PREFIX_TIMEOUT = 60.0  # seconds; the attributes of a prefix say nothing that could change

# Directories too, like btrfs: "not counted", so that find trusts no count of subdirectories.
LINKS = 1


class Answers:
    """Fills the structs of libfuse, with the owner and the umask of the mount."""

    def __init__(self, inodes: Inodes) -> None:
        self._inodes = inodes
        self.uid, self.gid = os.getuid(), os.getgid()
        self.umask = _umask()

    def entry(self, node: Node, attributes: Attributes, valid_for: float) -> ll.Entry:
        """An entry that the kernel is about to learn of; counts one look-up."""
        inode = self._inodes.look_up(node)
        entry = ll.Entry(ino=inode, entry_timeout=valid_for, attr_timeout=attr_timeout(node))
        self.fill(entry.attr, inode, attributes)
        return entry

    def fill(self, answer: Any, inode: int, attributes: Attributes) -> None:
        """A `struct stat`."""
        answer.st_ino = inode
        answer.st_mode = attributes.kind | (attributes.permissions & ~self.umask)
        answer.st_nlink = LINKS
        answer.st_uid = self.uid
        answer.st_gid = self.gid
        answer.st_size = attributes.size
        answer.st_blksize = PREFERRED_READ
        answer.st_blocks = (attributes.size + 511) // 512
        seconds, fraction = divmod(attributes.modified, 1)
        for time_of in (answer.st_mtimespec, answer.st_ctimespec, answer.st_atimespec):
            time_of.tv_sec = int(seconds)
            time_of.tv_nsec = int(fraction * 1e9)


def attr_timeout(node: Node) -> float:
    """Seconds for which the kernel may believe attributes: an inode is a version."""
    return FOREVER if isinstance(node, ObjectFile | Member) else _PREFIX_TIMEOUT


def _umask() -> int:
    umask = os.umask(0)
    os.umask(umask)
    return umask
