"""The only retry layer: the libraries below it make one attempt each."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from s3zipfs.errors import (
    AccessDenied,
    BadResponse,
    DeadlineExceeded,
    EndpointUnreachable,
    NotFound,
    ObjectChanged,
    StoreUnavailable,
)
from s3zipfs.stores.base import BucketInfo, ListPage, ObjectId, ObjectInfo, ObjectStore

T = TypeVar("T")
_log = logging.getLogger(__name__)

FIRST_PAUSE = 0.1  # seconds; doubled each time, and then a random part of it is waited
LONGEST_PAUSE = 5.0  # seconds
BAD_RESPONSES = 2  # retries of an answer that contradicts its question: it may be a proxy's habit


class RetryingStore:
    """Asks `inner` again, with exponential backoff and full jitter, for `timeout` seconds in all.

    Retried are `StoreUnavailable` and stalled attempts, `BadResponse` twice. Never retried are
    statements about the object (`NotFound`, `AccessDenied`, `ObjectChanged`), a lack of our own
    resources, and `EndpointUnreachable` of an endpoint that has never answered: that is a wrong
    setting, while later it is a server that restarts.

    At the deadline the last error is raised: `DeadlineExceeded` after a stall.
    """

    def __init__(self, inner: ObjectStore, timeout: float) -> None:
        self._inner = inner
        self._timeout = timeout
        self._answered = False  # whether the endpoint has ever answered anything

    @property
    def endpoint(self) -> str:
        """The inner store's."""
        return self._inner.endpoint

    async def list_buckets(self) -> tuple[BucketInfo, ...]:
        """See `ObjectStore`."""
        return await self._retry(self._inner.list_buckets)

    async def list_page(
        self, bucket: str, prefix: str, *, token: str | None = None, max_keys: int = 1000
    ) -> ListPage:
        """See `ObjectStore`."""
        return await self._retry(
            lambda: self._inner.list_page(bucket, prefix, token=token, max_keys=max_keys)
        )

    async def head(self, bucket: str, key: str) -> ObjectInfo:
        """See `ObjectStore`."""
        return await self._retry(lambda: self._inner.head(bucket, key))

    async def get_range(self, oid: ObjectId, start: int, end: int) -> memoryview:
        """See `ObjectStore`."""
        return await self._retry(lambda: self._inner.get_range(oid, start, end))

    async def close(self) -> None:
        """Close the inner store."""
        await self._inner.close()

    async def _retry(self, attempt: Callable[[], Awaitable[T]]) -> T:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._timeout
        attempts = bad_responses = 0
        while True:
            error: StoreUnavailable | DeadlineExceeded
            attempts += 1
            try:
                async with asyncio.timeout_at(deadline):
                    result = await attempt()
            except TimeoutError:
                raise DeadlineExceeded(
                    f"{self.endpoint}: no answer within {self._timeout:g} s"
                ) from None
            except (NotFound, AccessDenied, ObjectChanged):
                self._answered = True
                raise
            except EndpointUnreachable as unreachable:
                if not self._answered:
                    raise
                error = unreachable
            except BadResponse as bad:
                self._answered = True
                bad_responses += 1
                if bad_responses > BAD_RESPONSES:
                    raise
                error = bad
            except (StoreUnavailable, DeadlineExceeded) as unavailable:
                error = unavailable
            else:
                self._answered = True
                return result
            pause = _pause(attempts)
            if loop.time() + pause >= deadline:
                raise error
            _log.info("%s: attempt %d failed, next in %.1f s", error, attempts, pause)
            await asyncio.sleep(pause)


def _pause(attempts: int) -> float:
    """Seconds to wait after that many attempts: full jitter, so that readers do not march in step.

    https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
    """
    longest = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(attempts - 1, 16))
    return random.uniform(0, longest)  # noqa: S311 - no secret depends on it
