"""`immutable`: archives are believed for ever, everything else for the TTL."""

from __future__ import annotations

import pytest
from trees import WAIT, MakeTree, names, read, zipped

from s3zipfs.errors import ObjectChanged
from s3zipfs.stores.counting import CountingStore
from s3zipfs.stores.memory import MemoryStore
from s3zipfs.tree.nodes import FOREVER

ENDLESS = FOREVER / 2  # seconds


@pytest.mark.parametrize("listed", [True, False], ids=["listed", "looked up"])
def test_an_archive_is_looked_up_once(
    memory: MemoryStore, store: CountingStore, make_tree: MakeTree, listed: bool
) -> None:
    memory.put("lab", "x.zip", zipped({"a": b"1"}))
    memory.put("lab", "plain", b"2")
    tree = make_tree("s3://lab", ttl=0, immutable=True)
    if listed:
        valid_for = {e.name: e.valid_for for e in tree.entries(tree.root, WAIT)}
        assert valid_for[b"x.zip"] > ENDLESS
        assert valid_for[b"plain"] == 0
    assert tree.lookup(tree.root, b"x.zip", WAIT).valid_for > ENDLESS
    assert tree.lookup(tree.root, b"plain", WAIT).valid_for == 0
    store.reset()
    assert tree.lookup(tree.root, b"x.zip", WAIT).valid_for > ENDLESS
    assert store.total == 0


def test_new_archives_appear_after_the_ttl(memory: MemoryStore, make_tree: MakeTree) -> None:
    tree = make_tree("s3://lab", ttl=0, immutable=True)
    memory.make_bucket("lab")
    assert names(tree) == []
    memory.put("lab", "x.zip", zipped({"a": b"1"}))
    assert names(tree) == [b"x.zip"]
    assert read(tree, b"x.zip/a") == b"1"


def test_one_that_is_replaced_after_all_is_an_error_and_then_the_new_one(
    memory: MemoryStore, make_tree: MakeTree
) -> None:
    memory.put("lab", "x.zip", zipped({"a": b"1" * (4 << 20)}))
    tree = make_tree("s3://lab", ttl=0, immutable=True)
    node = tree.resolve(b"x.zip/a", WAIT)
    memory.put("lab", "x.zip", zipped({"a": b"2"}))
    with pytest.raises(ObjectChanged):
        tree.read(tree.resolve(b"x.zip/a", WAIT), 0, 10, WAIT)
    assert read(tree, b"x.zip/a") == b"2"
    with pytest.raises(ObjectChanged):
        tree.read(node, 0, 10, WAIT)
