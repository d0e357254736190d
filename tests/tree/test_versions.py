"""Versions in the tree: what is believed, for how long, and what a changed object does."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from trees import WAIT, MakeTree, names, read, zipped

from s3zipfs.errors import AccessDenied, BadArchive, NotFound, ObjectChanged
from s3zipfs.stores.base import BucketInfo, ListPage
from s3zipfs.stores.counting import CountingStore
from s3zipfs.stores.memory import MemoryStore
from s3zipfs.tree import buckets
from s3zipfs.tree.nodes import Folder, ObjectFile


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


def test_an_object_beside_a_directory_of_its_name_is_not_superseded(
    memory: MemoryStore, make_tree: MakeTree
) -> None:
    info = memory.put("lab", "a", b"content")
    memory.put("lab", "a/b", b"below")
    tree = make_tree("s3://lab", ttl=3600)
    assert isinstance(tree.resolve(b"a", WAIT), Folder)
    node = tree.resolve(b"a%_object", WAIT)
    assert node == ObjectFile(info)
    tree.check_open(node, WAIT)
    assert read(tree, b"a%_object") == b"content"


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
    monkeypatch.setattr(buckets, "time", SimpleNamespace(monotonic=lambda: now[0]))
    memory.make_bucket("old")
    tree = make_tree(ttl=30)
    assert tree.lookup(tree.root, b"old", WAIT).valid_for == 30
    now[0] += 20
    with pytest.raises(NotFound) as missing:
        tree.lookup(tree.root, b"new", WAIT)
    assert missing.value.valid_for == 30
    assert [entry.valid_for for entry in tree.entries(tree.root, WAIT)] == [10]
    memory.make_bucket("new")
    with pytest.raises(NotFound):
        tree.lookup(tree.root, b"new", WAIT)
    now[0] += 30
    assert tree.lookup(tree.root, b"new", WAIT).valid_for == 30


def test_a_bucket_that_is_not_listed_is_asked_for_by_its_name(
    memory: MemoryStore, store: CountingStore, make_tree: MakeTree
) -> None:
    memory.make_bucket("old")
    tree = make_tree()
    tree.lookup(tree.root, b"old", WAIT)
    memory.make_bucket("new")
    store.reset()
    tree.lookup(tree.root, b"new", WAIT)
    tree.lookup(tree.root, b"new", WAIT)
    assert store.total == 1
    for name in (b".Trash-1000", b".xdg-volume-info", b"no bucket", b"x", b"\xff\xff\xff"):
        with pytest.raises(NotFound):
            tree.lookup(tree.root, name, WAIT)
    assert store.total == 1, "what can't be a bucket's name is not asked for"


@pytest.mark.parametrize("sees", ["a bucket", "a prefix"])
def test_who_may_not_list_buckets_reads_by_their_names(
    memory: MemoryStore, make_tree: MakeTree, monkeypatch: pytest.MonkeyPatch, sees: str
) -> None:
    memory.put("lab", "mine/x.zip", zipped({"a": b"1"}))
    list_page = memory.list_page

    async def refuse() -> tuple[BucketInfo, ...]:
        raise AccessDenied("no s3:ListAllMyBuckets")

    async def list_some(bucket: str, prefix: str, **more: Any) -> ListPage:
        if sees == "a prefix" and not prefix.startswith("mine"):
            raise AccessDenied("s3:prefix is another one")
        return await list_page(bucket, prefix, **more)

    monkeypatch.setattr(memory, "list_buckets", refuse)
    monkeypatch.setattr(memory, "list_page", list_some)
    tree = make_tree()
    with pytest.raises((AccessDenied, NotFound)):
        tree.resolve(b"lab/other", WAIT)
    found = tree.resolve(b"lab/mine/x.zip/a", WAIT)
    assert b"".join(tree.read(found, 0, 10, WAIT)) == b"1"
    with pytest.raises(AccessDenied):
        list(tree.entries(tree.root, WAIT))
