"""Which errors `RetryingStore` asks again for, without a server."""

from __future__ import annotations

import asyncio
import gc
import logging
import weakref
from collections.abc import Awaitable, Callable

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
from s3zipfs.stores import breaker, retrying
from s3zipfs.stores.arrivals import tell
from s3zipfs.stores.base import BucketInfo, ObjectId, ObjectInfo
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
    with pytest.raises(StoreUnavailable, match="503"):
        network.submit(RetryingStore(inner, 0.2).head("b", "k")).result(30)


def test_what_earlier_attempts_met_is_told_when_the_last_one_is_late(network: Network) -> None:
    class ThenSilent(Scripted):
        async def head(self, bucket: str, key: str) -> ObjectInfo:
            if self.asked == 2:
                await asyncio.sleep(60)
            return await super().head(bucket, key)

    inner = ThenSilent(*[StoreUnavailable("memory:: 503 (SlowDown)")] * 2)
    with pytest.raises(DeadlineExceeded) as late:
        network.submit(RetryingStore(inner, 1.0).head("b", "k")).result(30)
    assert str(late.value) == "memory:: no answer within 1 s; before that: 503 (SlowDown)"


def test_pauses_grow_to_a_bound_and_are_random(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrying, "FIRST_PAUSE", 0.1)
    monkeypatch.setattr(retrying, "LONGEST_PAUSE", 5.0)
    for attempts, longest in ((1, 0.1), (2, 0.2), (4, 0.8), (10, 5.0), (10_000, 5.0)):
        pauses = {retrying._pause(attempts) for _ in range(200)}
        assert len(pauses) > 100
        assert 0 <= min(pauses) < max(pauses) <= longest
        assert max(pauses) > longest / 2


# --- bodies -------------------------------------------------------------------------------------

BODY = bytes(range(100))
OID = INFO.id
Rest = Callable[[int, int], Awaitable[memoryview]]


class Bodies(MemoryStore):
    """`get_range` does what the script says of each attempt; without one it answers."""

    def __init__(self, *script: Rest) -> None:
        super().__init__()
        self.script = list(script)
        self.ranges: list[tuple[int, int]] = []

    async def get_range(self, oid: ObjectId, start: int, end: int) -> memoryview:
        self.ranges.append((start, end))
        if self.script:
            return await self.script.pop(0)(start, end)
        return memoryview(BODY)[start:end]


def breaks_after(size: int, error: S3ZipError, *, false: bool = False) -> Rest:
    async def answer(start: int, end: int) -> memoryview:
        for at in range(start, start + size, 5):  # in parts
            tell(memoryview(bytes(5) if false else BODY[at : at + 5]))
        raise error

    return answer


@pytest.mark.parametrize("error", [StoreUnavailable("reset"), DeadlineExceeded("stalled")])
def test_a_broken_body_is_resumed_where_it_broke(network: Network, error: S3ZipError) -> None:
    inner = Bodies(breaks_after(30, error), breaks_after(0, error), breaks_after(20, error))
    data = network.submit(RetryingStore(inner, 20.0).get_range(OID, 10, 90)).result(30)
    assert bytes(data) == BODY[10:90]
    assert inner.ranges == [(10, 90), (40, 90), (40, 90), (60, 90)]


def test_nothing_of_an_answer_that_lied_is_kept(network: Network) -> None:
    inner = Bodies(breaks_after(30, BadResponse("too long"), false=True))
    data = network.submit(RetryingStore(inner, 20.0).get_range(OID, 10, 90)).result(30)
    assert bytes(data) == BODY[10:90]
    assert inner.ranges == [(10, 90), (10, 90)]


def test_a_version_that_is_gone_meanwhile_is_never_completed_by_another(network: Network) -> None:
    inner = Bodies(
        breaks_after(30, StoreUnavailable("reset")), breaks_after(0, ObjectChanged("412"))
    )
    with pytest.raises(ObjectChanged):
        network.submit(RetryingStore(inner, 20.0).get_range(OID, 10, 90)).result(30)


def test_the_deadline_counts_from_the_last_part_that_arrived(network: Network) -> None:
    async def slow(start: int, end: int) -> memoryview:
        for at in range(start, end):
            await asyncio.sleep(0.2)
            tell(memoryview(BODY)[at : at + 1])
        return memoryview(BODY)[start:end]

    data = network.submit(RetryingStore(Bodies(slow), 3.0).get_range(OID, 0, 30)).result(60)
    assert bytes(data) == BODY[:30]  # after 6 s


class Body(bytearray):
    """A body that can be watched."""


def test_a_body_that_was_handed_over_is_held_by_nobody(network: Network) -> None:
    held: list[weakref.ref[Body]] = []

    async def answer(_start: int, _end: int) -> memoryview:
        body = Body(100)
        held.append(weakref.ref(body))
        tell(memoryview(body))
        await asyncio.sleep(0)
        return memoryview(body)

    store = RetryingStore(Bodies(*[answer] * 20), 60.0)
    for _ in range(20):  # each has a timer, cancelled and not due for a minute
        assert len(network.submit(store.get_range(OID, 0, 100)).result(30)) == 100
    gc.collect()
    assert sum(body() is not None for body in held) <= 1  # the loop may not have left the last


# --- the circuit breaker ------------------------------------------------------------------------


class Outage(Scripted):
    """`down` says what every question is met with; `stalled` keys are never answered."""

    def __init__(self) -> None:
        super().__init__()
        self.down: S3ZipError | None = None
        self.mistake: Exception | None = None  # of our own, in the probe
        self.stalled: set[str] = set()
        self.probes = 0
        self.held: asyncio.Event | None = None  # holds a probe until it is set

    async def list_buckets(self) -> tuple[BucketInfo, ...]:
        self.probes += 1
        if self.held is not None:
            await self.held.wait()
        if self.down is not None:
            raise self.down
        if self.mistake is not None:
            raise self.mistake
        return ()

    async def head(self, bucket: str, key: str) -> ObjectInfo:
        self.asked += 1
        if self.down is not None:
            raise self.down
        if key in self.stalled:
            raise DeadlineExceeded("stalled")
        return INFO


@pytest.fixture
def outage(monkeypatch: pytest.MonkeyPatch) -> Outage:
    monkeypatch.setattr(retrying, "LONGEST_PAUSE", 0.05)
    monkeypatch.setattr(breaker, "PAUSE_SECONDS", 0.0)
    return Outage()


DOWN = [
    EndpointUnreachable("memory:: connection refused"),
    StoreUnavailable("memory:: the connection broke"),
    StoreUnavailable("memory:: 503 (SlowDown)"),
    DeadlineExceeded("memory:: the store accepted the request and sends nothing"),
]


def fails(network: Network, store: RetryingStore, key: str = "k") -> S3ZipError:
    error = network.submit(store.head("b", key)).exception(60)
    assert isinstance(error, S3ZipError)
    return error


def open_breaker(network: Network, store: RetryingStore, outage: Outage, error: S3ZipError) -> None:
    """Takes the endpoint down for a store that it has answered."""
    store._answered = True
    outage.down = error
    for _ in range(20):
        fails(network, store)
        if store.breaker.state == "open":
            return
    raise AssertionError("it stays closed")


@pytest.mark.parametrize("error", DOWN, ids=["refused", "broken", "503", "stalled"])
def test_an_outage_longer_than_the_deadline_fails_fast_and_heals_by_itself(
    network: Network, outage: Outage, error: S3ZipError, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    store = RetryingStore(outage, 0.3)
    open_breaker(network, store, outage, error)
    asked = outage.asked
    told = fails(network, store)
    assert type(told) is EndpointUnreachable
    assert "out of reach for" in str(told)
    assert str(error).removeprefix("memory:: ") in str(told)
    assert outage.asked == asked  # not one attempt, only the probe
    assert store.breaker.failing_for > 0
    outage.down = None
    assert network.submit(store.head("b", "k")).result(10) == INFO
    assert (store.breaker.state, store.breaker.failing_for) == ("closed", 0.0)
    texts = [record.getMessage() for record in caplog.records]
    assert sum("answers again" in text for text in texts) == 1
    assert sum("out of reach" in text for text in texts) == 1


@pytest.mark.parametrize("answer", [AccessDenied("403"), NotFound("404"), BadResponse("html")])
def test_a_refusal_is_an_answer_and_closes_it(
    network: Network, outage: Outage, answer: S3ZipError
) -> None:
    store = RetryingStore(outage, 0.3)
    open_breaker(network, store, outage, DOWN[0])
    outage.down = answer
    assert type(fails(network, store)) is type(answer)
    assert store.breaker.state == "closed"


def test_a_probe_that_fails_by_itself_is_no_outage(
    network: Network, outage: Outage, caplog: pytest.LogCaptureFixture
) -> None:
    store = RetryingStore(outage, 0.3)
    open_breaker(network, store, outage, DOWN[0])
    outage.down, outage.mistake = None, KeyError("CreationDate")
    assert network.submit(store.head("b", "k")).result(10) == INFO
    assert store.breaker.state == "closed"
    assert any("CreationDate" in (record.exc_text or "") for record in caplog.records)


def test_objects_that_stall_never_open_it(network: Network, outage: Outage) -> None:
    store = RetryingStore(outage, 0.3)
    outage.stalled = {str(number) for number in range(64)}
    for _ in range(3):
        stalled = [network.submit(store.head("b", key)) for key in outage.stalled]
        assert all(type(each.exception(60)) is DeadlineExceeded for each in stalled)
        assert store.breaker.state == "closed"
    assert outage.probes > 0  # it was asked, and answered
    assert network.submit(store.head("b", "other")).result(10) == INFO


def test_one_probe_at_a_time_and_the_others_fail_at_once(network: Network, outage: Outage) -> None:
    store = RetryingStore(outage, 0.3)
    open_breaker(network, store, outage, DOWN[0])
    store.breaker._seconds = 60.0  # for the probe, which is held here
    probes = outage.probes
    outage.held = asyncio.Event()
    first = network.submit(store.head("b", "k"))
    while outage.probes == probes:
        assert not first.done()
    assert store.breaker.state == "half_open"
    for _ in range(20):
        assert type(fails(network, store)) is EndpointUnreachable
    assert outage.probes == probes + 1
    outage.down = None
    network.loop.call_soon_threadsafe(outage.held.set)
    assert first.result(10) == INFO


def test_who_began_before_it_opened_goes_on_to_the_own_deadline(
    network: Network, outage: Outage
) -> None:
    store = RetryingStore(outage, 0.3)
    patient = RetryingStore(outage, 60.0)
    patient.breaker = store.breaker
    assert network.submit(patient.head("b", "k")).result(10) == INFO
    outage.down = DOWN[0]
    waiting = network.submit(patient.head("b", "k"))
    open_breaker(network, store, outage, DOWN[0])
    assert not waiting.done()
    outage.down = None
    assert waiting.result(30) == INFO
    assert store.breaker.failing_for == 0.0
