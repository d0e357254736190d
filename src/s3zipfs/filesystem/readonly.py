"""What all filesystems of this door do alike: a tree's names and bytes, as fsspec asks for them."""

from __future__ import annotations

import contextlib
import datetime as dt
import errno
import io
import os
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from functools import partial
from glob import has_magic
from typing import Any

from fsspec.spec import AbstractFileSystem
from fsspec.utils import tokenize

from s3zipfs.errors import ObjectChanged, S3ZipError
from s3zipfs.filesystem.file import MemberFile
from s3zipfs.filesystem.mapping import Mapping
from s3zipfs.filesystem.paths import Paths
from s3zipfs.filesystem.ranges import NEAR, Range, RangeRead, batches, bounds_of
from s3zipfs.filesystem.threads import POOL
from s3zipfs.filesystem.translated import Translated, as_os_error
from s3zipfs.settings import Settings
from s3zipfs.tree.nodes import Kind, Member, Node, ObjectFile
from s3zipfs.tree.tree import Tree
from s3zipfs.waiting import Wait
from s3zipfs.zipformat.index import MemberIndex

PIECE = 8 << 20  # bytes read of the tree at once
TYPES = {Kind.DIRECTORY: "directory", Kind.FILE: "file", Kind.SYMLINK: "link"}


def take_settings(options: dict[str, Any]) -> dict[str, Any]:
    """Those of fsspec's keywords that are settings of ours; they are taken out of `options`."""
    names = Settings.model_fields.keys()
    return {name: options.pop(name) for name in list(options) if name in names}


class ReadOnlyFileSystem(AbstractFileSystem):  # type: ignore[misc] # fsspec has no types
    """Names and bytes of a tree. Whatever would write raises `OSError` (`EROFS`).

    No method takes an error for "no such name" or for an empty directory: a store that is down
    must not look empty.
    """

    root_marker = ""
    _settings: Settings

    @property
    @abstractmethod
    def tree(self) -> Tree:
        """The tree of this process."""

    @property
    @abstractmethod
    def _paths(self) -> Paths: ...

    @property
    def _wait(self) -> Wait:
        return Wait(self._settings.timeout)

    # Names

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        """`name`, `size` (0 of directories), `type`, `mtime` (seconds), `mode`, `islink`, `ETag`.

        The ETag is that of the object, for all members of an archive; buckets and prefixes have
        none.
        """
        path, wait = self._strip_protocol(path), self._wait
        with Translated(path):
            return self._told(path, self._resolve(path, wait), wait)

    def ls(self, path: str, detail: bool = True, **_: Any) -> list[Any]:  # noqa: FBT001, FBT002
        """The names below a directory; of a file, itself."""
        path, wait = self._strip_protocol(path), self._wait
        with Translated(path):
            node = self._resolve(path, wait)
            if self.tree.getattr(node, wait).kind is not Kind.DIRECTORY:
                found = [(path, node)]
            else:
                prefix = f"{path}/" if path else ""
                found = [
                    (prefix + os.fsdecode(entry.name), entry.node)
                    for entry in self.tree.entries(node, wait)
                ]
            return [self._told(*each, wait) if detail else each[0] for each in found]

    def _resolve(self, path: str, wait: Wait) -> Node:
        return self._paths.resolve(path, wait)

    def same_node(self, _path: str, node: Node) -> Node:
        """What a node of another process is called in this one."""
        return node

    def _told(self, path: str, node: Node, wait: Wait) -> dict[str, Any]:
        attributes = self.tree.getattr(node, wait)
        told = {
            "name": path,
            "size": attributes.size,
            "type": TYPES[attributes.kind],
            "mtime": attributes.modified,
            "mode": attributes.mode,
            "islink": attributes.kind is Kind.SYMLINK,
        }
        if isinstance(node, Member | ObjectFile):
            told["ETag"] = node.info.id.etag
        return told

    def exists(self, path: str, **_: Any) -> bool:
        """Whether there is such a name."""
        return self._type(path) is not None

    def isfile(self, path: str) -> bool:
        """Whether it is a file."""
        return self._type(path) == "file"

    def isdir(self, path: str) -> bool:
        """Whether it is a directory, archives included."""
        return self._type(path) == "directory"

    def _type(self, path: str) -> str | None:
        try:
            return str(self.info(path)["type"])
        except (FileNotFoundError, NotADirectoryError):
            return None

    def walk(self, path: str, *arguments: Any, on_error: Any = "missing", **options: Any) -> Any:
        """As fsspec's; by default only a path that does not exist is passed over."""
        if on_error == "missing":
            on_error = pass_over_missing
        return super().walk(path, *arguments, on_error=on_error, **options)

    def find(  # the names of an archive are in its index: 1 µs each, and 24 by `walk`
        self,
        path: str,
        maxdepth: int | None = None,
        withdirs: bool = False,  # noqa: FBT001, FBT002 - fsspec's signature
        detail: bool = False,  # noqa: FBT001, FBT002
        **options: Any,
    ) -> Any:
        """As fsspec's: the files below a directory, sorted; with `detail` a dict of their infos."""
        path = self._strip_protocol(path)
        wait = self._wait
        if not detail and self.isdir(path) and not (maxdepth is not None and maxdepth < 1):
            with Translated(path):
                node = self._resolve(path, wait)
                if isinstance(node, Member):
                    index = self.tree.index(node.info, wait)
                    own = [path] if withdirs and path else []
                    depth = -1 if maxdepth is None else maxdepth
                    below = names_below(index, node.number, path, depth, withdirs=withdirs)
                    return sorted([*own, *below])
        return super().find(path, maxdepth, withdirs, detail=detail, **options)

    def ukey(self, path: str) -> str:
        """The same for as long as the content is: made of the version, not of the name's times.

        Of buckets and prefixes, which have no version, it is made of their names.
        """
        path = self._strip_protocol(path)
        with Translated(path):
            node = self._resolve(path, self._wait)
        if not isinstance(node, Member | ObjectFile):
            return str(tokenize(self.fsid, path))
        number = node.number if isinstance(node, Member) else None
        oid = node.info.id
        return str(tokenize(oid.endpoint, oid.bucket, oid.key, oid.etag, number))

    def checksum(self, path: str) -> int:
        """`ukey` as a number."""
        return int(self.ukey(path), 16)

    def created(self, path: str) -> Any:
        """Not known: S3 has no time of creation."""
        raise NotImplementedError

    def modified(self, path: str) -> Any:
        """When the object or member was last modified, as an aware datetime."""
        return dt.datetime.fromtimestamp(self.info(path)["mtime"], tz=dt.UTC)

    def invalidate_cache(self, path: str | None = None) -> None:
        """Look archives up again; what their buckets list is believed for the `ttl`."""
        self._paths.forget()
        super().invalidate_cache(path)

    def get_mapper(
        self,
        root: str = "",
        check: bool = False,  # noqa: FBT001, FBT002 - fsspec's signature
        create: bool = False,  # noqa: FBT001, FBT002
        missing_exceptions: Any = None,
    ) -> Mapping:
        """A mapping of the files below `root`, whose failures nobody takes for missing keys."""
        return Mapping(root, self, check, create, missing_exceptions)

    # Bytes

    def cat_file(
        self, path: str, start: int | None = None, end: int | None = None, **_: Any
    ) -> bytes:
        """The bytes `[start, end)` of a file; negative positions count from its end."""
        path, wait = self._strip_protocol(path), self._wait
        with Translated(path):
            node = self._resolve(path, wait)
            size = self.tree.getattr(node, wait).size
            return self._read(node, *bounds_of(start, end, size), wait)

    def _read(self, node: Node, start: int, end: int, wait: Wait) -> bytes:
        """The bytes `[start, end)`, which lie within the file."""
        try:
            if end - start <= PIECE:
                return b"".join(self.tree.read(node, start, end, wait))
            whole = io.BytesIO()
            for at in range(start, end, PIECE):  # piece by piece: what is in flight is bounded
                for part in self.tree.read(node, at, min(at + PIECE, end), wait):
                    whole.write(part)
            return whole.getvalue()
        except ObjectChanged:
            if isinstance(node, Member | ObjectFile):
                self._paths.forget(node.info)
            raise

    def cat_ranges(
        self,
        paths: list[str],
        starts: Any,
        ends: Any,
        max_gap: int | None = None,
        on_error: str = "return",
        **_: Any,
    ) -> list[Any]:
        """The bytes of many ranges; those near each other in one archive come by one GET.

        Args:
            paths: of files; one may be there many times.
            starts: for each path, or one number or None for all; as in `cat_file`.
            ends: the same.
            max_gap: bytes that nobody asked for between two ranges of a GET (default 64 KiB).
            on_error: "return" puts the error in the place of the bytes, "omit" None, and "raise"
                raises the first.
        """
        ranges = Range.of(paths, starts, ends)
        found = self._cat_many(ranges, NEAR if max_gap is None else max_gap)
        return [_as_asked(each, on_error) for each in found]

    def cat(self, path: Any, recursive: bool = False, on_error: str = "raise", **_: Any) -> Any:  # noqa: FBT001, FBT002
        """The content of a file; of several (a list, a pattern, a directory) a dict by path."""
        paths = self.expand_path(path, recursive=recursive) if path != [] else []
        if not isinstance(path, list) and paths == [self._strip_protocol(path)]:
            return self.cat_file(paths[0])
        if recursive:
            paths = [each for each in paths if not self.isdir(each)]
        found = self._cat_many([Range(each, None, None) for each in paths], NEAR)
        contents = {
            name: _as_asked(each, on_error) for name, each in zip(paths, found, strict=True)
        }
        if on_error == "omit":
            return {name: data for name, data in contents.items() if data is not None}
        return contents

    def expand_path(
        self,
        path: Any,
        recursive: bool = False,  # noqa: FBT001, FBT002 - fsspec's signature
        maxdepth: int | None = None,
        assume_literal: bool = False,  # noqa: FBT001, FBT002
        **options: Any,
    ) -> list[str]:
        """As fsspec's; but a path that exists as it stands is no pattern."""
        given = [path] if isinstance(path, str | os.PathLike) else path
        paths = {self._strip_protocol(p) for p in given}
        patterns = {p for p in paths if not assume_literal and has_magic(p) and not self.exists(p)}
        found: set[str] = set()
        for each, is_exact in ((paths - patterns, True), (patterns, False)):
            with contextlib.suppress(FileNotFoundError):  # it found nothing
                found.update(super().expand_path(each, recursive, maxdepth, is_exact, **options))
        if not found:
            raise FileNotFoundError(path)
        return sorted(found)

    def _cat_many(self, ranges: Sequence[Range], max_gap: int) -> list[bytes | Exception]:
        """The bytes of each, or why there are none; in several threads, of which this is one."""
        wait = self._wait
        nodes: dict[str, Node | Exception] = {}
        for each in ranges:
            if each.path not in nodes:
                nodes[each.path] = self._node_or_error(each.path, wait)
        found: list[bytes | Exception] = []
        reads = [self._range_read(each, nodes[each.path], wait) for each in ranges]
        ahead = batches(reads)
        for number, batch in enumerate(ahead):
            if number == 0:
                self._start(batch, max_gap, wait)
            if number + 1 < len(ahead):  # the network has something to do meanwhile
                self._start(ahead[number + 1], max_gap, wait)
            found += POOL.run([partial(self._bytes_or_error, each, wait) for each in batch])
        return found

    def _node_or_error(self, path: str, wait: Wait) -> Node | Exception:
        stripped = self._strip_protocol(path)
        try:
            return self._resolve(stripped, wait)
        except S3ZipError as error:
            return _caused(as_os_error(stripped, error), error)

    def _range_read(self, asked: Range, node: Node | Exception, wait: Wait) -> RangeRead:
        if isinstance(node, Exception):
            return RangeRead(asked.path, node, 0, 0)
        try:
            size = self.tree.getattr(node, wait).size
        except S3ZipError as error:
            return RangeRead(asked.path, _caused(as_os_error(asked.path, error), error), 0, 0)
        return RangeRead(asked.path, node, *bounds_of(asked.start, asked.end, size))

    def _start(self, batch: Sequence[RangeRead], max_gap: int, wait: Wait) -> None:
        """Have the store asked for all of it; what can't be had shows where it is read."""
        wanted = [
            (each.node, each.start, each.end)
            for each in batch
            if not isinstance(each.node, Exception)
        ]
        if len(wanted) > 1:
            with contextlib.suppress(S3ZipError):  # whatever it is, the reads meet it
                self.tree.start_reads(wanted, wait, max_gap=max_gap)

    def _bytes_or_error(self, read: RangeRead, wait: Wait) -> bytes | Exception:
        if isinstance(read.node, Exception):
            return read.node
        try:
            return self._read(read.node, read.start, read.end, wait)
        except S3ZipError as error:
            return _caused(as_os_error(read.path, error), error)

    def _open(self, path: str, mode: str = "rb", **options: Any) -> MemberFile:
        if mode != "rb":
            raise self._refusal(path)
        path, wait = self._strip_protocol(path), self._wait
        with Translated(path):
            node = self._resolve(path, wait)
            try:
                self.tree.check_open(node, wait)
            except ObjectChanged:
                self._paths.forget()
                node = self._resolve(path, wait)
                self.tree.check_open(node, wait)
            size = self.tree.getattr(node, wait).size
        options = {"cache_type": "readahead", **options}
        return MemberFile(self, path, node, size=size, **options)

    # Writing

    def _refusal(self, path: Any) -> OSError:
        return OSError(errno.EROFS, f"{path}: {type(self).__name__} is read-only")

    def _refuse(self, path: Any, *_: Any, **__: Any) -> None:
        raise self._refusal(path)

    mkdir = makedirs = rmdir = rm = rm_file = touch = _refuse
    pipe = pipe_file = put = put_file = cp_file = copy = mv = _refuse


def names_below(
    index: MemberIndex, directory: int, path: str, depth: int, *, withdirs: bool
) -> Iterator[str]:
    """The paths of all files below a directory, so many levels deep (negative: all of them)."""
    prefix = f"{path}/" if path else ""
    for child in index.children(directory):
        name = prefix + os.fsdecode(index.name(child))
        is_directory = index.is_directory(child)
        if withdirs or not is_directory:
            yield name
        if is_directory and depth != 1:
            yield from names_below(index, child, name, depth - 1, withdirs=withdirs)


def pass_over_missing(error: OSError) -> None:
    """For `walk`: any error but that of a name which is not there is raised."""
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        raise error


def _caused(error: OSError, cause: S3ZipError) -> OSError:
    error.__cause__ = cause
    return error


def _as_asked(found: bytes | Exception, on_error: str) -> bytes | Exception | None:
    if not isinstance(found, Exception) or on_error == "return":
        return found
    if on_error == "omit":
        return None
    raise found
