"""An object store in memory, with the semantics of S3, for tests of everything above it."""

from __future__ import annotations

import hashlib
import time
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock
from typing import Protocol, runtime_checkable

from s3zipfs.errors import NotFound, ObjectChanged, S3ZipError
from s3zipfs.stores.base import BucketInfo, ListPage, ObjectId, ObjectInfo

DELIMITER = "/"


@runtime_checkable
class VirtualObject(Protocol):
    """Content that is computed when it is read, so that a test can serve many GiB."""

    @property
    def size(self) -> int:
        """Its length in bytes."""

    def range(self, start: int, end: int) -> bytes:
        """Exactly the bytes `[start, end)`."""


@dataclass(frozen=True, slots=True)
class Computed:
    """A virtual object from a function of `(start, end)`."""

    size: int  # bytes
    function: Callable[[int, int], bytes]

    def range(self, start: int, end: int) -> bytes:
        """What the function gives."""
        return self.function(start, end)


@dataclass(frozen=True, slots=True)
class _Stored:
    info: ObjectInfo
    content: bytes | VirtualObject

    def read(self, start: int, end: int) -> memoryview:
        if isinstance(self.content, bytes):
            return memoryview(self.content)[start:end]
        return memoryview(self.content.range(start, end))


class MemoryStore:
    """Buckets of objects in memory; `put` and `delete` play the other users of the store.

    Both may be called from any thread. A bucket is made by the first `put` or by `make_bucket`.
    """

    def __init__(self) -> None:
        self._lock = Lock()  # guards _buckets, _keys, _versions
        self._buckets: dict[str, dict[str, _Stored]] = {}
        self._created: dict[str, float] = {}
        self._keys: dict[str, list[str]] = {}  # sorted; dropped when a bucket's keys change
        self._versions = 0

    @property
    def endpoint(self) -> str:
        """Always `memory:`."""
        return "memory:"

    def make_bucket(self, bucket: str) -> None:
        """An empty bucket, where there is none of that name."""
        with self._lock:
            self._make_bucket(bucket)

    def remove_bucket(self, bucket: str) -> None:
        """Remove the bucket and all it holds."""
        with self._lock:
            self._buckets.pop(bucket, None)
            self._created.pop(bucket, None)
            self._keys.pop(bucket, None)

    def put(
        self, bucket: str, key: str, data: bytes | VirtualObject, *, etag: str | None = None
    ) -> ObjectInfo:
        """Make a new current version. Without `etag` (in quotes) bytes get their MD5, as in S3."""
        with self._lock:
            self._versions += 1
            if etag is None and isinstance(data, bytes):
                etag = f'"{hashlib.md5(data, usedforsecurity=False).hexdigest()}"'
            elif etag is None:
                etag = f'"virtual-{self._versions}"'
            size = len(data) if isinstance(data, bytes) else data.size
            info = ObjectInfo(ObjectId(self.endpoint, bucket, key, etag), size, time.time())
            self._make_bucket(bucket)
            if key not in self._buckets[bucket]:
                self._keys.pop(bucket, None)
            self._buckets[bucket][key] = _Stored(info, data)
            return info

    def delete(self, bucket: str, key: str) -> None:
        """Remove the object; no error where there is none, as in S3."""
        with self._lock:
            if self._buckets.get(bucket, {}).pop(key, None) is not None:
                self._keys.pop(bucket, None)

    async def list_buckets(self) -> tuple[BucketInfo, ...]:
        """See `ObjectStore`; in the order of their names."""
        with self._lock:
            return tuple(BucketInfo(name, t) for name, t in sorted(self._created.items()))

    async def list_page(
        self, bucket: str, prefix: str, *, token: str | None = None, max_keys: int = 1000
    ) -> ListPage:
        """See `ObjectStore`. The token is the last name of the page before, marked by its kind."""
        with self._lock:
            held = self._bucket(bucket)
            keys = self._keys.get(bucket)
            if keys is None:
                keys = self._keys[bucket] = sorted(held)
            objects: list[ObjectInfo] = []
            prefixes: list[str] = []
            at = _position(keys, prefix, token)
            while at < len(keys) and keys[at].startswith(prefix):
                if len(objects) + len(prefixes) == max_keys:
                    last = keys[at - 1]
                    return ListPage(tuple(objects), tuple(prefixes), _group(last, prefix) or last)
                group = _group(keys[at], prefix)
                if group is None:
                    objects.append(held[keys[at]].info)
                    at += 1
                else:
                    prefixes.append(group)
                    at = bisect_left(keys, _after(group))
            return ListPage(tuple(objects), tuple(prefixes), None)

    async def head(self, bucket: str, key: str) -> ObjectInfo:
        """See `ObjectStore`."""
        with self._lock:
            stored = self._bucket(bucket).get(key)
        if stored is None:
            raise NotFound(f"s3://{bucket}/{key}: no such object")
        return stored.info

    async def get_range(self, oid: ObjectId, start: int, end: int) -> memoryview:
        """See `ObjectStore`; a range that the object does not have is `ObjectChanged`, as there."""
        if not 0 <= start <= end:
            raise ValueError(f"no such range: [{start}, {end})")
        if start == end:
            return memoryview(b"")
        with self._lock:
            stored = self._buckets.get(oid.bucket, {}).get(oid.key)
        if stored is None or stored.info.id.etag != oid.etag:
            raise ObjectChanged(f"{oid}: this version is gone")
        if end > stored.info.size:
            raise ObjectChanged(f"{oid}: asked up to {end}, has {stored.info.size} bytes")
        view = stored.read(start, end)
        if len(view) != end - start:
            raise S3ZipError(f"{oid}: the virtual object gave {len(view)} of {end - start} bytes")
        return view

    def try_range(self, oid: ObjectId, start: int, end: int) -> None:
        """See `ObjectStore`: all goes the usual way."""

    def version_id(self, oid: ObjectId) -> str | None:
        """See `ObjectStore`."""
        return oid.version_id

    async def close(self) -> None:
        """Nothing to close; the objects stay."""

    def _make_bucket(self, bucket: str) -> None:
        self._created.setdefault(bucket, time.time())
        self._buckets.setdefault(bucket, {})

    def _bucket(self, bucket: str) -> dict[str, _Stored]:
        if bucket not in self._buckets:
            raise NotFound(f"s3://{bucket}: no such bucket")
        return self._buckets[bucket]


def _group(key: str, prefix: str) -> str | None:
    """The common prefix that stands for `key`, or None where it is listed itself."""
    end = key.find(DELIMITER, len(prefix))
    return None if end < 0 else key[: end + 1]


def _position(keys: list[str], prefix: str, token: str | None) -> int:
    if token is None:
        return bisect_left(keys, prefix)
    if token != prefix and token.endswith(DELIMITER):  # a common prefix: past all below it
        return bisect_left(keys, _after(token))
    return bisect_left(keys, token + "\0")  # past that key, as str: the least that is greater


def _after(group: str) -> str:
    """The least string that sorts after everything which begins with `group`."""
    return group[:-1] + chr(ord(DELIMITER) + 1)
