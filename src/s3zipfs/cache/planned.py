"""Stands where bytes are fetched, and fetches none: what would be asked of the store is noted."""

from __future__ import annotations

from s3zipfs.cache.disk import DiskCache
from s3zipfs.cache.extents import Extent, ExtentCache
from s3zipfs.stores.base import ObjectId, ObjectInfo

Known = list[tuple[int, memoryview]]


class PlannedGets:
    """`Fetches` of one object version, whose bytes are zeros but for what is known.

    Args:
        cache: of its own, as large as that of the reader whose GETs are planned.
        disk: what is on it is not asked for; None: nothing is.
        known: bytes of the object, each with where they begin; may grow.
    """

    def __init__(
        self, cache: ExtentCache, *, window: int, disk: DiskCache | None, known: Known
    ) -> None:
        self.window = window
        self.cache = cache
        self.gets: list[tuple[int, int]] = []
        self._disk = disk
        self._known = known

    @property
    def bytes(self) -> int:
        """Of all GETs."""
        return sum(end - start for start, end in self.gets)

    def start(self, info: ObjectInfo, missing: list[Extent]) -> None:
        """See `Fetches`."""
        for extent in missing:
            gaps = self._gaps(info.id, extent.start, extent.end)
            extent.fetched = bool(gaps)
            self.gets += gaps
            self.cache.complete(extent, self._content(extent.start, extent.end))

    def start_ahead(self, info: ObjectInfo, missing: list[Extent]) -> None:
        """See `Fetches`."""
        self.start(info, missing)

    def start_elsewhere(self, info: ObjectInfo, missing: list[Extent]) -> None:
        """See `Fetches`."""
        self.start(info, missing)

    def reach(self, info: ObjectInfo, start: int, end: int) -> int:
        """See `Fetches`."""
        return start if self._disk is None else self._disk.reach(info.id, start, end)

    def discard(self, info: ObjectInfo, start: int, end: int) -> None:
        """See `Fetches`: there is nothing on disk."""

    def get_once(self, oid: ObjectId, start: int, end: int) -> None:
        """As `Fetcher.get_once` does: all of it, unless all of it is in memory or on disk."""
        if self.cache.peek(oid, start, end) is None and self._gaps(oid, start, end):
            self.gets.append((start, end))

    def _gaps(self, oid: ObjectId, start: int, end: int) -> tuple[tuple[int, int], ...]:
        return ((start, end),) if self._disk is None else self._disk.gaps(oid, start, end)

    def _content(self, start: int, end: int) -> memoryview:
        zeros = bytes(end - start)  # of the kernel's one page, until they are written to
        parts = [
            (max(start, at), min(end, at + len(data)), data, at)
            for at, data in self._known
            if at < end and at + len(data) > start
        ]
        if not parts:
            return memoryview(zeros)
        content = bytearray(zeros)
        for first, last, data, at in parts:
            content[first - start : last - start] = data[first - at : last - at]
        return memoryview(content)
