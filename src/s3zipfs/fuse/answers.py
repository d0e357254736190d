"""Attributes and entries in the kernel's terms, the same wherever they are answered."""

from __future__ import annotations

from s3zipfs.fuse import protocol as p
from s3zipfs.fuse.inodes import Inodes
from s3zipfs.fuse.shown import Shown
from s3zipfs.tree.nodes import FOREVER, Attributes, Member, Node, ObjectFile

# st_blksize, as of local file systems. Python's buffers are as large: where it was 1 MiB, a random
# read of 256 KiB fetched all that. cp and cat ask for 128 KiB at least; the kernel reads ahead.
PREFERRED_READ = 4096
_PREFIX_TIMEOUT = 60.0  # seconds; the attributes of a prefix say nothing that could change

# One link, directories too, like btrfs: "not counted", so that find trusts no count.


class Answers:
    """Packs the kernel's records, with the owner and the permissions of the mount."""

    def __init__(self, inodes: Inodes, shown: Shown) -> None:
        self._inodes = inodes
        self.shown = shown

    def entry(self, node: Node, attributes: Attributes, valid_for: float) -> tuple[int, bytes]:
        """An entry that the kernel is about to learn of, and its inode; counts one look-up."""
        inode = self._inodes.look_up(node)
        record = p.entry_out(
            inode,
            self._fields(self._inodes.shown(node, inode), attributes),
            entry_timeout=valid_for,
            attr_timeout=attr_timeout(node),
        )
        return inode, record

    def attributes(self, inode: int, node: Node, attributes: Attributes) -> bytes:
        """The answer of GETATTR."""
        shown = self._inodes.shown(node, inode)
        return p.attr_out(self._fields(shown, attributes), attr_timeout(node))

    def _fields(self, inode: int, attributes: Attributes) -> tuple[int, ...]:
        return p.attr(
            inode,
            self.shown.mode(attributes.kind, attributes.permissions),
            attributes.size,
            attributes.modified,
            uid=self.shown.uid,
            gid=self.shown.gid,
            block_size=PREFERRED_READ,
        )


def no_entry(valid_for: float) -> bytes:
    """A name that is not there, to be believed for that many seconds."""
    return p.entry_out(0, p.NO_ENTRY_ATTR, entry_timeout=valid_for, attr_timeout=0.0)


def unnamed_entry(inode: int, kind: int) -> bytes:
    """An entry of READDIRPLUS that the kernel does not look up: `.` and `..`."""
    fields = p.attr(inode, kind, 0, 0.0, uid=0, gid=0, block_size=0)
    return p.entry_out(0, fields, entry_timeout=0.0, attr_timeout=0.0)


def attr_timeout(node: Node) -> float:
    """Seconds for which the kernel may believe attributes: an inode is a version."""
    return FOREVER if isinstance(node, ObjectFile | Member) else _PREFIX_TIMEOUT
