"""What the fsspec door asks of the store: many ranges by few GETs, names once."""

from __future__ import annotations

import asyncio
import os
import random
import zipfile
from collections.abc import Callable

import pytest
from fsspec.implementations.asyn_wrapper import AsyncFileSystemWrapper
from trees import MakeTree, zipped

from s3zipfs.filesystem import S3ZipFileSystem
from s3zipfs.filesystem.shared import OpenTree
from s3zipfs.stores.counting import CountingStore
from s3zipfs.stores.memory import MemoryStore

GENERATOR = random.Random(2)
CHUNKS = {f"c/{number:03}": GENERATOR.randbytes(20_000) for number in range(100)}
BASE = "lab/x.zip"

Make = Callable[..., S3ZipFileSystem]


@pytest.fixture
def make(memory: MemoryStore, store: CountingStore, make_tree: MakeTree) -> Make:
    """A filesystem over an archive of 2 MB, whose index is loaded; counting begins."""

    def made(method: int = zipfile.ZIP_STORED) -> S3ZipFileSystem:
        memory.put("lab", "x.zip", zipped({"shard": bytes(3 << 20), **CHUNKS}, method))
        filesystem = S3ZipFileSystem(skip_instance_cache=True, endpoint_url="http://127.0.0.1:9")
        filesystem._opened = os.getpid(), OpenTree(make_tree())
        assert filesystem.exists(f"{BASE}/shard")
        store.reset()
        return filesystem

    return made


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_neighbours_are_read_by_few_gets(method: int, make: Make, store: CountingStore) -> None:
    filesystem = make(method)
    names = list(CHUNKS)[:60]
    random.Random(9).shuffle(names)
    found = filesystem.cat_ranges([f"{BASE}/{name}" for name in names], None, None)
    assert found == [CHUNKS[name] for name in names]
    assert store.counts["get"] <= 3  # the sixty, and what is read ahead of them
    assert store.bytes_read < 60 * 20_000 * 1.15


def test_every_other_chunk_is_read_by_few_gets_where_that_wastes_little(
    make: Make, store: CountingStore
) -> None:
    filesystem = make()
    names = [f"{BASE}/{name}" for name in list(CHUNKS)[10:40:2]]
    assert list(filesystem.cat(names).values()) == list(CHUNKS.values())[10:40:2]
    assert store.counts["get"] == 1
    store.reset()
    names = [f"{BASE}/{name}" for name in list(CHUNKS)[50:80:2]]
    assert filesystem.cat_ranges(names, 0, 100, max_gap=0) == [
        CHUNKS[name][:100] for name in list(CHUNKS)[50:80:2]
    ]
    assert store.counts["get"] == 15


def test_ranges_deep_in_a_large_member_fetch_little_more_than_them(
    make: Make, store: CountingStore
) -> None:
    filesystem = make()
    starts = [2_000_000, 2_000_500, 2_900_000]
    found = filesystem.cat_ranges([f"{BASE}/shard"] * 3, starts, [each + 300 for each in starts])
    assert found == [bytes(300)] * 3
    assert store.counts["get"] <= 3  # the local header, and two places
    assert store.bytes_read < 4000


def test_each_range_has_its_own_error(make: Make) -> None:
    filesystem = make()
    paths = [f"{BASE}/c/000", f"{BASE}/nothing", f"{BASE}/c", "lab/nothing/x", f"{BASE}/c/001"]
    found = filesystem.cat_ranges(paths, 0, 5)
    assert [found[0], found[4]] == [CHUNKS["c/000"][:5], CHUNKS["c/001"][:5]]
    kinds = [FileNotFoundError, IsADirectoryError, FileNotFoundError]
    assert [type(each) for each in found[1:4]] == kinds
    omitted = filesystem.cat_ranges(paths, 0, 5, on_error="omit")
    assert [each is None for each in omitted] == [False, True, True, True, False]
    with pytest.raises(FileNotFoundError, match="nothing"):
        filesystem.cat_ranges(paths, 0, 5, on_error="raise")
    with pytest.raises(FileNotFoundError):
        filesystem.cat(paths)
    assert filesystem.cat(paths, on_error="omit").keys() == {paths[0], paths[4]}
    assert filesystem.cat([]) == {}
    assert filesystem.cat_ranges([], [], []) == []
    with pytest.raises(TypeError):
        filesystem.cat_ranges("c", 0, 5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="2 paths"):
        filesystem.cat_ranges(paths[:2], [0], [1, 2])


def test_ranges_count_as_slices_do(make: Make) -> None:
    filesystem = make()
    data = CHUNKS["c/007"]
    bounds = [(None, None), (-5, None), (None, -5), (10, 20), (0, 10**9), (7, 3), (19_999, None)]
    starts, ends = [start for start, _ in bounds], [end for _, end in bounds]
    found = filesystem.cat_ranges([f"{BASE}/c/007"] * len(bounds), starts, ends)
    assert found == [data[start:end] for start, end in bounds]


def test_more_than_is_held_at_once_comes_in_order(
    make: Make, memory: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("s3zipfs.filesystem.ranges.BATCH", 100_000)
    filesystem = make(zipfile.ZIP_DEFLATED)
    names = [f"{BASE}/{name}" for name in CHUNKS]
    random.Random(4).shuffle(names)
    found = filesystem.cat_ranges(names, None, None)
    assert found == [CHUNKS[name.removeprefix(f"{BASE}/")] for name in names]


def test_the_name_of_an_archive_is_asked_for_once(make: Make, store: CountingStore) -> None:
    filesystem = make()
    for name in CHUNKS:
        assert filesystem.info(f"{BASE}/{name}")["size"] == 20_000
        assert not filesystem.exists(f"{BASE}/{name}/below")
    assert store.total == 0


def test_a_replaced_archive_is_seen_when_its_name_is_believed_no_more(
    memory: MemoryStore, make_tree: MakeTree
) -> None:
    memory.put("lab", "x.zip", zipped({"a": b"one" * (1 << 20)}))
    filesystem = S3ZipFileSystem(skip_instance_cache=True, endpoint_url="http://127.0.0.1:9")
    filesystem._opened = os.getpid(), OpenTree(make_tree(ttl=3600))
    first = filesystem.ukey(f"{BASE}/a")
    assert filesystem.cat_file(f"{BASE}/a", 0, 3) == b"one"
    memory.put("lab", "x.zip", zipped({"a": b"two"}))
    with pytest.raises(OSError, match="gone"):  # what was not read of it is gone
        filesystem.cat_file(f"{BASE}/a")
    assert filesystem.cat_file(f"{BASE}/a") == b"two"  # at once, not after the TTL
    assert filesystem.ukey(f"{BASE}/a") != first


def test_keys_of_content_are_those_of_its_version(memory: MemoryStore, make_tree: MakeTree) -> None:
    filesystem = S3ZipFileSystem(skip_instance_cache=True, endpoint_url="http://127.0.0.1:9")
    filesystem._opened = os.getpid(), OpenTree(make_tree(ttl=0))
    content = zipped({"a": b"1", "b": b"2"})
    memory.put("lab", "x.zip", content)
    paths = ["lab", BASE, f"{BASE}/a", f"{BASE}/b"]
    first = [filesystem.ukey(path) for path in paths]
    assert len(set(first)) == 4
    memory.put("lab", "x.zip", content)  # the same content, at another time
    assert [filesystem.ukey(path) for path in paths] == first
    assert [filesystem.checksum(path) for path in paths] == [int(each, 16) for each in first]
    memory.put("lab", "x.zip", zipped({"a": b"1", "b": b"3"}))
    changed = [filesystem.ukey(path) for path in paths]
    assert [one == other for one, other in zip(first, changed, strict=True)] == [True] + [False] * 3


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_fsspecs_coroutines_give_the_same(method: int, make: Make, store: CountingStore) -> None:
    filesystem = AsyncFileSystemWrapper(make(method), asynchronous=True)

    async def read() -> None:
        names = list(CHUNKS)
        for _ in range(2):
            found = await asyncio.gather(*(filesystem._cat_file(f"{BASE}/{n}") for n in names))
            assert found == list(CHUNKS.values())
        ranges = await filesystem._cat_ranges([f"{BASE}/c/000"] * 2, [0, 3], [2, 9])
        assert ranges == [CHUNKS["c/000"][0:2], CHUNKS["c/000"][3:9]]
        assert (await filesystem._info(f"{BASE}/c/000"))["size"] == 20_000
        assert await filesystem._exists(f"{BASE}/c")
        assert not await filesystem._exists(f"{BASE}/nothing")
        assert len(await filesystem._ls(f"{BASE}/c", detail=False)) == 100
        assert len(await filesystem._find(BASE)) == 101
        for kind, path in [(FileNotFoundError, "nothing"), (IsADirectoryError, "c")]:
            with pytest.raises(kind):
                await filesystem._cat_file(f"{BASE}/{path}")

    asyncio.run(read())
    assert store.bytes_read < 6_000_000  # each byte once
