"""Several endpoints, and several credentials, in one tree: which store has which objects."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from s3zipfs.errors import NotFound
from s3zipfs.stores.base import ObjectId, ObjectStore


@dataclass(frozen=True, slots=True)
class Route:
    """Whose keys begin with `prefix` in that bucket of the store's endpoint is asked of it."""

    store: ObjectStore
    bucket: str
    prefix: str

    def has(self, endpoint: str, bucket: str, key: str) -> bool:
        """Whether an object, or a prefix, is on it."""
        return (
            key.startswith(self.prefix)
            and bucket == self.bucket
            and endpoint == self.store.endpoint
        )


class RoutedStores:
    """The stores of a tree: one for all, or by route; of several the longest prefix counts."""

    def __init__(self, first: ObjectStore, routes: Sequence[Route] = ()) -> None:
        self._all = list({id(each): each for each in (first, *(r.store for r in routes))}.values())
        self._routes = sorted(routes, key=lambda route: -len(route.prefix))

    @property
    def all(self) -> Sequence[ObjectStore]:
        """Each of them once."""
        return self._all

    @property
    def endpoint(self) -> str:
        """The endpoint of the first one, which is the only one of a tree without sources."""
        return self._all[0].endpoint

    def of(self, endpoint: str, bucket: str, key: str) -> ObjectStore:
        """The store that an object, or a prefix, is asked from.

        Raises:
            NotFound: it is on no route.
        """
        if len(self._all) == 1:
            return self._all[0]
        for route in self._routes:
            if route.has(endpoint, bucket, key):
                return route.store
        raise NotFound(f"s3://{bucket}/{key}: of no source at {endpoint}")

    async def get_range(self, oid: ObjectId, start: int, end: int) -> memoryview:
        """See `RangeStore`."""
        return await self._of(oid).get_range(oid, start, end)

    def try_range(self, oid: ObjectId, start: int, end: int) -> memoryview | None:
        """See `RangeStore`."""
        return self._of(oid).try_range(oid, start, end)

    def version_id(self, oid: ObjectId) -> str | None:
        """See `ObjectStore`."""
        return self._of(oid).version_id(oid)

    async def close(self) -> None:
        """Close all of them."""
        await asyncio.gather(*(store.close() for store in self._all))

    def _of(self, oid: ObjectId) -> ObjectStore:
        return self.of(oid.endpoint, oid.bucket, oid.key)
