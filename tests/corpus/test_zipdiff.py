"""Each ambiguity of the ZipDiff paper is read in one way, or not at all."""

from __future__ import annotations

import re
import zlib

import pytest
from corpus.isolated import read_archive
from corpus.raw_zip import write_zip
from corpus.reading import open_index, read_member
from corpus.zipdiff import (
    DIRECTORY,
    ENCRYPTED,
    Damaged,
    Refused,
    cases,
    size_matrix,
    with_crc_of_nothing,
)

from s3zipfs.errors import BadMember

CASES = cases()

OPEN = {
    "A2 hidden behind two central zeros": "the local header of an empty member is not read",
}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(n, marks=pytest.mark.xfail(strict=False, reason=OPEN[n])) if n in OPEN else n
        for n in CASES
    ],
)
def test_ambiguity_is_read_in_one_way(name: str) -> None:
    data, expected = CASES[name]
    refused, members = read_archive(data)
    if isinstance(expected, Refused):
        assert refused is not None, members
        assert expected.because in refused
        return
    assert refused is None
    assert {n: _kind(found) for n, found in members.items()} == {
        n: _wanted(value) for n, value in expected.items()
    }
    for path, value in expected.items():
        if isinstance(value, Damaged):
            assert value.because in members[path]


def test_each_type_of_the_paper_has_cases() -> None:
    types = {name.split()[0] for name in CASES}
    assert types == {
        f"{letter}{number}"
        for letter, last in (("A", 5), ("B", 4), ("C", 5))
        for number in range(1, last + 1)
    }


def test_sizes_in_all_combinations_give_the_content_or_an_error() -> None:
    count = readable = 0
    assert zlib.crc32(with_crc_of_nothing(b"some")) == 0
    for entry, content in size_matrix():
        data = write_zip([entry])
        index = open_index(data)
        count += 1
        try:
            found = read_member(data, index, 1)
        except BadMember:
            continue
        readable += 1
        # Empty where both headers say so; with bit 3 the central directory alone.
        assert found == (content if index.size(1) else b""), entry
    assert count == 4608
    assert readable > 1000


def _kind(found: str) -> str:
    return found if re.match(r"\d|directory", found) else found.split(":", maxsplit=1)[0]


def _wanted(value: object) -> str:
    if isinstance(value, bytes):
        return f"{len(value)} {zlib.crc32(value):08x}"
    if value is DIRECTORY:
        return "directory"
    return "UnsupportedMember" if value is ENCRYPTED else "BadMember"
