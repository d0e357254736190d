"""The trees of this process: one for all filesystem instances of the same settings."""

from __future__ import annotations

import logging
import os
import queue
import threading
import time
import weakref
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from dataclasses import dataclass, field

from s3zipfs.build import build_tree
from s3zipfs.filesystem.paths import Paths
from s3zipfs.settings import Settings
from s3zipfs.stores.base import ObjectStore
from s3zipfs.tree.tree import Tree

log = logging.getLogger(__name__)

# One part in so many of the memory is for what was read: a whole array of 537 MB, where all of it
# was, touched so much fresh memory that it came by 303 MB/s, and now by 398.
KEPT = 4
# Bytes ahead of one stream. With 32 MiB the same array took half as many page faults again (118,000
# and 73,000), by 343 MB/s and now 375, at 10 ms by 189 and now 325: a mount tells malloc to keep
# what is freed, this process is its user's.
WINDOW = 16 << 20
LINGER = 10.0  # seconds; whoever opens one zip after another finds the connections open


class OpenTree:
    """A tree, and what its paths are known to name."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self.paths = Paths(tree, tree.root)


@dataclass(slots=True, eq=False)
class _Shared:
    opened: Future[OpenTree] = field(default_factory=Future)
    users: dict[int, weakref.ref[object]] = field(default_factory=dict)  # by their `id`

    @property
    def is_unused(self) -> bool:
        return self.opened.done() and not any(user() is not None for user in self.users.values())


class Trees:
    """Trees by what they are made of; each is built by whoever asks first, and has one budget.

    fsspec makes an instance for each thread in some cases, and users make several; they share
    connections, indexes and caches. A tree lives as long as one of its users, and `LINGER` seconds
    for the next one. A forked child begins with none: loops, connections and locks of its parent
    are of no use to it.
    """

    def __init__(self) -> None:
        self._of_parents: list[dict[Hashable, _Shared]] = []  # neither used nor freed: not ours
        self._shared: dict[Hashable, _Shared] = {}
        self._begin()

    def _begin(self) -> None:
        self._lock = threading.Lock()  # guards _shared, _closer
        self._closer: threading.Thread | None = None
        self._gone: queue.SimpleQueue[object] = queue.SimpleQueue()  # its `put` is reentrant

    def forget(self) -> None:
        """In a forked child: the parent's threads, and so whoever held the lock, are not here."""
        self._of_parents.append(self._shared)
        self._shared = {}
        self._begin()

    def open(self, user: object, key: Hashable, build: Callable[[], Tree]) -> OpenTree:
        """The tree of that key, for as long as `user` lives or until it leaves."""
        with self._lock:
            self._start_closing()
            shared = self._shared.get(key)
            is_first = shared is None
            if shared is None:
                shared = self._shared[key] = _Shared()
            shared.users[id(user)] = weakref.ref(user, self._gone.put)
        if is_first:
            self._build(key, shared, build)
        return shared.opened.result()

    def _start_closing(self) -> None:
        """The lock is held."""
        if self._closer is None:
            closer = threading.Thread(
                target=self._close_unused, args=(self._gone,), name="s3zipfs-closing", daemon=True
            )
            closer.start()
            self._closer = closer

    def _close_unused(self, gone: queue.SimpleQueue[object]) -> None:
        while True:
            gone.get()
            time.sleep(LINGER)
            while not gone.empty():
                gone.get()
            with self._lock:
                unused = self._take_unused()
            _close(unused)

    def _build(self, key: Hashable, shared: _Shared, build: Callable[[], Tree]) -> None:
        try:
            opened = OpenTree(build())
        except BaseException as error:  # noqa: BLE001 - raised to all who wait for it
            with self._lock:
                if self._shared.get(key) is shared:
                    del self._shared[key]
            shared.opened.set_exception(error)
        else:
            shared.opened.set_result(opened)

    def leave(self, user: object) -> None:
        """Whoever left has no tree; one that nobody else uses is closed now."""
        with self._lock:
            for shared in self._shared.values():
                shared.users.pop(id(user), None)
            unused = self._take_unused()
        _close(unused)

    def _take_unused(self) -> list[Tree]:
        """The lock is held."""
        unused = [key for key, shared in self._shared.items() if shared.is_unused]
        return [self._shared.pop(key).opened.result().tree for key in unused]


def _close(trees: list[Tree]) -> None:
    for tree in trees:
        try:
            tree.close()
        except Exception as error:  # noqa: BLE001 - a client is still being opened; others are not
            log.warning("the connections to %s could not be closed: %r", tree.endpoint, error)


TREES = Trees()
os.register_at_fork(after_in_child=TREES.forget)


def tree_of(settings: Settings, store: ObjectStore | None = None) -> Tree:
    """The tree of all buckets, with the bounds of this door; `store` in place of S3.

    Raises:
        SettingsError: the settings can't be used.
    """
    return build_tree(settings, store=store, kept=KEPT, window=WINDOW)


def key_of(settings: Settings) -> Hashable:
    """Equal where a tree made of these settings, here and now, would be the same.

    Credentials may come from the environment: botocore's begin with `AWS_`, mc's with `MC_`.
    """
    environment = frozenset(
        each for each in os.environ.items() if each[0].startswith(("AWS_", "MC_"))
    )
    return settings, settings.block_cache_size, environment
