"""Answers that contradict their question, silence, and who asks again."""

from __future__ import annotations

import dataclasses
import os
import resource
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from contract.lies import LIES, in_range
from fakes3 import DATA, ETAG, Answer, FakeS3, Request, Silence, error, honest, listing

from s3zipfs.build import build_tree
from s3zipfs.errors import (
    AccessDenied,
    BadResponse,
    ClockDiffers,
    DeadlineExceeded,
    EndpointUnreachable,
    NotFound,
    ObjectChanged,
    OutOfResources,
    S3ZipError,
    StoreUnavailable,
)
from s3zipfs.settings import Settings, load_settings
from s3zipfs.stores.base import BucketInfo, ObjectId
from s3zipfs.stores.network import Network
from s3zipfs.stores.retrying import RetryingStore
from s3zipfs.stores.s3 import S3Store
from s3zipfs.tree.nodes import Member
from s3zipfs.waiting import Wait

SECONDS = 30.0
PLAIN = "key"  # read by obstore
ODD = "odd\x01key"  # read by the client
BOTH_PLANES = pytest.mark.parametrize("key", [PLAIN, ODD], ids=["obstore", "client"])


@pytest.fixture
def fake() -> Iterator[FakeS3]:
    with FakeS3() as running:
        yield running


def settings_for(fake: FakeS3, *, timeout: float = 6.0, max_requests: int = 32) -> Settings:
    return load_settings(
        endpoint_url=fake.endpoint,
        access_key="someone",
        secret_key="secret",
        timeout=timeout,
        max_requests=max_requests,
    )


@pytest.fixture
def store(fake: FakeS3, network: Network) -> Iterator[S3Store]:
    opened = S3Store(settings_for(fake))
    yield opened
    network.submit(opened.close()).result(SECONDS)


@pytest.fixture
def read(store: S3Store, network: Network) -> Callable[..., bytes]:
    def read_range(key: str, start: int = 2, end: int = 8, etag: str = ETAG) -> bytes:
        oid = ObjectId(store.endpoint, "bucket", key, etag)
        return bytes(network.submit(store.get_range(oid, start, end)).result(SECONDS))

    return read_range


@BOTH_PLANES
def test_honest_answer_is_taken(fake: FakeS3, read: Callable[..., bytes], key: str) -> None:
    assert read(key) == DATA[2:8]
    (request,) = fake.requests
    assert request.headers["if-match"] == ETAG
    assert request.range == (2, 8)
    assert request.headers["authorization"].startswith("AWS4-HMAC-SHA256 Credential=someone/")


@BOTH_PLANES
@pytest.mark.parametrize("lie", LIES.values(), ids=LIES.keys())
def test_lie_is_a_bad_response(
    fake: FakeS3, read: Callable[..., bytes], key: str, lie: Callable[[Request], Answer]
) -> None:
    fake.answer = lie
    with pytest.raises(BadResponse):
        read(key)


@BOTH_PLANES
def test_weakened_etag_is_the_same_version(
    fake: FakeS3, read: Callable[..., bytes], key: str
) -> None:
    fake.answer = in_range(DATA[2:8], "bytes 2-7/16", ETag=f"W/{ETAG}")
    assert read(key) == DATA[2:8]


@BOTH_PLANES
def test_total_below_the_range_is_another_version(
    fake: FakeS3, read: Callable[..., bytes], key: str
) -> None:
    fake.answer = in_range(DATA[2:5], "bytes 2-4/5")
    with pytest.raises(ObjectChanged):
        read(key)


@BOTH_PLANES
def test_cut_body_is_unavailable_never_short(
    fake: FakeS3, read: Callable[..., bytes], key: str
) -> None:
    def cut(request: Request) -> Answer:
        whole = honest(request)
        return dataclasses.replace(whole, body=whole.body[:3], length=len(whole.body))

    fake.answer = cut
    with pytest.raises(StoreUnavailable):
        read(key)


@BOTH_PLANES
@pytest.mark.parametrize(
    ("status", "code", "kind", "words"),
    [
        (403, "AccessDenied", AccessDenied, "access denied"),
        (403, "InvalidAccessKeyId", AccessDenied, "wrong access key"),
        (403, "SignatureDoesNotMatch", AccessDenied, "wrong secret key"),
        (400, "ExpiredToken", AccessDenied, "expired"),
        (403, "RequestTimeTooSkewed", ClockDiffers, "clock"),
        (400, "AuthorizationHeaderMalformed", AccessDenied, "--region"),
        (404, "NoSuchKey", ObjectChanged, "gone"),
        # Of the bytes of a known version: to Zarr, ENOENT is an empty chunk.
        (404, "NoSuchBucket", ObjectChanged, "no such bucket"),
        (412, "PreconditionFailed", ObjectChanged, "overwritten"),
        (416, "InvalidRange", ObjectChanged, "shorter"),
        (400, "InvalidArgument", BadResponse, "InvalidArgument"),
        (429, "SlowDown", StoreUnavailable, "429"),
        (500, "InternalError", StoreUnavailable, "InternalError"),
        (503, "SlowDown", StoreUnavailable, "SlowDown"),
        (507, "XMinioStorageFull", StoreUnavailable, "507"),
        (301, "PermanentRedirect", BadResponse, "--region"),
    ],
)
def test_status_is_told_by_its_meaning(
    fake: FakeS3,
    read: Callable[..., bytes],
    key: str,
    status: int,
    code: str,
    kind: type[S3ZipError],
    words: str,
) -> None:
    fake.answer = lambda _: error(status, code)
    with pytest.raises(S3ZipError, match=words) as raised:
        read(key)
    assert type(raised.value) is kind
    assert "\n" not in str(raised.value)


def to(other: FakeS3) -> Callable[[Request], Answer]:
    return lambda r: Answer(307, b"", {"Location": f"{other.endpoint}{r.path}?{r.query}"})


def test_names_from_another_host_are_refused(
    fake: FakeS3, store: S3Store, read: Callable[..., bytes], network: Network
) -> None:
    with FakeS3() as other:
        fake.answer = to(other)
        for question in (store.head("bucket", "key"), store.list_page("bucket", "")):
            with pytest.raises(BadResponse, match="redirected"):
                network.submit(question).result(SECONDS)
        with pytest.raises(BadResponse, match="redirected"):
            read(ODD)
        assert not any("authorization" in request.headers for request in other.requests)


def test_bytes_from_another_host_carry_no_credentials_and_need_the_version(
    fake: FakeS3, read: Callable[..., bytes]
) -> None:
    # obstore follows a 307 and cannot be told not to.
    with FakeS3() as other:
        fake.answer = to(other)
        assert read(PLAIN) == DATA[2:8]
        other.answer = lambda _: Answer(200, b"secrets of another host")
        with pytest.raises(BadResponse):
            read(PLAIN)
        assert len(other.requests) == 2
        assert not any("authorization" in request.headers for request in other.requests)


@pytest.mark.parametrize(
    "key",
    ["a//b", "/a", "a/", "a/../b", "./a", "..", "%2e%2e/a", "a\x01b", "ü", "a+b c%20d", "~'()*!"],
)
def test_key_is_asked_for_exactly(fake: FakeS3, read: Callable[..., bytes], key: str) -> None:
    from urllib.parse import unquote

    assert read(key) == DATA[2:8]
    assert unquote(fake.requests[0].path) == f"/bucket/{key}"


@pytest.mark.parametrize(
    "body",
    [
        b"<html><body>Log in</body></html>",
        b"",
        b"no XML at all",
        listing()[:-20],
        listing(end=""),
        listing(end="<IsTruncated>true</IsTruncated>"),
        listing("<Contents><Key>a</Key><Size>1</Size></Contents>"),
    ],
    ids=["login page", "empty", "text", "cut", "no end", "no token", "no ETag"],
)
def test_lying_list_is_never_an_empty_listing(
    fake: FakeS3, store: S3Store, network: Network, body: bytes
) -> None:
    fake.answer = lambda _: Answer(200, body, {"Content-Type": "application/xml"})
    with pytest.raises(StoreUnavailable):
        network.submit(store.list_page("bucket", "")).result(SECONDS)
    if b"Name" not in body:
        with pytest.raises(StoreUnavailable):
            network.submit(store.list_buckets()).result(SECONDS)


def test_a_bucket_of_unknown_age_is_listed(fake: FakeS3, store: S3Store, network: Network) -> None:
    named = b"<Buckets><Bucket><Name>bucket</Name></Bucket></Buckets>"
    body = b"<ListAllMyBucketsResult>" + named + b"</ListAllMyBucketsResult>"
    fake.answer = lambda _: Answer(200, body, {"Content-Type": "application/xml"})
    found = network.submit(store.list_buckets()).result(SECONDS)
    assert found == (BucketInfo("bucket", 0.0),)


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_failing_head_and_list_are_never_not_found(
    fake: FakeS3, store: S3Store, network: Network, status: int
) -> None:
    fake.answer = lambda _: Answer(status, b"")
    for question in (
        store.head("bucket", "key"),
        store.list_page("bucket", ""),
        store.list_buckets(),
    ):
        with pytest.raises(StoreUnavailable, match=str(status)):
            network.submit(question).result(SECONDS)
    assert len(fake.requests) == 3  # nobody below retries


@pytest.mark.parametrize("status", [404, 410])
@pytest.mark.parametrize(
    "body",
    [b"404 page not found", b"<html><body><h1>404 Not Found</h1></body></html>", b""],
    ids=["Traefik", "nginx", "empty"],
)
def test_a_proxys_404_is_no_word_of_the_store(
    fake: FakeS3,
    store: S3Store,
    read: Callable[..., bytes],
    network: Network,
    status: int,
    body: bytes,
) -> None:
    fake.answer = lambda _: Answer(status, body)
    for question in (store.list_page("bucket", ""), store.list_buckets()):
        with pytest.raises(StoreUnavailable, match="not in the words of S3"):
            network.submit(question).result(SECONDS)
    for key in (PLAIN, ODD):
        with pytest.raises(StoreUnavailable, match="not in the words of S3"):
            read(key)
    with pytest.raises(NotFound):  # an answer to HEAD has no words
        network.submit(store.head("bucket", "key")).result(SECONDS)


def test_a_proxy_without_a_route_to_all_buckets_is_there(
    fake: FakeS3, store: S3Store, network: Network
) -> None:
    # The breaker's probe lists the buckets: were that an outage, it would never end.
    fake.answer = lambda _: Answer(404, b"404 page not found")
    with pytest.raises(BadResponse):
        network.submit(store.list_buckets()).result(SECONDS)


def test_a_name_is_found_behind_a_proxy_whose_route_was_away(fake: FakeS3, store: S3Store) -> None:
    found = (
        f"<Contents><Key>x.zip</Key><LastModified>2026-11-21T08:00:00Z</LastModified>"
        f"<ETag>{ETAG}</ETag><Size>{len(DATA)}</Size></Contents>"
    )
    away = Answer(404, b"404 page not found")
    answers = iter([Answer(200, listing()), away, away, Answer(200, listing(found))])
    fake.answer = lambda _: next(answers)
    tree = build_tree(Settings(cache_size=0), ("s3://bucket",), store=RetryingStore(store, SECONDS))
    try:
        with pytest.raises(NotFound):
            tree.resolve(b"other", Wait(SECONDS))
        node = tree.resolve(b"x.zip", Wait(SECONDS))
    finally:
        tree.close()
    assert isinstance(node, Member)
    assert node.info.id.etag == ETAG
    assert len(fake.requests) == 4


def test_a_web_server_in_place_of_a_store_is_told_at_once(
    fake: FakeS3, store: S3Store, network: Network
) -> None:
    fake.answer = lambda _: Answer(404, b"<html>not found</html>")
    with pytest.raises(EndpointUnreachable, match="is that the endpoint"):
        network.submit(RetryingStore(store, SECONDS).list_page("bucket", "")).result(SECONDS)
    assert len(fake.requests) == 1


# --- silence ----------------------------------------------------------------------------------


@BOTH_PLANES
@pytest.mark.parametrize("stall_after", [None, 3], ids=["before the headers", "in the body"])
def test_stalled_attempt_ends_by_itself(
    fake: FakeS3, network: Network, key: str, stall_after: int | None
) -> None:
    def stall(request: Request) -> Answer | Silence:
        if stall_after is None:
            return Silence()
        return dataclasses.replace(honest(request), stall_after=stall_after)

    fake.answer = stall
    store = S3Store(settings_for(fake, timeout=3.0))  # a third of it for one attempt
    oid = ObjectId(store.endpoint, "bucket", key, ETAG)
    with pytest.raises(DeadlineExceeded, match="sends nothing"):
        network.submit(store.get_range(oid, 2, 8)).result(SECONDS)
    assert fake.hung_up.wait(SECONDS)
    assert len(fake.requests) == 1
    network.submit(store.close()).result(SECONDS)


@BOTH_PLANES
@pytest.mark.parametrize("stall_after", [None, 3], ids=["before the headers", "in the body"])
def test_cancelling_drops_the_transfer(
    fake: FakeS3, network: Network, key: str, stall_after: int | None
) -> None:
    def stall(request: Request) -> Answer | Silence:
        if stall_after is None:
            return Silence()
        return dataclasses.replace(honest(request), stall_after=stall_after)

    fake.answer = stall
    store = S3Store(settings_for(fake, timeout=60.0))
    future = network.submit(store.get_range(ObjectId(store.endpoint, "bucket", key, ETAG), 2, 8))
    assert fake.silent.wait(SECONDS)
    future.cancel()
    assert fake.hung_up.wait(10.0)  # well before the attempt's own 20 s
    assert len(fake.requests) == 1
    network.submit(store.close()).result(SECONDS)


def test_at_most_max_requests_are_under_way(fake: FakeS3, network: Network) -> None:
    import threading

    gate = threading.Event()
    under_way: list[int] = []
    lock = threading.Lock()
    count = 0

    def slow(request: Request) -> Answer:
        nonlocal count
        with lock:
            count += 1
            under_way.append(count)
            if count == 3:
                gate.set()
        assert gate.wait(SECONDS)
        with lock:
            count -= 1
        return honest(request)

    store = S3Store(settings_for(fake, timeout=60.0, max_requests=3))
    oid = ObjectId(store.endpoint, "bucket", PLAIN, ETAG)
    network.submit(store.get_range(oid, 0, 4)).result(SECONDS)  # the bucket is open
    fake.answer = slow
    with ThreadPoolExecutor(6) as threads:
        at_once = [threads.submit(store.try_range, oid, 0, 4) for _ in range(6)]
        futures = [network.submit(store.get_range(oid, 0, 4)) for _ in range(12)]
        for future in futures:
            assert bytes(future.result(SECONDS)) == DATA[:4]
        assert any(bytes(each.result(SECONDS) or b"") == DATA[:4] for each in at_once)
    assert max(under_way) == 3
    network.submit(store.close()).result(SECONDS)


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@BOTH_PLANES
def test_no_descriptor_left_is_our_own_trouble(
    read: Callable[..., bytes], store: S3Store, network: Network, key: str
) -> None:
    network.submit(store.head("bucket", "key")).result(SECONDS)  # the client is open
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken: list[int] = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (open_files() + 4, hard))
    try:
        while True:
            try:
                taken.append(os.dup(2))
            except OSError:
                break
        # Idle connections may still serve: ask until a new one is needed.
        oid = ObjectId(store.endpoint, "bucket", key, ETAG)
        futures = [network.submit(store.get_range(oid, 2, 8)) for _ in range(16)]
        errors = [future.exception(SECONDS) for future in futures]
    finally:
        for number in taken:
            os.close(number)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert {type(e) for e in errors if e is not None} == {OutOfResources}, errors
    assert read(key) == DATA[2:8]


# --- who asks again -----------------------------------------------------------------------------


def failing_first(times: int, failure: Answer) -> Callable[[Request], Answer]:
    left = [times]

    def answer(request: Request) -> Answer:
        left[0] -= 1
        return failure if left[0] >= 0 else honest(request)

    return answer


@BOTH_PLANES
@pytest.mark.parametrize(
    ("failure", "requests", "kind"),
    [
        (error(503, "SlowDown"), None, None),
        (Answer(206, b"012", {"ETag": ETAG, "Content-Range": "bytes 0-2/16"}), 3, BadResponse),
        (error(403, "AccessDenied"), 1, AccessDenied),
        (error(404, "NoSuchKey"), 1, ObjectChanged),
        (error(412, "PreconditionFailed"), 1, ObjectChanged),
    ],
    ids=["503", "other range", "403", "404", "412"],
)
def test_requests_of_one_read_are_counted(
    fake: FakeS3,
    store: S3Store,
    network: Network,
    key: str,
    failure: Answer,
    requests: int | None,
    kind: type[S3ZipError] | None,
) -> None:
    retrying = RetryingStore(store, 20.0)
    oid = ObjectId(store.endpoint, "bucket", key, ETAG)
    fake.answer = failing_first(1000 if requests else 3, failure)
    future = network.submit(retrying.get_range(oid, 2, 8))
    if kind is None:
        assert bytes(future.result(SECONDS)) == DATA[2:8]
        assert len(fake.requests) == 4  # three failures and one success: one layer of retries
    else:
        assert type(future.exception(SECONDS)) is kind
        assert len(fake.requests) == requests


def test_503_storm_ends_at_the_deadline(fake: FakeS3, store: S3Store, network: Network) -> None:
    fake.answer = lambda _: error(503, "SlowDown")
    # The last attempt may be under way at the deadline: what the others met is told then as well.
    with pytest.raises((StoreUnavailable, DeadlineExceeded), match=r"503 \(SlowDown"):
        network.submit(RetryingStore(store, 3.0).list_page("bucket", "")).result(SECONDS)
    assert len(fake.requests) > 1


def test_silence_ends_at_the_deadline(fake: FakeS3, store: S3Store, network: Network) -> None:
    fake.answer = lambda _: Silence()
    with pytest.raises(DeadlineExceeded, match="no answer within 1 s"):
        network.submit(RetryingStore(store, 1.0).head("bucket", "key")).result(SECONDS)


def test_stalled_attempt_is_asked_again(fake: FakeS3, network: Network) -> None:
    fake.answer = lambda request: Silence() if len(fake.requests) == 1 else honest(request)
    store = RetryingStore(S3Store(settings_for(fake, timeout=9.0)), SECONDS)
    oid = ObjectId(store.endpoint, "bucket", PLAIN, ETAG)
    assert bytes(network.submit(store.get_range(oid, 2, 8)).result(SECONDS)) == DATA[2:8]
    assert len(fake.requests) == 2
    network.submit(store.close()).result(SECONDS)
