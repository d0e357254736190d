"""Each rule of advice speaks where it should, and nowhere else."""

from __future__ import annotations

import dataclasses
import random
import struct
import zipfile
from io import BytesIO
from typing import Any

import pytest

from s3zipfs.archive.loading import FoundDirectory
from s3zipfs.tree.advice import Advice, Situation, advise, advise_on_member
from s3zipfs.tree.archivefacts import ArchiveFacts, facts_of
from s3zipfs.zipformat.index import build_index
from s3zipfs.zipformat.member import Member
from s3zipfs.zipformat.plan import DirectoryLocation, locate_directory

HERE = Situation(index_requests=1, keeps_indexes=True, unwraps=False)


def facts(
    names: list[str],
    *,
    size: int = 100_000,
    method: int = zipfile.ZIP_STORED,
    before: bytes = b"",
    comment: bytes = b"",
) -> ArchiveFacts:
    """Of an archive of these members; metadata are small, and stored."""
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w") as written:
        for name in names:
            is_metadata = name.endswith("zarr.json")
            content = b"{}" if is_metadata else bytes(size)
            written.writestr(name, content, zipfile.ZIP_STORED if is_metadata else method)
        written.comment = comment
    data = before + buffer.getvalue()
    location = locate_directory(memoryview(data), 0, len(data))
    assert isinstance(location, DirectoryLocation)
    index = build_index(data[location.start : location.end], location)
    return facts_of(index, FoundDirectory(location, memoryview(data), 0), len(data))


def rules(found: ArchiveFacts, situation: Situation = HERE) -> set[str]:
    return {each.rule for each in advise(found, situation)}


CHUNKS = [f"c/{number:03}" for number in range(40)]


def test_a_stored_and_sorted_archive_needs_no_advice() -> None:
    assert rules(facts(["zarr.json", *CHUNKS])) == set()
    assert rules(facts(CHUNKS)) == set()


def test_deflated_chunks_are_advised_against_where_they_are_zarrs() -> None:
    method = zipfile.ZIP_DEFLATED
    assert rules(facts(["zarr.json", *CHUNKS], method=method)) == {"deflated-chunks"}
    assert rules(facts(CHUNKS, method=method)) == set()


def test_many_tiny_chunks_are_advised_against() -> None:
    many = [f"c/{number:04}" for number in range(1200)]
    assert rules(facts(["zarr.json", *many], size=100)) == {"tiny-chunks"}
    assert rules(facts(["zarr.json", *CHUNKS], size=100)) == set()


def test_members_in_any_order_are_advised_against_and_those_of_numbers_are_not() -> None:
    shuffled = random.Random(1).sample(CHUNKS, len(CHUNKS))
    assert rules(facts(shuffled)) == {"unsorted"}
    numbers = [f"c/{number}" for number in range(200)]  # by bytes 10 comes before 2
    assert rules(facts(numbers, size=10)) == set()


def test_metadata_at_many_places_are_advised_against() -> None:
    spread = [name for number in range(10) for name in (f"{number}/c", f"{number}/zarr.json")]
    assert rules(facts(spread, size=300_000)) == {"scattered-metadata"}
    assert rules(facts(spread[:8], size=300_000)) == set()


def test_a_directory_around_the_zarr_root_is_told_unless_it_is_unwrapped() -> None:
    found = facts(["top/zarr.json", "top/c/0"])
    (advice,) = advise(found, HERE)
    assert advice.rule == "wrapped-root"
    assert "--single-root unwrap" in advice.text
    assert "top/" in advice.text
    assert rules(found, dataclasses.replace(HERE, unwraps=True)) == set()


def test_an_index_that_is_not_kept_is_told_where_it_costs_more_than_one_get() -> None:
    found = facts(CHUNKS)
    assert rules(found, Situation(3, keeps_indexes=False, unwraps=False)) == {"index-not-kept"}
    assert rules(found, Situation(1, keeps_indexes=False, unwraps=False)) == set()
    assert rules(found, Situation(3, keeps_indexes=True, unwraps=False)) == set()


def test_a_huge_directory_is_told() -> None:
    found = dataclasses.replace(facts(CHUNKS), directory_size=17 << 20)
    assert rules(found) == {"large-directory"}


def test_foreign_bytes_and_long_comments_are_told() -> None:
    found = facts(CHUNKS, before=b"#!/bin/sh\n" * 10, comment=b"x" * 2000)
    assert found.prefix_size == 100
    assert found.comment_size == 2000
    assert rules(found) == {"foreign-bytes", "long-comment"}
    assert facts(CHUNKS).trailing_size == 0


def test_encrypted_and_unsupported_and_damaged_members_are_told() -> None:
    plain: Any = facts(CHUNKS)
    for field, rule in (
        ("encrypted", "encrypted"), ("unsupported", "unsupported"), ("damaged", "damaged"),
        ("duplicates", "duplicates"),
    ):  # fmt: skip
        assert rules(dataclasses.replace(plain, **{field: 3})) == {rule}


def test_flags_and_methods_are_counted() -> None:
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w") as written:
        written.writestr("secret", b"1")
        written.writestr("odd", b"2")
    data = bytearray(buffer.getvalue())
    first = data.index(b"PK\1\2")
    second = data.index(b"PK\1\2", first + 1)
    struct.pack_into("<H", data, first + 8, 1)  # APPNOTE 4.4.4, bit 0
    struct.pack_into("<H", data, second + 10, 98)  # 4.4.5: PPMd
    location = locate_directory(memoryview(data), 0, len(data))
    assert isinstance(location, DirectoryLocation)
    index = build_index(bytes(data[location.start : location.end]), location)
    found = facts_of(index, FoundDirectory(location, memoryview(bytes(data)), 0), len(data))
    assert (found.encrypted, found.unsupported) == (1, 1)
    assert set(found.methods) == {"stored", "PPMd version I, revision 1"}


@pytest.mark.parametrize(
    ("method", "size", "flags", "rule"),
    [
        (8, 17 << 20, 0, "large-deflated"),
        (8, 16 << 20, 0, None),
        (0, 1 << 30, 0, None),
        (12, 17 << 20, 0, "forward-only"),
        (8, 100, 1, "encrypted"),
        (98, 100, 0, "unsupported"),
        (98, 17 << 20, 0, "unsupported"),
    ],
)
def test_of_a_member_its_method_and_size_are_told(
    method: int, size: int, flags: int, rule: str | None
) -> None:
    member = Member(1, b"m", 0, size // 2, size, 0, method, flags, 0o100644, 0.0)
    found: list[Advice] = advise_on_member(member)
    assert [each.rule for each in found] == ([] if rule is None else [rule])
