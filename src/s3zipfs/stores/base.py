"""What an object store is to the rest: five verbs, and values that name a version."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class ObjectId:
    """One version of one object. Bytes always belong to an `ObjectId`, never to a key."""

    endpoint: str
    bucket: str
    key: str
    etag: str  # as the store sends it, quotes included
    version_id: str | None = None

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.key} ({self.etag.strip(chr(34))})"


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """A version with what LIST and HEAD tell of it."""

    id: ObjectId
    size: int  # bytes
    modified: float  # seconds since the epoch, UTC


@dataclass(frozen=True, slots=True)
class BucketInfo:
    """A bucket with its time of creation."""

    name: str
    created: float  # seconds since the epoch, UTC


@dataclass(frozen=True, slots=True)
class ListPage:
    """One answer of LIST with the delimiter `/`: what stands directly below a prefix."""

    objects: tuple[ObjectInfo, ...]  # in the order of their keys, as UTF-8 bytes
    prefixes: tuple[str, ...]  # common prefixes, each ending in "/", in the same order
    next_token: str | None  # None: the listing is complete


class RangeStore(Protocol):
    """What bytes are read from: an `ObjectStore`, or several of them."""

    async def get_range(self, oid: ObjectId, start: int, end: int) -> memoryview:
        """Exactly the bytes `[start, end)` of that version, or an error; one GET with If-Match.

        The length, the range and the ETag of the answer have been compared with what was asked.
        """

    def try_range(self, oid: ObjectId, start: int, end: int) -> memoryview | None:
        """The same at once, in the calling thread, which is not the loop's; at most one request.

        None, and no error, where that can't be, or did not succeed: `get_range` is to be asked.
        """

    async def close(self) -> None:
        """Close all connections; the store is of no use afterwards."""


class ObjectStore(RangeStore, Protocol):
    """Read-only access to one endpoint with one set of credentials.

    All methods are coroutines of the network loop (`stores.network`). They raise the errors of
    `s3zipfs.errors` and nothing else: `NotFound`, `AccessDenied`, `ObjectChanged`,
    `StoreUnavailable`, `BadResponse`, `DeadlineExceeded`, `OutOfResources`.
    """

    @property
    def endpoint(self) -> str:
        """The endpoint's URL, as it stands in every `ObjectId`."""

    async def list_buckets(self) -> tuple[BucketInfo, ...]:
        """All buckets that these credentials see."""

    async def list_page(
        self, bucket: str, prefix: str, *, token: str | None = None, max_keys: int = 1000
    ) -> ListPage:
        """One page of what begins with `prefix`, grouped at the next `/`; one LIST request.

        `prefix` need not end in `/`: "a/b" finds `a/b`, `a/bc` and the common prefix `a/b/`.
        """

    async def head(self, bucket: str, key: str) -> ObjectInfo:
        """The object's current version; one HEAD request."""

    def version_id(self, oid: ObjectId) -> str | None:
        """The id of that version, where its bucket keeps versions and an answer has told it.

        For any thread; no request is made.
        """
