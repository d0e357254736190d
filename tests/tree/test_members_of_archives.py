"""Members of every method through the tree: whole and streamed, in order and anywhere."""

from __future__ import annotations

import random
import zipfile
from contextlib import closing
from functools import cache

import packed
import pytest
from corpus.raw_zip import Entry, write_zip
from trees import WAIT, MakeTree, read, zipped

from s3zipfs.archive import faults
from s3zipfs.archive.raw import WHOLE_DECODED
from s3zipfs.build import build_tree
from s3zipfs.errors import BadMember, UnsupportedMember
from s3zipfs.settings import Settings
from s3zipfs.stores.base import ObjectId
from s3zipfs.stores.counting import CountingStore
from s3zipfs.stores.memory import MemoryStore
from s3zipfs.tree.tree import Tree
from s3zipfs.zipformat import methods

_NUMBERS = random.Random(1)
_LINES = [b"line %d of a text\n" % _NUMBERS.getrandbits(30) for _ in range(5000)]
SMALL = b"".join(_LINES)
LARGE = (SMALL * (WHOLE_DECODED // len(SMALL) + 2))[: WHOLE_DECODED + 12_345]

every_method = pytest.mark.parametrize("method", packed.PACK, ids=methods.method_name)


@every_method
def test_members_of_every_size_are_read(
    method: int, memory: MemoryStore, make_tree: MakeTree
) -> None:
    contents = {b"none": b"", b"one": b"1", b"small": SMALL[:100_000], b"large": LARGE}
    entries = [packed.entry(name, content, method) for name, content in contents.items()]
    memory.put("lab", "x.zip", write_zip(entries))
    tree = make_tree("s3://lab")
    for name, content in contents.items():
        assert read(tree, b"x.zip/" + name) == content
    node = tree.resolve(b"x.zip/large", WAIT)
    numbers = random.Random(2)
    for _ in range(5):
        start = numbers.randrange(len(LARGE))
        assert part(tree, b"x.zip/large", start, start + 70_000) == LARGE[start : start + 70_000]
    again = b"".join(
        b"".join(tree.read(node, at, at + (1 << 20), WAIT)) for at in range(0, len(LARGE), 1 << 20)
    )
    assert again == LARGE


def part(tree: Tree, path: bytes, start: int, end: int) -> bytes:
    return b"".join(tree.read(tree.resolve(path, WAIT), start, end, WAIT))


@pytest.mark.parametrize(
    "method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]
)
def test_what_zipfile_writes_is_read(method: int, memory: MemoryStore, make_tree: MakeTree) -> None:
    contents = {"none": b"", "one": b"1", "small": SMALL}
    memory.put("lab", "x.zip", zipped(contents, method))
    tree = make_tree("s3://lab")
    for name, content in contents.items():
        assert read(tree, b"x.zip/" + name.encode()) == content


@cache
def _packed(method: int, size: int) -> bytes:
    return packed.PACK[method](LARGE[:size])


@pytest.mark.parametrize("method", packed.COMPRESSED, ids=methods.method_name)
@pytest.mark.parametrize(
    ("size", "lie"),
    [
        (len(SMALL), {"crc": 1}),
        (len(SMALL), {"uncompressed_size": 1}),
        (len(SMALL), {"uncompressed_size": -1}),
        (len(LARGE), {"crc": 1}),
    ],
)
def test_a_lie_is_never_a_clean_end(
    method: int, size: int, lie: dict[str, int], memory: MemoryStore, make_tree: MakeTree
) -> None:
    content = LARGE[:size]
    if "uncompressed_size" in lie:
        lie = {"uncompressed_size": size + lie["uncompressed_size"]}
    bad = packed.entry(b"bad", content, method, body=_packed(method, size), **lie)
    good = packed.entry(b"good", SMALL, method)
    memory.put("lab", "x.zip", write_zip([bad, good]))
    tree = make_tree("s3://lab")
    for _ in range(2):
        with pytest.raises(BadMember, match=r"x\.zip.*: member bad: "):
            read(tree, b"x.zip/bad")
    assert read(tree, b"x.zip/good") == SMALL


@every_method
@pytest.mark.parametrize("flags", [1 << 0, 1 << 6, 1 << 13])
def test_encrypted_members_are_listed_and_refused(
    method: int, flags: int, memory: MemoryStore, make_tree: MakeTree
) -> None:
    memory.put("lab", "x.zip", write_zip([packed.entry(b"secret", SMALL, method, flags=flags)]))
    tree = make_tree("s3://lab")
    node = tree.resolve(b"x.zip/secret", WAIT)
    assert tree.getattr(node, WAIT).size == len(SMALL)
    name = methods.method_name(method).replace("(", r"\(").replace(")", r"\)")
    with pytest.raises(UnsupportedMember, match=rf"x\.zip.*secret: encrypted \({name}\)"):
        tree.check_open(node, WAIT)


@pytest.mark.parametrize(
    ("method", "name"),
    [(1, "shrunk"), (6, "imploded"), (98, "PPMd"), (99, "AES"), (7777, "unknown method 7777")],
)
def test_methods_without_a_library_are_listed_and_refused_by_name(
    method: int, name: str, memory: MemoryStore, make_tree: MakeTree
) -> None:
    memory.put("lab", "x.zip", write_zip([Entry(b"old", SMALL, method, body=b"data")]))
    tree = make_tree("s3://lab")
    node = tree.resolve(b"x.zip/old", WAIT)
    assert tree.getattr(node, WAIT).size == len(SMALL)
    for call in (lambda: tree.check_open(node, WAIT), lambda: tree.read(node, 0, 10, WAIT)):
        with pytest.raises(UnsupportedMember, match=rf"x\.zip.*old: method {name}"):
            call()


def test_a_window_over_the_bound_is_refused_by_its_size(
    memory: MemoryStore, make_tree: MakeTree
) -> None:
    body = b"\x28\xb5\x2f\xfd\0" + bytes([(30 - 10) << 3]) + bytes(20)
    entry = packed.entry(b"wide", LARGE, methods.ZSTANDARD, body=body)
    memory.put("lab", "x.zip", write_zip([entry]))
    with pytest.raises(UnsupportedMember, match=r"x\.zip.*wide: zstd.* window of 1024 MiB"):
        read(make_tree("s3://lab"), b"x.zip/wide")


@pytest.mark.parametrize("method", packed.COMPRESSED, ids=methods.method_name)
def test_a_small_member_of_much_compressed_data_is_not_fetched_whole(
    method: int, memory: MemoryStore, store: CountingStore, make_tree: MakeTree
) -> None:
    body = packed.PACK[method](b"content") + b"\xff" * (64 << 20)
    memory.put("lab", "x.zip", write_zip([packed.entry(b"a", b"content", method, body=body)]))
    tree = make_tree("s3://lab")
    with pytest.raises(BadMember):
        read(tree, b"x.zip/a")
    assert store.bytes_read < 16 << 20


@pytest.mark.parametrize("method", packed.COMPRESSED, ids=methods.method_name)
def test_an_empty_member_with_other_than_nothing_in_it_is_an_error(
    method: int, memory: MemoryStore, make_tree: MakeTree
) -> None:
    entries = [
        packed.entry(b"content", b"", method, body=packed.PACK[method](b"x")),
        packed.entry(b"garbage", b"", method, body=b"garbage, not data"),
        packed.entry(b"large", b"", method, body=bytes(2 << 20)),
        packed.entry(b"crc", b"", method, crc=1),
        packed.entry(b"no data, crc", b"", method, body=b"", crc=1),
        packed.entry(b"no data", b"", method, body=b""),
    ]
    memory.put("lab", "x.zip", write_zip(entries))
    tree = make_tree("s3://lab")
    for entry in entries[:-1]:
        with pytest.raises(BadMember):
            read(tree, b"x.zip/" + entry.name)
    assert read(tree, b"x.zip/no data") == b""


def test_stored_sizes_that_differ_are_an_error_of_that_member(
    memory: MemoryStore, make_tree: MakeTree
) -> None:
    bad = Entry(b"bad", b"data", uncompressed_size=3)
    memory.put("lab", "x.zip", write_zip([bad, Entry(b"good", b"data")]))
    tree = make_tree("s3://lab")
    with pytest.raises(BadMember):
        read(tree, b"x.zip/bad")
    assert read(tree, b"x.zip/good") == b"data"


class LyingWire(CountingStore):
    """One byte of an object is wrong, as long as that is wanted."""

    def __init__(self, inner: MemoryStore) -> None:
        super().__init__(inner)
        self.wrong: int | None = None

    async def get_range(self, oid: ObjectId, start: int, end: int) -> memoryview:
        data = await super().get_range(oid, start, end)
        if self.wrong is None or not start <= self.wrong < end:
            return data
        changed = bytearray(data)
        changed[self.wrong - start] ^= 1
        return memoryview(changed)


def test_a_member_is_whole_again_once_the_wire_is_whoever_has_read_it_before(
    memory: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader's decoder stands in the middle, and was given the wrong byte too."""
    monkeypatch.setattr(faults, "SECONDS", 0.0)
    content = random.Random(4).randbytes(48 << 20)
    memory.put("lab", "x.zip", write_zip([packed.entry(b"m", content, methods.ZSTANDARD)]))
    store = LyingWire(memory)
    # Less memory than the member takes: not all that is decoded is kept.
    tree = build_tree(Settings(memory=32 << 20, cache_size=0), ["s3://lab"], store=store)
    node = tree.resolve(b"x.zip/m", WAIT)

    def read_from(start: int) -> bytes:
        steps = range(start, len(content), 1 << 20)
        return b"".join(b"".join(tree.read(node, at, at + (1 << 20), WAIT)) for at in steps)

    with closing(tree):
        store.wrong = 1 << 20
        tree.read(node, 30 << 20, 31 << 20, WAIT)
        with pytest.raises(BadMember, match="CRC-32"):
            read_from(0)
        store.wrong = None
        for start in (32 << 20, 0):
            assert read_from(start) == content[start:]
