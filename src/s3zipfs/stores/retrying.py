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
    S3ZipError,
    StoreUnavailable,
)
from s3zipfs.stores.arrivals import heard_by
from s3zipfs.stores.base import BucketInfo, ListPage, ObjectId, ObjectInfo, ObjectStore
from s3zipfs.stores.breaker import CircuitBreaker

T = TypeVar("T")
_log = logging.getLogger(__name__)

FIRST_PAUSE = 0.1  # seconds; doubled each time, and then a random part of it is waited
LONGEST_PAUSE = 5.0  # seconds
PROBE_SECONDS = 5.0  # for the question whether the endpoint is there at all
BAD_RESPONSES = 2  # retries of an answer that contradicts its question: it may be a proxy's habit


class RetryingStore:
    """Asks `inner` again, with exponential backoff and full jitter, until `timeout` seconds passed.

    They count from the last part of a body that arrived; what has arrived is kept, and the next
    attempt asks for the rest of the same version.

    Retried are `StoreUnavailable` and stalled attempts, `BadResponse` twice. Never retried are
    statements about the object (`NotFound`, `AccessDenied`, `ObjectChanged`), a lack of our own
    resources, and `EndpointUnreachable` of an endpoint that has never answered: that is a wrong
    setting, while later it is a server that restarts.

    At the deadline the last error is raised: `DeadlineExceeded` after a stall. Where nothing else
    is answered either, `breaker` lets no operation begin until something is.
    """

    def __init__(self, inner: ObjectStore, timeout: float) -> None:
        self._inner = inner
        self._timeout = timeout
        self._answered = False  # whether the endpoint has ever answered anything
        self.retries = 0  # attempts that followed a failed one; written by the network's loop only
        self.breaker = CircuitBreaker(
            inner.endpoint, inner.list_buckets, seconds=min(PROBE_SECONDS, timeout)
        )

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
        """See `ObjectStore`; goes on where a body broke."""
        kept: list[memoryview] = []

        async def rest() -> memoryview:
            arrived: list[memoryview] = []
            begun = start + sum(map(len, kept))
            try:
                with heard_by(arrived.append):
                    return await self._inner.get_range(oid, begun, end)
            except BadResponse:  # what came with a lie is none of ours
                raise
            except (StoreUnavailable, DeadlineExceeded):
                kept.extend(arrived)
                raise

        last = await self._retry(rest)
        return memoryview(b"".join([*kept, last])) if kept else last

    def try_range(self, oid: ObjectId, start: int, end: int) -> memoryview | None:
        """See `ObjectStore`; not retried here."""
        if self.breaker.state != "closed":
            return None
        data = self._inner.try_range(oid, start, end)
        if data is not None:
            self._has_answered()
        return data

    def version_id(self, oid: ObjectId) -> str | None:
        """See `ObjectStore`."""
        return self._inner.version_id(oid)

    async def close(self) -> None:
        """Close the inner store."""
        await self.breaker.close()
        await self._inner.close()

    async def _retry(self, ask: Callable[[], Awaitable[T]]) -> T:
        await self.breaker.admit()
        deadline = _Deadline(self._timeout)
        attempts = bad_responses = 0
        error: StoreUnavailable | DeadlineExceeded | None = None
        while True:
            attempts += 1
            try:
                return await self._attempt(ask, deadline, before=error)
            except EndpointUnreachable as unreachable:
                if not self._answered:
                    raise
                error = unreachable
            except BadResponse as bad:
                bad_responses += 1
                if bad_responses > BAD_RESPONSES:
                    raise
                error = bad
            except (StoreUnavailable, DeadlineExceeded) as unavailable:
                error = unavailable
            if deadline.was_moved():
                attempts = 1
            pause = _pause(attempts)
            if deadline.remaining <= pause:
                self.breaker.gave_up()
                raise error
            _log.debug("%s: attempt %d failed, next in %.1f s", error, attempts, pause)
            await asyncio.sleep(pause)
            self.retries += 1

    async def _attempt(
        self, ask: Callable[[], Awaitable[T]], deadline: _Deadline, *, before: S3ZipError | None
    ) -> T:
        """One attempt; whether it was answered is told to the breaker."""
        try:
            async with asyncio.timeout_at(deadline.at) as timer:

                def hear(_part: memoryview) -> None:
                    self._has_answered()
                    timer.reschedule(deadline.move())

                with heard_by(hear):
                    result = await ask()
        except TimeoutError:
            late = self._late(before)
            self.breaker.failed(late)
            raise late from None
        except (NotFound, AccessDenied, ObjectChanged, BadResponse):
            self._has_answered()
            raise
        except (StoreUnavailable, DeadlineExceeded) as error:
            self.breaker.failed(error)
            raise
        self._has_answered()
        return result

    def _has_answered(self) -> None:
        self._answered = True
        self.breaker.answered()

    def _late(self, before: S3ZipError | None) -> DeadlineExceeded:
        text = f"{self.endpoint}: no answer within {self._timeout:g} s"
        if before is not None:
            text += f"; before that: {str(before).removeprefix(f'{self.endpoint}: ')}"
        return DeadlineExceeded(text)


class _Deadline:
    """`seconds` after the last progress, by the loop's clock."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._loop = asyncio.get_running_loop()
        self._moved = False
        self.at = self._loop.time() + seconds

    @property
    def remaining(self) -> float:
        return self.at - self._loop.time()

    def move(self) -> float:
        """There was progress; the new deadline."""
        self._moved = True
        self.at = self._loop.time() + self._seconds
        return self.at

    def was_moved(self) -> bool:
        """Whether it was since the last time this was asked."""
        moved, self._moved = self._moved, False
        return moved


def _pause(attempts: int) -> float:
    """Seconds to wait after that many attempts: full jitter, so that readers do not march in step.

    https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
    """
    longest = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(attempts - 1, 16))
    return random.uniform(0, longest)  # noqa: S311 - no secret depends on it
