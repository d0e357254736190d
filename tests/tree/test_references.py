"""What references of an archive say, and what it costs to learn it."""

from __future__ import annotations

import json
import sys
import zipfile
from collections import Counter
from collections.abc import Callable

import pytest
from corpus.odd_zips import ACCEPTED
from corpus.raw_zip import Entry, extra, write_zip
from corpus.written import MANNERS, TREES_WITH_DIRECTORIES, Manner, Members, write
from hypothesis import HealthCheck, given, settings
from trees import WAIT, MakeTree, read, zipped

from s3zipfs.errors import BadMember, SettingsError, UnsupportedMember
from s3zipfs.references.collecting import References, collect
from s3zipfs.references.jsonfile import json_parts
from s3zipfs.references.parquet import load_arrow
from s3zipfs.stores.base import ObjectInfo
from s3zipfs.stores.counting import CountingStore
from s3zipfs.stores.memory import MemoryStore
from s3zipfs.tree.nodes import Member
from s3zipfs.tree.tree import Tree


def references(tree: Tree, path: bytes = b"x.zip", *, skip: bool = False) -> References:
    node = tree.resolve(path, WAIT)
    assert isinstance(node, Member)
    return collect(tree, node, WAIT, skip=skip)


def contents(data: bytes, found: References) -> dict[bytes, bytes]:
    """What a reader of the references gets, and of the object's bytes."""
    ranges = {each.path: data[each.offset : each.offset + each.length] for each in found}
    assert len(ranges) == len(found)
    assert ranges.keys().isdisjoint(found.inlined)
    return {**found.inlined, **ranges}


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(TREES_WITH_DIRECTORIES, MANNERS)
def test_references_of_what_zipfile_writes_are_its_stored_members(
    memory: MemoryStore, make_tree: MakeTree, members: Members, manner: Manner
) -> None:
    data = write(members, manner)
    memory.put("lab", "x.zip", data)
    found = references(make_tree("s3://lab"), skip=True)
    files = {path.encode(): each for path, each in members.items() if each is not None}
    empty = {path for path, each in files.items() if not each[0]}
    expected = {p: each[0] for p, each in files.items() if p in empty or not each[1]}
    assert contents(data, found) == expected
    assert found.left_out.total() == len(files) - len(expected)


@pytest.mark.parametrize("maker", ACCEPTED, ids=lambda maker: str(maker.__name__))
def test_references_of_an_odd_zip_lead_to_what_the_tree_reads(
    memory: MemoryStore, make_tree: MakeTree, maker: Callable[[], bytes]
) -> None:
    data = maker()
    memory.put("lab", "x.zip", data)
    tree = make_tree("s3://lab")
    found = references(tree, skip=True)
    read_back = contents(data, found)
    for path in list(read_back)[:200]:
        assert read_back[path] == read(tree, b"x.zip/" + path)
    known = {path for path, content in ACCEPTED[maker].items() if content is not None}
    assert len(read_back.keys() & known) + found.left_out.total() >= len(known)


def entries_with_extras(count: int, size: int) -> list[Entry]:
    """Members whose local headers have an extra field, of another length each."""
    return [
        Entry(
            b"%06d" % number,
            number.to_bytes(4, "big") * (size // 4),
            local_extra=extra(0xCAFE, bytes(number % 300)),
        )
        for number in range(count)
    ]


def test_members_without_room_for_an_extra_field_need_no_local_header(
    memory: MemoryStore, store: CountingStore, make_tree: MakeTree
) -> None:
    chunks = {f"{number:06}": number.to_bytes(4, "big") * 1000 for number in range(2000)}
    memory.put("lab", "x.zip", data := zipped(chunks))
    tree = make_tree("s3://lab")
    tree.index(_info(tree), WAIT)
    store.reset()
    found = references(tree)
    assert contents(data, found) == {name.encode(): each for name, each in chunks.items()}
    assert store.counts["get"] <= 1  # the last one's, behind which no other header stands


def test_local_headers_with_extra_fields_are_read_many_by_one_request(
    memory: MemoryStore, store: CountingStore, make_tree: MakeTree
) -> None:
    entries = entries_with_extras(4000, 4000)
    memory.put("lab", "x.zip", data := write_zip(entries))
    tree = make_tree("s3://lab")
    tree.index(_info(tree), WAIT)
    store.reset()
    found = references(tree)
    assert contents(data, found) == {each.name: each.data for each in entries}
    assert store.counts["get"] < 40  # of 4,000 headers in 16 MB


def _info(tree: Tree) -> ObjectInfo:
    node = tree.resolve(b"x.zip", WAIT)
    assert isinstance(node, Member)
    return node.info


def test_a_large_extra_field_of_a_local_header_is_read_to_its_end(
    memory: MemoryStore, make_tree: MakeTree
) -> None:
    entries = [Entry(b"a", b"1" * 50, local_extra=extra(0xCAFE, bytes(60_000))), Entry(b"b", b"22")]
    memory.put("lab", "x.zip", data := write_zip(entries))
    assert contents(data, references(make_tree("s3://lab"))) == {b"a": b"1" * 50, b"b": b"22"}


def test_a_local_header_that_contradicts_the_directory_is_told(
    memory: MemoryStore, make_tree: MakeTree
) -> None:
    entries = [Entry(b"a", b"1", local_name=b"other"), Entry(b"b", b"2")]
    memory.put("lab", "x.zip", write_zip(entries))
    with pytest.raises(BadMember, match="'a' at offset 0: name"):
        references(make_tree("s3://lab"))


def test_metadata_is_inlined_however_it_is_compressed(
    memory: MemoryStore, make_tree: MakeTree
) -> None:
    memory.put("lab", "x.zip", zipped({"zarr.json": b'{"a": 1}'}, zipfile.ZIP_DEFLATED))
    found = references(make_tree("s3://lab"))
    assert (found.inlined, len(found), found.left_out) == ({b"zarr.json": b'{"a": 1}'}, 0, {})


def test_what_references_can_not_tell_is_counted_and_refused(
    memory: MemoryStore, make_tree: MakeTree
) -> None:
    entries = [
        Entry(b"a", b"1"),
        Entry(b"b", b"2" * 99, method=8),
        Entry(b"c", b"3" * 99, method=8),
        Entry(b"d", b"a", attributes=0o120777 << 16),
        Entry(b"e", b"secret", flags=1),
    ]
    memory.put("lab", "x.zip", write_zip(entries))
    tree = make_tree("s3://lab")
    text = "of 5 members no reference can tell 2 deflated, 1 symbolic links, 1 encrypted"
    with pytest.raises(UnsupportedMember, match=text):
        references(tree)
    found = references(tree, skip=True)
    assert [each.path for each in found] == [b"a"]
    assert found.left_out == Counter({"deflated": 2, "symbolic links": 1, "encrypted": 1})


def test_references_of_a_directory_begin_there(memory: MemoryStore, make_tree: MakeTree) -> None:
    data = zipped({"a/b/zarr.json": b"{}", "a/b/c/0": b"1234", "a/c": b"5", "d": b"6"})
    memory.put("lab", "x.zip", data)
    tree = make_tree("s3://lab")
    assert contents(data, references(tree, b"x.zip/a/b")) == {b"zarr.json": b"{}", b"c/0": b"1234"}
    assert contents(data, references(tree, b"x.zip/a")).keys() == {b"b/zarr.json", b"b/c/0", b"c"}


def test_a_document_holds_text_as_it_is_and_other_bytes_by_base64(
    memory: MemoryStore, make_tree: MakeTree
) -> None:
    members = {
        "zarr.json": '{"unit": "µV", "t": "{{u}}"}'.encode(),
        "g/zarr.json": b"\xff\x00",
        "h/zarr.json": b"base64:",
        "empty": b"",
        'c/"0"': b"1234",
    }
    memory.put("lab", 'k "y".zip', data := zipped(members))
    found = references(make_tree("s3://lab"), b'k "y".zip')
    document = json.loads("".join(json_parts(found)))
    assert document["version"] == 1
    at = data.index(b"1234")
    assert document["refs"] == {
        "zarr.json": '{"unit": "µV", "t": "{{u}}"}',
        "g/zarr.json": "base64:/wA=",
        "h/zarr.json": "base64:YmFzZTY0Og==",
        "empty": "",
        'c/"0"': ['s3://lab/k "y".zip', at, 4],
    }


def test_without_pyarrow_parquet_is_one_line_that_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(SettingsError, match=r"pip install 's3zipfs\[refs\]'"):
        load_arrow()
