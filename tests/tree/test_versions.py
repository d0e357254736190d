"""Versions in the tree: what is believed, for how long, and what a changed object does."""

from __future__ import annotations

import pytest
from trees import WAIT, MakeTree, names, read, zipped

from s3zipfs.errors import BadArchive, ObjectChanged
from s3zipfs.stores.counting import CountingStore
from s3zipfs.stores.memory import MemoryStore


def test_an_old_node_never_reads_the_new_version(memory: MemoryStore, make_tree: MakeTree) -> None:
    memory.put("lab", "x.zip", zipped({"a": b"1" * (8 << 20)}))
    tree = make_tree("s3://lab", ttl=3600)
    node = tree.resolve(b"x.zip/a", WAIT)
    assert b"".join(tree.read(node, 0, 10, WAIT)) == b"1" * 10
    memory.put("lab", "x.zip", zipped({"a": b"2" * (4 << 20)}))
    with pytest.raises(ObjectChanged):
        tree.read(node, 4 << 20, 5 << 20, WAIT)
    # The 412 ended the belief in the name, long before the TTL.
    assert read(tree, b"x.zip/a") == b"2" * (4 << 20)
    with pytest.raises(ObjectChanged):
        tree.check_open(node, WAIT)


def test_a_new_version_is_seen_after_the_ttl(memory: MemoryStore, make_tree: MakeTree) -> None:
    tree = make_tree("s3://lab", ttl=0)
    for content in (b"one", b"two"):
        memory.put("lab", "x.zip", zipped({"a": content}))
        assert read(tree, b"x.zip/a") == content


def test_a_deleted_object_is_changed_for_its_readers_and_gone_from_the_listing(
    memory: MemoryStore, make_tree: MakeTree
) -> None:
    memory.put("lab", "x.bin", bytes(1 << 20))
    tree = make_tree("s3://lab", ttl=0)
    node = tree.resolve(b"x.bin", WAIT)
    memory.delete("lab", "x.bin")
    with pytest.raises(ObjectChanged):
        tree.read(node, 0, 100, WAIT)
    assert names(tree) == []


def test_a_version_that_is_no_zip_is_asked_about_once(
    memory: MemoryStore, store: CountingStore, make_tree: MakeTree
) -> None:
    memory.put("lab", "x.zip", b"no zip at all" * 100)
    tree = make_tree("s3://lab", ttl=0)
    for _ in range(3):
        with pytest.raises(BadArchive):
            names(tree, b"x.zip")
    assert store.counts["get"] == 1
    memory.put("lab", "x.zip", zipped({"a": b"1"}))
    assert names(tree, b"x.zip") == [b"a"]
