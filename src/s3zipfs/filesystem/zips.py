"""One zip as a filesystem: in place of `fsspec.implementations.zip.ZipFileSystem`."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass
from typing import Any

from fsspec.utils import tokenize

from s3zipfs.errors import NotADirectory, NotFound
from s3zipfs.filesystem.opening import Source, source_of
from s3zipfs.filesystem.paths import Paths
from s3zipfs.filesystem.readonly import ReadOnlyFileSystem, take_settings
from s3zipfs.filesystem.shared import TREES
from s3zipfs.filesystem.translated import Translated
from s3zipfs.stores.base import ObjectInfo
from s3zipfs.tree.nodes import Member, Node
from s3zipfs.tree.tree import Tree
from s3zipfs.waiting import Wait

EARLIEST = 315532800.0  # 1980-01-01, the first that a zip's own times tell


@dataclass(frozen=True, slots=True)
class _OpenZip:
    process: int
    tree: Tree
    paths: Paths
    info: ObjectInfo


class ZipFileSystem(ReadOnlyFileSystem):
    """The members of one version of one zip, with the arguments and answers of fsspec's.

    Code that reads by s3fs, `ZipFileSystem` and `FSMap` works after one changed import. What
    differs: threads read at once, ranges of one request are coalesced, every byte is of the version
    that was opened and verified by its CRC, symlinks and odd names are as in a mount, and nothing
    can be written.

    Args:
        fo: the zip: a path, a URL, or an open file. Of s3fs's files and `s3://` URLs the endpoint
            and the credentials are taken, and the zip is read by our own connections; of all
            others the bytes.
        mode: "r".
        target_protocol: of the filesystem that opens `fo`, where it is a string.
        target_options: its options.
        compression: as fsspec has it; about writing, as the next two.
        allowZip64: as fsspec has it.
        compresslevel: as fsspec has it.
        **options: `s3zipfs.settings.Settings` by name (`timeout`, `memory`, `encoding`, …), or
            fsspec's own.

    Raises:
        ValueError: another mode.
        FileNotFoundError, PermissionError, OSError: `fo` can't be opened; a zip that is damaged is
            also a `zipfile.BadZipFile`.
    """

    protocol = "zip"
    cachable = False

    def __init__(  # noqa: PLR0917 - the signature of fsspec's
        self,
        fo: Any = "",
        mode: str = "r",
        target_protocol: str | None = None,
        target_options: dict[str, Any] | None = None,
        compression: int = 0,  # noqa: ARG002
        allowZip64: bool = True,  # noqa: N803, FBT001, FBT002, ARG002
        compresslevel: int | None = None,  # noqa: ARG002
        **options: Any,
    ) -> None:
        if mode != "r":
            raise ValueError(
                f"mode {mode!r}: s3zipfs only reads; fsspec's own ZipFileSystem writes"
            )
        given = take_settings(options)
        super().__init__(**options)
        self.mode = mode
        self._options = options
        self._opened: _OpenZip | None = None
        # By process: a forked child must not wait for a thread of its parent.
        self._opening: dict[int, threading.Lock] = {}
        self._source: Source = source_of(fo, target_protocol, target_options, given)
        self._settings = self._source.settings
        with Translated(str(self._source)):
            opened = self._open_zip()
            opened.tree.index(opened.info, self._wait)  # what is no zip is told here

    def __str__(self) -> str:
        return f"<{type(self).__name__} of {self._source}>"

    __repr__ = __str__

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        """Paths are relative to the root of the zip."""
        stripped = super()._strip_protocol(path)
        return stripped if isinstance(stripped, list) else stripped.lstrip("/")

    @property
    def tree(self) -> Tree:
        """The tree of this process that holds the zip."""
        return self._open_zip().tree

    @property
    def _paths(self) -> Paths:
        return self._open_zip().paths

    @property
    def fsid(self) -> str:
        """Which version of which zip these members are of."""
        return f"zip-{tokenize(str(self._open_zip().info.id))}"

    def _open_zip(self) -> _OpenZip:
        process, opened = os.getpid(), self._opened
        if opened is not None and opened.process == process:
            return opened
        with self._opening.setdefault(process, threading.Lock()):  # atomic
            opened = self._opened
            if opened is None or opened.process != process:
                shared, info = self._source.open(self)
                paths = Paths(shared.tree, Member(info, 0, pinned=True))
                opened = self._opened = _OpenZip(process, shared.tree, paths, info)
                self._source = self._source.pinned(info)
            return opened

    def close(self) -> None:
        """Leave this process's connections, closed by the last to leave; a new use opens new."""
        self._opened = None
        TREES.leave(self)

    def __reduce__(self) -> tuple[Any, ...]:
        """Of the same version, wherever it is unpickled; the credentials are s3fs's options."""
        return _unpickled, (type(self), self._source, self._options)

    def _resolve(self, path: str, wait: Wait) -> Node:
        try:
            return super()._resolve(path, wait)
        except NotADirectory as error:  # fsspec's knows names only: there is none below a file
            raise NotFound(str(error)) from error

    def same_node(self, path: str, _node: Node) -> Node:
        """Open files have numbers of their process; the version is that of this filesystem."""
        return self._resolve(path, self._wait)

    def _told(self, path: str, node: Node, wait: Wait) -> dict[str, Any]:
        """With what `zipfile` tells of a member; a symlink is a file that holds its target."""
        told = super()._told(path, node, wait)
        if told["type"] == "directory" or not isinstance(node, Member):
            return told
        member = self.tree.index(node.info, wait).member(node.number)
        return told | {
            "type": "file",
            "filename": path,
            "date_time": time.gmtime(max(member.modified, EARLIEST))[:6],
            "compress_type": member.method,
            "flag_bits": member.flags,
            "header_offset": member.local_header_offset,
            "CRC": member.crc32,
            "compress_size": member.compressed_size,
            "file_size": member.uncompressed_size,
        }


def _unpickled(kind: type[ZipFileSystem], source: Source, options: dict[str, Any]) -> ZipFileSystem:
    return kind(source, **options)
