"""What buckets look like: every key has a name, and a name leads back to its key."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from trees import WAIT, MakeTree, names, read, zipped

from s3zipfs.build import build_tree
from s3zipfs.errors import NotADirectory, NotFound, SettingsError
from s3zipfs.settings import Settings
from s3zipfs.stores.memory import MemoryStore
from s3zipfs.tree.nodes import Folder, Kind, Member, Node, ObjectFile
from s3zipfs.tree.tree import Tree


def test_archives_are_directories_by_name_alone(memory: MemoryStore, make_tree: MakeTree) -> None:
    archives = ["a.zip", "B.ZIP", "c.zarr.zip", "d.ozx", "e.rkns", "f.cbz"]
    files = ["g.txt", "zip", "h.zip.part"]
    for key in archives + files:
        memory.put("lab", key, b"not looked at")
    tree = make_tree("s3://lab")
    for entry in tree.entries(tree.root, WAIT):
        kind = Kind.DIRECTORY if entry.name.decode() in archives else Kind.FILE
        assert tree.getattr(entry.node, WAIT).kind is kind, entry.name


def test_patterns_add_and_exclude(memory: MemoryStore, make_tree: MakeTree) -> None:
    for key in ("x.JAR", "y.zip", "raw/z.zip"):
        memory.put("lab", key, b"")
    tree = make_tree("s3://lab", archive=("*.jar",), exclude=("y.*", "raw/*"))
    assert isinstance(tree.resolve(b"x.JAR", WAIT), Member)
    assert isinstance(tree.resolve(b"y.zip", WAIT), ObjectFile)
    assert isinstance(tree.resolve(b"raw/z.zip", WAIT), ObjectFile)


def test_the_alias_is_hidden_and_gives_way_to_a_real_key(
    memory: MemoryStore, make_tree: MakeTree
) -> None:
    memory.put("lab", "a.zarr.zip", zipped({"k": b"in a"}))
    memory.put("lab", "b.zip", zipped({"k": b"in b"}))
    memory.put("lab", "b", b"a real key")
    memory.put("lab", "c.zip", zipped({"k": b"in c"}))
    memory.put("lab", "c/real", b"a real prefix")
    memory.put("lab", "d.rkns", zipped({"k": b"in d"}))
    for tree in (make_tree("s3://lab"), make_tree("s3://lab")):
        for _ in range(2):  # looked up alone, then from the listing
            assert read(tree, b"a.zarr/k") == b"in a"
            assert read(tree, b"b") == b"a real key"
            assert read(tree, b"c/real") == b"a real prefix"
            with pytest.raises(NotFound):
                tree.resolve(b"c/k", WAIT)
            with pytest.raises(NotFound):  # only .zip is stripped
                tree.resolve(b"d", WAIT)
            assert names(tree) == [b"a.zarr.zip", b"b", b"b.zip", b"c.zip", b"d.rkns", b"c"]


def test_strip_suffix_lists_the_short_name(memory: MemoryStore, make_tree: MakeTree) -> None:
    memory.put("lab", "a.zarr.zip", zipped({"k": b"in a"}))
    memory.put("lab", "b.zip", zipped({}))
    memory.put("lab", "b", b"a real key")
    tree = make_tree("s3://lab", strip_suffix=True)
    assert sorted(names(tree)) == [b"a.zarr", b"b", b"b.zip"]
    assert read(tree, b"a.zarr/k") == b"in a"


ODD_KEYS = [
    "a//b", "a/./b", "a/../b", "/leading", "x\0y", "n" * 300, "é" * 200 + "/deep", "%_", "p%_q",
    "shadow", "shadow/below", "shadow.txt", "shadow!", "mark/", "mark2/", "deep/er/still",
    "x.zip", "x.zip/inside", "tab\tnewline\n", "100%", "ü/ñ", "bytes/", " ", "a b",
]  # fmt: skip


def walk(tree: Tree, path: bytes = b"") -> dict[bytes, Node]:
    found: dict[bytes, Node] = {}
    for entry in tree.entries(tree.resolve(path, WAIT), WAIT):
        below = path + b"/" + entry.name
        assert tree.resolve(below, WAIT) == entry.node, below
        if isinstance(entry.node, Folder):
            found |= walk(tree, below)
        else:
            found[below] = entry.node
    return found


def test_no_key_is_dropped_and_each_name_leads_back(
    memory: MemoryStore, make_tree: MakeTree
) -> None:
    for key in ODD_KEYS:
        memory.put("lab", key, b"" if key in ("mark/", "mark2/") else key.encode())
    for tree in (make_tree("s3://lab"), make_tree("s3://lab", ttl=0)):  # listed; each alone
        found = walk(tree)
        keys = {
            node.info.id.key for node in found.values() if isinstance(node, ObjectFile | Member)
        }
        assert keys == set(ODD_KEYS) - {"mark/", "mark2/"}  # those are directories
        assert {b"mark", b"mark2"} <= set(names(tree))
        assert read(tree, b"shadow%_object") == b"shadow"
        assert read(tree, b"a/%_/b") == b"a//b"
        assert read(tree, b"bytes/%_") == b"bytes/"


keys = st.lists(st.text(alphabet="ab./%_-\0é", min_size=1, max_size=8), unique=True, max_size=25)


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(keys, st.booleans())
def test_any_keys_are_all_found(keys: list[str], listed: bool) -> None:
    store = MemoryStore()
    store.make_bucket("lab")
    for key in keys:
        store.put("lab", key, b"x")
    tree = build_tree(Settings(ttl=3600 if listed else 0), ["s3://lab"], store=store)
    try:
        found = walk(tree)
    finally:
        tree.close()
    reached = [node.info.id.key for node in found.values() if isinstance(node, ObjectFile | Member)]
    assert sorted(reached) == sorted(keys)


def test_an_object_and_its_prefix_may_be_pages_apart(
    memory: MemoryStore, make_tree: MakeTree
) -> None:
    memory.put("lab", "a", b"object")
    memory.put("lab", "a/below", b"x")
    for number in range(2500):
        memory.put("lab", f"a-{number:05}", b"")
    tree = make_tree("s3://lab")
    listed = names(tree)
    assert len(listed) == len(set(listed)) == 2502
    assert {b"a", b"a%_object"} <= set(listed)
    fresh = make_tree("s3://lab")
    assert fresh.resolve(b"a", WAIT) == Folder(memory.endpoint, "lab", "a/")
    assert read(fresh, b"a%_object") == b"object"


def test_roots(memory: MemoryStore, make_tree: MakeTree) -> None:
    memory.put("lab", "in/one", b"1")
    memory.put("lab", "out/two", b"2")
    memory.put("other", "in/three", b"3")
    assert names(make_tree()) == [b"lab", b"other"]
    assert read(make_tree(), b"other/in/three") == b"3"
    assert names(make_tree("s3://lab/in")) == [b"one"]
    assert names(make_tree("s3://lab/in", "s3://lab/out/")) == [b"in", b"out"]
    several = make_tree("s3://lab/in", "s3://other/in")
    assert read(several, b"lab-in/one") + read(several, b"other-in/three") == b"13"
    with pytest.raises(SettingsError):
        make_tree("s3://lab/in", "lab/in/")
    with pytest.raises(SettingsError):
        make_tree("http://lab")


def test_check_tells_what_is_not_there(memory: MemoryStore, make_tree: MakeTree) -> None:
    memory.put("lab", "in/one", b"1")
    make_tree("s3://lab/in").check(WAIT)
    make_tree().check(WAIT)
    for source in ("s3://nowhere", "s3://lab/nothing"):
        with pytest.raises(NotFound):
            make_tree(source).check(WAIT)


def test_a_file_is_no_directory(memory: MemoryStore, make_tree: MakeTree) -> None:
    memory.put("lab", "x.zip", zipped({"member": b"1"}))
    memory.put("lab", "plain", b"1")
    tree = make_tree("s3://lab")
    for path in (b"plain/below", b"x.zip/member/below"):
        with pytest.raises(NotADirectory):
            tree.resolve(path, WAIT)
