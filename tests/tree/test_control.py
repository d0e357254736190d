"""`.s3zipfs` at the root of a mount's tree: snapshots, archives as files, and keys of that name."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
from trees import WAIT, MakeTree, names, read, zipped

from s3zipfs.errors import NotADirectory, NotFound, ObjectChanged, SettingsError
from s3zipfs.fuse.inodes import MAX_SNAPSHOTS, Inodes
from s3zipfs.settings import Source
from s3zipfs.stores.counting import CountingStore
from s3zipfs.stores.memory import MemoryStore
from s3zipfs.tree.nodes import Kind, Snapshot
from s3zipfs.tree.tree import Tree

ARCHIVE = zipped({"d/a": b"in an archive"})


@pytest.fixture
def counted() -> Iterator[str]:
    """Contents that are other, and longer, each time."""
    return ("x" * number for number in itertools.count(1))


@pytest.fixture
def tree(memory: MemoryStore, make_tree: MakeTree, counted: Iterator[str]) -> Tree:
    memory.put("lab", "x.zip", ARCHIVE)
    memory.put("lab", "deep/er/y.zip", ARCHIVE)
    memory.put("lab", "plain.txt", b"plain")
    made = make_tree("s3://lab", ttl=3600)
    made.publish({"status.json": lambda: b"{}", "metrics": lambda: next(counted).encode()})
    return made


def test_it_is_found_by_its_name_and_not_listed_and_costs_no_request(
    tree: Tree, store: CountingStore
) -> None:
    assert read(tree, b".s3zipfs/status.json") == b"{}"
    assert names(tree, b".s3zipfs") == [b"status.json", b"metrics", b"raw"]
    with pytest.raises(NotFound):
        tree.resolve(b".s3zipfs/other", WAIT)
    with pytest.raises(NotADirectory):
        tree.resolve(b".s3zipfs/status.json/x", WAIT)
    assert store.total == 0
    assert names(tree) == [b"plain.txt", b"x.zip", b"deep"]


def test_only_the_root_of_a_mount_has_it(
    tree: Tree, memory: MemoryStore, make_tree: MakeTree
) -> None:
    for path in (
        b"deep/.s3zipfs",
        b"x.zip/.s3zipfs",
        b".s3zipfs/.s3zipfs",
        b".s3zipfs/raw/.s3zipfs",
    ):
        with pytest.raises(NotFound):
            tree.resolve(path, WAIT)
    with pytest.raises(NotFound):
        make_tree("s3://lab").resolve(b".s3zipfs", WAIT)


def test_each_look_up_is_a_snapshot_that_never_changes(tree: Tree) -> None:
    one = tree.resolve(b".s3zipfs/metrics", WAIT)
    two = tree.resolve(b".s3zipfs/metrics", WAIT)
    for node, content in ((two, b"xx"), (one, b"x"), (two, b"xx")):
        assert tree.getattr(node, WAIT).size == len(content)
        assert b"".join(tree.read(node, 0, 100, WAIT)) == content
        tree.check_open(node, WAIT)


def test_in_raw_archives_are_files_and_all_else_is_as_it_was(
    tree: Tree, store: CountingStore
) -> None:
    raw = b".s3zipfs/raw"
    assert read(tree, raw + b"/x.zip") == ARCHIVE
    assert tree.getattr(tree.resolve(raw + b"/x.zip", WAIT), WAIT).size == len(ARCHIVE)
    assert tree.getattr(tree.resolve(raw + b"/x.zip", WAIT), WAIT).kind is Kind.FILE
    assert read(tree, raw + b"/deep/er/y.zip") == ARCHIVE
    assert read(tree, raw + b"/plain.txt") == b"plain"
    assert names(tree, raw) == names(tree)
    assert names(tree, raw + b"/deep/er") == [b"y.zip"]
    with pytest.raises(NotADirectory):
        tree.resolve(raw + b"/x.zip/d", WAIT)


def test_a_listing_is_fetched_once_for_both(tree: Tree, store: CountingStore) -> None:
    assert names(tree) == names(tree, b".s3zipfs/raw")
    assert store.total == store.counts["list"] == 1


def test_raw_has_the_keys_and_no_names_that_are_made_for_archives(
    memory: MemoryStore, make_tree: MakeTree
) -> None:
    etag = memory.put("lab", "x.zarr.zip", ARCHIVE).id.etag.strip('"').encode()
    tree = make_tree("s3://lab", strip_suffix=True)
    tree.publish({})
    assert names(tree) == [b"x.zarr"]
    assert names(tree, b".s3zipfs/raw") == [b"x.zarr.zip"]
    assert read(tree, b".s3zipfs/raw/x.zarr.zip@" + etag) == ARCHIVE
    with pytest.raises(NotFound):
        tree.resolve(b".s3zipfs/raw/x.zarr", WAIT)


def test_raw_of_several_sources_and_of_all_buckets(
    memory: MemoryStore, make_tree: MakeTree
) -> None:
    memory.put("lab", "in/x.zip", ARCHIVE)
    memory.put("other", "x.zip", ARCHIVE)
    for sources in ([], ["s3://lab", "s3://other"]):
        tree = make_tree(*sources)
        tree.publish({})
        assert names(tree) == [b"lab", b"other"]
        assert names(tree, b".s3zipfs/raw") == [b"lab", b"other"]
        assert read(tree, b".s3zipfs/raw/lab/in/x.zip") == ARCHIVE
        assert names(tree, b".s3zipfs/raw/other") == [b"x.zip"]
        assert read(tree, b"lab/in/x.zip/d/a") == b"in an archive"


def test_a_raw_file_is_one_version_and_then_the_name_is_the_next(
    memory: MemoryStore, make_tree: MakeTree
) -> None:
    large = zipped({"a": b"1" * (8 << 20)})
    memory.put("lab", "x.zip", large)
    tree = make_tree("s3://lab", ttl=3600)
    tree.publish({})
    old = tree.resolve(b".s3zipfs/raw/x.zip", WAIT)
    assert b"".join(tree.read(old, 0, 10, WAIT)) == large[:10]
    memory.put("lab", "x.zip", ARCHIVE)
    with pytest.raises(ObjectChanged):
        tree.read(old, 6 << 20, 7 << 20, WAIT)
    # Its 412 ended the belief in both names, long before the TTL.
    assert read(tree, b".s3zipfs/raw/x.zip") == ARCHIVE
    assert read(tree, b"x.zip/d/a") == b"in an archive"


def test_a_key_of_that_name_is_shown_by_another(memory: MemoryStore, make_tree: MakeTree) -> None:
    memory.put("lab", ".s3zipfs", b"an object")
    memory.put("lab", ".s3zipfs/below", b"and a prefix")
    memory.put("lab", "deep/.s3zipfs/z.zip", ARCHIVE)
    tree = make_tree("s3://lab")
    tree.publish({})
    for root in (b"", b".s3zipfs/raw/"):
        assert set(names(tree, root)) == {b"deep", b"%_2Es3zipfs", b"%_2Es3zipfs%_object"}
        assert read(tree, root + b"%_2Es3zipfs%_object") == b"an object"
        assert read(tree, root + b"%_2Es3zipfs/below") == b"and a prefix"
    assert read(tree, b"deep/%_2Es3zipfs/z.zip/d/a") == b"in an archive"


def test_a_source_may_not_take_the_name(make_tree: MakeTree) -> None:
    with pytest.raises(SettingsError, match=r"\.s3zipfs is the mount's own"):
        make_tree("s3://lab/.s3zipfs", "s3://other")
    with pytest.raises(SettingsError, match=r"\.s3zipfs is the mount's own"):
        make_tree(Source(url="s3://lab", name=".s3zipfs"), "s3://other")


def test_directories_in_raw_have_inodes_of_their_own_and_files_those_of_the_version(
    tree: Tree,
) -> None:
    inodes = Inodes(tree.root)

    def inode(path: bytes) -> int:
        node = tree.resolve(path, WAIT)
        found = inodes.look_up(node)
        assert inodes.node(found) == node
        return found

    raw = b".s3zipfs/raw"
    directories = [inode(each) for each in (b"", b".s3zipfs", raw, b"deep", raw + b"/deep")]
    assert len(set(directories)) == 5
    assert inode(b"x.zip") != inode(raw + b"/x.zip")
    assert inode(b"plain.txt") == inode(raw + b"/plain.txt")


def test_snapshots_have_inodes_of_their_own_and_show_one_number(tree: Tree) -> None:
    inodes = Inodes(tree.root)
    nodes = [tree.resolve(b".s3zipfs/metrics", WAIT) for _ in range(3)]
    found = [inodes.look_up(node) for node in nodes]
    assert [inodes.node(inode) for inode in found] == nodes
    assert len(set(found)) == 3
    assert len({inodes.shown(*each) for each in zip(nodes, found, strict=True)}) == 1


def test_of_more_snapshots_than_are_held_the_first_is_given_up(tree: Tree) -> None:
    inodes = Inodes(tree.root)
    found = [
        inodes.look_up(tree.resolve(b".s3zipfs/metrics", WAIT)) for _ in range(MAX_SNAPSHOTS + 1)
    ]
    with pytest.raises(ObjectChanged, match="metrics"):
        tree.read(inodes.node(found[0]), 0, 10, WAIT)
    assert b"".join(tree.read(inodes.node(found[1]), 0, 10, WAIT)) == b"xx"
    for inode in found:
        inodes.forget(inode, 1)
    assert len(inodes) == 0


def test_what_the_kernel_forgets_is_no_snapshot_any_more(tree: Tree) -> None:
    inodes = Inodes(tree.root)
    kept = inodes.look_up(tree.resolve(b".s3zipfs/metrics", WAIT))
    for _ in range(2 * MAX_SNAPSHOTS):
        inodes.forget(inodes.look_up(tree.resolve(b".s3zipfs/metrics", WAIT)), 1)
    node = inodes.node(kept)
    assert isinstance(node, Snapshot)
    assert b"".join(tree.read(node, 0, 10, WAIT)) == b"x"
