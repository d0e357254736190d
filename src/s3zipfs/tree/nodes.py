"""What the tree is made of. A node names what it is; bytes it names belong to a version."""

from __future__ import annotations

import enum
import stat
from dataclasses import dataclass, field

from s3zipfs.stores.base import ObjectInfo

FOREVER = 86_400.0 * 365  # seconds: names inside one version never change


@dataclass(frozen=True, slots=True)
class Buckets:
    """The root of a mount without sources: all buckets.

    `raw`, here and below: archives are files (`.s3zipfs/raw`). A directory of the kernel's has one
    place, so those there are other nodes, with inodes of their own.
    """

    raw: bool = False


@dataclass(frozen=True, slots=True)
class Sources:
    """The root of a mount of several sources: one directory each."""

    raw: bool = False


@dataclass(frozen=True, slots=True)
class Folder:
    """A prefix of a bucket, empty or ending in `/`."""

    endpoint: str
    bucket: str
    prefix: str
    raw: bool = False


@dataclass(frozen=True, slots=True)
class Control:
    """`.s3zipfs` at the root of a mount."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A file of `.s3zipfs` as it was when its name was looked up: never another content or size."""

    name: bytes
    number: int  # counts the snapshots of a tree
    content: bytes | None = field(compare=False, repr=False)  # None: given up
    made: float = field(compare=False)  # seconds since the epoch, UTC


@dataclass(frozen=True, slots=True)
class ObjectFile:
    """An object that is not taken for an archive: a plain file. In `.s3zipfs/raw`: any object."""

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


Root = Buckets | Sources | Folder
Node = Root | Control | Snapshot | ObjectFile | Member


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
