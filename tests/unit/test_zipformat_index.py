"""The index at size: columns, look-ups, hostile directories in linear time and memory."""

from __future__ import annotations

import random
import stat
import struct
import time
import tracemalloc
import zipfile
from collections.abc import Callable
from io import BytesIO

import pytest
from corpus.raw_zip import Entry, extra, write_zip
from corpus.reading import open_index

from s3zipfs.errors import BadArchive, IsADirectory, SettingsError
from s3zipfs.zipformat.index import COLUMNS, MemberIndex, build_index
from s3zipfs.zipformat.plan import DirectoryLocation

_HEADER = struct.Struct("<4s6H3L5H2L")


def _header(name: bytes, offset: int = 0, *, comment: bytes = b"", fields: bytes = b"") -> bytes:
    lengths = len(name), len(fields), len(comment)
    head = _HEADER.pack(
        b"PK\1\2", 0x31E, 20, 1 << 11, 0, 0, 0x21, 7, 10, 10, *lengths, 0, 0, 0o100644 << 16, offset
    )
    return head + name + fields + comment


def _build(headers: list[bytes]) -> MemberIndex:
    directory = b"".join(headers)
    start = 1 << 40
    return build_index(
        directory, DirectoryLocation(start, start + len(directory), len(headers), 0, is_zip64=True)
    )


def test_node_0_is_the_root_and_has_no_name() -> None:
    index = _build([_header(b"a/b")])
    assert index.is_directory(0)
    assert (index.name(0), index.path(0), index.find(b""), index.parent(0)) == (b"", b"", 0, 0)


def test_empty_archive_has_only_the_root() -> None:
    index = open_index(write_zip([]))
    assert index.node_count == 1
    assert list(index.children(0)) == []
    assert index.lookup(0, b"x") is None


def test_look_up_of_what_is_missing_is_none() -> None:
    index = _build([_header(b"b/x"), _header(b"d")])
    for name in (b"", b"a", b"c", b"e", b"b/x", b"x"):
        assert index.lookup(0, name) is None
    assert index.find(b"d/x") is None
    assert index.find(b"b//x") is None
    assert index.find(b"/b") is None


def test_children_are_ordered_by_bytes_beyond_shared_prefixes() -> None:
    names = [b"p" * shared + tail for shared in (0, 7, 8, 9, 16, 200) for tail in (b"", b"a", b"b")]
    names = [name for name in names if name]
    random.Random(1).shuffle(names)
    index = _build([_header(name) for name in names])
    assert [index.name(n) for n in index.children(0)] == sorted(set(names))


def test_directory_of_a_huge_archive_keeps_numbers_of_8_bytes() -> None:
    wide = extra(1, struct.pack("<3Q", 1 << 35, 1 << 35, 1 << 36))
    head = bytearray(_header(b"big", 0xFFFFFFFF, fields=wide))
    head[20:28] = b"\xff" * 8
    index = _build([bytes(head)])
    member = index.member(1)
    assert (member.uncompressed_size, member.local_header_offset) == (1 << 35, 1 << 36)
    assert index.size(1) == 1 << 35
    assert member.damaged is None


def test_member_of_a_directory_is_refused() -> None:
    with pytest.raises(IsADirectory):
        _build([_header(b"a/b")]).member(1)


def test_unknown_encoding_is_a_settings_error() -> None:
    with pytest.raises(SettingsError, match="klingon"):
        open_index(write_zip([]), encoding="klingon")
    with pytest.raises(SettingsError):
        open_index(write_zip([]), encoding="hex")


def test_columns_are_as_documented_and_cannot_be_written() -> None:
    index = _build([_header(b"a/%d" % n) for n in range(10)])
    assert set(index.columns) == set(COLUMNS)
    for name, column in index.columns.items():
        assert not column.flags.writeable
        if name not in ("names", "child_start"):
            assert len(column) == index.node_count
    start, end = int(index.name_start[3]), int(index.name_end[3])
    assert index.names[start:end].tobytes() == index.name(3)
    assert index.nbytes == sum(c.nbytes for c in index.columns.values())


def test_times_prefer_extras_and_clamp_what_is_impossible() -> None:
    unix = extra(0x5455, struct.pack("<BL", 1, 1_500_000_000))
    ticks = (1_500_000_000 + 11644473600) * 10_000_000 + 5_000_000
    ntfs = extra(10, struct.pack("<L2H3Q", 0, 1, 24, ticks, 0, 0))
    index = open_index(
        write_zip(
            [
                Entry(b"a-dos", date=(20 << 9) | (2 << 5) | 29, time=0),
                Entry(b"b-unix", extra=unix),
                Entry(b"c-ntfs", extra=unix + ntfs),
                Entry(b"d-both", extra=ntfs + unix),
                Entry(b"e-zero", date=0, time=0),
                Entry(b"f-wild", date=0xFFFF, time=0xFFFF),
                Entry(b"g-before", extra=extra(0x5455, struct.pack("<Bl", 1, -1))),
            ]
        )
    )
    assert [index.modified(n) for n in index.children(0)] == [
        951782400.0,  # 2000-02-29
        1_500_000_000.0,
        1_500_000_000.5,
        1_500_000_000.5,
        315532800.0,  # 1980-01-01
        4354819199.0,  # 2107-12-31 23:59:59
        -1.0,
    ]


def test_explicit_directory_has_its_own_mode_and_time() -> None:
    entries = [
        Entry(b"d/f", b"x"),
        Entry(b"d/", attributes=0o040750 << 16, date=(20 << 9) | (1 << 5) | 1, time=0),
    ]
    index = open_index(write_zip(entries))
    number = index.find(b"d")
    assert number is not None
    assert index.mode(number) == stat.S_IFDIR | 0o550
    assert index.modified(number) == 946684800.0
    assert index.raw_name(number) == b"d/"


def test_file_without_permissions_is_readable() -> None:
    index = open_index(write_zip([Entry(b"a", attributes=0), Entry(b"b", host=0, attributes=0)]))
    assert [index.mode(n) for n in (1, 2)] == [0o100444] * 2


def test_differs_from_zipfile_in_no_field() -> None:
    out = BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for n in range(500):
            info = zipfile.ZipInfo(f"d{n % 7}/{n}.txt", (1980 + n % 100, 1 + n % 12, 1, 2, 3, 4))
            archive.writestr(info, b"x" * n, zipfile.ZIP_DEFLATED if n % 2 else zipfile.ZIP_STORED)
    data = out.getvalue()
    index = open_index(data)
    for info in zipfile.ZipFile(BytesIO(data)).infolist():
        number = index.find(info.filename.encode())
        assert number is not None
        member = index.member(number)
        assert (
            member.raw_name.decode(),
            member.local_header_offset,
            member.compressed_size,
            member.uncompressed_size,
            member.crc32,
            member.method,
            member.flags,
        ) == (
            info.filename,
            info.header_offset,
            info.compress_size,
            info.file_size,
            info.CRC,
            info.compress_type,
            info.flag_bits,
        )
        assert time.gmtime(member.modified)[:6] == info.date_time


# Each of these is built in linear time: 20,000 members take some 0.1 s, quadratic would be minutes.
HOSTILE: dict[str, Callable[[int], bytes]] = {
    "one name": lambda n: b"same",
    "one directory": lambda n: b"same/",
    "own directories": lambda n: b"d%d/f" % n,
    "shared prefix": lambda n: b"p" * 240 + b"%09d" % (n * 7919 % 100_003),
    "clashes": lambda n: b"c%d" % (n // 2) + b"/" * (n % 2),
    "long clashes": lambda n: b"c" * 245 + b"%010d" % (n // 2) + b"/" * (n % 2),
    "numbered clashes": lambda n: [b"c", b"c/"][n] if n < 2 else b"c (%d)" % (n - 1),
    "inner ..": lambda n: b"a/../%d" % n,
    "slashes": lambda n: b"/" * 500 + b"%d" % n,
}


@pytest.mark.parametrize("quirk", HOSTILE)
def test_hostile_names_take_linear_time(quirk: str) -> None:
    headers = [_header(HOSTILE[quirk](n), 100 * n) for n in range(20_000)]
    start = time.process_time()
    index = _build(headers)
    assert time.process_time() - start < 5
    assert index.member_count == 20_000
    names = [index.name(n) for n in index.children(0)]
    assert names == sorted(set(names))


def test_signatures_in_comments_take_linear_time() -> None:
    index = _build([_header(b"%d" % n, 100 * n, comment=b"PK\1\2" * 20) for n in range(20_000)])
    assert index.node_count == 20_001


def test_extras_without_number_are_passed_over() -> None:
    index = _build(
        [_header(b"%d" % n, 100 * n, fields=b"\xab\xcd\0\0" * 16_000) for n in range(50)]
    )
    assert index.node_count == 51


def test_names_that_imply_too_many_directories_are_refused() -> None:
    headers = [_header(b"%d/" % n + b"a/" * 200 + b"f") for n in range(1000)]
    with pytest.raises(BadArchive, match="directories"):
        _build(headers)


def test_memory_of_the_build_follows_the_bytes_not_the_declared_sizes() -> None:
    headers = [bytearray(_header(b"bomb%d" % n, 100 * n)) for n in range(1000)]
    for head in headers:
        head[20:28] = b"\xfe\xff\xff\xff" * 2
    tracemalloc.start()
    _build([bytes(head) for head in headers])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3_000_000


def test_hundred_thousand_members_are_small_and_quick() -> None:
    headers = [
        _header(b"x/%02d/%02d/%06d.dat" % (n // 10_000, n // 100 % 100, n), 59 * n)
        for n in range(100_000)
    ]
    start = time.process_time()
    index = _build(headers)
    assert time.process_time() - start < 1.5  # 0.06 s on 2 cores of 2026
    assert index.nbytes < 80 * index.node_count
    for n in range(0, 100_000, 997):
        path = b"x/%02d/%02d/%06d.dat" % (n // 10_000, n // 100 % 100, n)
        number = index.find(path)
        assert number is not None
        assert index.path(number) == path
        assert index.member(number).local_header_offset == 59 * n
