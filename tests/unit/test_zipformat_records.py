"""Records one by one: values as written, and errors that name record, offset and both values."""

from __future__ import annotations

import pytest
from corpus.raw_zip import End, Entry, Layout, end_records, write_zip, zip64_extra
from corpus.reading import open_index

from s3zipfs.errors import BadArchive, BadMember
from s3zipfs.zipformat import names
from s3zipfs.zipformat.member import Member
from s3zipfs.zipformat.methods import method_name
from s3zipfs.zipformat.plan import (
    FIRST_TAIL_BYTES,
    DirectoryLocation,
    MoreNeeded,
    locate_directory,
    plan_tail,
)
from s3zipfs.zipformat.records import (
    local_header_span,
    parse_central_directory_header,
    parse_end_of_central_directory_record,
    parse_local_file_header,
    parse_local_header,
    parse_zip64_end_of_central_directory_record,
    parse_zip64_locator,
)


def _member(entry: Entry) -> tuple[Member, bytes]:
    data = write_zip([entry])
    return open_index(data).member(1), data


def test_end_record_holds_what_was_written() -> None:
    data = end_records(End(comment=b"hi"), 3, 1000, 200)
    record = parse_end_of_central_directory_record(memoryview(data), offset=7)
    assert (record.entry_count, record.central_directory_offset) == (3, 1000)
    assert (record.central_directory_size, record.comment_length) == (200, 2)


def test_zip64_records_hold_what_was_written() -> None:
    data = memoryview(end_records(End(zip64=True), 1 << 33, 1 << 40, 1 << 35))
    record = parse_zip64_end_of_central_directory_record(data, offset=0)
    assert (record.record_size, record.entry_count) == (56, 1 << 33)
    assert (record.central_directory_offset, record.central_directory_size) == (1 << 40, 1 << 35)
    assert parse_zip64_locator(data[56:], offset=0).record_offset == (1 << 40) + (1 << 35)


def test_central_header_holds_what_was_written() -> None:
    entry = Entry(b"name", b"data", extra=b"\1\2\0\0", comment=b"comment")
    header = parse_central_directory_header(memoryview(entry.central(77)), offset=0)
    assert (header.name, header.extra, header.comment) == (b"name", b"\1\2\0\0", b"comment")
    assert (header.local_header_offset, header.compressed_size) == (77, 4)


@pytest.mark.parametrize("cut", [3, 45, 49])
def test_cut_central_header_names_record_offset_and_lengths(cut: int) -> None:
    data = Entry(b"name", b"").central(0)[:cut]
    message = f"Central directory header at offset 1234: expected \\d+ bytes, found {cut}"
    with pytest.raises(BadArchive, match=message):
        parse_central_directory_header(memoryview(data), offset=1234)


def test_wrong_signature_names_both() -> None:
    with pytest.raises(BadArchive, match=r"at offset 5: expected signature b'PK.*', found b'AAAA'"):
        parse_zip64_locator(memoryview(b"A" * 20), offset=5)


def test_local_header_arrives_byte_by_byte() -> None:
    member, data = _member(Entry(b"some name", b"data", local_extra=b"\1\2\4\0abcd"))
    view = memoryview(data)
    header = parse_local_file_header(view, offset=0)
    assert not isinstance(header, MoreNeeded)
    assert header[0].name == b"some name"
    for have in range(header[1]):
        asked = parse_local_header(view[:have], member)
        assert isinstance(asked, MoreNeeded)
        assert (asked.start, asked.end) in ((0, 30), (0, header[1]))
        assert asked.end > have
    assert parse_local_header(view[: header[1]], member) == 30 + 9 + 8


def test_span_holds_an_ordinary_local_header() -> None:
    member, data = _member(Entry(b"n" * 300, b"data", local_extra=bytes(200)))
    taken = memoryview(data)[: local_header_span(member)]
    assert parse_local_header(taken, member) == 30 + 300 + 200


def test_local_zip64_sizes_are_compared() -> None:
    full = {"local_compressed_size": 0xFFFFFFFF, "local_uncompressed_size": 0xFFFFFFFF}
    member, data = _member(Entry(b"n", b"data", local_extra=zip64_extra(4, 4), **full))  # type: ignore[arg-type]
    assert parse_local_header(memoryview(data), member) == 30 + 1 + 20
    member, data = _member(Entry(b"n", b"data", local_extra=zip64_extra(4, 5), **full))  # type: ignore[arg-type]
    with pytest.raises(BadMember, match=r"compressed size: expected 4 .* found 5"):
        parse_local_header(memoryview(data), member)


def test_difference_names_field_offset_and_both_values() -> None:
    member, data = _member(Entry(b"n", b"data", local_method=8))
    with pytest.raises(
        BadMember, match=r"'n' at offset 0: method: expected 'stored' .* 'deflated'"
    ):
        parse_local_header(memoryview(data), member)


def test_damaged_member_is_refused_with_its_reason() -> None:
    member, data = _member(Entry(b"n", b"data", uncompressed_size=9))
    with pytest.raises(BadMember, match="sizes differ"):
        parse_local_header(memoryview(data), member)


def test_tail_of_a_large_object_is_one_bounded_range() -> None:
    assert plan_tail(1 << 40) == ((1 << 40) - FIRST_TAIL_BYTES, 1 << 40)
    assert plan_tail(22) == (0, 22)
    with pytest.raises(BadArchive, match="at least 22 bytes"):
        plan_tail(21)


def test_directory_before_the_tail_is_located_without_more() -> None:
    """A directory of 900 KiB takes two reads: the tail, then the directory itself."""
    size = 900 * 1024
    data = bytes(100) + end_records(End(), 10_000, 1 << 20, size)
    tail_start = (1 << 20) + size - 100
    padded = bytes(FIRST_TAIL_BYTES - len(data)) + data
    start = tail_start + len(data) - FIRST_TAIL_BYTES
    found = locate_directory(memoryview(padded), start, tail_start + len(data))
    assert found == DirectoryLocation(1 << 20, (1 << 20) + size, 10_000, 0)


def test_zip64_of_terabytes_needs_no_read_but_the_tail() -> None:
    size, offset = 1 << 34, 1 << 42
    end = end_records(End(zip64=True), 1 << 27, offset, size)
    total = offset + size + len(end)
    tail = bytes(FIRST_TAIL_BYTES - len(end)) + end
    found = locate_directory(memoryview(tail), total - len(tail), total)
    assert found == DirectoryLocation(offset, offset + size, 1 << 27, 0, is_zip64=True)


def test_prefix_shifts_every_offset() -> None:
    data = write_zip([Entry(b"n", b"data")], Layout(prefix=b"#" * 1000))
    member = open_index(data).member(1)
    assert member.local_header_offset == 1000
    assert parse_local_header(memoryview(data)[1000:], member) == 31


def test_methods_have_names() -> None:
    assert [method_name(n) for n in (0, 8, 93, 77)] == [
        "stored",
        "deflated",
        "zstd",
        "unknown method 77",
    ]


def test_names_are_decoded_in_one_order() -> None:
    def decode(raw: bytes, **options: object) -> str:
        settings = {"flags": 0, "host": 0, "unicode_path": None, "encoding": None} | options
        return names.decode_name(raw, **settings).decode()  # type: ignore[arg-type]

    accented = "é".encode()
    assert decode(accented) == "├⌐"
    assert decode(accented, host=3) == "é"
    assert decode(b"\x82", host=3) == "é"
    assert decode(accented, flags=1 << 11, unicode_path=b"u", encoding="latin-1") == "é"
    assert decode(accented, unicode_path=b"u", encoding="latin-1") == "u"
    assert decode(accented, unicode_path=b"\xff", encoding="latin-1") == "Ã©"
    assert decode(b"\x90\x5c", encoding="cp932") == "申"


def test_long_names_stay_distinct_and_valid() -> None:
    long = [("é" * 150 + tail).encode() for tail in "ab"]
    first, second = (names.shorten_component(name) for name in long)
    assert first != second
    assert len(first) <= len("é".encode() * 150)
    assert names.is_utf8(first)
    assert len(names.numbered_name(b"n" * 255, 1)) == 255
