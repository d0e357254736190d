"""A second tree over one cache directory: what it asks of the store, and what it never believes."""

from __future__ import annotations

import errno
import os
import threading
import time
from pathlib import Path

import pytest
from large_zips import large_name, large_zip
from trees import WAIT, MakeTree, names, read, zipped

from s3zipfs.archive import registry
from s3zipfs.cache import indexfile
from s3zipfs.cache.indexes import PersistedIndexes
from s3zipfs.cache.indexfolder import FOLDER
from s3zipfs.errors import NotFound, SettingsError
from s3zipfs.stores.base import ObjectInfo
from s3zipfs.stores.counting import CountingStore
from s3zipfs.stores.memory import MemoryStore
from s3zipfs.tree.nodes import Member
from s3zipfs.tree.tree import Tree
from s3zipfs.zipformat.index import MemberIndex

COUNT = 20_000


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture(autouse=True)
def _mapped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indexfile, "SMALLEST_MAPPED", 1 << 20)


def written(tree: Tree) -> None:
    """Wait until all that is to be written is."""
    until = time.monotonic() + 20
    while tree._archives._writes:
        assert time.monotonic() < until
        time.sleep(0.005)


def files(cache: Path) -> list[Path]:
    return sorted((cache / FOLDER).iterdir()) if (cache / FOLDER).exists() else []


def index_of(tree: Tree, path: bytes) -> MemberIndex:
    node = tree.resolve(path, WAIT)
    assert isinstance(node, Member)
    return tree._archives.get(node.info, WAIT).index


def assert_whole(tree: Tree) -> None:
    assert len(names(tree, b"x.zip/x/00")) == 100
    for number in (0, 7, COUNT - 1):
        assert read(tree, b"x.zip/" + large_name(number)) == b""
    with pytest.raises(NotFound):
        tree.resolve(b"x.zip/x/nothing", WAIT)


def test_a_second_tree_opens_a_large_archive_without_a_get(
    memory: MemoryStore, store: CountingStore, make_tree: MakeTree, cache: Path
) -> None:
    memory.put("lab", "x.zip", large_zip(COUNT))
    first = make_tree("s3://lab", cache_dir=cache)
    before = index_of(first, b"x.zip")
    written(first)
    store.reset()
    second = make_tree("s3://lab", cache_dir=cache)
    after = index_of(second, b"x.zip")
    assert store.counts == {"list_buckets": 0, "list": 1, "head": 0, "get": 0}
    assert all((after.columns[name] == before.columns[name]).all() for name in before.columns)
    assert_whole(second)


def test_members_are_read_by_a_persisted_index(
    memory: MemoryStore, store: CountingStore, make_tree: MakeTree, cache: Path
) -> None:
    contents = {f"member-{number:06}": b"%d" % number for number in range(5000)}
    memory.put("lab", "x.zip", zipped(contents))
    for _ in range(2):
        store.reset()
        tree = make_tree("s3://lab", cache_dir=cache)
        assert read(tree, b"x.zip/member-004321") == b"4321"
        written(tree)
    assert store.counts["get"] == 1  # the member


def test_the_first_answer_does_not_wait_for_the_disk(
    memory: MemoryStore, make_tree: MakeTree, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory.put("lab", "x.zip", large_zip(COUNT))
    disk = threading.Event()
    save = PersistedIndexes.save

    def slow(self: PersistedIndexes, info: ObjectInfo, index: MemberIndex) -> bool:
        return disk.wait(20) and save(self, info, index)

    monkeypatch.setattr(PersistedIndexes, "save", slow)
    tree = make_tree("s3://lab", cache_dir=cache)
    assert_whole(tree)
    assert files(cache) == []
    disk.set()
    written(tree)
    assert len(files(cache)) == 1


def test_a_tree_that_is_closed_meanwhile_writes_whole_files_or_none(
    memory: MemoryStore, make_tree: MakeTree, cache: Path
) -> None:
    memory.put("lab", "x.zip", large_zip(COUNT))
    for _ in range(5):
        tree = make_tree("s3://lab", cache_dir=cache)
        index_of(tree, b"x.zip")
        tree.close()
    assert_whole(make_tree("s3://lab", cache_dir=cache))


def test_an_archive_within_the_first_get_has_no_file(
    memory: MemoryStore, make_tree: MakeTree, cache: Path
) -> None:
    memory.put("lab", "x.zip", zipped({"a": b"1"}))
    tree = make_tree("s3://lab", cache_dir=cache)
    assert read(tree, b"x.zip/a") == b"1"
    written(tree)
    assert not cache.exists()


def test_none_keeps_nothing(
    memory: MemoryStore, make_tree: MakeTree, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    memory.put("lab", "x.zip", large_zip(COUNT))
    tree = make_tree("s3://lab", cache_dir="none")
    assert_whole(tree)
    written(tree)
    assert list(tmp_path.iterdir()) == []


def test_a_new_version_has_an_index_of_its_own(
    memory: MemoryStore, make_tree: MakeTree, cache: Path
) -> None:
    for count in (COUNT, COUNT + 1):
        memory.put("lab", "x.zip", large_zip(count))
        tree = make_tree("s3://lab", cache_dir=cache)
        assert index_of(tree, b"x.zip").member_count == count
        written(tree)
    assert len(files(cache)) == 2


def test_the_encoding_is_part_of_the_index(
    memory: MemoryStore, make_tree: MakeTree, cache: Path
) -> None:
    plain = {f"{number:05}.txt": b"" for number in range(5000)}
    data = zipped({**plain, "XXXXXX": b"1"}).replace(b"XXXXXX", "日本語".encode("cp932"))
    memory.put("lab", "x.zip", data)
    for encoding, name in ((None, None), ("cp932", "日本語"), ("CP932", "日本語")):
        tree = make_tree("s3://lab", cache_dir=cache, encoding=encoding)
        assert (("日本語".encode()) in names(tree, b"x.zip")) == (name is not None)
        written(tree)
    assert len(files(cache)) == 2


def test_an_encoding_that_is_none_is_refused_at_the_start(make_tree: MakeTree) -> None:
    with pytest.raises(SettingsError, match="klingon"):
        make_tree("s3://lab", encoding="klingon")


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "zeros", "other format"])
def test_a_damaged_file_is_replaced_and_nobody_notices(
    memory: MemoryStore, store: CountingStore, make_tree: MakeTree, cache: Path, damage: str
) -> None:
    memory.put("lab", "x.zip", large_zip(COUNT))
    tree = make_tree("s3://lab", cache_dir=cache)
    index_of(tree, b"x.zip")
    written(tree)
    (path,) = files(cache)
    content = path.read_bytes()
    path.unlink()
    middle = len(content) // 2
    path.write_bytes(
        {
            "flip": content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :],
            "cut": content[:middle],
            "empty": b"",
            "zeros": bytes(len(content)),
            "other format": content[:8] + b"\xff" + content[9:],
        }[damage]
    )
    second = make_tree("s3://lab", cache_dir=cache)
    assert_whole(second)
    written(second)
    assert path.read_bytes() == content
    store.reset()
    assert_whole(make_tree("s3://lab", cache_dir=cache))
    assert store.counts["get"] == 0  # the members are empty


def test_a_full_disk_costs_nothing_but_the_cache(
    memory: MemoryStore, make_tree: MakeTree, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_arguments: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "pwrite", full)
    memory.put("lab", "x.zip", large_zip(COUNT))
    tree = make_tree("s3://lab", cache_dir=cache)
    assert_whole(tree)
    written(tree)
    assert_whole(tree)
    assert files(cache) == []


def test_two_trees_at_once_share_the_folder(
    memory: MemoryStore, make_tree: MakeTree, cache: Path
) -> None:
    for key in "abcdef":
        memory.put("lab", f"{key}.zip", large_zip(COUNT))
    trees = [make_tree("s3://lab", cache_dir=cache, index_cache_size=4 << 20) for _ in range(2)]
    failed: list[BaseException] = []

    def use(tree: Tree) -> None:
        try:
            for key in "abcdefabcdef":
                assert index_of(tree, f"{key}.zip".encode()).member_count == COUNT
        except BaseException as error:
            failed.append(error)
            raise

    threads = [threading.Thread(target=use, args=(tree,)) for tree in trees]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for tree in trees:
        written(tree)
        assert tree._archives._indexes.counts.discarded == 0
    assert failed == []
    assert sum(path.stat().st_size for path in files(cache)) <= 4 << 20


def test_a_written_index_gives_its_memory_back_and_answers_from_the_file(
    memory: MemoryStore, make_tree: MakeTree, cache: Path
) -> None:
    memory.put("lab", "x.zip", large_zip(COUNT))
    tree = make_tree("s3://lab", cache_dir=cache)
    built = index_of(tree, b"x.zip")
    written(tree)
    counts = tree._archives._indexes.counts
    assert index_of(tree, b"x.zip") is not built, counts
    assert tree._archives._budget.used < built.nbytes // 4
    files(cache)[0].unlink()
    assert_whole(tree)


def test_mapped_indexes_are_bounded_by_number(
    memory: MemoryStore,
    store: CountingStore,
    make_tree: MakeTree,
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(registry, "MAPPED", 2)
    for key in "abcd":
        memory.put("lab", f"{key}.zip", large_zip(COUNT))
    tree = make_tree("s3://lab", cache_dir=cache)
    for key in "abcd":
        index_of(tree, f"{key}.zip".encode())
        written(tree)
    assert len(tree._archives._open) == 2
    store.reset()
    for key in "abcd":
        assert index_of(tree, f"{key}.zip".encode()).member_count == COUNT
    assert store.counts["get"] == 0
    assert len(tree._archives._open) == 2


def test_an_archive_closed_for_memory_comes_back_without_a_get(
    memory: MemoryStore, store: CountingStore, make_tree: MakeTree, cache: Path
) -> None:
    for key in "ab":
        memory.put("lab", f"{key}.zip", large_zip(COUNT))
    tree = make_tree("s3://lab", cache_dir=cache)
    for key in "ab":
        index_of(tree, f"{key}.zip".encode())
    written(tree)
    archives = tree._archives
    archives._reclaim(1 << 40)
    assert len(archives._open) == 1
    store.reset()
    assert index_of(tree, b"a.zip").member_count == COUNT
    assert store.counts["get"] == 0
    archives._reclaim(1 << 40)
    assert archives._budget.used >= 0
