"""`x.zip@ETAG`: one version of an archive, or an error."""

from __future__ import annotations

import errno
import os

import pytest
from trees import WAIT, MakeTree, names, read, zipped

from s3zipfs.errors import NotFound, ObjectChanged
from s3zipfs.filesystem import S3ZipFileSystem
from s3zipfs.filesystem.shared import OpenTree
from s3zipfs.fuse.inodes import Inodes
from s3zipfs.stores.counting import CountingStore
from s3zipfs.stores.memory import MemoryStore


def put(memory: MemoryStore, content: bytes, key: str = "x.zip") -> bytes:
    """Store an archive; its ETag without quotes."""
    return memory.put("lab", key, zipped({"d/a": content})).id.etag.strip('"').encode()


@pytest.mark.parametrize("quote", [b"", b'"'])
def test_a_pinned_name_is_that_version_and_is_not_listed(
    memory: MemoryStore, make_tree: MakeTree, quote: bytes
) -> None:
    etag = put(memory, b"one")
    tree = make_tree("s3://lab")
    pinned = b"x.zip@" + quote + etag + quote
    assert read(tree, pinned + b"/d/a") == b"one"
    assert names(tree, pinned) == [b"d"]
    assert names(tree) == [b"x.zip"]


def test_the_etag_of_a_multipart_upload_pins(memory: MemoryStore, make_tree: MakeTree) -> None:
    memory.put("lab", "x.zip", zipped({"a": b"1"}), etag='"0123456789abcdef0123456789abcdef-2"')
    tree = make_tree("s3://lab")
    assert read(tree, b"x.zip@0123456789abcdef0123456789abcdef-2/a") == b"1"


def test_a_pinned_name_never_becomes_another_version(
    memory: MemoryStore, make_tree: MakeTree
) -> None:
    old = put(memory, b"1" * (2 << 20))
    tree = make_tree("s3://lab", ttl=0)
    pinned = b"x.zip@" + old
    node = tree.resolve(pinned + b"/d/a", WAIT)
    new = put(memory, b"two")
    for _ in range(2):
        with pytest.raises(ObjectChanged):
            read(tree, pinned + b"/d/a")
        with pytest.raises(ObjectChanged):
            tree.read(node, 0, 10, WAIT)
    assert read(tree, b"x.zip/d/a") == b"two"
    assert read(tree, b"x.zip@" + new + b"/d/a") == b"two"


def test_what_is_cached_of_a_pinned_version_can_still_be_opened_and_read(
    memory: MemoryStore, make_tree: MakeTree
) -> None:
    pinned = b"x.zip@" + put(memory, b"one")
    tree = make_tree("s3://lab", ttl=0)
    assert read(tree, pinned + b"/d/a") == b"one"
    put(memory, b"two")
    assert read(tree, b"x.zip/d/a") == b"two"
    tree.check_open(tree.resolve(pinned + b"/d/a", WAIT), WAIT)
    assert read(tree, pinned + b"/d/a") == b"one"


def test_a_version_that_is_not_there_is_stale_and_never_missing(
    memory: MemoryStore, make_tree: MakeTree
) -> None:
    etag = put(memory, b"one")
    tree = make_tree("s3://lab", ttl=0)
    for name in (b"x.zip@0123", b"gone.zip@" + etag):
        with pytest.raises(ObjectChanged):  # a missing file would be an empty chunk to Zarr
            tree.resolve(name, WAIT)
    for name in (b"plain@" + etag, b"x.zip@", b'x.zip@""', b"@" + etag):
        with pytest.raises(NotFound):
            tree.resolve(name, WAIT)


@pytest.mark.parametrize("there_before", [True, False])
def test_an_etag_that_is_newer_than_the_listing_is_found_by_one_more_request(
    memory: MemoryStore, store: CountingStore, make_tree: MakeTree, there_before: bool
) -> None:
    if there_before:
        put(memory, b"one")
    memory.make_bucket("lab")
    tree = make_tree("s3://lab", ttl=3600)
    assert names(tree) == [b"x.zip"] * there_before
    etag = put(memory, b"two")
    store.reset()
    assert read(tree, b"x.zip@" + etag + b"/d/a") == b"two"
    assert store.counts["head"] == 1
    assert store.counts["list"] == 0


def test_a_real_key_of_that_name_wins(memory: MemoryStore, make_tree: MakeTree) -> None:
    etag = put(memory, b"one")
    memory.put("lab", f"x.zip@{etag.decode()}", b"a file")
    tree = make_tree("s3://lab")
    assert read(tree, b"x.zip@" + etag) == b"a file"


def test_a_pinned_member_has_an_inode_of_its_own(memory: MemoryStore, make_tree: MakeTree) -> None:
    etag = put(memory, b"one")
    tree = make_tree("s3://lab")
    inodes = Inodes(tree.root)
    found = {}
    for name in (b"x.zip", b"x.zip@" + etag):
        node = tree.resolve(name + b"/d/a", WAIT)
        found[name] = inodes.look_up(node)
        assert inodes.node(found[name]) == node
    assert len(set(found.values())) == 2


def test_fsspec_pins_by_the_same_name(memory: MemoryStore, make_tree: MakeTree) -> None:
    etag = put(memory, b"1" * (2 << 20)).decode()
    filesystem = S3ZipFileSystem(skip_instance_cache=True)
    filesystem._opened = os.getpid(), OpenTree(make_tree(ttl=0))
    path = f"s3zip://lab/x.zip@{etag}/d/a"
    assert filesystem.cat_file(path, 0, 3) == b"111"
    put(memory, b"two")
    with pytest.raises(OSError, match="gone") as caught:
        filesystem.cat_file(path)
    assert caught.value.errno == errno.ESTALE
    assert filesystem.cat_file("s3zip://lab/x.zip/d/a") == b"two"
