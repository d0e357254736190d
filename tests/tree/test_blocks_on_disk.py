"""A second tree over one cache directory reads what the first fetched, and asks for the rest."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import pytest
from trees import WAIT, MakeTree, read, zipped

from s3zipfs.cache.disk import FOLDER
from s3zipfs.errors import BadMember, StoreUnavailable
from s3zipfs.stores.base import ObjectId
from s3zipfs.stores.counting import CountingStore
from s3zipfs.stores.memory import MemoryStore
from s3zipfs.tree.tree import Tree

CACHE = 1 << 30
LARGE = bytes(range(256)) * (20 << 12)  # 20 MiB
SECONDS = 30.0


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def flushed(tree: Tree) -> None:
    assert tree._fetcher.disk.flush(SECONDS)


def part(tree: Tree, path: bytes, start: int, end: int) -> bytes:
    return b"".join(tree.read(tree.resolve(path, WAIT), start, end, WAIT))


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_after_a_restart_nothing_is_fetched_again(
    memory: MemoryStore, store: CountingStore, make_tree: MakeTree, cache: Path, method: int
) -> None:
    members = {"large.bin": LARGE, **{f"{n}.txt": b"%d" % n * 5000 for n in range(50)}}
    memory.put("lab", "x.zip", zipped(members, method))
    first = make_tree("s3://lab", cache_dir=cache, cache_size=CACHE)
    for name, content in members.items():
        assert read(first, b"x.zip/" + name.encode()) == content
    flushed(first)
    store.reset()
    second = make_tree("s3://lab", cache_dir=cache, cache_size=CACHE)
    for name, content in members.items():
        assert read(second, b"x.zip/" + name.encode()) == content
    assert store.counts["get"] == 0


def test_of_what_is_partly_on_disk_only_the_rest_is_fetched(
    memory: MemoryStore, store: CountingStore, make_tree: MakeTree, cache: Path
) -> None:
    memory.put("lab", "large.bin", LARGE)
    first = make_tree("s3://lab", cache_dir=cache, cache_size=CACHE)
    for start in (1 << 20, 5 << 20):
        assert part(first, b"large.bin", start, start + (1 << 20)) == LARGE[: 1 << 20]
    flushed(first)
    store.reset()
    second = make_tree("s3://lab", cache_dir=cache, cache_size=CACHE)
    assert part(second, b"large.bin", 0, 8 << 20) == LARGE[: 8 << 20]
    assert store.counts["get"] == 3
    assert store.bytes_read == 6 << 20


def test_a_small_read_at_random_writes_no_more_than_it_fetched(
    memory: MemoryStore, store: CountingStore, make_tree: MakeTree, cache: Path
) -> None:
    memory.put("lab", "large.bin", LARGE)
    tree = make_tree("s3://lab", cache_dir=cache, cache_size=CACHE)
    for number in (7, 3, 11):
        part(tree, b"large.bin", number << 20, (number << 20) + 65536)
    flushed(tree)
    assert store.bytes_read == 3 * 65536
    assert 3 * 65536 < tree._fetcher.disk.counts.written_bytes < 3 * 66000


def test_another_version_is_read_from_the_store(
    memory: MemoryStore, make_tree: MakeTree, cache: Path
) -> None:
    for content in (b"one" * 50_000, b"two" * 50_000):
        memory.put("lab", "a.bin", content)
        tree = make_tree("s3://lab", cache_dir=cache, cache_size=CACHE)
        assert read(tree, b"a.bin") == content
        flushed(tree)


def test_bytes_that_were_flipped_on_the_wire_are_not_kept(
    memory: MemoryStore,
    store: CountingStore,
    make_tree: MakeTree,
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The checksum on disk is that of the wrong bytes: only the member's CRC tells."""
    content = b"true" * 100_000
    memory.put("lab", "x.zip", zipped({"a": content, "b": b"good" * 100_000}))
    get_range = CountingStore.get_range

    async def flipping(self: CountingStore, oid: ObjectId, start: int, end: int) -> memoryview:
        data = await get_range(self, oid, start, end)
        return memoryview(bytes(data).replace(b"truetrue", b"truefrue", 1))

    first = make_tree("s3://lab", cache_dir=cache, cache_size=CACHE)
    with monkeypatch.context() as wire:
        wire.setattr(CountingStore, "get_range", flipping)
        with pytest.raises(BadMember):
            read(first, b"x.zip/a")
        read(first, b"x.zip/b")
    flushed(first)
    store.reset()
    second = make_tree("s3://lab", cache_dir=cache, cache_size=CACHE)
    assert read(second, b"x.zip/b") == b"good" * 100_000
    assert read(second, b"x.zip/a") == content


def test_what_could_not_be_fetched_is_not_kept(
    memory: MemoryStore, make_tree: MakeTree, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory.put("lab", "large.bin", LARGE)
    first = make_tree("s3://lab", cache_dir=cache, cache_size=CACHE)
    assert part(first, b"large.bin", 1 << 20, 2 << 20) == LARGE[1 << 20 : 2 << 20]
    flushed(first)
    second = make_tree("s3://lab", cache_dir=cache, cache_size=CACHE)
    node = second.resolve(b"large.bin", WAIT)

    async def failing(*_: object) -> memoryview:
        raise StoreUnavailable("no answer")

    with monkeypatch.context() as wire:
        wire.setattr(CountingStore, "get_range", failing)
        with pytest.raises(StoreUnavailable):
            second.read(node, 0, 4 << 20, WAIT)
        assert b"".join(second.read(node, 1 << 20, 2 << 20, WAIT)) == LARGE[1 << 20 : 2 << 20]
    assert b"".join(second.read(node, 0, 4 << 20, WAIT)) == LARGE[: 4 << 20]


def test_a_cache_that_is_removed_meanwhile_is_not_missed(
    memory: MemoryStore, make_tree: MakeTree, cache: Path
) -> None:
    names = [b"%d.bin" % number for number in range(3)]
    for name in names:
        memory.put("lab", name.decode(), LARGE)
    tree = make_tree("s3://lab", cache_dir=cache, cache_size=CACHE, memory=32 << 20)
    for name in names:
        assert read(tree, name) == LARGE
        flushed(tree)
        shutil.rmtree(cache)
    for name in names:
        assert read(tree, name) == LARGE
    assert tree._fetcher.disk.counts.failed == 0


def test_nothing_is_written_before_the_first_read(
    memory: MemoryStore, make_tree: MakeTree, cache: Path
) -> None:
    memory.put("lab", "large.bin", LARGE)
    tree = make_tree("s3://lab", cache_dir=cache, cache_size=CACHE)
    tree.check(WAIT)
    tree.resolve(b"large.bin", WAIT)
    assert not (cache / FOLDER).exists()
    assert tree._fetcher.disk._thread is None


def test_what_waits_for_the_disk_is_within_the_budget(
    memory: MemoryStore, make_tree: MakeTree, cache: Path
) -> None:
    memory.put("lab", "large.bin", LARGE * 4)
    tree = make_tree("s3://lab", cache_dir=cache, cache_size=CACHE, memory=32 << 20)
    assert read(tree, b"large.bin") == LARGE * 4
    flushed(tree)
    assert tree._fetcher.disk._budget.used <= 32 << 20
