"""A store that counts what is asked of another one; tests and statistics read it."""

from __future__ import annotations

from collections import Counter
from threading import Lock
from typing import Literal

from s3zipfs.stores.base import BucketInfo, ListPage, ObjectId, ObjectInfo, ObjectStore

Verb = Literal["list_buckets", "list", "head", "get"]


class CountingStore:
    """Passes all on to `inner`. A request counts when it is sent, whatever becomes of it."""

    def __init__(self, inner: ObjectStore) -> None:
        self._inner = inner
        self._lock = Lock()  # guards _counts, _bytes
        self._counts: Counter[Verb] = Counter()
        self._bytes = 0

    @property
    def endpoint(self) -> str:
        """The inner store's."""
        return self._inner.endpoint

    @property
    def counts(self) -> dict[Verb, int]:
        """Requests since the last `reset`, by verb; a verb that was not used is 0."""
        with self._lock:
            return {verb: self._counts[verb] for verb in ("list_buckets", "list", "head", "get")}

    @property
    def total(self) -> int:
        """Requests of all verbs since the last `reset`."""
        with self._lock:
            return self._counts.total()

    @property
    def bytes_read(self) -> int:
        """Bytes that `get_range` returned since the last `reset`."""
        with self._lock:
            return self._bytes

    def reset(self) -> None:
        """Count from zero again."""
        with self._lock:
            self._counts.clear()
            self._bytes = 0

    async def list_buckets(self) -> tuple[BucketInfo, ...]:
        """See `ObjectStore`."""
        self._count("list_buckets")
        return await self._inner.list_buckets()

    async def list_page(
        self, bucket: str, prefix: str, *, token: str | None = None, max_keys: int = 1000
    ) -> ListPage:
        """See `ObjectStore`."""
        self._count("list")
        return await self._inner.list_page(bucket, prefix, token=token, max_keys=max_keys)

    async def head(self, bucket: str, key: str) -> ObjectInfo:
        """See `ObjectStore`."""
        self._count("head")
        return await self._inner.head(bucket, key)

    async def get_range(self, oid: ObjectId, start: int, end: int) -> memoryview:
        """See `ObjectStore`. An empty range is no request."""
        if start != end:
            self._count("get")
        data = await self._inner.get_range(oid, start, end)
        with self._lock:
            self._bytes += len(data)
        return data

    def try_range(self, oid: ObjectId, start: int, end: int) -> memoryview | None:
        """See `ObjectStore`; one that did not succeed is not counted."""
        data = self._inner.try_range(oid, start, end)
        if data is not None:
            self._count("get")
            with self._lock:
                self._bytes += len(data)
        return data

    def version_id(self, oid: ObjectId) -> str | None:
        """See `ObjectStore`."""
        return self._inner.version_id(oid)

    async def close(self) -> None:
        """Close the inner store."""
        await self._inner.close()

    def _count(self, verb: Verb) -> None:
        with self._lock:
            self._counts[verb] += 1
