"""What holds of any archive, through the whole tree."""

from __future__ import annotations

import inspect
import os
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator

import pytest
from corpus.isolated import read_archive
from corpus.odd_zips import ACCEPTED, DAMAGED, REFUSED
from corpus.written import MANNERS, TREES_WITH_DIRECTORIES, Manner, Members, write
from hypothesis import example, given, settings

FUZZ = int(os.environ.get("FUZZ_FACTOR", "1"))  # multiplies the examples


def _described(content: bytes) -> str:
    return f"{len(content)} {zlib.crc32(content):08x}"


def _id(value: object) -> str:
    if not inspect.isfunction(value):
        return ""
    lines = inspect.getsourcelines(value)
    return f"line{lines[1]}" if value.__name__ == "<lambda>" else value.__name__


@settings(max_examples=200 * FUZZ, deadline=None)
@given(TREES_WITH_DIRECTORIES, MANNERS)
@example({"d": None, "d/e": None, "d/f": (b"x", 8)}, Manner(zip64=True, streamed=True))
def test_what_zipfile_writes_reads_back_equal(tree: Members, manner: Manner) -> None:
    refused, members = read_archive(write(tree, manner))
    assert refused is None
    files = {n: found for n, found in members.items() if not n.endswith("/")}
    assert files == {path: _described(c[0]) for path, c in tree.items() if c is not None}
    empty = {n.rstrip("/") for n in members if n.endswith("/")}
    directories = {path for path, c in tree.items() if c is None}
    assert empty <= directories
    assert all(d in empty or any(p.startswith(f"{d}/") for p in tree) for d in directories)


SMALL: Members = {
    "a.txt": (b"stored", zipfile.ZIP_STORED),
    "d/b.txt": (b"deflated" * 9, zipfile.ZIP_DEFLATED),
    "d/c": (b"", zipfile.ZIP_STORED),
    "e": None,
}
SMALL_CONTENTS = [_described(c[0]) for c in SMALL.values() if c is not None]


def _corruptions(data: bytes) -> Iterator[bytes]:
    for position in range(len(data)):
        for mask in (0x01, 0x20, 0x80, 0xFF):
            broken = bytearray(data)
            broken[position] ^= mask
            yield bytes(broken)


@pytest.mark.parametrize("manner", [Manner(comment=b"c"), Manner(zip64=True, streamed=True)])
def test_any_corrupted_byte_reads_equal_or_is_an_error(manner: Manner) -> None:
    data = write(SMALL, manner)
    for broken in _corruptions(data):
        refused, members = read_archive(broken)
        if refused is not None:
            assert refused.startswith("BadArchive: ")
            continue
        assert members, "broken, and listed as empty"
        for name, found in members.items():
            # Another name, another kind, another time: of those there is no checksum. But no
            # file ever has content that was not zipped.
            if re.match(r"\d", found):
                assert found in SMALL_CONTENTS, name
            else:
                kind = found.partition(":")[0]
                assert kind in {"BadMember", "UnsupportedMember", "ForbiddenLink", "directory"}


def test_any_truncation_is_refused() -> None:
    data = write(SMALL)
    for end in range(len(data)):
        refused, _ = read_archive(data[:end])
        assert refused is not None
        assert refused.startswith("BadArchive: ")


@pytest.mark.parametrize(
    "maker", [m for m in ACCEPTED if m.__name__ != "entry_count_wrapped"], ids=_id
)
def test_accepted_odd_zip_is_read(maker: Callable[[], bytes]) -> None:
    refused, members = read_archive(maker())
    assert refused is None
    for path, content in ACCEPTED[maker].items():
        if content is not None:
            found = members[path.decode("utf-8", "backslashreplace")]
            assert found in (_described(content), f"-> {content.decode('latin-1')}")


@pytest.mark.parametrize("maker", REFUSED, ids=_id)
def test_broken_odd_zip_is_refused(maker: Callable[[], bytes]) -> None:
    refused, _ = read_archive(maker())
    assert refused is not None
    assert REFUSED[maker] in refused


@pytest.mark.parametrize("maker", DAMAGED, ids=_id)
def test_damaged_member_of_an_odd_zip_fails_alone(maker: Callable[[], bytes]) -> None:
    refused, members = read_archive(maker())
    assert refused is None
    failed = {n for n, found in members.items() if found.startswith("BadMember: ")}
    assert failed == {name.decode() for name in DAMAGED[maker]}
