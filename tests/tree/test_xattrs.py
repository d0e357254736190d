"""What extended attributes tell: no request is made for them."""

from __future__ import annotations

from trees import WAIT, MakeTree, zipped

from s3zipfs.build import build_tree
from s3zipfs.settings import Settings
from s3zipfs.stores.base import ObjectId
from s3zipfs.stores.counting import CountingStore
from s3zipfs.stores.memory import MemoryStore
from s3zipfs.tree.xattrs import xattrs


class Versioned(MemoryStore):
    """Has told the id of each version."""

    def version_id(self, oid: ObjectId) -> str:
        return f"id of {oid.key}"


def test_no_request_is_made_for_them(
    memory: MemoryStore, store: CountingStore, make_tree: MakeTree
) -> None:
    memory.put("lab", "ü/x.zip", zipped({"a": b"content"}))
    tree = make_tree("s3://lab")
    nodes = [tree.resolve(path.encode(), WAIT) for path in ("", "ü", "ü/x.zip", "ü/x.zip/a")]
    before = store.total
    found = [xattrs(tree, node, WAIT) for node in nodes]
    assert store.total == before
    assert found[:2] == [{}, {}]
    assert found[2][b"user.s3.key"] == "ü/x.zip".encode()
    assert found[3] == found[2] | {
        b"user.zip.method": b"stored",
        b"user.zip.crc32": b"fec530a9",
        b"user.zip.compressed_size": b"7",
        b"user.zip.offset": b"0",
    }


def test_the_version_is_told_where_it_is_known() -> None:
    memory = Versioned()
    memory.put("lab", "plain", b"")
    tree = build_tree(Settings(cache_size=0), ["s3://lab"], store=CountingStore(memory))
    try:
        assert (
            xattrs(tree, tree.resolve(b"plain", WAIT), WAIT)[b"user.s3.version"] == b"id of plain"
        )
    finally:
        tree.close()
