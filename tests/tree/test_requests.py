"""What each operation costs in requests: users pay for them."""

from __future__ import annotations

import zipfile
from contextlib import closing

import numpy as np
import pytest
from trees import WAIT, MakeTree, names, read, zipped

from s3zipfs.build import build_tree
from s3zipfs.cache.streams import LARGEST_GET, MAX_WINDOW
from s3zipfs.errors import NotFound
from s3zipfs.settings import Settings
from s3zipfs.stores.base import ObjectId
from s3zipfs.stores.counting import CountingStore
from s3zipfs.stores.memory import MemoryStore
from s3zipfs.stores.s3.body import LARGE_PART


def test_listing_a_thousand_archives_is_one_page_and_no_get(
    memory: MemoryStore, store: CountingStore, make_tree: MakeTree
) -> None:
    for number in range(1000):
        memory.put("lab", f"runs/{number:04}.zip", b"never opened")
    tree = make_tree("s3://lab/runs")
    entries = list(tree.entries(tree.root, WAIT))
    assert len(entries) == 1000
    for entry in entries:
        tree.getattr(entry.node, WAIT)
    assert store.counts == {"list_buckets": 0, "list": 1, "head": 0, "get": 0}


def test_opening_a_small_archive_and_reading_a_member_is_three_requests(
    memory: MemoryStore, store: CountingStore, make_tree: MakeTree
) -> None:
    # Larger than the first tail, so that the member is not in it.
    members = {"a.txt": b"hello", "filler": bytes(400_000)}
    memory.put("lab", "x.zip", zipped(members))
    assert read(make_tree("s3://lab"), b"x.zip/a.txt") == b"hello"
    assert store.counts == {"list_buckets": 0, "list": 1, "head": 0, "get": 2}


def test_an_archive_smaller_than_the_first_tail_is_one_get(
    memory: MemoryStore, store: CountingStore, make_tree: MakeTree
) -> None:
    memory.put("lab", "x.zip", zipped({"a.txt": b"hello", "b.txt": b"world"}))
    tree = make_tree("s3://lab")
    assert read(tree, b"x.zip/a.txt") + read(tree, b"x.zip/b.txt") == b"helloworld"
    assert store.counts["get"] == 1


def test_a_directory_of_under_a_mebibyte_is_two_gets(
    memory: MemoryStore, store: CountingStore, make_tree: MakeTree
) -> None:
    data = zipped({f"member-{number:010}": b"" for number in range(15_000)})
    memory.put("lab", "x.zip", data)
    assert len(names(make_tree("s3://lab"), b"x.zip")) == 15_000
    assert store.counts["get"] == 2


def test_a_missing_member_and_a_second_look_make_no_request(
    memory: MemoryStore, store: CountingStore, make_tree: MakeTree
) -> None:
    memory.put("lab", "x.zip", zipped({"a/b": b"1"}))
    tree = make_tree("s3://lab")
    assert read(tree, b"x.zip/a/b") == b"1"
    store.reset()
    for path in (b"x.zip/a/c", b"x.zip/nope", b"x.zip/no/where"):
        with pytest.raises(NotFound):
            tree.resolve(path, WAIT)
    assert read(tree, b"x.zip/a/b") == b"1"
    assert store.total == 0


def test_a_missing_name_is_asked_once_within_the_ttl(
    memory: MemoryStore, store: CountingStore, make_tree: MakeTree
) -> None:
    memory.put("lab", "a.txt", b"1")
    tree = make_tree("s3://lab", ttl=3600)
    for _ in range(5):
        with pytest.raises(NotFound):
            tree.resolve(b"nothing", WAIT)
    assert store.counts["list"] == 1


def test_many_look_ups_in_one_directory_become_one_listing(
    memory: MemoryStore, store: CountingStore, make_tree: MakeTree
) -> None:
    for number in range(200):
        memory.put("lab", f"d/{number}.txt", b"1")
    tree = make_tree("s3://lab", ttl=3600)
    for number in range(200):
        tree.resolve(f"d/{number}.txt".encode(), WAIT)
    assert store.counts["list"] <= 3  # d; the first name; then the page with all


def test_look_ups_in_a_large_directory_do_not_list_it(
    memory: MemoryStore, store: CountingStore, make_tree: MakeTree
) -> None:
    for number in range(5000):
        memory.put("lab", f"{number:05}.txt", b"1")
    tree = make_tree("s3://lab", ttl=3600)
    for number in range(0, 100, 10):
        tree.resolve(f"{number:05}.txt".encode(), WAIT)
    assert store.counts["list"] == 11  # each name, and one page to see that it is not all


def test_the_alias_without_suffix_costs_no_more_than_the_name(
    memory: MemoryStore, store: CountingStore, make_tree: MakeTree
) -> None:
    memory.put("lab", "x.zarr.zip", zipped({"zarr.json": b"{}"}))
    tree = make_tree("s3://lab")
    assert read(tree, b"x.zarr/zarr.json") == b"{}"
    assert store.counts == {"list_buckets": 0, "list": 1, "head": 0, "get": 1}


def test_small_members_in_archive_order_are_read_by_large_gets(
    memory: MemoryStore, store: CountingStore, make_tree: MakeTree
) -> None:
    members = {f"{number:04}": bytes([number % 251]) * 65536 for number in range(512)}  # 32 MiB
    memory.put("lab", "x.zip", zipped(members))
    tree = make_tree("s3://lab")
    tree.resolve(b"x.zip/0000", WAIT)
    store.reset()
    for name, content in members.items():
        assert read(tree, b"x.zip/" + name.encode()) == content
    assert store.counts["get"] <= 32  # at most one for each MiB
    assert store.bytes_read <= 1.05 * 512 * 65536


@pytest.mark.parametrize("size", [900_001, 1 << 20, 9_000_001])
@pytest.mark.parametrize("window", [16 << 20, MAX_WINDOW])
def test_every_get_of_what_is_read_in_order_is_received_in_one_part(
    memory: MemoryStore,
    store: CountingStore,
    monkeypatch: pytest.MonkeyPatch,
    size: int,
    window: int,
) -> None:
    """Of two parts each byte is cleared once and copied twice more."""
    members = {f"{number:03}": bytes([number]) * size for number in range((120 << 20) // size)}
    memory.put("lab", "x.zip", zipped(members))
    lengths: list[int] = []
    get_range = store.get_range

    async def noted(oid: ObjectId, start: int, end: int) -> memoryview:
        lengths.append(end - start)
        return await get_range(oid, start, end)

    monkeypatch.setattr(store, "get_range", noted)
    with closing(
        build_tree(Settings(cache_size=0), ["s3://lab"], store=store, window=window)
    ) as tree:
        for name, content in members.items():
            assert read(tree, b"x.zip/" + name.encode()) == content
    assert max(lengths) > LARGEST_GET, "one that could come in two"
    assert max(lengths) <= LARGE_PART


def test_random_reads_fetch_what_they_need(
    memory: MemoryStore, store: CountingStore, make_tree: MakeTree
) -> None:
    memory.put("lab", "x.zip", zipped({"big": bytes(64 << 20)}))
    tree = make_tree("s3://lab")
    node = tree.resolve(b"x.zip/big", WAIT)
    store.reset()
    offsets = [(number * 7_654_321) % (63 << 20) for number in range(50)]
    for offset in offsets:
        tree.read(node, offset, offset + 65536, WAIT)
    assert store.bytes_read <= 2 * 50 * 65536


def test_deflated_members_that_are_read_side_by_side_are_fetched_once(
    memory: MemoryStore, store: CountingStore
) -> None:
    # Together more than a mount keeps of what was read to its end, 4 MiB here.
    noise = np.random.default_rng(5).integers(0, 16, 2 << 20, np.uint8).tobytes()
    data = zipped({str(number): noise for number in range(4)}, zipfile.ZIP_DEFLATED)
    memory.put("lab", "x.zip", data)
    tree = build_tree(Settings(memory=32 << 20, cache_size=0), ["s3://lab"], store=store, kept=8)
    nodes = [tree.resolve(b"x.zip/%d" % number, WAIT) for number in range(4)]
    step = 1 << 17
    for start in range(0, len(noise), step):
        for node in nodes:
            parts = tree.read(node, start, start + step, WAIT)
            assert b"".join(parts) == noise[start : start + step]
    tree.close()
    assert store.bytes_read < 2 * len(data)
