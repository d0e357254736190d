"""What was asked of the stores: each attempt that was sent, and how it ended."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Literal, Self

from s3zipfs import errors
from s3zipfs.telemetry import causes
from s3zipfs.telemetry.durations import Durations, Histogram
from s3zipfs.telemetry.objects import ObjectMeter

Verb = Literal["get", "head", "list", "list_buckets"]
VERBS: Final[tuple[Verb, ...]] = ("get", "head", "list", "list_buckets")

OUTCOMES: Final[Mapping[type[BaseException], str]] = {
    errors.NotFound: "not_found",
    errors.AccessDenied: "denied",
    errors.ObjectChanged: "changed",
    errors.DeadlineExceeded: "timeout",
    asyncio.CancelledError: "timeout",  # by the deadline of who asked, or at the end of the mount
    errors.StoreUnavailable: "unavailable",
    errors.BadResponse: "bad_response",
    BaseException: "other",
}
OK: Final = "ok"

# The error of this project that another library's error means.
Translate = Callable[[Exception], errors.S3ZipError]


@dataclass(frozen=True, slots=True)
class RequestFigures:
    """All requests until one moment."""

    durations: Mapping[Verb, Histogram]  # of those that have ended
    outcomes: Mapping[Verb, Mapping[str, int]]
    under_way: int
    bytes_fetched: int  # of bodies, and of those that broke what was heard of them


class RequestMeter:
    """Counts requests as they go over the wire; safe for any thread, and for coroutines."""

    def __init__(self, objects: ObjectMeter | None = None) -> None:
        self._objects = objects or ObjectMeter()
        self._lock = threading.Lock()  # guards all below
        self._durations = {verb: Durations() for verb in VERBS}
        self._outcomes: dict[Verb, Counter[str]] = {verb: Counter() for verb in VERBS}
        self._under_way = 0
        self._bytes_fetched = 0

    def read(self) -> RequestFigures:
        """All of them until now."""
        with self._lock:
            return RequestFigures(
                {verb: durations.read() for verb, durations in self._durations.items()},
                {verb: dict(outcomes) for verb, outcomes in self._outcomes.items()},
                self._under_way,
                self._bytes_fetched,
            )

    def begun(self) -> None:
        """One is being sent."""
        causes.request_sent()
        with self._lock:
            self._under_way += 1

    def ended(self, verb: Verb, outcome: str, seconds: float, received: int) -> None:
        """It has ended, and brought so many bytes of a body."""
        with self._lock:
            self._under_way -= 1
            self._durations[verb].add(seconds)
            self._outcomes[verb][outcome] += 1
            self._bytes_fetched += received

    def fetched(self, bucket: str, key: str, received: int) -> None:
        """A GET of that object has ended."""
        self._objects.fetched(bucket, key, received)


class Sent:
    """One request, for as long as the block runs; what leaves the block is how it ended.

    Args:
        meter: where it counts.
        verb: of S3's API; all that are not named are HEADs.
        bucket, key: of which object; empty where it is of none.
        translate: what an error that is none of ours means.
    """

    __slots__ = ("_began", "_bucket", "_key", "_meter", "_received", "_translate", "_verb")

    def __init__(
        self, meter: RequestMeter, verb: Verb, bucket: str, key: str, translate: Translate
    ) -> None:
        self._meter = meter
        self._verb: Verb = verb
        self._bucket = bucket
        self._key = key
        self._translate = translate
        self._received = 0
        self._began = 0.0

    def hear(self, part: memoryview) -> None:
        """A part of the body is here."""
        self._received += len(part)

    def __enter__(self) -> Self:
        self._meter.begun()
        self._began = time.monotonic()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        seconds = time.monotonic() - self._began
        outcome = OK if error is None else self._outcome(error)
        self._meter.ended(self._verb, outcome, seconds, self._received)
        if self._verb == "get":
            self._meter.fetched(self._bucket, self._key, self._received)

    def _outcome(self, error: BaseException) -> str:
        if isinstance(error, Exception) and not isinstance(error, errors.S3ZipError):
            error = self._translate(error)
        return next(OUTCOMES[kind] for kind in type(error).__mro__ if kind in OUTCOMES)
