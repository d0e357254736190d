"""Directories that a hierarchy is read from: of an archive, or behind a path."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Protocol, Self

from s3zipfs.errors import BadMember, NotFound, UnsupportedMember
from s3zipfs.tree.nodes import Member
from s3zipfs.tree.tree import Tree
from s3zipfs.waiting import Wait

LARGEST: Final = 64 << 20  # bytes of a file that is read as a whole


@dataclass(frozen=True, slots=True)
class Entry:
    """A name in a directory: of a file, or of another directory."""

    name: bytes
    size: int | None  # bytes of a file; None: a directory


class Directory(Protocol):
    """What can be asked of a directory. Symbolic links are passed over."""

    def read(self, name: bytes) -> bytes | None:
        """The whole content of a file; None where no file has that name.

        Raises:
            BadMember, UnsupportedMember: this one can't be read; others may well be.
        """

    def entries(self) -> Iterator[Entry]:
        """Its files and directories, ordered by the bytes of their names."""

    def enter(self, name: bytes) -> Self:
        """A directory in it, of a name that `entries` gave."""


@dataclass(frozen=True, slots=True)
class ArchiveDirectory:
    """A directory of an archive, read without a mount."""

    tree: Tree
    node: Member
    wait: Wait

    def read(self, name: bytes) -> bytes | None:
        """See `Directory`."""
        index = self.tree.index(self.node.info, self.wait)
        number = index.lookup(self.node.number, name)
        if number is None or not stat.S_ISREG(index.mode(number)):
            return None
        size = index.size(number)
        _check_size(name, size)
        parts = self.tree.read(Member(self.node.info, number), 0, size, self.wait)
        return b"".join(parts)

    def entries(self) -> Iterator[Entry]:
        """See `Directory`."""
        index, numbers = self.tree.children(self.node, self.wait)
        for number in numbers:
            mode = index.mode(number)
            if stat.S_ISDIR(mode):
                yield Entry(index.name(number), None)
            elif stat.S_ISREG(mode):
                yield Entry(index.name(number), index.size(number))

    def enter(self, name: bytes) -> ArchiveDirectory:
        """See `Directory`."""
        number = self.tree.index(self.node.info, self.wait).lookup(self.node.number, name)
        if number is None:
            raise NotFound(f"{self.node.info.id}: no {name!r}")
        return ArchiveDirectory(self.tree, Member(self.node.info, number), self.wait)


@dataclass(frozen=True, slots=True)
class PathDirectory:
    """A directory behind a path: on a mount, or anywhere."""

    path: bytes

    def read(self, name: bytes) -> bytes | None:
        """See `Directory`; any other error of the operating system is raised as it is."""
        path = os.path.join(self.path, name)  # noqa: PTH118 - bytes
        try:
            with open(path, "rb", buffering=0) as file:  # noqa: PTH123
                _check_size(name, os.fstat(file.fileno()).st_size)
                return file.readall()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None
        except OSError as error:
            if error.errno == errno.EIO:
                raise BadMember("damaged, or not to be had; the mount's log says which") from error
            if error.errno == errno.ENOTSUP:
                raise UnsupportedMember("encrypted, or a method without a library") from error
            raise

    def entries(self) -> Iterator[Entry]:
        """See `Directory`."""
        with os.scandir(self.path) as found:
            listed = sorted(found, key=lambda each: each.name)
        for each in listed:
            if each.is_dir(follow_symlinks=False):
                yield Entry(each.name, None)
            elif each.is_file(follow_symlinks=False):
                yield Entry(each.name, each.stat(follow_symlinks=False).st_size)

    def enter(self, name: bytes) -> PathDirectory:
        """See `Directory`."""
        return PathDirectory(os.path.join(self.path, name))  # noqa: PTH118 - bytes


def _check_size(name: bytes, size: int) -> None:
    if size > LARGEST:
        shown = name.decode("utf-8", "backslashreplace")
        raise BadMember(f"{shown}: {size} bytes are no metadata; at most {LARGEST} are read")
