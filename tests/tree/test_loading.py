"""Large directories: read in parallel, in pieces, in bounded memory, of one version."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import pytest
from large_zips import large_name, large_zip
from trees import WAIT, MakeTree, names, read, zipped

from s3zipfs.archive import loading
from s3zipfs.archive.loading import LoadGate
from s3zipfs.budget import MemoryBudget
from s3zipfs.build import build_tree
from s3zipfs.errors import BadArchive, DeadlineExceeded, ObjectChanged, StoreUnavailable
from s3zipfs.settings import Settings
from s3zipfs.stores.arrivals import tell
from s3zipfs.stores.base import BucketInfo, ListPage, ObjectId, ObjectInfo
from s3zipfs.stores.counting import CountingStore
from s3zipfs.stores.memory import MemoryStore
from s3zipfs.tree.tree import Tree
from s3zipfs.waiting import Wait
from s3zipfs.zipformat.builder import IndexBuilder

MIB = 1 << 20


class WatchedStore:
    """Knows how many GETs are under way, and does to each what a test says."""

    def __init__(self, inner: MemoryStore) -> None:
        self._inner = inner
        self.endpoint = inner.endpoint
        self.under_way = self.most = self.gets = 0
        self.before: Callable[[int], float] = lambda _number: 0.0  # seconds to wait; may raise
        self.parts = 1  # told one after another in that time

    async def list_buckets(self) -> tuple[BucketInfo, ...]:
        return await self._inner.list_buckets()

    async def list_page(
        self, bucket: str, prefix: str, *, token: str | None = None, max_keys: int = 1000
    ) -> ListPage:
        return await self._inner.list_page(bucket, prefix, token=token, max_keys=max_keys)

    async def head(self, bucket: str, key: str) -> ObjectInfo:
        return await self._inner.head(bucket, key)

    async def get_range(self, oid: ObjectId, start: int, end: int) -> memoryview:
        self.gets += 1
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            seconds = self.before(self.gets)
            for _ in range(self.parts):
                await asyncio.sleep(seconds / self.parts)
                if self.parts > 1:
                    tell(memoryview(b"part"))
            return await self._inner.get_range(oid, start, end)
        finally:
            self.under_way -= 1

    def try_range(self, oid: ObjectId, start: int, end: int) -> None:
        self._inner.try_range(oid, start, end)

    def version_id(self, oid: ObjectId) -> None:
        return None

    async def close(self) -> None:
        await self._inner.close()


@pytest.fixture
def watched(memory: MemoryStore) -> WatchedStore:
    return WatchedStore(memory)


@pytest.fixture
def tree(watched: WatchedStore, monkeypatch: pytest.MonkeyPatch) -> Tree:
    monkeypatch.setattr(loading, "DIRECTORY_GET", MIB)
    return build_tree(Settings(cache_dir=None, ttl=3600), ["s3://lab"], store=watched)


def test_a_directory_is_read_by_a_few_gets_at_once_and_parsed_in_order(
    memory: MemoryStore, watched: WatchedStore, tree: Tree
) -> None:
    memory.put("lab", "x.zip", large_zip(200_000))  # 12.6 MiB
    watched.before = lambda number: 0.03 * (number % 3)  # out of order
    assert len(names(tree, b"x.zip/x")) == 20
    assert watched.most == loading.PIECES_HELD
    assert watched.gets == 14
    for number in (0, 123_456, 199_999):
        assert read(tree, b"x.zip/" + large_name(number)) == b""


def test_requests_are_as_few_as_pieces_of_eight_mebibytes(
    memory: MemoryStore, store: CountingStore, make_tree: MakeTree
) -> None:
    memory.put("lab", "x.zip", large_zip(200_000))
    make_tree("s3://lab", cache_dir=None).resolve(b"x.zip/x", WAIT)
    assert store.counts["get"] == 3  # the tail; 8 MiB; the rest


def test_parsing_is_not_done_by_the_thread_of_the_network(
    memory: MemoryStore, tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: set[str] = set()
    for name in ("feed", "finish"):
        inner = getattr(IndexBuilder, name)

        def noting(*arguments: object, inner: Callable[..., object] = inner) -> object:
            threads.add(threading.current_thread().name)
            return inner(*arguments)

        monkeypatch.setattr(IndexBuilder, name, noting)
    memory.put("lab", "large.zip", large_zip(50_000))
    memory.put("lab", "small.zip", zipped({"a": b"1"}))
    tree.resolve(b"large.zip/x", WAIT)
    tree.resolve(b"small.zip/a", WAIT)
    assert threads
    assert "s3zipfs-network" not in threads


def test_others_are_answered_while_a_large_directory_is_parsed(
    memory: MemoryStore, tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = threading.Event()
    feed = IndexBuilder.feed

    def slow(self: IndexBuilder, data: memoryview) -> None:
        if len(data) == MIB:
            assert go_on.wait(20)
        feed(self, data)

    monkeypatch.setattr(IndexBuilder, "feed", slow)
    for number in range(40):  # more than the loop has threads to parse with
        memory.put("lab", f"{number}.zip", large_zip(20_000))
    memory.put("lab", "small.zip", zipped({"a": b"1"}))
    readers = [
        threading.Thread(target=tree.resolve, args=(b"%d.zip/x" % number, WAIT))
        for number in range(40)
    ]
    for reader in readers:
        reader.start()
    try:
        assert read(tree, b"small.zip/a") == b"1"
    finally:
        go_on.set()
        for reader in readers:
            reader.join()


def replace_at(memory: MemoryStore, watched: WatchedStore, *numbers: int) -> None:
    """At GETs of these numbers, a version that has as many members more."""

    def replace(number: int) -> float:
        if number in numbers:
            memory.put("lab", "x.zip", large_zip(100_000 + number))
        return 0.0

    watched.before = replace


def test_a_version_replaced_meanwhile_is_started_again(
    memory: MemoryStore, watched: WatchedStore, tree: Tree
) -> None:
    memory.put("lab", "x.zip", large_zip(100_000))
    replace_at(memory, watched, 4)
    assert read(tree, b"x.zip/" + large_name(100_003)) == b""


def test_a_version_replaced_twice_meanwhile_is_changed_and_believed_no_more(
    memory: MemoryStore, watched: WatchedStore, tree: Tree
) -> None:
    memory.put("lab", "x.zip", large_zip(100_000))
    replace_at(memory, watched, 4, 9)  # a load is of 8 GETs
    with pytest.raises(ObjectChanged):
        tree.resolve(b"x.zip/x", WAIT)
    assert read(tree, b"x.zip/" + large_name(100_008)) == b""  # long before the TTL


def test_a_failed_piece_ends_the_load_and_is_not_remembered(
    memory: MemoryStore, watched: WatchedStore, tree: Tree
) -> None:
    memory.put("lab", "x.zip", large_zip(200_000))
    budget = tree._archives._budget
    used = budget.used

    def fail(number: int) -> float:
        if number == 5:
            raise StoreUnavailable("503")
        return 0.01

    watched.before = fail
    with pytest.raises(StoreUnavailable):
        tree.resolve(b"x.zip/x", WAIT)
    gets = watched.gets
    assert watched.under_way == 0
    assert gets < 14
    assert budget.used <= used + 2 * MIB  # the tail
    watched.before = lambda _number: 0.0
    assert len(names(tree, b"x.zip/x")) == 20


def test_a_damaged_directory_is_not_read_to_its_end(
    memory: MemoryStore, watched: WatchedStore, tree: Tree
) -> None:
    content = large_zip(200_000)
    data = bytearray(content.range(0, content.size))
    at = data.find(b"PK\1\2", len(data) - 12 * MIB)
    data[at : at + 4] = b"PK\7\7"
    memory.put("lab", "x.zip", bytes(data))
    with pytest.raises(BadArchive, match="offset"):
        tree.resolve(b"x.zip/x", WAIT)
    assert watched.gets <= 8
    gets = watched.gets
    with pytest.raises(BadArchive):
        tree.resolve(b"x.zip/x", WAIT)
    assert watched.gets == gets


def test_a_directory_over_the_bound_is_refused_before_it_is_read(
    memory: MemoryStore, store: CountingStore, make_tree: MakeTree
) -> None:
    memory.put("lab", "x.zip", large_zip(200_000))
    tree = make_tree("s3://lab", max_directory_bytes=10 * MIB, cache_dir=None)
    with pytest.raises(BadArchive) as refused:
        tree.resolve(b"x.zip/x", WAIT)
    assert "13200000 bytes" in str(refused.value)
    assert "--max-directory-bytes" in str(refused.value)
    assert str(refused.value).count("s3://") == 1
    assert store.counts["get"] == 1
    assert names(make_tree("s3://lab", cache_dir=None), b"x.zip") == [b"x"]


def test_the_deadline_counts_from_the_last_piece(
    memory: MemoryStore, watched: WatchedStore, tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "PIECES_HELD", 1)
    memory.put("lab", "x.zip", large_zip(200_000))
    node = tree.resolve(b"x.zip", WAIT)
    watched.before = lambda _number: 0.5  # of 14
    started = time.monotonic()
    tree.lookup(node, b"x", Wait(5.0))
    assert time.monotonic() - started > 6


def test_parts_of_a_piece_that_arrive_are_progress(
    memory: MemoryStore, watched: WatchedStore, tree: Tree
) -> None:
    memory.put("lab", "x.zip", large_zip(20_000))
    node = tree.resolve(b"x.zip", WAIT)
    watched.before = lambda number: 3.0 if number > 1 else 0.0  # two pieces at once, behind a tail
    watched.parts = 30
    started = time.monotonic()
    tree.lookup(node, b"x", Wait(0.5))
    assert time.monotonic() - started > 3
    assert watched.gets == 3


def test_a_load_that_stands_still_is_waited_for_no_longer_and_goes_on(
    memory: MemoryStore, watched: WatchedStore, tree: Tree
) -> None:
    memory.put("lab", "x.zip", large_zip(20_000))
    node = tree.resolve(b"x.zip", WAIT)
    watched.before = lambda _number: 3.0
    with pytest.raises(DeadlineExceeded):
        tree.lookup(node, b"x", Wait(0.3))
    tree.lookup(node, b"x", WAIT)
    assert watched.gets == 3


def test_parallel_loads_of_large_archives_take_turns_within_the_budget(
    memory: MemoryStore, watched: WatchedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "DIRECTORY_GET", MIB)
    tree = build_tree(Settings(cache_dir=None, memory=64 * MIB), ["s3://lab"], store=watched)
    for number in range(8):
        memory.put("lab", f"{number}.zip", large_zip(100_000))  # 6.3 MiB; 23 while it is built
    loads = [
        threading.Thread(target=tree.resolve, args=(b"%d.zip/x" % number, WAIT))
        for number in range(8)
    ]
    for load in loads:
        load.start()
    for load in loads:
        load.join()
    assert tree._archives._budget.peak <= 64 * MIB
    tree.close()


def test_an_archive_larger_than_the_budget_is_loaded_alone(
    memory: MemoryStore, watched: WatchedStore
) -> None:
    tree = build_tree(Settings(cache_dir=None, memory=32 * MIB), ["s3://lab"], store=watched)
    for number in range(3):
        memory.put("lab", f"{number}.zip", large_zip(200_000))
    loads = [
        threading.Thread(target=tree.resolve, args=(b"%d.zip/x" % number, WAIT))
        for number in range(3)
    ]
    for load in loads:
        load.start()
    for load in loads:
        load.join()
    assert len(names(tree, b"2.zip/x")) == 20
    tree.close()


def test_the_gate_lets_in_by_turn_and_forgets_who_left() -> None:
    async def scenario() -> None:
        budget = MemoryBudget(1000)
        gate = LoadGate(budget, 100)
        entered: list[str] = []
        leave = {name: asyncio.Event() for name in "abcdef"}

        async def load(name: str, size: int) -> None:
            async with gate.holding(size):
                entered.append(name)
                await leave[name].wait()

        tasks = {}
        for name, size in {"a": 60, "b": 30, "c": 500, "d": 10, "e": 90, "f": 10}.items():
            tasks[name] = asyncio.create_task(load(name, size))
        await asyncio.sleep(0.01)
        assert entered == ["a", "b"]
        assert budget.used == 90
        tasks["d"].cancel()
        leave["a"].set()
        await asyncio.sleep(0.01)
        assert entered == ["a", "b"]  # c is alone or not at all
        leave["b"].set()
        await asyncio.sleep(0.01)
        assert entered == ["a", "b", "c"]
        assert budget.used == 500
        tasks["c"].cancel()
        await asyncio.sleep(0.01)
        assert entered == ["a", "b", "c", "e", "f"]
        leave["e"].set()
        leave["f"].set()
        await asyncio.gather(*tasks.values(), return_exceptions=True)
        assert budget.used == 0
        assert gate._held == 0

    asyncio.run(scenario())


PEAK = """
import sys, tempfile
from large_zips import LOCAL_BYTES, large_tail
from s3zipfs.build import build_tree
from s3zipfs.settings import Settings
from s3zipfs.stores.memory import Computed, MemoryStore
from s3zipfs.waiting import Wait

def kilobytes(field):
    for line in open("/proc/self/status"):
        if line.startswith(field):
            return int(line.split()[1])

count = 300_000
start = count * LOCAL_BYTES
file = tempfile.TemporaryFile()
file.write(large_tail(count))
size = start + file.tell()

def read(first, last):
    assert first >= start or last <= first + 65536
    file.seek(max(first - start, 0))
    return bytes(max(0, min(last, start) - first)) + file.read(max(0, last - max(first, start)))

memory = MemoryStore()
memory.put("lab", "small.zip", Computed(100, lambda a, b: bytes(b - a)))
memory.put("lab", "x.zip", Computed(size, read))
tree = build_tree(Settings(cache_dir=None), ["s3://lab"], store=memory)
tree.resolve(b"x.zip", Wait(20))
open("/proc/self/clear_refs", "w").write("5")  # VmHWM begins anew
before = kilobytes("VmRSS")
tree.resolve(b"x.zip/x", Wait(60))
charged = tree._archives._budget.peak
print((kilobytes("VmHWM") - before) / 1024, (size - start) / 2**20, charged / 2**20)
"""


def test_a_load_takes_what_it_charges() -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", PEAK],
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    grown, directory, charged = (float(word) for word in done.stdout.split())
    # Measured: 75 MB for a directory of 19; the pieces of 8 MiB and numpy's own are in it.
    assert grown <= charged + 16
    assert charged <= 5 * directory
