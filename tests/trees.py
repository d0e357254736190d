"""What tests of a tree share: archives made in memory, and short ways to read."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Mapping

from s3zipfs.tree.tree import Tree
from s3zipfs.waiting import Wait

WAIT = Wait(20.0)
MakeTree = Callable[..., Tree]


def zipped(members: Mapping[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    """A zip of these members."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def read(tree: Tree, path: bytes) -> bytes:
    """The whole content at a path."""
    node = tree.resolve(path, WAIT)
    return b"".join(tree.read(node, 0, 1 << 40, WAIT))


def names(tree: Tree, path: bytes = b"") -> list[bytes]:
    """The names in the directory at a path, in the order of the tree."""
    return [entry.name for entry in tree.entries(tree.resolve(path, WAIT), WAIT)]
