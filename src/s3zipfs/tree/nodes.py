"""What the tree is made of. A node names what it is; bytes it names belong to a version."""

from __future__ import annotations

import enum
import stat
from dataclasses import dataclass

from s3zipfs.stores.base import ObjectInfo

FOREVER = 86_400.0 * 365  # seconds: names inside one version never change


@dataclass(frozen=True, slots=True)
class Buckets:
    """The root of a mount without sources: all buckets."""


@dataclass(frozen=True, slots=True)
class Sources:
    """The root of a mount of several sources: one directory each."""


@dataclass(frozen=True, slots=True)
class Folder:
    """A prefix of a bucket, empty or ending in `/`."""

    endpoint: str
    bucket: str
    prefix: str


@dataclass(frozen=True, slots=True)
class ObjectFile:
    """An object that is not taken for an archive: a plain file."""

    info: ObjectInfo


@dataclass(frozen=True, slots=True)
class Member:
    """A member or directory of one archive version; number 0 is the archive's own directory.

    `pinned`: reached by `x.zip@ETAG`. That name means this version for ever, while `x.zip` moves
    on to the next one, so the two are different nodes and have different inodes.
    """

    info: ObjectInfo
    number: int
    pinned: bool = False


Node = Buckets | Sources | Folder | ObjectFile | Member


class Kind(enum.IntEnum):
    """The file type, as the S_IFMT bits of a mode."""

    DIRECTORY = stat.S_IFDIR
    FILE = stat.S_IFREG
    SYMLINK = stat.S_IFLNK


@dataclass(frozen=True, slots=True)
class Attributes:
    """What `stat` tells, less the inode."""

    kind: Kind
    size: int  # bytes
    permissions: int  # 0o444 and the like
    modified: float  # seconds since the epoch, UTC

    @property
    def mode(self) -> int:
        """The `st_mode`."""
        return self.kind | self.permissions


@dataclass(frozen=True, slots=True)
class Found:
    """The answer of a look-up: the node, and for how many seconds the name may be believed."""

    node: Node
    valid_for: float


@dataclass(frozen=True, slots=True)
class DirEntry:
    """One name of a directory; `offset` is where the next one begins."""

    name: bytes
    node: Node
    offset: int
    valid_for: float  # seconds for which the name may be believed
