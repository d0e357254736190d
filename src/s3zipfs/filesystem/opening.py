"""What a zip is opened from: an object of a store that s3fs knows, or any open file."""

from __future__ import annotations

import logging
import os
import weakref
from dataclasses import dataclass, field, replace
from typing import Any

import fsspec
from fsspec.core import OpenFile

from s3zipfs.errors import ObjectChanged
from s3zipfs.filesystem.shared import TREES, OpenTree, key_of, tree_of
from s3zipfs.settings import Settings, load_settings
from s3zipfs.stores.base import ObjectId, ObjectInfo
from s3zipfs.stores.files import FileStore
from s3zipfs.waiting import Wait

log = logging.getLogger(__name__)

FILES = FileStore()  # of this process; descriptors are good in a forked child as well


@dataclass(frozen=True)
class S3Source:
    """One object, by the connection that s3fs would make. Without `etag`: as it is when opened."""

    bucket: str
    key: str
    connection: dict[str, Any] = field(repr=False)
    given: dict[str, Any] = field(repr=False)  # other settings
    etag: str | None = None
    size: int = 0  # bytes
    modified: float = 0.0  # seconds since the epoch, UTC

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.key}"

    @property
    def settings(self) -> Settings:
        """The connection is exactly s3fs's: our own variables do not change it."""
        return load_settings(exactly=self.connection, **{"single_root": "keep", **self.given})

    def open(self, user: object) -> tuple[OpenTree, ObjectInfo]:
        """A tree that holds the object, and its version.

        Raises:
            NotFound, AccessDenied: as the store says.
        """
        settings = self.settings
        opened = TREES.open(user, key_of(settings), lambda: tree_of(settings))
        tree = opened.tree
        if self.etag is None:
            return opened, tree.head(self.bucket, self.key, Wait(settings.timeout))
        oid = ObjectId(tree.endpoint, self.bucket, self.key, self.etag)
        return opened, ObjectInfo(oid, self.size, self.modified)

    def pinned(self, info: ObjectInfo) -> S3Source:
        """The same, of that version for ever."""
        return replace(self, etag=info.id.etag, size=info.size, modified=info.modified)


@dataclass(frozen=True)
class FileSource:
    """Any open file; `etag` where it was opened before, in this process or another."""

    file: Any
    given: dict[str, Any] = field(repr=False)
    etag: str | None = None

    def __str__(self) -> str:
        return str(getattr(self.file, "path", getattr(self.file, "name", self.file)))

    @property
    def settings(self) -> Settings:
        """Nothing is kept on disk: what is read may not outlive the process, nor need it."""
        return load_settings(**{"single_root": "keep", **self.given, "cache_dir": "none"})

    def open(self, user: object) -> tuple[OpenTree, ObjectInfo]:
        """A tree over all files of this process, and the version of this one.

        Raises:
            ObjectChanged: it is not the file that was opened before.
        """
        settings = self.settings
        key = ("files", key_of(settings))
        opened = TREES.open(user, key, lambda: tree_of(settings, FILES))
        info = FILES.add(self.file)
        weakref.finalize(user, FILES.remove, info)
        if self.etag is not None and info.id.etag != self.etag:
            raise ObjectChanged(f"{self}: another file than the one that was opened")
        return opened, info

    def pinned(self, info: ObjectInfo) -> FileSource:
        """The same, of that version for ever; what is no file of the system has none."""
        return replace(self, etag=info.id.etag) if FILES.knows_version(info) else self


Source = S3Source | FileSource


def source_of(
    fo: Any, protocol: str | None, options: dict[str, Any] | None, given: dict[str, Any]
) -> Source:
    """Where a zip is read from.

    Args:
        fo: a path, a URL, an fsspec `OpenFile` or an open file.
        protocol: of the filesystem that opens a path or URL, where that does not say it.
        options: of that filesystem.
        given: settings by name.

    Raises:
        TypeError: it is none of these.
        OSError: it can't be opened.
    """
    if isinstance(fo, S3Source | FileSource):  # of a pickle
        return fo
    if isinstance(fo, str | os.PathLike):
        fo = fsspec.open(os.fspath(fo), mode="rb", protocol=protocol, **(options or {}))
    if isinstance(fo, OpenFile):
        is_plain = fo.mode == "rb" and fo.compression is None
        if is_plain and (source := _of_s3fs(fo.fs, None, fo.path, given)) is not None:
            return source
        fo = fo.__enter__()
    if not (hasattr(fo, "read") and hasattr(fo, "seek")):
        raise TypeError(f"fo: expected a path, a URL or an open file, not {type(fo).__name__}")
    filesystem = getattr(fo, "fs", None)
    if (source := _of_s3fs(filesystem, fo, "", given)) is not None:
        return source
    if _is_of_s3fs(filesystem):
        log.warning(
            "s3fs has options that s3zipfs knows no equal of: the zip is read through s3fs, which "
            "is slower, and by one thread at a time"
        )
    return FileSource(fo, given)


def _is_of_s3fs(filesystem: Any) -> bool:
    """Without importing s3fs where it is not in use."""
    return type(filesystem).__module__.partition(".")[0] == "s3fs"


def _of_s3fs(filesystem: Any, file: Any, path: str, given: dict[str, Any]) -> S3Source | None:
    """The object of an open file, or else of a path; None where only s3fs can read it."""
    if not _is_of_s3fs(filesystem):
        return None
    from s3zipfs.stores.s3 import from_s3fs  # noqa: PLC0415 - s3fs is imported already

    if not from_s3fs.is_s3fs(filesystem):
        return None
    found = from_s3fs.object_at(filesystem, path) if file is None else from_s3fs.object_of(file)
    connection = from_s3fs.connection_of(filesystem)
    if found is None or connection is None:
        return None
    return S3Source(
        found.bucket, found.key, connection, given, found.etag, found.size, found.modified
    )
