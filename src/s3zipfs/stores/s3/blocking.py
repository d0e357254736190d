"""Small ranges that somebody waits for: one GET in a thread of its own, past the network's loop.

A coroutine behind all that retries and tells of progress takes twice the CPU: it changes threads
eight times. What is out of the ordinary is left to that way: what goes wrong here is asked there.
"""

from __future__ import annotations

import asyncio
import threading
from functools import partial

import obstore

from s3zipfs.errors import BadResponse, S3ZipError
from s3zipfs.stores.base import ObjectId
from s3zipfs.stores.s3.body import BodyReader
from s3zipfs.stores.s3.told import compare, obstore_can_hold, told_by_obstore
from s3zipfs.stores.s3.translate import Asked, by_obstore, get_options
from s3zipfs.stores.s3.versions import Versions
from s3zipfs.telemetry.requests import RequestMeter, Sent

# What a store says of an object is no sign of a bad link.
_STATEMENTS = (
    S3ZipError,
    obstore.exceptions.NotFoundError,
    obstore.exceptions.PreconditionError,
    obstore.exceptions.PermissionDeniedError,
    obstore.exceptions.UnauthenticatedError,
)


class BlockingReads:
    """The buckets that may be read so. `most` requests at once, of those that the settings allow.

    `read` is for any thread but the loop's; all else belongs to the loop.
    """

    def __init__(
        self, bodies: BodyReader, versions: Versions, requests: RequestMeter, *, most: int
    ) -> None:
        self._bodies = bodies
        self._versions = versions
        self._requests = requests
        self._places = threading.Semaphore(most)
        self._buckets: dict[str, obstore.store.S3Store] = {}
        self._loop: asyncio.AbstractEventLoop | None = None

    def add(self, bucket: str, store: obstore.store.S3Store) -> None:
        """A bucket that was opened for it."""
        self._loop = asyncio.get_running_loop()
        self._buckets[bucket] = store

    def clear(self) -> None:
        """No bucket from now on, as when credentials were replaced."""
        self._buckets.clear()

    def read(self, asked: Asked, oid: ObjectId, start: int, end: int) -> memoryview | None:
        """Exactly the bytes `[start, end)` of that version; None: ask the other way."""
        bucket = self._buckets.get(oid.bucket)
        if bucket is None or start >= end or self._bodies.is_careful:
            return None
        if self._versions.is_replaced(oid) or not obstore_can_hold(oid.key):
            return None
        if not self._places.acquire(blocking=False):
            return None
        try:
            return self._get(bucket, asked, oid, start, end)
        except _STATEMENTS:
            return None
        except Exception:  # noqa: BLE001 - whatever it is, the other way tells what is wrong
            self._bodies.be_careful()
            return None
        finally:
            self._places.release()

    def _get(
        self, bucket: obstore.store.S3Store, asked: Asked, oid: ObjectId, start: int, end: int
    ) -> memoryview:
        known = partial(by_obstore, asked)
        with Sent(self._requests, "get", oid.bucket, oid.key, known) as sent:
            answer = obstore.get(bucket, oid.key, options=get_options(oid, start, end))
            compare(asked, (start, end), told_by_obstore(answer))
            version_id = answer.meta["version"]
            if version_id is not None and self._loop is not None:
                self._loop.call_soon_threadsafe(self._versions.learn, oid, version_id)
            data = memoryview(answer.bytes())
            sent.hear(data)
            if len(data) != end - start:
                raise BadResponse(f"{asked.name}: {len(data)} bytes for {end - start}")
            return data
