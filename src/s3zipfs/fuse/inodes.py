"""Inodes: a number for each (version, member), held for as long as the kernel holds it."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import Final

from s3zipfs.errors import ObjectChanged
from s3zipfs.tree.nodes import Buckets, Folder, Member, Node, ObjectFile, Snapshot, Sources

ROOT = 1  # FUSE_ROOT_ID

# An inode is 31 bits that name an object version or a directory, and 32 bits that number a
# member in it: nothing has to be kept for each member of a large archive.
NUMBER_BITS: Final = 32
_NUMBERS = (1 << NUMBER_BITS) - 1
_BASES = (1 << 31) - 1

# Contents of files that are made at their look-up, 2 to 30 kB each, held while the kernel holds
# them: whoever opens more of them has the first ones given up.
MAX_SNAPSHOTS: Final = 256


@dataclass(slots=True)
class _Held:
    node: Node  # of an archive: its own directory
    lookups: int  # over all inodes of this base


class Inodes:
    """The nodes whose inodes the kernel knows, with its look-up counts.

    Numbers are hashes of what they name, the same after a remount; the next free one is taken
    where two live ones coincide (2^31 bases; resolved by comparing the nodes).
    """

    def __init__(self, root: Node) -> None:
        self._root = root
        self._lock = threading.Lock()  # guards all below
        self._held: dict[int, _Held] = {}
        # By hash, the bases of those that do not stand at it: another one stood there, and may go.
        self._beside: dict[int, list[int]] = {}
        self._snapshots: OrderedDict[int, None] = OrderedDict()  # bases of those with a content

    def number(self, node: Node) -> int:
        """The inode of a node, whether held or not; nothing is counted."""
        if node == self._root:
            return ROOT
        with self._lock:
            base, _ = self._find(node)
        return _inode(base, node)

    def look_up(self, node: Node) -> int:
        """The inode of a node that the kernel is about to learn of; counts one look-up."""
        if node == self._root:
            return ROOT
        with self._lock:
            base, held = self._find(node)
            if held is None:
                self._hold(base, _whole(node))
                if isinstance(node, Snapshot):
                    self._keep_snapshot(base)
            else:
                held.lookups += 1
        return _inode(base, node)

    def shown(self, node: Node, inode: int) -> int:
        """`st_ino` of a node. All snapshots of a file show the same.

        cp(1) refuses a file whose number at open is not that of its stat.
        """
        return self.number(replace(node, number=0)) if isinstance(node, Snapshot) else inode

    def look_up_more(self, inode: int, lookups: int) -> None:
        """Count look-ups of members in an archive of which an inode is held already."""
        with self._lock:
            self._held[inode >> NUMBER_BITS].lookups += lookups

    def node(self, inode: int) -> Node:
        """The node of an inode that the kernel holds.

        Raises:
            ObjectChanged: it holds none such (as after a forget that crossed the request).
        """
        if inode == ROOT:
            return self._root
        held = self._held.get(inode >> NUMBER_BITS)
        if held is None:
            raise ObjectChanged(f"inode {inode} is not known")
        number = inode & _NUMBERS
        if number and isinstance(held.node, Member):
            return Member(held.node.info, number, held.node.pinned)
        return held.node

    def forget(self, inode: int, lookups: int) -> None:
        """The kernel gives back look-ups; what it holds no more is dropped."""
        base = inode >> NUMBER_BITS
        with self._lock:
            held = self._held.get(base)
            if held is None:
                return
            held.lookups -= lookups
            if held.lookups <= 0:
                del self._held[base]
                self._snapshots.pop(base, None)
                if self._beside:
                    self._forget_beside(base, held.node)

    def __len__(self) -> int:
        """How many versions and directories are held."""
        return len(self._held)

    def _keep_snapshot(self, base: int) -> None:
        self._snapshots[base] = None
        if len(self._snapshots) > MAX_SNAPSHOTS:
            oldest = self._held[self._snapshots.popitem(last=False)[0]]
            if isinstance(oldest.node, Snapshot):
                oldest.node = replace(oldest.node, content=None)

    def _find(self, node: Node) -> tuple[int, _Held | None]:
        """The base of a node, and its entry where it has one; the lock is held."""
        whole = _whole(node)
        base = _hash(whole)
        for beside in self._beside.get(base, ()):
            if _same((there := self._held[beside]).node, whole):
                return beside, there
        while (held := self._held.get(base)) is not None and not _same(held.node, whole):
            base = base % _BASES + 1
        return base, held

    def _hold(self, base: int, whole: Node) -> None:
        self._held[base] = _Held(whole, 1)
        if (hashed := _hash(whole)) != base:
            self._beside.setdefault(hashed, []).append(base)

    def _forget_beside(self, base: int, whole: Node) -> None:
        hashed = _hash(whole)
        bases = self._beside.get(hashed, [])
        if base in bases:
            bases.remove(base)
            if not bases:
                del self._beside[hashed]


def _whole(node: Node) -> Node:
    return replace(node, number=0) if isinstance(node, Member) and node.number else node


def _inode(base: int, node: Node) -> int:
    return base << NUMBER_BITS | (node.number if isinstance(node, Member) else 0)


def _same(one: Node, other: Node) -> bool:
    if isinstance(one, ObjectFile | Member) and isinstance(other, ObjectFile | Member):
        return one.info.id == other.info.id and _kind(one) == _kind(other)
    return one == other


def _kind(node: Node) -> str:
    pinned = isinstance(node, Member) and node.pinned
    return "Pinned" if pinned else type(node).__name__


def _hash(node: Node) -> int:
    words: tuple[str, ...]
    match node:
        case ObjectFile(info) | Member(info):
            oid = info.id
            words = (oid.endpoint, oid.bucket, oid.key, oid.etag, oid.version_id or "")
            words = (_kind(node), *words)
        case Folder(endpoint, bucket, prefix, raw):
            words = ("Raw" if raw else "Folder", endpoint, bucket, prefix)
        case Buckets(raw=True) | Sources(raw=True):
            words = ("Raw",)
        case Snapshot(name, number):
            words = ("Snapshot", name.decode(), str(number))
        case _:
            words = (type(node).__name__,)
    digest = hashlib.blake2b("\0".join(words).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") % _BASES + 1
