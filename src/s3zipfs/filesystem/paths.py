"""From paths to nodes of the tree, asking as little as the tree's word allows."""

from __future__ import annotations

import os
import threading
import time
from collections import OrderedDict

from s3zipfs.errors import ObjectChanged
from s3zipfs.stores.base import ObjectInfo
from s3zipfs.tree.nodes import FOREVER, Member, Node
from s3zipfs.tree.tree import Tree
from s3zipfs.waiting import Wait

MAX_ARCHIVES = 10_000  # paths of archives that are remembered


class Paths:
    """Paths below one node, as fsspec has them: str, with surrogates for what is no UTF-8.

    What the path of an archive names is remembered for as long as the tree says, so that a chunk
    of a Zarr array costs look-ups in the archive's index only, and none in the bucket.
    """

    def __init__(self, tree: Tree, root: Node) -> None:
        self._tree = tree
        self._root = root
        self._lock = threading.Lock()  # guards _archives
        # By path; monotonic seconds until when they are believed.
        self._archives: OrderedDict[str, tuple[Member, float]] = OrderedDict()

    def resolve(self, path: str, wait: Wait) -> Node:
        """The node; empty components are passed over.

        Where an archive is replaced while its index is read the walk begins again, once.

        Raises:
            NotFound, NotADirectory: there is none; or what else the tree raises.
        """
        try:
            return self._walk(path, wait)
        except ObjectChanged:
            self.forget()
            return self._walk(path, wait)

    def forget(self, info: ObjectInfo | None = None) -> None:
        """Believe no path any more that names this version; without one, none at all."""
        with self._lock:
            for path, (node, _) in list(self._archives.items()):
                if info is None or node.info.id == info.id:
                    del self._archives[path]

    def _walk(self, path: str, wait: Wait) -> Node:
        node, at, until = self._start(path)
        while at < len(path):
            end = path.find("/", at)
            end = len(path) if end < 0 else end
            if end > at:
                was_archive = isinstance(node, Member)
                found = self._tree.lookup(node, os.fsencode(path[at:end]), wait)
                node, until = found.node, min(until, time.monotonic() + found.valid_for)
                if isinstance(node, Member) and not was_archive:
                    self._remember(path[:end], node, until)
            at = end + 1
        return node

    def _start(self, path: str) -> tuple[Node, int, float]:
        """Where the walk may begin: the node, how much of the path it is, until when."""
        now = time.monotonic()
        if not isinstance(self._root, Member):
            with self._lock:
                end = path.find("/")
                while end >= 0:
                    end = path.find("/", end + 1)
                    known = self._archives.get(path if end < 0 else path[:end])
                    if known is not None and now < known[1]:
                        return known[0], len(path) if end < 0 else end, known[1]
        return self._root, 0, now + FOREVER

    def _remember(self, path: str, node: Member, until: float) -> None:
        if until <= time.monotonic():
            return
        with self._lock:
            self._archives[path] = node, until
            self._archives.move_to_end(path)
            while len(self._archives) > MAX_ARCHIVES:
                self._archives.popitem(last=False)
