"""Open directories: names for the kernel, in replies of its size."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace

from s3zipfs.errors import Interrupted, S3ZipError, TooManyWaiting
from s3zipfs.fuse import protocol as p
from s3zipfs.fuse.answers import PREFERRED_READ, Answers, unnamed_entry
from s3zipfs.fuse.direntries import Stamp, pack
from s3zipfs.fuse.guard import CrawlGuard
from s3zipfs.fuse.inodes import Inodes
from s3zipfs.fuse.protocol import Opcode, OpenFlag
from s3zipfs.fuse.session import Handler, Request
from s3zipfs.tree.nodes import (
    FOREVER,
    Buckets,
    Control,
    DirEntry,
    Folder,
    Kind,
    Member,
    Node,
    Sources,
)
from s3zipfs.tree.opendirectory import OpenDirectory
from s3zipfs.tree.tree import Tree
from s3zipfs.waiting import Wait

DOTS = (b".", b"..")  # their offsets are 1 and 2; the tree's begin behind them


class _Walk:
    """An open directory: an iterator that stands at `offset`, unless a thread has it.

    The kernel reads an open directory by one request at a time (f_pos_lock). The iterator outlives
    them, so its waits ask after the request of the moment.
    """

    def __init__(self, directory: OpenDirectory, wait: Wait) -> None:
        self.directory = directory
        self.present = wait
        self.wait = Wait(wait.timeout, self._interrupted, wait.places, self._on_interrupt)
        self.offset = 0
        self.entries: Iterator[DirEntry] | None = None
        self.pushed_back: DirEntry | None = None
        self.error: S3ZipError | None = None  # met at `offset`, and not told yet

    def _interrupted(self) -> bool:
        return self.present.interrupted()

    def _on_interrupt(self, wake: Callable[[], None]) -> None:
        if self.present.on_interrupt is not None:
            self.present.on_interrupt(wake)


class _Reply:
    """What is gathered up to the size that the kernel gave, and the look-ups that it will count."""

    def __init__(self, request: Request, size: int) -> None:
        self.request = request
        self.room = size
        self.told: list[tuple[int, int]] = []  # (inode, look-ups)
        self._parts: list[bytes | memoryview] = []

    @property
    def empty(self) -> bool:
        return not self._parts

    def add(self, part: bytes | memoryview) -> bool:
        """False where there is no room for it."""
        if len(part) > self.room:
            return False
        self.room -= len(part)
        self._parts.append(part)
        return True

    def send(self, inodes: Inodes) -> None:
        """Reply; where the request was interrupted, the kernel learns of no entry."""
        if not self.request.reply(*self._parts):
            for inode, lookups in self.told:
                inodes.forget(inode, lookups)


AddEntry = Callable[[_Reply, DirEntry, Wait], bool]
"""Adds an entry to a reply; False where it has no room."""


class Directories:
    """The handlers of open directories."""

    def __init__(
        self,
        tree: Tree,
        inodes: Inodes,
        answers: Answers,
        guard: CrawlGuard,
        wait_of: Callable[[Request], Wait],
    ) -> None:
        self._tree = tree
        self._inodes = inodes
        self._answers = answers
        self._guard = guard
        self._wait_of = wait_of
        self._handles = itertools.count(1)
        self._walks: dict[int, _Walk] = {}
        self._stamp = Stamp(answers.shown, PREFERRED_READ, timeout=int(FOREVER))

    def __len__(self) -> int:
        """How many are open."""
        return len(self._walks)

    def handlers(self) -> dict[Opcode, Handler]:
        """By what the kernel asks for."""
        return {
            Opcode.OPENDIR: self._opendir,
            Opcode.READDIR: self._readdir,
            Opcode.READDIRPLUS: self._readdirplus,
            Opcode.RELEASEDIR: self._releasedir,
        }

    def _opendir(self, request: Request) -> None:
        node, wait = self._inodes.node(request.inode), self._wait_of(request)
        self._guard.list(request, node, wait)
        if isinstance(node, Member):
            # ESTALE of an archive that was replaced is told here: the kernel then walks the path
            # once more, to the new version, as it does for open(2) and never for getdents(2).
            self._tree.children(node, wait)
        handle = next(self._handles)
        self._walks[handle] = _Walk(self._tree.open_directory(node), wait)
        # The names of a version never change.
        flags = OpenFlag.KEEP_CACHE | OpenFlag.CACHE_DIR if isinstance(node, Member) else 0
        if not request.reply(p.open_out(handle, OpenFlag(flags))):
            self._walks.pop(handle, None)

    def _releasedir(self, request: Request) -> None:
        (handle,) = p.RELEASE_IN.unpack_from(request.body)
        self._walks.pop(handle, None)
        request.reply()

    def _readdir(self, request: Request) -> None:
        handle, offset, size, *_ = p.READ_IN.unpack_from(request.body)
        self._walk_on(_Reply(request, size), offset, self._walks[handle], self._add)

    def _readdirplus(self, request: Request) -> None:
        handle, offset, size, *_ = p.READ_IN.unpack_from(request.body)
        walk, reply = self._walks[handle], _Reply(request, size)
        if isinstance(walk.directory.node, Member):
            self._pack_members(reply, offset, walk.directory.node, self._wait_of(request))
        else:
            self._walk_on(reply, offset, walk, self._add_plus)

    # One by one

    def _walk_on(self, reply: _Reply, offset: int, walk: _Walk, add: AddEntry) -> None:
        walk.present = self._wait_of(reply.request)
        entries, pushed_back, walk.entries = walk.entries, walk.pushed_back, None
        error, walk.error = walk.error, None
        if error is not None and walk.offset == offset:
            raise error
        if entries is None or walk.offset != offset:
            entries, pushed_back = self._entries(walk.directory, offset, walk.wait), None
        try:
            while (entry := pushed_back or next(entries, None)) is not None:
                if not add(reply, entry, walk.wait):
                    break
                pushed_back, offset = None, entry.offset
            walk.offset, walk.pushed_back, walk.entries = offset, entry, entries
        except S3ZipError as met:
            # What was added counts as looked up and must be sent. The next call begins behind it:
            # it tells the error, and does not wait for another deadline to meet it again.
            if reply.empty:
                raise
            walk.offset = offset
            if not isinstance(met, Interrupted | TooManyWaiting):  # these were of this call only
                walk.error = met
        reply.send(self._inodes)

    def _entries(self, directory: OpenDirectory, offset: int, wait: Wait) -> Iterator[DirEntry]:
        node = directory.node
        for following, (name, own) in enumerate(zip(DOTS, (node, self._parent(node)), strict=True)):
            if offset <= following:
                yield DirEntry(name, own, following + 1, 0.0)
        for entry in directory.entries(max(0, offset - len(DOTS)), wait):
            yield DirEntry(entry.name, entry.node, entry.offset + len(DOTS), entry.valid_for)

    def _add(self, reply: _Reply, entry: DirEntry, wait: Wait) -> bool:
        kind = self._tree.getattr(entry.node, wait).kind
        inode = self._inodes.shown(entry.node, self._inodes.number(entry.node))
        return reply.add(p.dirent(inode, entry.offset, kind, entry.name))

    def _add_plus(self, reply: _Reply, entry: DirEntry, wait: Wait) -> bool:
        if entry.name in DOTS:
            inode, kind = self._inodes.number(entry.node), Kind.DIRECTORY
            record = unnamed_entry(inode, kind)
            return reply.add(record + p.dirent(inode, entry.offset, kind, entry.name))
        attributes = self._tree.getattr(entry.node, wait)
        inode, record = self._answers.entry(entry.node, attributes, entry.valid_for)
        shown = self._inodes.shown(entry.node, inode)
        if not reply.add(record + p.dirent(shown, entry.offset, attributes.kind, entry.name)):
            self._inodes.forget(inode, 1)
            return False
        reply.told.append((inode, 1))
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
            reply.add(memoryview(packed))
            self._inodes.look_up_more(first, count)
            reply.told.append((first, count))
        reply.send(self._inodes)

    def _parent(self, node: Node) -> Node:
        root = self._tree.root
        match node:
            case Member(info, 0):
                return self._tree.place(info)[0]
            case Folder(prefix=prefix) if prefix and replace(node, raw=False) != root:
                return replace(node, prefix="".join(prefix[:-1].rpartition("/")[:2]))
            case Folder(raw=True) | Buckets(raw=True) | Sources(raw=True):
                raw_root = replace(root, raw=True)
                return Control() if node == raw_root else raw_root
            case _:
                return root
