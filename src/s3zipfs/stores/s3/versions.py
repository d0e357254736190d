"""In buckets that keep versions: reading on in one that was replaced or deleted meanwhile."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TypeVar

from s3zipfs.errors import AccessDenied, NotFound, ObjectChanged
from s3zipfs.stores.base import ObjectId

T = TypeVar("T")
KNOWN = 100_000  # object versions whose id is remembered


class Versions:
    """The version ids that answers of GET have told. For the coroutines of the network loop.

    LIST tells none, so an id is known once a part of the object was read; asking for it costs
    nothing. GETs name it only where the object is of another ETag by now, since S3 has a
    permission of its own for that (`s3:GetObjectVersion`).
    """

    def __init__(self) -> None:
        self._ids: OrderedDict[ObjectId, str] = OrderedDict()  # the most recently used last
        self._replaced: OrderedDict[ObjectId, str] = OrderedDict()

    def learn(self, oid: ObjectId, version_id: str | None) -> None:
        """The id that came with the bytes of an object version; None without versioning."""
        if version_id is None or oid.version_id is not None:
            return
        self._ids[oid] = version_id
        self._ids.move_to_end(oid)
        while len(self._ids) > KNOWN:
            self._ids.popitem(last=False)

    def id_of(self, oid: ObjectId) -> str | None:
        """The id of a version, where an answer has told it; for any thread."""
        return oid.version_id or self._ids.get(oid)

    def is_replaced(self, oid: ObjectId) -> bool:
        """Whether the object is known to be of another ETag by now; for any thread."""
        return oid in self._replaced

    async def read(self, oid: ObjectId, get: Callable[[ObjectId], Awaitable[T]]) -> T:
        """What `get` gives for that ETag, by its version id where it is not the current one.

        Raises:
            ObjectChanged: the version is gone, no id of it is known, or it may not be read by it.
        """
        if (known := self._replaced.get(oid)) is not None:
            return await get(replace(oid, version_id=known))
        try:
            return await get(oid)
        except ObjectChanged as changed:
            known = self._ids.get(oid)
            if known is None:
                raise
            try:
                found = await get(replace(oid, version_id=known))
            except (AccessDenied, NotFound):
                raise changed from None
        self._replaced[oid] = known
        while len(self._replaced) > KNOWN:
            self._replaced.popitem(last=False)
        return found
