"""Listings under several readers and failing pages: never short, never an old error."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from concurrent.futures import ThreadPoolExecutor as Threads

import pytest
from trees import WAIT, MakeTree, names, read, zipped

from s3zipfs.budget import MemoryBudget
from s3zipfs.build import build_tree
from s3zipfs.errors import Interrupted, NotFound, ObjectChanged, StoreUnavailable
from s3zipfs.settings import Settings
from s3zipfs.stores.base import ListPage
from s3zipfs.stores.counting import CountingStore
from s3zipfs.stores.memory import MemoryStore
from s3zipfs.tree import listing as listing_module
from s3zipfs.tree.listing import Listing, Row
from s3zipfs.waiting import Wait

KEYS = 1500


def listing_of(memory: MemoryStore) -> Listing:
    def fetch(token: str | None) -> Future[ListPage]:
        future: Future[ListPage] = Future()
        page = asyncio.run(memory.list_page("lab", "", token=token, max_keys=100))
        threading.Timer(0.0005, future.set_result, [page]).start()
        return future

    return Listing(fetch, MemoryBudget(1 << 30), prefix="", valid_until=time.monotonic() + 60)


def test_readers_of_one_listing_each_see_all_of_it(memory: MemoryStore) -> None:
    for number in range(KEYS):
        memory.put("lab", f"{number:05}", b"")
    with Threads(8) as threads:
        for _ in range(10):
            listing = listing_of(memory)
            counts = threads.map(lambda _, of=listing: len(list(of.rows(0, WAIT))), range(8))
            assert set(counts) == {KEYS}


class Watched:
    """A lock that tells when somebody other than its holder's thread asks for it."""

    def __init__(self, waiting: threading.Event) -> None:
        self._lock = threading.Lock()
        self._waiting = waiting

    def __enter__(self) -> None:
        if self._lock.locked():
            self._waiting.set()
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()


class Growing(list[Row]):
    """Rows that are read by somebody else, `read`, whenever some have just been added."""

    def __init__(self, read: Callable[[], None]) -> None:
        self._read = read

    def extend(self, rows: Iterable[Row]) -> None:
        super().extend(rows)
        self._read()


def test_a_page_is_listed_once_where_it_comes_as_a_reader_walks_on(
    memory: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing_module, "MAX_KEPT", 50)
    for number in range(300):
        memory.put("lab", f"{number:05}", b"")
    listing = listing_of(memory)
    read_or_waiting = threading.Event()
    counts: list[int] = []

    def count() -> None:
        counts.append(len(list(listing.rows(0, WAIT))))
        read_or_waiting.set()

    def read_meanwhile() -> None:
        reader.start()
        assert read_or_waiting.wait(20)

    reader = threading.Thread(target=count)
    listing._lock = Watched(read_or_waiting)  # type: ignore[assignment]
    listing._rows = Growing(read_meanwhile)
    listing.load_next(0, WAIT)
    reader.join(20)
    assert counts == [300]


def test_a_page_that_failed_after_its_waiter_left_is_fetched_again() -> None:
    futures: list[Future[ListPage]] = [Future(), Future()]
    fetched = iter(futures)
    listing = Listing(
        lambda _: next(fetched), MemoryBudget(1 << 20), prefix="", valid_until=time.monotonic() + 60
    )
    with pytest.raises(Interrupted):
        listing.load_next(0, Wait(5, lambda: True))
    futures[0].set_exception(StoreUnavailable("an error of long ago"))
    futures[1].set_result(ListPage((), (), None))
    assert list(listing.rows(0, WAIT)) == []


class EmptyFirst(MemoryStore):
    """Each listing begins with an empty page that goes on; S3 may give less than is asked for."""

    async def list_page(
        self, bucket: str, prefix: str, *, token: str | None = None, max_keys: int = 1000
    ) -> ListPage:
        if token is None:
            return ListPage((), (), "begin")
        after = None if token == "begin" else token
        return await super().list_page(bucket, prefix, token=after, max_keys=max_keys)


@pytest.mark.parametrize("path", [b"x.zip/k", b"x/k", b"a%_object", b"a/b", b"y"])
def test_an_empty_page_that_goes_on_is_no_missing_name(path: bytes) -> None:
    empty_first = EmptyFirst()
    empty_first.put("lab", "x.zip", zipped({"k": b"content"}))
    for key in ("a", "a/b", "y"):
        empty_first.put("lab", key, b"content")
    tree = build_tree(Settings(cache_size=0, ttl=3600), ("s3://lab",), store=empty_first)
    try:
        assert read(tree, path) == b"content"
        with pytest.raises(NotFound):
            tree.resolve(b"z", WAIT)
    finally:
        tree.close()


def test_an_old_reader_costs_the_new_ones_no_listing(
    memory: MemoryStore, store: CountingStore, make_tree: MakeTree
) -> None:
    memory.put("lab", "x.zip", zipped({"a": bytes(4 << 20)}))
    for number in range(2500):
        memory.put("lab", f"y{number:04}", b"")
    tree = make_tree("s3://lab", ttl=3600)
    node = tree.resolve(b"x.zip/a", WAIT)
    memory.put("lab", "x.zip", zipped({"a": b"new"}))
    with pytest.raises(ObjectChanged):
        tree.read(node, 0, 100, WAIT)
    names(tree)
    assert read(tree, b"x.zip/a") == b"new"
    store.reset()
    for _ in range(5):
        with pytest.raises(ObjectChanged):
            tree.read(node, 0, 100, WAIT)
        names(tree)
        assert read(tree, b"x.zip/a") == b"new"
    assert store.counts["list"] == 0
