"""The tree: what the file system looks like is defined here and only here."""

from __future__ import annotations

import posixpath
import stat
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

from s3zipfs.archive.archive import Archive
from s3zipfs.archive.registry import Archives
from s3zipfs.cache.reader import Fetcher
from s3zipfs.cache.spans import merged
from s3zipfs.errors import (
    ForbiddenLink,
    IsADirectory,
    NotADirectory,
    NotASymlink,
    NotFound,
    ObjectChanged,
)
from s3zipfs.stores.base import ObjectInfo
from s3zipfs.stores.routing import RoutedStores
from s3zipfs.telemetry.figures import TreeFigures
from s3zipfs.tree.control import ControlFiles, content_of
from s3zipfs.tree.folders import Folders
from s3zipfs.tree.meters import Meters
from s3zipfs.tree.names import CONTROL
from s3zipfs.tree.nodes import (
    FOREVER,
    Attributes,
    Buckets,
    Control,
    DirEntry,
    Folder,
    Found,
    Kind,
    Member,
    Node,
    ObjectFile,
    Root,
    Snapshot,
    Sources,
)
from s3zipfs.tree.objectreaders import ObjectReaders
from s3zipfs.tree.opendirectory import OpenDirectory
from s3zipfs.waiting import Wait
from s3zipfs.zipformat.index import MemberIndex

MAX_LINK = 4096  # PATH_MAX

Reload = tuple[str, Callable[[], Coroutine[Any, Any, bool]]]  # of an endpoint's credentials


class Tree:
    """One read-only namespace over one or several endpoints; safe for any number of threads.

    Names are bytes, valid as path components. Every method that may need the network takes a
    `Wait`, and raises the errors of `s3zipfs.errors` only.
    """

    def __init__(
        self,
        stores: RoutedStores,
        folders: Folders,
        archives: Archives,
        fetcher: Fetcher,
        sources: Mapping[str, Folder],
        *,
        meters: Meters,
        reloads: Sequence[Reload] = (),
    ) -> None:
        self._stores = stores
        self._folders = folders
        self._archives = archives
        self._fetcher = fetcher
        self._sources = {name.encode(): folder for name, folder in sources.items()}
        self._meters = meters
        self._reloads = reloads
        self._made = time.time()
        self._objects = ObjectReaders(fetcher)
        self._control: ControlFiles | None = None

    @property
    def root(self) -> Root:
        """All buckets, the one source, or a directory with one name for each source."""
        if not self._sources:
            return Buckets()
        if len(self._sources) == 1:
            return next(iter(self._sources.values()))
        return Sources()

    @property
    def endpoint(self) -> str:
        """The URL of its endpoint, or of the first, as it stands in every `ObjectId`."""
        return self._stores.endpoint

    def publish(self, files: Mapping[str, Callable[[], bytes]]) -> None:
        """Have `.s3zipfs` at the root, with these files; a mount does so before it serves.

        What makes a file's content is called at each look-up, by any thread, and waits for nobody.
        """
        self._control = ControlFiles(files, self.root)

    @property
    def archives(self) -> Archives:
        """Its archives, for what is told of them and kept of them."""
        return self._archives

    @property
    def fetcher(self) -> Fetcher:
        """What its bytes come by, for what is told of them and kept of them."""
        return self._fetcher

    def head(self, bucket: str, key: str, wait: Wait) -> ObjectInfo:
        """The current version of an object at `endpoint`, whatever it is called; one HEAD.

        Raises:
            NotFound: there is none.
        """
        store = self._stores.of(self.endpoint, bucket, key)
        return wait.result(self._fetcher.network.submit(store.head(bucket, key)))

    def check(self, wait: Wait) -> None:
        """One cheap request for each source, so that a mount fails before it says it is ready."""
        if not self._sources:
            self._folders.buckets.all(wait)
        for folder in self._sources.values():
            listing = self._folders.listing(folder)
            listing.load_next(0, wait)
            if folder.prefix and listing.complete and listing.empty:
                raise NotFound(f"s3://{folder.bucket}/{folder.prefix}: nothing begins with it")

    # Names

    def lookup(self, parent: Node, name: bytes, wait: Wait) -> Found:
        """The node that a directory has under that name.

        Raises:
            NotFound: there is none; a definite answer.
            NotADirectory: `parent` is a file.
        """
        if name == CONTROL and self._control is not None and parent == self.root:
            return Found(Control(), FOREVER)
        match parent:
            case Folder():
                return self._folders.lookup(parent, name, wait)
            case Member(info, number, pinned):
                archive = self._archives.get(info, wait)
                if not archive.index.is_directory(number):
                    raise NotADirectory(f"{info.id}: {_member(archive, number)}: not a directory")
                found = archive.index.lookup(number, name)
                if found is None:
                    # Short: programs that probe for names meet this thousands of times a second.
                    raise NotFound(f"{info.id}: no {name!r}", valid_for=FOREVER)
                return Found(Member(info, found, pinned), FOREVER)
            case Sources(raw):
                if name in self._sources:
                    return Found(replace(self._sources[name], raw=raw), FOREVER)
                raise NotFound(f"no source {name!r}", valid_for=FOREVER)
            case Buckets(raw):
                valid_for = self._folders.buckets.find(name, wait)
                return Found(Folder(self.endpoint, name.decode(), "", raw), valid_for)
            case Control() if self._control is not None:
                return self._control.lookup(name)
            case _:
                raise NotADirectory(f"{_shown(parent)}: not a directory")

    def resolve(self, path: bytes, wait: Wait) -> Node:
        """The node at a path below the root; empty components are passed over.

        Where an archive is replaced while its index is read the walk begins again, once, as the
        kernel's does.

        Raises:
            ObjectChanged: it was replaced again, or the path names a version that is gone.
        """
        try:
            return self._walk(path, wait)
        except ObjectChanged:
            return self._walk(path, wait)

    def _walk(self, path: bytes, wait: Wait) -> Node:
        node: Node = self.root
        for name in path.split(b"/"):
            if name:
                node = self.lookup(node, name, wait).node
        return node

    def open_directory(self, node: Node) -> OpenDirectory:
        """A directory to read names from. No request is made yet."""
        return OpenDirectory(node, self._folders, self._numbered)

    def entries(self, node: Node, wait: Wait) -> Iterator[DirEntry]:
        """All names of a directory, lazily."""
        return self.open_directory(node).entries(0, wait)

    def index(self, info: ObjectInfo, wait: Wait) -> MemberIndex:
        """All that the central directory of an archive tells.

        Raises:
            BadArchive: it is not a zip that can be trusted.
        """
        return self._archives.get(info, wait).index

    def children(self, node: Member, wait: Wait) -> tuple[MemberIndex, range]:
        """The index of an archive, and the numbers of what one of its directories holds.

        Raises:
            NotADirectory: the member is a file.
        """
        index = self.index(node.info, wait)
        if not index.is_directory(node.number):
            raise NotADirectory(f"{node.info.id}: not a directory")
        return index, index.children(node.number)

    def _numbered(self, node: Node, offset: int, wait: Wait) -> Iterator[DirEntry]:
        match node:
            case Member(info, _, pinned):
                index, children = self.children(node, wait)
                for following, child in enumerate(children[offset:], offset + 1):
                    member = Member(info, child, pinned)
                    yield DirEntry(index.name(child), member, following, FOREVER)
            case Sources(raw):
                sources = list(self._sources.items())[offset:]
                for following, (name, folder) in enumerate(sources, offset + 1):
                    yield DirEntry(name, replace(folder, raw=raw), following, FOREVER)
            case Buckets(raw):
                buckets, valid_for = self._folders.buckets.all(wait)
                for following, bucket in enumerate(buckets[offset:], offset + 1):
                    folder = Folder(self.endpoint, bucket.name, "", raw)
                    yield DirEntry(bucket.name.encode(), folder, following, valid_for)
            case Control() if self._control is not None:
                yield from self._control.entries(offset)
            case _:
                raise NotADirectory(f"{_shown(node)}: not a directory")

    # Attributes

    def getattr(self, node: Node, wait: Wait) -> Attributes:
        """What `stat` tells. Needs the network only for a member whose index was given up."""
        match node:
            case ObjectFile(info):
                return Attributes(Kind.FILE, info.size, 0o444, info.modified)
            case Member(info, 0):
                return Attributes(Kind.DIRECTORY, 0, 0o555, info.modified)
            case Member(info, number):
                index = self._archives.get(info, wait).index
                mode = index.mode(number)
                kind = Kind(stat.S_IFMT(mode))
                size = 0 if kind is Kind.DIRECTORY else index.size(number)
                # Permission bits are of the machine that zipped: only "a program" is kept.
                permissions = 0o555 if mode & 0o111 else 0o444
                return Attributes(kind, size, permissions, index.modified(number))
            case Snapshot():
                return Attributes(Kind.FILE, len(content_of(node)), 0o444, node.made)
            case _:
                return Attributes(Kind.DIRECTORY, 0, 0o555, self._made)

    def readlink(self, node: Node, wait: Wait) -> bytes:
        """The target of a symlink in an archive.

        Raises:
            ForbiddenLink: the target is absolute or leaves the archive.
        """
        if not isinstance(node, Member) or self.getattr(node, wait).kind is not Kind.SYMLINK:
            raise NotASymlink("not a symbolic link")
        archive = self._archives.get(node.info, wait)
        target = b"".join(archive.read(node.number, 0, MAX_LINK, wait))
        path = archive.index.path(node.number)
        reached = posixpath.normpath(posixpath.join(posixpath.dirname(path), target))
        if not target or target.startswith(b"/") or reached.split(b"/")[0] == b"..":
            raise ForbiddenLink(
                f"{node.info.id}: {_member(archive, node.number)}: link to {target!r}"
            )
        return target

    # Bytes

    def check_open(self, node: Node, wait: Wait) -> None:
        """Whether a file may be opened now.

        Raises:
            ObjectChanged: another version of it is known by now, and the node is not pinned. The
                kernel then looks the name up again and opens that one.
            IsADirectory, UnsupportedMember, BadMember: there is nothing to read.
        """
        match node:
            case ObjectFile(info):
                pass
            case Member(info, number, pinned):
                self._archives.get(info, wait).check_readable(number)
                if pinned:
                    return
            case Snapshot():
                return
            case _:
                raise IsADirectory("is a directory")
        if self._folders.is_superseded(info):
            raise ObjectChanged(f"{info.id}: replaced by another version")

    def read(self, node: Node, start: int, end: int, wait: Wait) -> list[memoryview]:
        """The bytes `[start, end)` of a file, cut at its end.

        Raises:
            ObjectChanged: the version that the node names is gone; its name is believed no more.
        """
        if isinstance(node, Snapshot):
            return [memoryview(content_of(node))[start:end]]
        try:
            match node:
                case ObjectFile(info):
                    parts = self._objects.reader(info).read(start, min(end, info.size), wait)
                case Member(info, number):
                    parts = self._archives.get(info, wait).read(number, start, end, wait)
                case _:
                    raise IsADirectory("is a directory")
        except ObjectChanged:
            self._folders.expire(info)
            raise
        self._meters.objects.read(info.id.bucket, info.id.key, sum(map(len, parts)))
        return parts

    def start_reads(
        self, reads: Iterable[tuple[Node, int, int]], wait: Wait, *, max_gap: int
    ) -> None:
        """Have what reads `(node, start, end)` need fetched, by few GETs; waits for indexes only.

        What stands within `max_gap` bytes in one object comes together. How it went shows when it
        is read.
        """
        members: dict[ObjectInfo, list[tuple[int, int, int]]] = {}
        files: dict[ObjectInfo, list[tuple[int, int]]] = {}
        for node, start, end in reads:
            match node:
                case Member(info, number):
                    members.setdefault(info, []).append((number, start, end))
                case ObjectFile(info):
                    files.setdefault(info, []).append((start, min(end, info.size)))
        for info, wanted in members.items():
            self._archives.get(info, wait).start_reads(wanted, max_gap=max_gap)
        for info, spans in files.items():
            for start, end in merged(spans, max_gap=max_gap):
                self._objects.reader(info).start(start, end)

    def place(self, info: ObjectInfo) -> tuple[Folder, bytes]:
        """The directory that an object stands in, and its name there."""
        return self._folders.place(info)

    def member_path(self, member: Member) -> bytes | None:
        """Where a member stands in its archive, while that one's index is held; asks nobody."""
        archive = self._archives.held(member.info)
        return None if archive is None else archive.index.path(member.number)

    def figures(self) -> TreeFigures:
        """What was counted until now; waits for no network and no disk."""
        return self._meters.read()

    def is_held(self, info: ObjectInfo) -> bool:
        """Whether the index of an archive is in memory: to look into it costs nothing then."""
        return self._archives.held(info) is not None

    def version_id(self, info: ObjectInfo) -> str | None:
        """The id that its bucket gave that version, where an answer has told it; asks nobody."""
        return self._stores.version_id(info.id)

    def flush(self, seconds: float) -> None:
        """Let what was fetched reach the disk, for at most that time."""
        self._fetcher.disk.flush(seconds)

    def reload(self, *, ttl: float) -> list[tuple[str, Future[bool]]]:
        """Believe for `ttl` seconds what is learned from now on, and look for new credentials.

        The futures, one for each endpoint and its credentials, tell whether there are any, or why
        they can't be read. Nothing waits for them, and what is under way goes on with the old ones.
        """
        self._folders.ttl = ttl
        submit = self._fetcher.network.submit
        return [(endpoint, submit(reload())) for endpoint, reload in self._reloads]

    def close(self) -> None:
        """Close the connections and stop the network thread; nothing works afterwards."""
        self._archives.close()
        self._fetcher.close()


def _shown(node: Node) -> str:
    return str(node.info.id) if isinstance(node, ObjectFile | Member) else ".s3zipfs"


def _member(archive: Archive, number: int) -> str:
    return archive.index.path(number).decode("utf-8", "backslashreplace") or "/"
