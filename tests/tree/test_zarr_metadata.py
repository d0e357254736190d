"""Metadata members of an archive: fetched together, kept, bounded, and never cause of a fault."""

from __future__ import annotations

import asyncio
import random
import threading
import zipfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from trees import WAIT, MakeTree, read, zipped
from zarrs import FILLER, hierarchy, is_metadata

from s3zipfs.archive import metadata, metadataplan
from s3zipfs.archive.coalescing import plan_groups
from s3zipfs.archive.metadata import MetadataTable
from s3zipfs.archive.metadataplan import COST, GAP, LARGEST, NAMES
from s3zipfs.budget import MemoryBudget
from s3zipfs.build import build_tree
from s3zipfs.errors import BadMember, StoreUnavailable
from s3zipfs.settings import Settings
from s3zipfs.stores.base import ObjectId
from s3zipfs.stores.counting import CountingStore
from s3zipfs.stores.memory import MemoryStore
from s3zipfs.tree.nodes import Member
from s3zipfs.tree.tree import Tree
from s3zipfs.zipformat.named import numbers_named


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow this machine is just now, what is fetched together is waited for."""
    monkeypatch.setattr(metadata, "PATIENCE", 15.0)


def opened(make_tree: MakeTree, memory: MemoryStore, members: Mapping[str, bytes]) -> Tree:
    """A tree whose `x.zip` holds the members, its index loaded."""
    # The tail is read with the index; metadata must not be in it.
    memory.put("lab", "x.zip", zipped({**members, "tail": bytes(2 << 20)}))
    tree = make_tree("s3://lab")
    tree.resolve(b"x.zip/tail", WAIT)
    return tree


def read_name(tree: Tree, name: str) -> bytes:
    return read(tree, b"x.zip/" + name.encode())


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_metadata_of_200_nodes_is_one_get_for_each_place_where_it_stands(
    memory: MemoryStore, store: CountingStore, make_tree: MakeTree, zarr_format: int
) -> None:
    members = hierarchy(zarr_format)
    wanted = [name for name in members if is_metadata(name)]
    assert len(wanted) >= 200
    tree = opened(make_tree, memory, members)
    store.reset()
    for name in wanted:
        assert read_name(tree, name) == members[name]
    places = 1 + sum(len(content) == FILLER for content in members.values())
    assert store.counts["get"] == places
    needed = sum(len(content) for content in members.values() if len(content) < FILLER)
    assert store.bytes_read < needed + 500 * len(members)  # headers, and what is left for extras


def test_16_readers_at_once_cost_no_more(
    memory: MemoryStore, store: CountingStore, make_tree: MakeTree
) -> None:
    members = hierarchy(3)
    wanted = [name for name in members if is_metadata(name)]
    tree = opened(make_tree, memory, members)
    store.reset()
    ready = threading.Barrier(16)

    def reader(number: int) -> None:
        ready.wait(60)
        for name in random.Random(number).sample(wanted, len(wanted)):
            assert read_name(tree, name) == members[name]

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(reader, range(16)))
    # The place of whoever came first is fetched from there on, and then its beginning.
    assert store.counts["get"] <= 2 + sum(len(each) == FILLER for each in members.values())


def test_metadata_is_kept_where_all_else_that_was_read_is_given_up(
    memory: MemoryStore, store: CountingStore
) -> None:
    members = hierarchy(3)
    wanted = [name for name in members if is_metadata(name)]
    memory.put("lab", "x.zip", zipped({**members, "large": bytes(48 << 20)}))
    settings = Settings(memory=64 << 20, cache_size=0)
    tree = build_tree(settings, ["s3://lab"], store=store, kept=8)
    for name in wanted:
        read_name(tree, name)
    node = tree.resolve(b"x.zip/large", WAIT)
    for start in range(0, 48 << 20, 1 << 20):
        tree.read(node, start, start + (1 << 20), WAIT)
    store.reset()
    for name in wanted:
        assert read_name(tree, name) == members[name]
    assert store.total == 0
    tree.close()


def test_deflated_metadata_is_fetched_together_as_well(
    memory: MemoryStore, store: CountingStore, make_tree: MakeTree
) -> None:
    members = hierarchy(2)
    data = zipped({**members, "tail": random.Random(1).randbytes(2 << 20)}, zipfile.ZIP_DEFLATED)
    memory.put("lab", "x.zip", data)
    tree = make_tree("s3://lab")
    tree.resolve(b"x.zip/tail", WAIT)
    store.reset()
    for name in filter(is_metadata, members):
        assert read_name(tree, name) == members[name]
    assert store.counts["get"] <= 4


def test_a_part_of_a_metadata_member_is_that_part(memory: MemoryStore, make_tree: MakeTree) -> None:
    tree = opened(make_tree, memory, {"zarr.json": b"0123456789", "a/zarr.json": b"abc"})
    node = tree.resolve(b"x.zip/zarr.json", WAIT)
    parts = [b"".join(tree.read(node, *part, WAIT)) for part in ((2, 5), (8, 4096), (10, 20))]
    assert parts == [b"234", b"89", b""]


def test_the_only_metadata_member_is_read_as_any_other(
    memory: MemoryStore, store: CountingStore, make_tree: MakeTree
) -> None:
    tree = opened(make_tree, memory, {"zarr.json": b"{}", "c/0": bytes(100)})
    store.reset()
    assert read_name(tree, "zarr.json") == b"{}"
    assert store.counts["get"] == 1
    assert store.bytes_read < 1000


def test_names_that_only_end_alike_are_no_metadata(
    memory: MemoryStore, store: CountingStore, make_tree: MakeTree
) -> None:
    members = {f"{number}/not-zarr.json": b"{}" for number in range(50)}
    tree = opened(make_tree, memory, {"fill": bytes(1 << 20), **members})
    store.reset()
    assert read_name(tree, "25/not-zarr.json") == b"{}"
    assert store.bytes_read < 1000


def test_a_large_member_is_left_out(
    memory: MemoryStore, store: CountingStore, make_tree: MakeTree
) -> None:
    members = {f"{number}/.zarray": b"{}" for number in range(10)}
    tree = opened(make_tree, memory, {".zmetadata": bytes(LARGEST + 1), **members})
    store.reset()
    for name in members:
        assert read_name(tree, name) == b"{}"
    assert store.bytes_read < LARGEST
    assert read_name(tree, ".zmetadata") == bytes(LARGEST + 1)


# Bounds


@pytest.fixture
def many(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """3,000 metadata members of 2 kB, and bounds that they pass."""
    monkeypatch.setattr(metadataplan, "COST", 2 << 20)
    monkeypatch.setattr(metadataplan, "MOST", 2500)
    return {f"{number:04}/zarr.json": b"{}" + b" " * 2000 for number in range(3000)}


def test_of_very_many_metadata_members_only_some_are_fetched_at_once(
    memory: MemoryStore, store: CountingStore, make_tree: MakeTree, many: dict[str, bytes]
) -> None:
    tree = opened(make_tree, memory, many)
    store.reset()
    assert read_name(tree, "1500/zarr.json") == many["1500/zarr.json"]
    settle(tree)
    assert store.bytes_read <= 2 << 20
    # One in the middle of what was not fetched costs one request: few of those were of use.
    before = store.counts["get"]
    assert read_name(tree, "0500/zarr.json") == many["0500/zarr.json"]
    settle(tree)
    assert store.counts["get"] == before + 1


def test_who_reads_on_gets_the_next_ones(
    memory: MemoryStore, store: CountingStore, make_tree: MakeTree, many: dict[str, bytes]
) -> None:
    tree = opened(make_tree, memory, many)
    store.reset()
    for name in list(many)[:2500]:
        assert read_name(tree, name) == many[name]
    # 2500 x 2.1 kB, of which 2 MiB cost no more than what is allowed at a time with its request.
    assert store.counts["get"] <= 4
    store.reset()
    name = "2700/zarr.json"  # more than are fetched together of one archive
    assert read_name(tree, name) == many[name]
    settle(tree)
    assert store.bytes_read < 10_000


def test_far_apart_they_cost_no_more_than_64_requests_at_once(
    memory: MemoryStore, store: CountingStore, make_tree: MakeTree
) -> None:
    members = {}
    for number in range(100):
        members[f"{number:03}/.zarray"] = b"{}"
        members[f"{number:03}/0"] = bytes(GAP + 1000)
    tree = opened(make_tree, memory, members)
    store.reset()
    assert read_name(tree, "050/.zarray") == b"{}"
    settle(tree)
    assert store.counts["get"] <= COST // GAP
    assert store.bytes_read < 100 * 1000


def test_with_little_memory_less_is_fetched_and_kept(
    memory: MemoryStore, store: CountingStore, make_tree: MakeTree
) -> None:
    members = {f"{number:06}/zarr.json": b"{}" + b" " * 2000 for number in range(10_000)}
    memory.put("lab", "x.zip", zipped({**members, "tail": bytes(2 << 20)}))
    tree = make_tree("s3://lab", memory=32 << 20)
    tree.resolve(b"x.zip/tail", WAIT)
    store.reset()
    assert read_name(tree, "000000/zarr.json") == members["000000/zarr.json"]
    settle(tree)
    assert store.bytes_read <= 4 << 20
    store.reset()
    for number in range(1000):
        name = f"{number:06}/zarr.json"
        assert read_name(tree, name) == members[name]
    assert store.total == 0


def settle(tree: Tree) -> None:
    """Wait until nothing is fetched any more."""

    async def others() -> None:
        mine = asyncio.current_task()
        await asyncio.gather(*(each for each in asyncio.all_tasks() if each is not mine))

    tree._fetcher.network.submit(others()).result(60)


# Faults


class RefusingStore(MemoryStore):
    """Refuses ranges over `most` bytes; `held`: or answers them when it is set."""

    most = 1 << 40
    held: threading.Event | None = None

    async def get_range(self, oid: ObjectId, start: int, end: int) -> memoryview:
        if end - start > self.most:
            if self.held is None:
                raise StoreUnavailable("too much")
            await asyncio.to_thread(self.held.wait, 60)
        return await super().get_range(oid, start, end)


@pytest.fixture
def memory() -> RefusingStore:
    return RefusingStore()


def test_where_they_cannot_be_fetched_together_each_is_read_by_itself(
    memory: RefusingStore, store: CountingStore, make_tree: MakeTree
) -> None:
    members = hierarchy(3)
    tree = opened(make_tree, memory, members)
    memory.most = 10_000
    for name in filter(is_metadata, members):
        assert read_name(tree, name) == members[name]


def test_nobody_waits_long_for_what_others_need(
    memory: RefusingStore, make_tree: MakeTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metadata, "PATIENCE", 0.01)
    members = hierarchy(3)
    tree = opened(make_tree, memory, members)
    memory.held, memory.most = threading.Event(), 10_000
    names = [name for name in members if is_metadata(name)]
    for name in (names[150], names[80], names[0]):  # in an order that is not read ahead of
        assert read_name(tree, name) == members[name]
    assert not memory.held.is_set()  # nothing of what is fetched together has come
    memory.held.set()
    settle(tree)


def test_a_damaged_member_fails_alone_and_at_its_own_read(
    memory: RefusingStore, make_tree: MakeTree
) -> None:
    members = {f"{number}/zarr.json": b'{"n": %d}' % number for number in range(20)}
    data = bytearray(zipped({**members, "tail": bytes(2 << 20)}))
    at = data.index(b'{"n": 7}')
    data[at + 3] ^= 1
    memory.put("lab", "x.zip", bytes(data))
    tree = make_tree("s3://lab")
    for number in [*range(7), *range(8, 20)]:
        assert read_name(tree, f"{number}/zarr.json") == members[f"{number}/zarr.json"]
    for _ in range(2):
        with pytest.raises(BadMember, match=r"7/zarr\.json.*CRC-32"):
            read_name(tree, "7/zarr.json")


# The parts


def test_names_are_found_in_every_directory_and_only_files() -> None:
    tree_of: dict[str, bytes] = {"x/zarr.json/inside": b"", "y/zarr.jsox": b"", ".zarra": b""}
    expected = {"zarr.json", "a/.zarray", "a/b/.zgroup", "a/b/c/.zattrs", ".zmetadata"}
    tree_of |= dict.fromkeys(expected, b"")
    store = MemoryStore()
    store.put("lab", "x.zip", zipped(tree_of))
    tree = build_tree(Settings(cache_size=0), ["s3://lab"], store=store)
    node = tree.resolve(b"x.zip", WAIT)
    assert isinstance(node, Member)
    index = tree.index(node.info, WAIT)
    found = numbers_named(index, NAMES)
    assert {index.path(int(number)).decode() for number in found} == expected
    assert np.all(np.diff(found) > 0)
    tree.close()


def test_groups_are_cut_where_a_gap_costs_more_than_a_request() -> None:
    starts, ends = [0, 20, 200, 210, 50], [10, 30, 205, 400, 60]
    plan = plan_groups(starts, ends, gap=100, largest=1000, cost=10_000)
    assert plan == [(0, 2), (2, 4), (4, 5)]  # the last one stands before: the order goes round
    assert plan_groups(starts, ends, gap=100, largest=10, cost=10_000) == [
        (0, 1), (1, 2), (2, 3), (3, 4), (4, 5),
    ]  # fmt: skip
    assert plan_groups(starts, ends, gap=100, largest=1000, cost=150) == [(0, 2)]
    assert plan_groups([], [], gap=1, largest=1, cost=1) == []


def test_kept_contents_are_charged_and_give_way() -> None:
    budget = MemoryBudget(8 << 20)
    table = MetadataTable(budget)
    first, second, third, fourth = (ObjectId("e", "b", f"{n}.zip", "1") for n in range(4))
    contents = {number: bytes(1000) for number in range(250)}
    for oid in (first, second, third):
        table.keep(oid, contents)
    assert 750_000 < budget.used <= budget.limit // 8
    used = budget.used
    table.keep(third, contents)  # again: nothing is charged twice
    assert budget.used == used
    assert found(table, first) == bytes(1000)
    table.keep(fourth, contents)  # one too many: that used least recently gives way
    assert budget.used == used
    assert found(table, second) is None
    assert found(table, first) == bytes(1000)
    budget.charge(budget.limit)
    assert budget.used == budget.limit
    assert found(table, first) is None
    budget.release(budget.limit)
    assert budget.used == 0


def found(table: MetadataTable, oid: ObjectId) -> bytes | None:
    content = table.find(oid, 7)
    return None if content is None else bytes(content)
