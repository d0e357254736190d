"""Odd zips by quirk: `ACCEPTED` with what they hold, `REFUSED` with what the error must name.

`DAMAGED` holds archives in which exactly the members named are unreadable.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from corpus.raw_zip import (
    U16,
    U32,
    End,
    Entry,
    Layout,
    end_records,
    extra,
    unicode_path,
    write_zip,
    zip64_extra,
)

HELLO = Entry(b"hello.txt", b"hello")
Listing = dict[bytes, bytes | None]
HELD: Listing = {b"hello.txt": b"hello"}


def _end(**fields: object) -> Layout:
    return Layout(end=End(**fields))  # type: ignore[arg-type]


def comment_of_65535_bytes() -> bytes:
    return write_zip([HELLO], _end(comment=b"c" * U16))


def two_archives_in_a_row() -> bytes:
    return write_zip([Entry(b"first", b"1")]) + write_zip([HELLO])


def inner_zip_is_stored_last() -> bytes:
    inner = write_zip([Entry(b"inner.txt", b"inner")])
    return write_zip([HELLO, Entry(b"inner.zip", inner)])


def signatures_in_names_extras_and_comments() -> bytes:
    fake = b"PK\x01\x02" + bytes(60)
    entries = [
        Entry(b"PK\x01\x02", b"1", extra=extra(0xCAFE, fake), comment=fake),
        Entry(b"b PK\x05\x06", b"2", comment=b"PK\x01\x02"),
        HELLO,
    ]
    return write_zip(entries)


def entry_count_wrapped() -> bytes:
    """65,537 members without Zip64: the count's two bytes say 1."""
    return write_zip([Entry(b"%05d" % n) for n in range(65537)])


def digital_signature_after_headers() -> bytes:
    signature = b"PK\x05\x05\x03\x00abc"
    central = HELLO.central(0)
    size = len(central) + len(signature)
    body = HELLO.local()
    return body + central + signature + end_records(End(), 1, len(body), size)


def zip64_everywhere() -> bytes:
    entry = Entry(
        b"hello.txt",
        b"hello",
        compressed_size=U32,
        uncompressed_size=U32,
        offset=U32,
        extra=zip64_extra(5, 5, 0),
        local_extra=zip64_extra(5, 5),
    )
    return write_zip([entry], _end(zip64=True))


def zip64_extra_repeats_the_header() -> bytes:
    entry = Entry(
        b"hello.txt",
        b"hello",
        uncompressed_size=U32,
        extra=zip64_extra(5, 5, 0),
        local_uncompressed_size=5,
    )
    return write_zip([entry])


def names_to_be_cleaned() -> bytes:
    names = [b"/abs", b"./dot", b"../up", b"../../a//b/./c", b"x/../y", b"nul\0nul", b"", b"d/.."]
    return write_zip([Entry(name, b"n") for name in names])


def backslashes() -> bytes:
    return write_zip(
        [
            Entry(b"unix\\name", b"n"),
            Entry(b"dos\\name", b"n", host=0),
            Entry(b"ntfs\\dir\\", host=10, attributes=0x10),
        ]
    )


def encodings() -> bytes:
    return write_zip(
        [
            Entry("flagged-é".encode(), b"n", flags=1 << 11),
            Entry(b"flagged-\xff", b"n", flags=1 << 11),
            Entry(b"cp437-\x82", b"n", host=0),
            Entry("unix-é".encode(), b"n"),
            Entry(b"raw1", b"n", extra=unicode_path(b"raw1", "extra-é".encode())),
            Entry(b"raw2", b"n", extra=unicode_path(b"other", b"not-this")),
        ]
    )


def two_unicode_paths() -> bytes:
    """The first counts, and where it does not fit its name there is none."""
    valid, other = unicode_path(b"a", b"one"), unicode_path(b"a", b"two")
    wrong = unicode_path(b"b", b"three", crc=0)
    return write_zip(
        [Entry(b"a", b"n", extra=valid + other), Entry(b"b", b"n", extra=wrong + other)]
    )


def devices_and_setuid() -> bytes:
    kinds = {b"fifo": 0o010644, b"char": 0o020644, b"block": 0o060644, b"socket": 0o140644}
    entries = [Entry(name, attributes=mode << 16) for name, mode in kinds.items()]
    return write_zip([*entries, Entry(b"setuid", b"n", attributes=0o106755 << 16)])


def link_and_target() -> bytes:
    return write_zip([HELLO, Entry(b"link", b"hello.txt", attributes=0o120777 << 16)])


def malformed_extras() -> bytes:
    return write_zip(
        [
            Entry(b"short", b"n", extra=b"\x01"),
            Entry(b"past", b"n", extra=struct.pack("<2H", 0x5455, 500) + b"\1"),
            Entry(b"many", b"n", extra=extra(0xABCD, b"") * 1000),
            Entry(b"unneeded", b"n", extra=zip64_extra(99, 99)),
        ]
    )


def file_and_directory_of_one_name() -> bytes:
    return write_zip([Entry(b"a", b"file"), Entry(b"a/b", b"in"), Entry(b"a (1)", b"taken")])


def duplicates() -> bytes:
    return write_zip([Entry(b"a", b"first"), Entry(b"b", b"n"), Entry(b"a", b"last")])


def two_headers_of_one_member() -> bytes:
    """Two central headers, alike to the last bit (commons-compress, COMPRESS-227)."""
    body, central = HELLO.local(), HELLO.central(0) * 2
    return body + central + end_records(End(), 2, len(body), len(central))


def two_names_of_one_member() -> bytes:
    """Only the name in the local header reads it."""
    body = HELLO.local()
    central = HELLO.central(0) + Entry(b"hollo.txt", b"hello").central(0)
    return body + central + end_records(End(), 2, len(body), len(central))


def standard_input() -> bytes:
    """`zip -` takes its input for a FIFO, and has its data."""
    return write_zip([Entry(b"-", b"piped", attributes=0o010600 << 16)])


def data_descriptors() -> bytes:
    crc = Entry(b"", b"hello").sizes()[0]
    with_signature = b"PK\x07\x08" + struct.pack("<3L", crc, 5, 5)
    zeros = {"local_crc": 0, "local_compressed_size": 0, "local_uncompressed_size": 0}
    return write_zip(
        [
            Entry(b"with", b"hello", flags=8, descriptor=with_signature, **zeros),  # type: ignore[arg-type]
            Entry(b"without", b"hello", flags=8, descriptor=with_signature[4:], **zeros),  # type: ignore[arg-type]
            # With bit 3 the central directory wins over the local method too.
            Entry(b"method", b"hello", flags=8, descriptor=with_signature, local_method=8, **zeros),  # type: ignore[arg-type]
        ]
    )


def long_components() -> bytes:
    wide = "é".encode() * 200
    return write_zip([Entry(wide + b"/x", b"1", flags=1 << 11), Entry(b"a" * 255, b"2")])


ACCEPTED: dict[Callable[[], bytes], Listing] = {
    lambda: write_zip([]): {},
    comment_of_65535_bytes: HELD,
    lambda: write_zip([HELLO], Layout(junk=b"\r\n" * 100)): HELD,
    lambda: write_zip([HELLO], Layout(prefix=b"#!/bin/sh\n" * 50)): HELD,
    lambda: write_zip([HELLO], Layout(prefix=b"MZ" * 50, junk=b"signed")): HELD,
    lambda: write_zip([HELLO], Layout(gap=b"signing block")): HELD,
    two_archives_in_a_row: HELD,
    signatures_in_names_extras_and_comments: {
        b"PK\x01\x02": b"1",
        b"b PK\x05\x06": b"2",
        b"hello.txt": b"hello",
    },
    digital_signature_after_headers: HELD,
    zip64_everywhere: HELD,
    zip64_extra_repeats_the_header: HELD,
    lambda: write_zip([HELLO], _end(zip64=True, entry_count=1, entries_on_disk=1)): HELD,
    lambda: write_zip([HELLO], _end(zip64=True, zip64_extensible=b"e" * 100)): HELD,
    lambda: write_zip([HELLO], Layout(prefix=b"MZ" * 99, end=End(zip64=True))): HELD,
    backslashes: {
        b"unix\\name": b"n",
        b"dos/": None,
        b"dos/name": b"n",
        b"ntfs/": None,
        b"ntfs/dir/": None,
    },
    encodings: {
        "flagged-é".encode(): b"n",
        b"flagged-\xff": b"n",
        "cp437-é".encode(): b"n",
        "unix-é".encode(): b"n",
        "extra-é".encode(): b"n",
        b"raw2": b"n",
    },
    names_to_be_cleaned: {
        b"abs": b"n",
        b"dot": b"n",
        b"up": b"n",
        b"a/": None,
        b"a/b/": None,
        b"a/b/c": b"n",
    },
    two_unicode_paths: {b"one": b"n", b"b": b"n"},
    devices_and_setuid: {b"setuid": b"n"},
    link_and_target: {b"hello.txt": b"hello", b"link": b"hello.txt"},
    malformed_extras: {b"short": b"n", b"past": b"n", b"many": b"n", b"unneeded": b"n"},
    file_and_directory_of_one_name: {
        b"a/": None,
        b"a/b": b"in",
        b"a (1)": b"taken",
        b"a (2)": b"file",
    },
    two_headers_of_one_member: HELD,
    standard_input: {b"-": b"piped"},
    duplicates: {b"a": b"last", b"b": b"n"},
    data_descriptors: {b"with": b"hello", b"without": b"hello", b"method": b"hello"},
}


def _nested_comment() -> bytes:
    inner = write_zip([Entry(b"inner", b"i")])
    return write_zip([HELLO], _end(comment=inner))


def _zip64_points_elsewhere() -> bytes:
    """CVE-2025-8291: a second Zip64 record stands where the locator points."""
    decoy = end_records(End(zip64=True), 0, 0, 0)[:56]
    entry = Entry(b"hello.txt", b"hello")
    body = decoy + entry.local()
    central = entry.central(len(decoy))
    end = End(zip64=True, zip64_record_offset=0)
    return body + central + end_records(end, 1, len(body), len(central))


def _archive_in_comment_ends_short() -> bytes:
    """Only the outer record ends with the object, but most readers take the last signature."""
    inner = write_zip([Entry(b"inner", b"i")])
    return write_zip([HELLO], _end(comment=inner + b"."))


def _archive_in_comment_repeats_the_outer() -> bytes:
    """The inner one's recorded offset is that of the outer directory (fastzip malo, zipinzip)."""
    inner, outer = write_zip([Entry(b"inner", b"i")]), Entry(b"outer", b"o")
    body, central = outer.local(), outer.central(0)
    end = end_records(End(comment=inner), 1, len(body), len(central))
    return body + central + end


def _directory_at_recorded_offset_too() -> bytes:
    """One directory for who takes offsets as they are, one for who takes the adjacent."""
    first, second = Entry(b"first", b"1" * 99), Entry(b"other", b"2")
    body = first.local() + second.local()
    one = first.central(0)
    two = second.central(len(first.local()) - len(one))
    return body + one + two + end_records(End(), 1, len(body), len(two))


REFUSED: dict[Callable[[], bytes], str] = {
    lambda: b"": "at least 22 bytes",
    lambda: b"not a zip at all, but long enough": "not a zip, or cut off",
    lambda: write_zip([HELLO])[:-1]: "not a zip, or cut off",
    lambda: write_zip([HELLO], _end(comment=b"comment"))[:-1]: "cut off",
    lambda: write_zip([HELLO], Layout(prefix=b"PK\3\4", junk=b"j")): "foreign bytes before",
    lambda: write_zip([HELLO], Layout(prefix=b"MZ" * 99999, junk=b"j")): "foreign bytes before",
    lambda: inner_zip_is_stored_last()[:-10]: "",
    _nested_comment: "expected one that validates, found 2",
    _archive_in_comment_ends_short: "expected one that validates, found 2",
    _archive_in_comment_repeats_the_outer: "expected one that validates, found 2",
    _directory_at_recorded_offset_too: "expected one directory, found one at",
    lambda: write_zip([HELLO], _end(zip64=True, zip64_record_offset=0)): "expected the record at",
    _zip64_points_elsewhere: "Zip64 end of central directory locator",
    lambda: write_zip([HELLO], _end(zip64=True, zip64_record_offset=1 << 60)): "expected the rec",
    lambda: write_zip([HELLO], _end(zip64=True, zip64_entry_count=1 << 40)): "entry count",
    lambda: write_zip([HELLO], _end(zip64=True, entry_count=2, entries_on_disk=2)): "entries on",
    lambda: write_zip([HELLO], _end(zip64=True, zip64_size=1 << 63)): "directory size",
    lambda: write_zip([HELLO], _end(zip64=True, disk_count=2)): "split",
    lambda: write_zip([HELLO], _end(entry_count=2, entries_on_disk=2)): "found 2",
    lambda: write_zip([HELLO], _end(entries_on_disk=0, entry_count=0)): "expected 0 headers",
    lambda: write_zip([HELLO], _end(size=U32, offset=U32)): "directory size",
    lambda: write_zip([HELLO], _end(size=46)): "expected signature",
    lambda: write_zip([HELLO], _end(size=0)): "entry count",
    lambda: write_zip([HELLO], _end(offset=5000)): "directory offset",
    lambda: write_zip([HELLO], _end(disk=1, directory_disk=1)): "split",
    lambda: write_zip([HELLO], _end(gap=b"gap")): "expected signature",
    lambda: b"x" * 100 + write_zip([]): "empty archive",
    lambda: write_zip([HELLO, HELLO]).replace(b"PK\x01\x02", b"PK\x01\x03"): "expected signature",
}


def overlapping() -> bytes:
    """Two members that share one local header and its data."""
    return write_zip([Entry(b"hello.txt", b"hello", offset=0), Entry(b"other", b"x", offset=10)])


def quoted_overlap() -> bytes:
    """The data of `a` quotes the whole of `b` (Fifield's better zip bomb; CVE-2024-0450)."""
    kernel = Entry(b"b", b"kernel")
    quote = kernel.local()
    outer = Entry(b"a", quote)
    body = outer.local()
    central = outer.central(0) + kernel.central(len(body) - len(quote))
    return body + central + end_records(End(), 2, len(body), len(central))


def _lying(**fields: object) -> Callable[[], bytes]:
    return lambda: write_zip([Entry(b"bad", b"data", **fields), HELLO])  # type: ignore[arg-type]


# Archive -> the members that must fail, of those that it lists.
DAMAGED: dict[Callable[[], bytes], set[bytes]] = {
    overlapping: {b"hello.txt", b"other"},
    quoted_overlap: {b"a", b"b"},
    two_names_of_one_member: {b"hollo.txt"},
    _lying(local_name=b"bar"): {b"bad"},
    _lying(local_name=b"longer name"): {b"bad"},
    _lying(local_signature=b"PK\x03\x05"): {b"bad"},
    _lying(local_method=8): {b"bad"},
    _lying(local_crc=1): {b"bad"},
    _lying(local_compressed_size=3): {b"bad"},
    _lying(local_uncompressed_size=5): {b"bad"},
    _lying(local_flags=1): {b"bad"},
    _lying(crc=1): {b"bad"},
    _lying(method=8, uncompressed_size=3): {b"bad"},
    _lying(method=8, uncompressed_size=5): {b"bad"},
    _lying(method=8, body=b"\xff\xff\xff"): {b"bad"},
    _lying(uncompressed_size=5): {b"bad"},
    _lying(disk=1): {b"bad"},
    _lying(uncompressed_size=U32): {b"bad"},
    _lying(uncompressed_size=U32, compressed_size=U32, extra=zip64_extra(4)): {b"bad"},
    _lying(uncompressed_size=U32, extra=zip64_extra(4, 9, 9)): {b"bad"},
    _lying(uncompressed_size=U32, extra=zip64_extra(4) + zip64_extra(5)): {b"bad"},
    _lying(compressed_size=10**9, uncompressed_size=10**9): {b"bad"},
    _lying(offset=U32 - 1): {b"bad"},
    _lying(offset=U32, extra=zip64_extra((1 << 64) - 1)): {b"bad"},
    _lying(
        compressed_size=U32, uncompressed_size=U32, extra=zip64_extra((1 << 64) - 1, (1 << 64) - 1)
    ): {b"bad"},
}
