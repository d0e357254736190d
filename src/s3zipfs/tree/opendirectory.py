"""A directory that somebody reads names from, one part after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from s3zipfs.tree.folders import Folders
from s3zipfs.tree.listing import Listing
from s3zipfs.tree.nodes import DirEntry, Folder, Node
from s3zipfs.waiting import Wait

# The entries of a node from the one of that number on.
Numbered = Callable[[Node, int, Wait], Iterator[DirEntry]]


class OpenDirectory:
    """An open directory. What is read from one offset to the next is of one listing.

    Args:
        numbered: tells the names of what is no prefix of a bucket, all of which are known at once.
    """

    def __init__(self, node: Node, folders: Folders, numbered: Numbered) -> None:
        self.node = node
        self._folders = folders
        self._numbered = numbered
        self._listing: Listing | None = None

    def entries(self, offset: int, wait: Wait) -> Iterator[DirEntry]:
        """The names from `offset` (0, or one that an entry gave) on, lazily; 0 looks anew.

        Raises:
            NotADirectory: it is a file.
        """
        if not isinstance(self.node, Folder):
            return self._numbered(self.node, offset, wait)
        if offset == 0 or self._listing is None:
            self._listing = self._folders.listing(self.node)
        return self._folders.entries(self.node, self._listing, offset, wait)
