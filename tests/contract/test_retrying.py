"""Which errors `RetryingStore` asks again for, without a server."""

from __future__ import annotations

import time

import pytest

from s3zipfs.errors import (
    AccessDenied,
    BadResponse,
    DeadlineExceeded,
    EndpointUnreachable,
    NotFound,
    ObjectChanged,
    OutOfResources,
    S3ZipError,
    StoreUnavailable,
)
from s3zipfs.stores import retrying
from s3zipfs.stores.base import ObjectId, ObjectInfo
from s3zipfs.stores.memory import MemoryStore
from s3zipfs.stores.network import Network
from s3zipfs.stores.retrying import RetryingStore

INFO = ObjectInfo(ObjectId("memory:", "bucket", "key", '"1"'), 1, 0.0)


class Scripted(MemoryStore):
    """`head` raises what the script says, then answers."""

    def __init__(self, *script: S3ZipError | None) -> None:
        super().__init__()
        self.script = list(script)
        self.asked = 0

    async def head(self, bucket: str, key: str) -> ObjectInfo:
        self.asked += 1
        if self.script and (error := self.script.pop(0)) is not None:
            raise error
        return INFO


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrying, "FIRST_PAUSE", 0.001)
    monkeypatch.setattr(retrying, "LONGEST_PAUSE", 0.002)


@pytest.mark.parametrize(
    "error", [StoreUnavailable("503"), DeadlineExceeded("stalled"), BadResponse("short")]
)
def test_worth_another_attempt(network: Network, error: S3ZipError) -> None:
    inner = Scripted(error, error)
    assert network.submit(RetryingStore(inner, 5.0).head("b", "k")).result(10) == INFO
    assert inner.asked == 3


@pytest.mark.parametrize(
    "error", [NotFound("no"), AccessDenied("no"), ObjectChanged("no"), OutOfResources("no")]
)
def test_not_worth_another_attempt(network: Network, error: S3ZipError) -> None:
    inner = Scripted(error)
    with pytest.raises(type(error)):
        network.submit(RetryingStore(inner, 5.0).head("b", "k")).result(10)
    assert inner.asked == 1


def test_bad_responses_are_asked_again_twice(network: Network) -> None:
    inner = Scripted(*[BadResponse("short")] * 9)
    with pytest.raises(BadResponse):
        network.submit(RetryingStore(inner, 5.0).head("b", "k")).result(10)
    assert inner.asked == 3


def test_endpoint_that_never_answered_fails_at_once(network: Network) -> None:
    inner = Scripted(EndpointUnreachable("refused"), EndpointUnreachable("refused"))
    with pytest.raises(EndpointUnreachable):
        network.submit(RetryingStore(inner, 5.0).head("b", "k")).result(10)
    assert inner.asked == 1


@pytest.mark.parametrize("first", [None, NotFound("no"), AccessDenied("no")])
def test_endpoint_that_has_answered_may_restart(network: Network, first: S3ZipError | None) -> None:
    inner = Scripted(first, *[EndpointUnreachable("refused")] * 5)
    store = RetryingStore(inner, 5.0)
    network.submit(store.head("b", "k")).exception(10)
    assert network.submit(store.head("b", "k")).result(10) == INFO
    assert inner.asked == 7


def test_last_error_is_told_at_the_deadline(network: Network) -> None:
    inner = Scripted(*[StoreUnavailable("503")] * 10_000)
    started = time.monotonic()
    with pytest.raises(StoreUnavailable, match="503"):
        network.submit(RetryingStore(inner, 0.2).head("b", "k")).result(10)
    assert time.monotonic() - started < 1.0


def test_pauses_grow_to_a_bound_and_are_random(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrying, "FIRST_PAUSE", 0.1)
    monkeypatch.setattr(retrying, "LONGEST_PAUSE", 5.0)
    for attempts, longest in ((1, 0.1), (2, 0.2), (4, 0.8), (10, 5.0), (10_000, 5.0)):
        pauses = {retrying._pause(attempts) for _ in range(200)}
        assert len(pauses) > 100
        assert 0 <= min(pauses) < max(pauses) <= longest
        assert max(pauses) > longest / 2
