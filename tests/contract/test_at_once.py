"""Ranges that are asked for in the thread which wants them: the same bytes, or the usual way."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from contract.lies import LIES
from fakes3 import DATA, ETAG, Answer, FakeS3, Request, Silence, error, honest
from mounting import wait_until
from s3server import S3Server

from s3zipfs.errors import DeadlineExceeded
from s3zipfs.settings import load_settings
from s3zipfs.stores.base import ObjectId
from s3zipfs.stores.network import Network
from s3zipfs.stores.retrying import RetryingStore
from s3zipfs.stores.s3 import S3Store

SECONDS = 30.0


def in_bytes(data: memoryview | None) -> bytes | None:
    return None if data is None else bytes(data)


class Asking:
    """A store whose bucket is open: only then threads may ask by themselves."""

    def __init__(self, fake: FakeS3, network: Network) -> None:
        settings = load_settings(endpoint_url=fake.endpoint, access_key="k", secret_key="s")
        self.fake = fake
        self.network = network
        self.store = S3Store(settings)
        self.oid = ObjectId(self.store.endpoint, "bucket", "key", ETAG)

    def usual(self) -> bytes:
        return bytes(self.network.submit(self.store.get_range(self.oid, 2, 8)).result(SECONDS))

    def at_once(self) -> bytes | None:
        return in_bytes(self.store.try_range(self.oid, 2, 8))


@pytest.fixture
def asking(network: Network) -> Iterator[Asking]:
    with FakeS3() as fake:
        opened = Asking(fake, network)
        yield opened
        network.submit(opened.store.close()).result(SECONDS)


def test_nothing_is_asked_before_the_bucket_is_open(asking: Asking) -> None:
    assert asking.at_once() is None
    assert asking.fake.requests == []


def test_it_is_the_same_request_with_the_same_answer(asking: Asking) -> None:
    assert asking.usual() == DATA[2:8]
    assert asking.at_once() == DATA[2:8]
    usual, at_once = asking.fake.requests
    assert at_once.headers["if-match"] == usual.headers["if-match"] == ETAG
    assert at_once.range == usual.range == (2, 8)
    assert at_once.headers["authorization"].startswith("AWS4-HMAC-SHA256 Credential=k/")


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES.keys())
def test_a_lie_is_never_taken(asking: Asking, lie: Callable[[Request], Answer]) -> None:
    asking.usual()
    asking.fake.answer = lie
    assert asking.at_once() is None


@pytest.mark.parametrize(
    "refusal",
    [
        error(404, "NoSuchKey"), error(412, "PreconditionFailed"), error(403, "AccessDenied"),
        error(416, "InvalidRange"),
    ],
    ids=["404", "412", "403", "416"],
)  # fmt: skip
def test_what_is_said_of_an_object_is_left_to_the_usual_way(
    asking: Asking, refusal: Answer
) -> None:
    asking.usual()
    asking.fake.answer = lambda _: refusal
    assert asking.at_once() is None


@pytest.mark.parametrize("fault", ["503", "cut", "silence"])
def test_after_a_bad_link_threads_do_not_ask_for_a_while(asking: Asking, fault: str) -> None:
    def cut(request: Request) -> Answer:
        whole = honest(request)
        return dataclasses.replace(whole, body=whole.body[:3], length=len(whole.body))

    answers: dict[str, Callable[[Request], Any]] = {
        "503": lambda _: error(503, "SlowDown"),
        "cut": cut,
        "silence": lambda _: Silence(),
    }
    asking.usual()
    asking.fake.answer = answers[fault]
    begun = time.monotonic()
    assert asking.at_once() is None
    assert time.monotonic() - begun < 10, "it waits for 3 s at most"
    asked = len(asking.fake.requests)
    asking.fake.answer = honest
    assert asking.at_once() is None
    assert len(asking.fake.requests) == asked
    assert asking.usual() == DATA[2:8]


def test_new_credentials_are_used_here_too(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "old")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    with FakeS3() as fake:
        store = S3Store(load_settings(endpoint_url=fake.endpoint))
        oid = ObjectId(store.endpoint, "bucket", "key", ETAG)
        network.submit(store.get_range(oid, 2, 8)).result(SECONDS)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "new")
        assert network.submit(store.reload_credentials()).result(SECONDS)
        assert store.try_range(oid, 2, 8) is None, "the bucket is not open with these"
        network.submit(store.get_range(oid, 2, 8)).result(SECONDS)
        assert in_bytes(store.try_range(oid, 2, 8)) == DATA[2:8]
        assert "Credential=new/" in fake.requests[-1].headers["authorization"]
        network.submit(store.close()).result(SECONDS)


def test_what_the_breaker_keeps_back_is_not_asked_at_once(asking: Asking) -> None:
    asking.usual()
    retrying = RetryingStore(asking.store, timeout=1.0)
    assert in_bytes(retrying.try_range(asking.oid, 2, 8)) == DATA[2:8]
    asking.fake.answer = lambda _: Silence()
    read = asking.network.submit(retrying.get_range(asking.oid, 0, 4))
    assert isinstance(read.exception(SECONDS), DeadlineExceeded)
    wait_until(
        lambda: retrying.breaker.state != "closed", seconds=SECONDS, what="the breaker opens"
    )
    asking.fake.answer = honest
    asked = [each for each in asking.fake.requests if "range" in each.headers]
    assert retrying.try_range(asking.oid, 2, 8) is None
    assert [each for each in asking.fake.requests if "range" in each.headers] == asked


def test_minio_serves_it(network: Network, s3server: S3Server, s3client: Any, bucket: str) -> None:
    answer = s3client.put_object(Bucket=bucket, Key="at once", Body=DATA)
    store = S3Store(
        load_settings(
            endpoint_url=s3server.endpoint,
            access_key=s3server.access_key,
            secret_key=s3server.secret_key,
        )
    )
    oid = ObjectId(store.endpoint, bucket, "at once", answer["ETag"])
    assert network.submit(store.get_range(oid, 0, 4)).result(SECONDS) == DATA[:4]
    assert in_bytes(store.try_range(oid, 3, 9)) == DATA[3:9]
    s3client.put_object(Bucket=bucket, Key="at once", Body=DATA[::-1])
    assert store.try_range(oid, 3, 9) is None
    network.submit(store.close()).result(SECONDS)
