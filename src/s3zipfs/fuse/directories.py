"""Open directories: names for the kernel, in replies of its size."""

from __future__ import annotations

import ctypes as c
import itertools
from collections.abc import Callable, Iterator
from typing import Any

from s3zipfs.errors import S3ZipError
from s3zipfs.fuse import lowlevel as ll
from s3zipfs.fuse.answers import PREFERRED_READ, Answers
from s3zipfs.fuse.direntries import Stamp, pack
from s3zipfs.fuse.inodes import Inodes
from s3zipfs.tree.nodes import FOREVER, DirEntry, Folder, Kind, Member, Node
from s3zipfs.tree.tree import Directory, Tree
from s3zipfs.waiting import Wait

lib = ll.lib
DOTS = (b".", b"..")  # their offsets are 1 and 2; the tree's begin behind them


class _Walk:
    """An open directory: an iterator that stands at `offset`, unless a thread has it.

    The kernel reads an open directory by one request at a time (f_pos_lock). The iterator outlives
    them, so its waits ask after the request of the moment.
    """

    def __init__(self, directory: Directory, wait: Wait) -> None:
        self.directory = directory
        self.present = wait
        self.wait = Wait(wait.timeout, self._interrupted)
        self.offset = 0
        self.entries: Iterator[DirEntry] | None = None
        self.pushed_back: DirEntry | None = None

    def _interrupted(self) -> bool:
        return self.present.interrupted()


class _Reply:
    """A buffer of the size that the kernel gave, and the look-ups that it will count."""

    def __init__(self, request: int, size: int) -> None:
        self.request = request
        self.size = size
        self.used = 0
        self.told: list[tuple[int, int]] = []  # (inode, look-ups)
        self._buffer = c.create_string_buffer(size)

    @property
    def room(self) -> int:
        return self.size - self.used

    @property
    def end(self) -> int:
        """The address behind what was added."""
        return c.addressof(self._buffer) + self.used

    def send(self, inodes: Inodes) -> None:
        """Reply; where the request was interrupted, the kernel learns of no entry."""
        if lib.fuse_reply_buf(self.request, c.addressof(self._buffer), self.used):
            for inode, lookups in self.told:
                inodes.forget(inode, lookups)


AddEntry = Callable[[_Reply, DirEntry, Wait], bool]
"""Adds an entry to a reply; False where it has no room."""


class Directories:
    """The handlers of open directories."""

    def __init__(
        self, tree: Tree, inodes: Inodes, answers: Answers, wait_of: Callable[[int], Wait]
    ) -> None:
        self._tree = tree
        self._inodes = inodes
        self._answers = answers
        self._wait_of = wait_of
        self._handles = itertools.count(1)
        self._walks: dict[int, _Walk] = {}
        self._stamp = Stamp(
            answers.uid, answers.gid, answers.umask, PREFERRED_READ, timeout=int(FOREVER)
        )

    def handlers(self) -> dict[str, Callable[..., None]]:
        """By the names of `struct fuse_lowlevel_ops`."""
        return {
            "opendir": self._opendir,
            "readdir": self._readdir,
            "readdirplus": self._readdirplus,
            "releasedir": self._releasedir,
        }

    def _opendir(self, request: int, inode: int, file: Any) -> None:
        node = self._inodes.node(inode)
        handle = next(self._handles)
        self._walks[handle] = _Walk(self._tree.open_directory(node), self._wait_of(request))
        file.contents.fh = handle
        if isinstance(node, Member):  # the names of a version never change
            file.contents.keep_cache = 1
            file.contents.cache_readdir = 1
        if lib.fuse_reply_open(request, file):
            self._walks.pop(handle, None)

    def _releasedir(self, request: int, _inode: int, file: Any) -> None:
        self._walks.pop(file.contents.fh, None)
        lib.fuse_reply_err(request, 0)

    def _readdir(self, request: int, _inode: int, size: int, offset: int, file: Any) -> None:
        walk = self._walks[file.contents.fh]
        self._walk_on(_Reply(request, size), offset, walk, self._add)

    def _readdirplus(self, request: int, _inode: int, size: int, offset: int, file: Any) -> None:
        walk = self._walks[file.contents.fh]
        if isinstance(walk.directory.node, Member):
            wait = self._wait_of(request)
            self._pack_members(_Reply(request, size), offset, walk.directory.node, wait)
        else:
            self._walk_on(_Reply(request, size), offset, walk, self._add_plus)

    # One by one

    def _walk_on(self, reply: _Reply, offset: int, walk: _Walk, add: AddEntry) -> None:
        walk.present = self._wait_of(reply.request)
        entries, pushed_back, walk.entries = walk.entries, walk.pushed_back, None
        if entries is None or walk.offset != offset:
            entries, pushed_back = self._entries(walk.directory, offset, walk.wait), None
        try:
            while (entry := pushed_back or next(entries, None)) is not None:
                if not add(reply, entry, walk.wait):
                    break
                pushed_back, offset = None, entry.offset
            walk.offset, walk.pushed_back, walk.entries = offset, entry, entries
        except S3ZipError:
            # What was added counts as looked up and must be sent; the next call begins behind it
            # with a new iterator, and meets the error again or not.
            if not reply.used:
                raise
        reply.send(self._inodes)

    def _entries(self, directory: Directory, offset: int, wait: Wait) -> Iterator[DirEntry]:
        node = directory.node
        for following, (name, own) in enumerate(zip(DOTS, (node, self._parent(node)), strict=True)):
            if offset <= following:
                yield DirEntry(name, own, following + 1, 0.0)
        for entry in directory.entries(max(0, offset - len(DOTS)), wait):
            yield DirEntry(entry.name, entry.node, entry.offset + len(DOTS), entry.valid_for)

    def _add(self, reply: _Reply, entry: DirEntry, wait: Wait) -> bool:
        answer = ll.Stat(st_ino=self._inodes.number(entry.node))
        answer.st_mode = self._tree.getattr(entry.node, wait).kind
        place = (reply.request, reply.end, reply.room)
        needed = lib.fuse_add_direntry(*place, entry.name, c.byref(answer), entry.offset)
        if needed > reply.room:
            return False
        reply.used += needed
        return True

    def _add_plus(self, reply: _Reply, entry: DirEntry, wait: Wait) -> bool:
        if entry.name in DOTS:  # the kernel looks neither up
            answer = ll.Entry()
            answer.attr.st_ino = self._inodes.number(entry.node)
            answer.attr.st_mode = Kind.DIRECTORY
        else:
            attributes = self._tree.getattr(entry.node, wait)
            answer = self._answers.entry(entry.node, attributes, entry.valid_for)
            reply.told.append((answer.ino, 1))
        place = (reply.request, reply.end, reply.room)
        needed = lib.fuse_add_direntry_plus(*place, entry.name, c.byref(answer), entry.offset)
        if needed > reply.room:
            if answer.ino:
                self._inodes.forget(*reply.told.pop())
            return False
        reply.used += needed
        return True

    # In columns

    def _pack_members(self, reply: _Reply, offset: int, node: Member, wait: Wait) -> None:
        index, children = self._tree.children(node, wait)
        for following, (name, own) in enumerate(zip(DOTS, (node, self._parent(node)), strict=True)):
            if offset <= following:
                self._add_plus(reply, DirEntry(name, own, following + 1, 0.0), wait)
        numbers = children[max(0, offset - len(DOTS)) :]
        if numbers:
            first = self._inodes.number(Member(node.info, numbers.start, node.pinned))
            packed, count = pack(
                index,
                numbers,
                reply.room,
                first_inode=first,
                offset=max(offset, len(DOTS)),
                stamp=self._stamp,
            )
            c.memmove(reply.end, packed.ctypes.data, len(packed))
            reply.used += len(packed)
            self._inodes.look_up_more(first, count)
            reply.told.append((first, count))
        reply.send(self._inodes)

    def _parent(self, node: Node) -> Node:
        match node:
            case Member(info, 0):
                return self._tree.place(info)[0]
            case Folder(bucket, prefix) if prefix and node != self._tree.root:
                return Folder(bucket, prefix.rstrip("/").rpartition("/")[0] + "/")
            case _:
                return self._tree.root
