"""What every `ObjectStore` does, on each of them; `s3` against the session's server."""

from __future__ import annotations

import asyncio
import dataclasses
import uuid
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import CancelledError
from typing import Any, Protocol, TypeVar

import pytest
from botocore.exceptions import ClientError
from s3clients import put_many, temporary_bucket
from s3server import S3Server

from s3zipfs.errors import NotFound, ObjectChanged
from s3zipfs.settings import Settings
from s3zipfs.stores.base import ListPage, ObjectId, ObjectInfo, ObjectStore
from s3zipfs.stores.counting import CountingStore
from s3zipfs.stores.memory import MemoryStore
from s3zipfs.stores.network import Network
from s3zipfs.stores.retrying import RetryingStore
from s3zipfs.stores.s3 import S3Store

T = TypeVar("T")
SECONDS = 30.0
LONG_KEY = "/".join(["k" * 127] * 8)[:1024]  # 1024 bytes is S3's limit, 255 a file system's

ODD_KEYS = [
    "a b", " lead", "trail ", "a+b", "a&b", "a=b", "a%b", "a%20b", "a%2Fb", "%2e%2e/b", "a#b",
    "a?b", "a;b", "a:b", "a@b", "a,b", "a!b", "a'b", 'a"b', "a<b>c", "a[b]", "a{b}", "a|b", "a\\b",
    "a^b", "a`b", "a~b", "a*b", "a$b", "(a)", "-a", "~", "...", "a/.../b", ".a", "a.",
    "ü", "u\u0308", "日本語", "\U0001f600", "a\u00a0b", "a\u200bb", "a\u0085b", "\u2028",
    "a\ufffeb", "a\nb", "a\tb", "a\rb", "a\x01b", "a\x7fb", "\x1f", "a&amp;b", "a\\u0041",
    "folder/", "folder/deeper/", "odd\n/", LONG_KEY,
    "a//b", "/a", "//", "a/./b", "a/../b", ".", "..", "a/..",
]  # fmt: skip


class Backend(Protocol):
    """A store with one bucket, and the means to change what is in it from outside."""

    store: ObjectStore
    bucket: str

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T: ...
    def put(self, key: str, data: bytes) -> None: ...
    def delete(self, key: str) -> None: ...


class MemoryBackend:
    def __init__(self, network: Network, wrap: Callable[[ObjectStore], ObjectStore]) -> None:
        self.memory = MemoryStore()
        self.store = wrap(self.memory)
        self.bucket = "bucket"
        self.memory.make_bucket(self.bucket)
        self._network = network

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self._network.submit(coroutine).result(SECONDS)

    def put(self, key: str, data: bytes) -> None:
        self.memory.put(self.bucket, key, data)

    def delete(self, key: str) -> None:
        self.memory.delete(self.bucket, key)


class S3Backend:
    def __init__(self, network: Network, store: ObjectStore, client: Any, bucket: str) -> None:
        self.store = store
        self.bucket = bucket
        self._client = client
        self._network = network

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self._network.submit(coroutine).result(SECONDS)

    def put(self, key: str, data: bytes) -> None:
        self._client.put_object(Bucket=self.bucket, Key=key, Body=data)

    def delete(self, key: str) -> None:
        self._client.delete_object(Bucket=self.bucket, Key=key)


def unchanged(store: ObjectStore) -> ObjectStore:
    return store


def retrying(store: ObjectStore) -> ObjectStore:
    return RetryingStore(store, SECONDS)


WRAPPERS: dict[str, Callable[[ObjectStore], ObjectStore]] = {
    "memory": unchanged,
    "counting(memory)": CountingStore,
    "retrying(memory)": retrying,
    "s3": unchanged,
    "retrying(s3)": retrying,
}


@pytest.fixture(scope="module")
def s3store(s3settings: Settings) -> Iterator[tuple[Network, S3Store]]:
    """One for all tests: its client costs 0.2 s."""
    network, store = Network(), S3Store(s3settings)
    yield network, store
    network.submit(store.close()).result(SECONDS)
    network.close()


@pytest.fixture(params=WRAPPERS)
def backend(request: pytest.FixtureRequest) -> Backend:
    wrap = WRAPPERS[request.param]
    if "s3" not in request.param:
        return MemoryBackend(request.getfixturevalue("network"), wrap)
    network, store = request.getfixturevalue("s3store")
    client = request.getfixturevalue("s3client")
    return S3Backend(network, wrap(store), client, request.getfixturevalue("bucket"))


@pytest.fixture(scope="module")
def numbered(s3server: S3Server, s3client: Any) -> Iterator[str]:
    """A bucket of 2,500 keys."""
    with temporary_bucket(s3client, f"numbered-{uuid.uuid4().hex[:16]}") as name:
        asyncio.run(put_many(s3server, name, (f"k/{number:05d}" for number in range(2500)), b""))
        yield name


def put(backend: Backend, key: str, data: bytes) -> ObjectInfo:
    backend.put(key, data)
    return backend.run(backend.store.head(backend.bucket, key))


def read(backend: Backend, oid: ObjectId, start: int, end: int) -> bytes:
    return bytes(backend.run(backend.store.get_range(oid, start, end)))


def list_all(backend: Backend, prefix: str, max_keys: int = 1000) -> list[ListPage]:
    pages: list[ListPage] = []
    token: str | None = None
    while not pages or token is not None:
        page = backend.run(
            backend.store.list_page(backend.bucket, prefix, token=token, max_keys=max_keys)
        )
        assert len(page.objects) + len(page.prefixes) <= max_keys
        pages.append(page)
        token = page.next_token
    return pages


def keys(pages: list[ListPage]) -> list[str]:
    return [info.id.key for page in pages for info in page.objects]


def prefixes(pages: list[ListPage]) -> list[str]:
    return [prefix for page in pages for prefix in page.prefixes]


def test_buckets_are_listed_with_their_time(backend: Backend) -> None:
    found = {b.name: b.created for b in backend.run(backend.store.list_buckets())}
    assert backend.bucket in found
    assert found[backend.bucket] > 1_600_000_000


def test_empty_bucket_lists_as_one_empty_page(backend: Backend) -> None:
    assert list_all(backend, "") == [ListPage((), (), None)]


def test_missing_bucket_is_not_found(backend: Backend) -> None:
    for question in (
        backend.store.list_page("no-such-bucket", ""),
        backend.store.head("no-such-bucket", "key"),
    ):
        with pytest.raises(NotFound, match="no-such-bucket"):
            backend.run(question)


def test_one_level_is_grouped_at_the_delimiter(backend: Backend) -> None:
    for key in ("a", "b/1", "b/2", "b/c/3", "bz", "d/e/f"):
        backend.put(key, b"x")
    top = list_all(backend, "")
    assert (keys(top), prefixes(top)) == (["a", "bz"], ["b/", "d/"])
    below = list_all(backend, "b/")
    assert (keys(below), prefixes(below)) == (["b/1", "b/2"], ["b/c/"])
    assert list_all(backend, "nothing/") == [ListPage((), (), None)]


def test_prefix_need_not_end_in_the_delimiter(backend: Backend) -> None:
    for key in ("a/bc", "a/b!", "a/b/x", "a/c"):
        backend.put(key, b"x")
    found = list_all(backend, "a/b")
    assert (keys(found), prefixes(found)) == (["a/b!", "a/bc"], ["a/b/"])


def test_object_that_is_also_a_prefix(network: Network) -> None:
    backend = MemoryBackend(network, unchanged)  # MinIO keeps files and cannot have both
    for key in ("a/b", "a/b!", "a/b/x"):
        backend.put(key, b"x")
    found = list_all(backend, "a/b")
    assert (keys(found), prefixes(found)) == (["a/b", "a/b!"], ["a/b/"])
    assert list_all(backend, "a/b", max_keys=1)[2].prefixes == ("a/b/",)


def test_marker_of_a_folder_is_an_object_below_itself(backend: Backend) -> None:
    backend.put("folder/", b"")
    backend.put("folder/x", b"x")
    assert prefixes(list_all(backend, "")) == ["folder/"]
    assert keys(list_all(backend, "folder/")) == ["folder/", "folder/x"]


@pytest.mark.parametrize("max_keys", [1, 2, 3, 1000])
def test_pages_join_to_the_whole_listing(backend: Backend, max_keys: int) -> None:
    for key in ("a/1", "a/2", "b", "c/1", "c/2", "d", "e/"):
        backend.put(key, b"x")
    pages = list_all(backend, "", max_keys)
    assert keys(pages) == ["b", "d"]
    assert prefixes(pages) == ["a/", "c/", "e/"]


def test_2500_keys_come_in_three_pages_in_order(
    backend: Backend, request: pytest.FixtureRequest
) -> None:
    if isinstance(backend, MemoryBackend):
        for number in range(2500):
            backend.put(f"k/{number:05d}", b"")
    else:
        backend.bucket = request.getfixturevalue("numbered")
    pages = list_all(backend, "k/")
    assert [len(page.objects) for page in pages] == [1000, 1000, 500]
    assert keys(pages) == [f"k/{number:05d}" for number in range(2500)]


def test_keys_come_in_utf8_order(backend: Backend) -> None:
    for key in ("z", "ü", "A", "a", "\U0001f600", "\uffee", "-"):
        backend.put(key, b"x")
    found = keys(list_all(backend, ""))
    assert found == sorted(found, key=str.encode)
    assert len(found) == 7


def test_list_and_head_name_the_same_version(backend: Backend) -> None:
    info = put(backend, "key", b"0123456789")
    assert info.size == 10
    assert info.id.etag.startswith('"')
    assert info.id.etag.endswith('"')
    assert info.id.endpoint == backend.store.endpoint
    (page,) = list_all(backend, "")
    assert page.objects == (info,)


def test_head_of_nothing_is_not_found(backend: Backend) -> None:
    backend.put("folder/x", b"x")
    for key in ("nothing", "folder", "folder/"):
        with pytest.raises(NotFound):
            backend.run(backend.store.head(backend.bucket, key))


def test_ranges_are_exact(backend: Backend) -> None:
    data = bytes(range(256)) * 1000
    oid = put(backend, "key", data).id
    for start, end in (
        (0, 1),
        (0, len(data)),
        (255, 257),
        (len(data) - 1, len(data)),
        (7, 200_000),
    ):
        view = backend.run(backend.store.get_range(oid, start, end))
        assert isinstance(view, memoryview)
        assert view.contiguous
        assert bytes(view) == data[start:end]


def test_empty_range_is_empty(backend: Backend) -> None:
    oid = put(backend, "key", b"0123456789").id
    for at in (0, 5, 10):
        assert read(backend, oid, at, at) == b""


def test_range_past_the_end_is_of_another_version(backend: Backend) -> None:
    oid = put(backend, "key", b"0123456789").id
    for start, end in ((0, 11), (9, 11), (10, 11), (100, 200)):
        with pytest.raises(ObjectChanged):
            read(backend, oid, start, end)


def test_range_of_an_empty_object_is_of_another_version(backend: Backend) -> None:
    info = put(backend, "key", b"")
    assert info.size == 0
    with pytest.raises(ObjectChanged):
        read(backend, info.id, 0, 1)


@pytest.mark.parametrize("new", [b"ABCDEFGHIJ", b"short", b"", b"much longer than it was"])
def test_overwritten_object_is_changed(backend: Backend, new: bytes) -> None:
    oid = put(backend, "key", b"0123456789").id
    assert read(backend, oid, 2, 8) == b"234567"
    after = put(backend, "key", new)
    for start, end in ((2, 8), (0, 1), (9, 10)):
        with pytest.raises(ObjectChanged):
            read(backend, oid, start, end)
    assert after.id != oid
    assert read(backend, after.id, 0, len(new)) == new


def test_deleted_object_is_changed(backend: Backend) -> None:
    oid = put(backend, "key", b"0123456789").id
    backend.delete("key")
    with pytest.raises(ObjectChanged):
        read(backend, oid, 2, 8)
    with pytest.raises(NotFound):
        backend.run(backend.store.head(backend.bucket, "key"))


def test_bytes_of_a_bucket_that_is_gone_are_changed(backend: Backend) -> None:
    oid = put(backend, "key", b"0123456789").id
    with pytest.raises(ObjectChanged):  # not NotFound: to Zarr, ENOENT is an empty chunk
        read(backend, dataclasses.replace(oid, bucket="no-such-bucket"), 2, 8)


def test_wrong_etag_is_changed(backend: Backend) -> None:
    oid = put(backend, "key", b"0123456789").id
    with pytest.raises(ObjectChanged):
        read(backend, dataclasses.replace(oid, etag='"00000000000000000000000000000000"'), 0, 1)


@pytest.mark.parametrize("key", ODD_KEYS, ids=ascii)
def test_odd_key_round_trips_or_does_not_exist(backend: Backend, key: str) -> None:
    try:
        backend.put(key, key.encode())
    except ClientError:  # MinIO, which keeps files: such a key is then nowhere
        with pytest.raises(NotFound):
            backend.run(backend.store.head(backend.bucket, key))
        return
    info = backend.run(backend.store.head(backend.bucket, key))
    assert info.size == len(key.encode())
    assert read(backend, info.id, 0, info.size) == key.encode()
    # MinIO, which keeps files, drops a leading "/" without a word.
    names = {key, key.removeprefix("/")} if isinstance(backend, S3Backend) else {key}
    listed = [list_all(backend, name[: name.rfind("/") + 1]) for name in names]
    assert names & {name for found in listed for name in keys(found) + prefixes(found)}
    with pytest.raises(ObjectChanged):
        read(backend, dataclasses.replace(info.id, etag='"other"'), 0, 1)


def test_cancelled_request_leaves_the_store_usable(backend: Backend) -> None:
    oid = put(backend, "key", b"0123456789").id

    async def ask_and_cancel() -> None:
        task = asyncio.ensure_future(backend.store.get_range(oid, 0, 10))
        await asyncio.sleep(0)  # it has started, and waits
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():  # the memory store never waits
            task.result()

    backend.run(ask_and_cancel())
    assert read(backend, oid, 0, 10) == b"0123456789"


def test_cancelled_future_ends_at_once(backend: Backend, network: Network) -> None:
    async def stuck() -> None:
        await asyncio.Event().wait()

    future = network.submit(stuck())
    future.cancel()
    with pytest.raises(CancelledError):
        future.result(SECONDS)
