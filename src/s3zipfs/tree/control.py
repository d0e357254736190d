"""`.s3zipfs` at the root of a mount: files made when they are looked up, and archives as files."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Final

from s3zipfs.errors import NotFound, ObjectChanged
from s3zipfs.tree.nodes import FOREVER, DirEntry, Found, Root, Snapshot

RAW: Final = b"raw"


class ControlFiles:
    """What the directory holds; nothing here needs the network.

    Each look-up of a file makes a snapshot of its own: the kernel reads as many bytes as it was
    told there are, and the next ones of a file that goes on changing would be of another content.

    Args:
        files: by name, what makes the content; called by any thread, and waits for nobody.
        root: of the mount, which `raw` shows with all archives as files.
    """

    def __init__(self, files: Mapping[str, Callable[[], bytes]], root: Root) -> None:
        self._files = {name.encode(): make for name, make in files.items()}
        self._raw = replace(root, raw=True)
        self._numbers = itertools.count(1)

    def lookup(self, name: bytes) -> Found:
        """What has that name; a snapshot is believed for no time.

        Raises:
            NotFound: nothing.
        """
        if name == RAW:
            return Found(self._raw, FOREVER)
        if name not in self._files:
            raise NotFound(f".s3zipfs: no {name!r}", valid_for=FOREVER)
        content = self._files[name]()
        return Found(Snapshot(name, next(self._numbers), content, time.time()), 0.0)

    def entries(self, offset: int) -> Iterator[DirEntry]:
        """The names from the one of that number on."""
        names = [*self._files, RAW]
        for following, name in enumerate(names[offset:], offset + 1):
            found = self.lookup(name)
            yield DirEntry(name, found.node, following, found.valid_for)


def content_of(snapshot: Snapshot) -> bytes:
    """All bytes of it.

    Raises:
        ObjectChanged: so many were looked up since that this one was given up.
    """
    if snapshot.content is None:
        raise ObjectChanged(f".s3zipfs/{snapshot.name.decode()}: replaced by later ones")
    return snapshot.content
