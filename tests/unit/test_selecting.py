"""Which bytes of an object reading some of its members asks for."""

from __future__ import annotations

import struct
import zipfile
from io import BytesIO

import pytest

from s3zipfs.archive.metadataplan import GAP
from s3zipfs.cache.blockreader import WORTH_A_GET
from s3zipfs.stores.base import ObjectId, ObjectInfo
from s3zipfs.tree.globs import parse_globs
from s3zipfs.tree.selecting import Part, Target, select_members, spans_of
from s3zipfs.zipformat.index import MemberIndex, build_index
from s3zipfs.zipformat.plan import DirectoryLocation, locate_directory

SIZE = 3 * WORTH_A_GET


def indexed(data: bytes) -> tuple[MemberIndex, ObjectInfo]:
    found = locate_directory(memoryview(data), 0, len(data))
    assert isinstance(found, DirectoryLocation)
    oid = ObjectId("http://here", "lab", "x.zip", '"1"')
    return build_index(data[found.start : found.end], found), ObjectInfo(oid, len(data), 0.0)


def target(info: ObjectInfo, *globs: str) -> Target:
    return Target(info, "", 0, parse_globs(globs))


def archive(extra: bytes = b"") -> bytes:
    """`a`, `d/b`, `d/c`, `e`, each of `SIZE` bytes, and local extra fields of their own."""
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w") as written:
        for name in ("a", "d/b", "d/c", "e"):
            info = zipfile.ZipInfo(name)
            info.extra = extra
            written.writestr(info, bytes(SIZE))
    return buffer.getvalue()


def test_a_whole_archive_is_one_range() -> None:
    index, info = indexed(archive())
    assert spans_of(target(info), Part.DATA, index) == [(0, info.size)]
    assert spans_of(target(info), Part.INDEXES, index) == []


@pytest.mark.parametrize("length", [0, 60_000])
def test_a_member_is_its_header_and_its_data_however_long_the_header(length: int) -> None:
    extra = struct.pack("<HH", 0x9999, length) + bytes(length) if length else b""
    index, info = indexed(archive(extra))
    offset = {index.path(n): int(index.columns["local_header_offsets"][n]) for n in range(6)}
    ((start, end),) = spans_of(target(info, "d"), Part.DATA, index)
    assert start == offset[b"d/b"]
    assert offset[b"e"] <= end < offset[b"e"] + 300
    (first, last) = spans_of(target(info, "a", "e"), Part.DATA, index)
    assert first[0] == 0
    assert offset[b"d/b"] <= first[1] < offset[b"d/b"] + 300
    assert last[0] == offset[b"e"]
    assert last[1] >= offset[b"e"] + 31 + len(extra) + SIZE


def test_one_metadata_member_brings_all_of_the_archive() -> None:
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w") as written:
        for name in ("zarr.json", "a/filler", "a/zarr.json", "b/filler", "b/zarr.json"):
            size = GAP if name.endswith("filler") else 100
            written.writestr(name, bytes(size + 1000))
    index, info = indexed(buffer.getvalue())
    metadata = spans_of(target(info), Part.METADATA, index)
    assert len(metadata) == 3
    assert spans_of(target(info, "a/zarr.json"), Part.DATA, index) == metadata
    assert len(spans_of(target(info, "a/filler"), Part.DATA, index)) == 1


def test_members_are_found_below_what_a_pattern_takes() -> None:
    index, _ = indexed(archive())
    names = [index.path(n) for n in select_members(index, 0, parse_globs(["d/*", "a"]))]
    assert sorted(names) == [b"a", b"d/b", b"d/c"]
    assert len(select_members(index, 0, parse_globs(["none"]))) == 0
