"""Versions in the tree: what is believed, for how long, and what a changed object does."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from trees import WAIT, MakeTree, names, read, zipped

from s3zipfs.errors import BadArchive, NotFound, ObjectChanged
from s3zipfs.stores.counting import CountingStore
from s3zipfs.stores.memory import MemoryStore
from s3zipfs.tree import folders


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


def test_a_bucket_is_believed_for_what_is_left_of_the_ttl(
    memory: MemoryStore, make_tree: MakeTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr(folders, "time", SimpleNamespace(monotonic=lambda: now[0]))
    memory.make_bucket("old")
    tree = make_tree(ttl=30)
    assert tree.lookup(tree.root, b"old", WAIT).valid_for == 30
    now[0] += 20
    memory.make_bucket("new")
    with pytest.raises(NotFound) as missing:
        tree.lookup(tree.root, b"new", WAIT)
    assert missing.value.valid_for == 10
    assert [entry.valid_for for entry in tree.entries(tree.root, WAIT)] == [10]
    now[0] += 10
    assert tree.lookup(tree.root, b"new", WAIT).valid_for == 30
