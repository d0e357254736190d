"""Any archive reads as `zipfile` reads it; any corruption is one of our errors, or harmless."""

from __future__ import annotations

import os
import stat
import zipfile

from corpus.odd_zips import ACCEPTED
from corpus.raw_zip import End, Entry, Layout, extra, write_zip
from corpus.reading import contents, listing, open_index, read_member
from corpus.written import MANNERS, TREES, Manner, Members, write
from hypothesis import example, given, settings
from hypothesis import strategies as st

from s3zipfs.errors import BadArchive, BadMember

FUZZ = int(os.environ.get("FUZZ_FACTOR", "1"))  # multiplies the examples


@settings(max_examples=200 * FUZZ, deadline=None)
@given(TREES, MANNERS)
def test_what_zipfile_writes_reads_back_equal(tree: Members, manner: Manner) -> None:
    data = write(tree, manner)
    index = open_index(data)
    files = {p.decode(): c for p, c in contents(data, index).items() if c is not None}
    assert files == {path: content[0] for path, content in tree.items() if content}
    assert index.member_count == len(tree)
    assert index.hidden_count == index.duplicate_count == 0


@settings(max_examples=50 * FUZZ, deadline=None)
@given(TREES, st.integers(1, 200))
def test_pieces_of_any_size_give_the_same_columns(tree: Members, piece: int) -> None:
    data = write(tree)
    whole, pieces = open_index(data), open_index(data, piece=piece)
    assert listing(whole) == listing(pieces)
    for name, column in whole.columns.items():
        if name not in ("names", "name_start", "name_end", "raw_start"):
            assert column.tolist() == pieces.columns[name].tolist()


@settings(max_examples=100 * FUZZ, deadline=None)
@given(TREES)
def test_tree_is_consistent_and_sorted(tree: Members) -> None:
    index = open_index(write(tree))
    seen = [0]
    for number in range(index.node_count):
        names = [index.name(child) for child in index.children(number)]
        assert names == sorted(set(names))
        for child, name in zip(index.children(number), names, strict=True):
            assert index.parent(child) == number
            assert index.lookup(number, name) == child
            assert index.find(index.path(child)) == child
            assert 1 <= len(name) <= 255
            assert b"/" not in name
            seen.append(child)
        if not index.is_directory(number):
            assert not names
    assert seen == list(range(index.node_count))


def _check_harmless(data: bytes, original: dict[bytes, bytes | None]) -> None:
    """Opening fails by our error, or each member's content is right, or fails by our error."""
    try:
        index = open_index(data)
    except BadArchive:
        return
    for path, number in listing(index).items():
        if index.is_directory(number):
            continue
        try:
            content = read_member(data, index, number)
        except BadMember:
            continue
        assert path in original or stat.S_ISLNK(index.mode(number)) or content in original.values()
        if original.get(path) is not None:
            assert content == original[path]


SMALL = write(
    {
        "a.txt": (b"stored", zipfile.ZIP_STORED),
        "d/b.txt": (b"deflated" * 9, zipfile.ZIP_DEFLATED),
        "d/c": (b"", zipfile.ZIP_STORED),
    },
    Manner(comment=b"c"),
)
SMALL_CONTENTS = {b"a.txt": b"stored", b"d/": None, b"d/b.txt": b"deflated" * 9, b"d/c": b""}


def test_each_single_byte_corruption_is_an_error_or_harmless() -> None:
    assert contents(SMALL, open_index(SMALL)) == SMALL_CONTENTS
    for position in range(len(SMALL)):
        for mask in (0x01, 0x80, 0xFF):
            broken = bytearray(SMALL)
            broken[position] ^= mask
            _check_harmless(bytes(broken), SMALL_CONTENTS)


def test_each_truncation_is_refused() -> None:
    for end in range(len(SMALL)):
        try:
            open_index(SMALL[:end])
        except BadArchive:
            continue
        raise AssertionError(f"accepted {end} of {len(SMALL)} bytes")


# Mostly plain values, so that most members can be read and one lie stands alone.
U32S = st.sampled_from([None] * 40 + [0, 1, 5, 46, 0x7FFFFFFF, 0xFFFFFFFE, 0xFFFFFFFF])
U16S = st.sampled_from([0, 1, 8, 99, 0xFFFE, 0xFFFF])
FLAGS = st.sampled_from([0] * 10 + [1, 8, 1 << 11, 0xFFFF])
NAMES = st.lists(
    st.sampled_from([b"a", b"b", b".", b"..", b"/", b"\\", b"\0", b"\xff", b"x" * 256, b"PK\1\2"]),
    max_size=6,
).map(b"".join)
EXTRAS = st.lists(
    st.tuples(st.sampled_from([1, 10, 0x5455, 0x7075, 0xFFFF]), st.binary(max_size=30)), max_size=4
).map(lambda fields: b"".join(extra(*f) for f in fields))
ENTRIES = st.builds(
    Entry,
    name=NAMES,
    data=st.binary(max_size=9),
    method=st.sampled_from([0, 0, 0, 8, 8, 8, 99]),
    flags=FLAGS,
    host=st.sampled_from([0, 3, 10, 19, 255]),
    attributes=st.integers(0, 0xFFFFFFFF),
    date=U16S,
    time=U16S,
    extra=EXTRAS | st.binary(max_size=20),
    comment=st.binary(max_size=5) | st.just(b"PK\1\2" * 20),
    disk=st.sampled_from([0] * 20 + [1, 0xFFFF]),
    compressed_size=U32S,
    uncompressed_size=U32S,
    offset=U32S,
    local_extra=EXTRAS,
)
U64S = st.none() | st.sampled_from([0, 1, 46, 1 << 32, 1 << 63, (1 << 64) - 1])
ENDS = st.builds(
    End,
    comment=st.binary(max_size=5) | st.just(b"PK\5\6" + bytes(18)),
    entry_count=st.none() | U16S,
    size=st.none() | U32S,
    offset=st.none() | U32S,
    zip64=st.booleans(),
    zip64_entry_count=U64S,
    zip64_size=U64S,
    zip64_offset=U64S,
    zip64_record_offset=U64S,
)
LAYOUTS = st.builds(
    Layout, prefix=st.binary(max_size=9), junk=st.binary(max_size=9), end=st.just(End()) | ENDS
)


@settings(max_examples=400 * FUZZ, deadline=None)
@given(st.lists(ENTRIES, max_size=6), st.just(Layout()) | LAYOUTS)
@example([Entry(b"a"), Entry(b"a/"), Entry(b"a/b"), Entry(b"a (1)/x")], Layout())
def test_any_fields_give_our_errors_or_a_sound_tree(entries: list[Entry], layout: Layout) -> None:
    data = write_zip(entries, layout)
    try:
        index = open_index(data)
    except BadArchive:
        return
    assert len(set(listing(index))) == index.node_count - 1
    for number in range(1, index.node_count):
        name = index.name(number)
        assert name not in (b"", b".", b"..")
        assert b"/" not in name
        assert b"\0" not in name
        assert len(name) <= 255
        assert index.lookup(index.parent(number), name) == number
        assert index.is_symlink(number) or index.mode(number) & 0o7222 == 0
        if not index.is_directory(number):
            try:
                read_member(data, index, number)
            except BadMember:
                continue


@settings(max_examples=200 * FUZZ, deadline=None)
@given(
    st.sampled_from([m for m in ACCEPTED if m.__name__ != "entry_count_wrapped"]),
    st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(0, 255)), min_size=1, max_size=4),
)
def test_mutated_odd_zips_give_only_our_errors(
    maker: object, changes: list[tuple[int, int]]
) -> None:
    assert callable(maker)
    data = bytearray(maker())
    for position, value in changes:
        data[-1 - position % min(len(data), 400)] = value
    try:
        contents(bytes(data), open_index(bytes(data)))
    except (BadArchive, BadMember):
        return
