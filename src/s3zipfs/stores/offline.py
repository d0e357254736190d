"""A store whose bytes are those on disk: whoever asks for others is told which are missing."""

from __future__ import annotations

from s3zipfs.errors import StoreUnavailable
from s3zipfs.stores.base import ObjectId, RangeStore


class NotKeptError(StoreUnavailable):
    """The bytes `[start, end)` of a version are not on disk, and nobody was asked for them."""

    def __init__(self, oid: ObjectId, start: int, end: int) -> None:
        super().__init__(f"{oid}: bytes {start} to {end} are not kept")
        self.oid = oid
        self.start = start
        self.end = end


class OfflineStore:
    """Stands where bytes are asked for; closes the store behind it, and asks it for nothing."""

    def __init__(self, inner: RangeStore) -> None:
        self._inner = inner

    async def get_range(self, oid: ObjectId, start: int, end: int) -> memoryview:
        """See `RangeStore`.

        Raises:
            NotKeptError: always.
        """
        raise NotKeptError(oid, start, end)

    def try_range(self, oid: ObjectId, start: int, end: int) -> memoryview | None:  # noqa: ARG002
        """See `RangeStore`."""
        return None

    async def close(self) -> None:
        """See `RangeStore`."""
        await self._inner.close()
