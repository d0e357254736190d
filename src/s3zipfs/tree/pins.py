"""`x.zip@ETAG`: a name for one version of an archive, never listed, never another version.

Not for names that are cut since they have more than 255 bytes.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable

from s3zipfs.errors import NotFound, ObjectChanged
from s3zipfs.stores.base import ObjectInfo
from s3zipfs.stores.network import Network
from s3zipfs.stores.routing import RoutedStores
from s3zipfs.tree.names import decode_component
from s3zipfs.tree.nodes import Folder, Found, Member
from s3zipfs.tree.patterns import ArchivePatterns
from s3zipfs.waiting import Wait

MAX_PINS = 100_000  # names remembered

LookUp = Callable[[Folder, bytes, Wait], Found]


class Pins:
    """The versions that somebody has named. What such a name means is remembered."""

    def __init__(self, stores: RoutedStores, network: Network, patterns: ArchivePatterns) -> None:
        self._stores = stores
        self._network = network
        self._patterns = patterns
        self._lock = threading.Lock()  # guards _known
        self._known: OrderedDict[tuple[Folder, bytes], Member] = OrderedDict()

    def find(self, folder: Folder, name: bytes, look_up: LookUp, wait: Wait) -> Member | None:
        """The archive's version that the name pins; None where it is no such name.

        `look_up` finds the archive. Where it is believed to be of another version, or not there,
        the store is asked: whoever names an ETag may know more than our listing.

        Raises:
            ObjectChanged: the archive is of another version, or gone. Never `NotFound`: Zarr takes
                a missing file for an empty chunk.
        """
        archive, mark, etag = name.rpartition(b"@")
        decoded = decode_component(archive) if mark and etag.strip(b'"') else None
        if (
            decoded is None
            or decoded[2]
            or not self._patterns.is_archive(folder.prefix + decoded[0])
        ):
            return None
        with self._lock:
            known = self._known.get((folder, name))
        if known is not None:
            return known
        key = folder.prefix + decoded[0]
        wanted = f'"{etag.decode(errors="replace").strip(chr(34))}"'
        info = self._archive(folder, archive, look_up, wait)
        if info is None or info.id.etag != wanted:
            info = self._current(folder, key, wait)
        if info is None or info.id.etag != wanted:
            raise ObjectChanged(f"s3://{folder.bucket}/{key}: version {wanted} is not there")
        pinned = Member(info, 0, pinned=True)
        with self._lock:
            self._known[folder, name] = pinned
            while len(self._known) > MAX_PINS:
                self._known.popitem(last=False)
        return pinned

    def _archive(
        self, folder: Folder, name: bytes, look_up: LookUp, wait: Wait
    ) -> ObjectInfo | None:
        try:
            node = look_up(folder, name, wait).node
        except NotFound:
            return None
        return node.info if isinstance(node, Member) else None

    def _current(self, folder: Folder, key: str, wait: Wait) -> ObjectInfo | None:
        head = self._stores.of(folder.endpoint, folder.bucket, key).head(folder.bucket, key)
        try:
            return wait.result(self._network.submit(head))
        except NotFound:
            return None
