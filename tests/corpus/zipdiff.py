"""Zips that two readers take for two archives, by the types of the ZipDiff paper.

You et al., "My ZIP isn't your ZIP: Identifying and Exploiting Semantic Gaps Between ZIP Parsers"
(USENIX Security 2025), names 14 types. For each the cases below say what is shown here: the
content by name, the error of a member, or that of the archive. Three rules decide them all:

- the central directory is the truth, and a local header that contradicts it is damage (A1-A5);
- names have one fixed reading, and of those that meet the last wins (B1-B4);
- there must be exactly one directory that any reader could mean (C1-C5).
"""

from __future__ import annotations

import itertools
import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from corpus.raw_zip import (
    U32,
    End,
    Entry,
    Layout,
    end_records,
    unicode_path,
    write_zip,
    zip64_extra,
)


@dataclass(frozen=True)
class Damaged:
    """The member is listed, and fails with this in the text of BadMember."""

    because: str


@dataclass(frozen=True)
class Refused:
    """The archive is not opened, with this in the text of BadArchive."""

    because: str


ENCRYPTED = object()  # listed, and open says UnsupportedMember
DIRECTORY = object()

Members = Mapping[str, object]  # bytes, Damaged, ENCRYPTED or DIRECTORY by path
Case = tuple[bytes, Members | Refused]


def cases() -> dict[str, Case]:
    """All by name, which begins with the type's."""
    return {
        name: case
        for maker in (_a1, _a2, _a3, _a4, _a5, _b1, _b2, _b3, _b4, _c1, _c2, _c3, _c4, _c5)
        for name, case in maker()
    }


Cases = Iterator[tuple[str, Case]]


def _a1() -> Cases:
    """Compression method: the local header's or the central's."""
    content = b"content " * 9
    for central, local in ((8, 0), (0, 8)):
        entry = Entry(b"f", content, method=central, local_method=local)
        yield (
            f"A1 local method {local}, central {central}",
            (
                write_zip([entry]),
                {"f": Damaged("method: expected")},
            ),
        )


def _a2() -> Cases:
    """Sizes: local, central, Zip64 or data descriptor."""
    for field in ("local_compressed_size", "local_uncompressed_size"):
        for method in (0, 8):
            lie: dict[str, Any] = {field: 0}
            entry = Entry(b"f", b"content", method=method, **lie)
            yield (
                f"A2 {field} 0, method {method}",
                (
                    write_zip([entry]),
                    {"f": Damaged("compressed size: expected")},
                ),
            )
    for method in (0, 8):
        plain = Entry(b"f", b"content", method=method)
        for layout in ("<2L", "<2Q"):
            # The descriptor says that nothing is there; readers of streams believe it.
            sizes = struct.pack(layout, 0, 0)
            descriptor = b"PK\x07\x08" + struct.pack("<L", plain.sizes()[0]) + sizes
            entry = Entry(b"f", b"content", method=method, flags=8, descriptor=descriptor)
            yield (
                f"A2 descriptor of zeros in {len(descriptor)} bytes, method {method}",
                (
                    write_zip([entry]),
                    {"f": b"content"},
                ),
            )
    short = Entry(b"f", b"content", method=8, compressed_size=0, local_compressed_size=9)
    yield "A2 central compressed size 0", (write_zip([short]), {"f": Damaged("")})
    stored = Entry(b"f", b"content", uncompressed_size=0)
    yield (
        "A2 central uncompressed size 0, stored",
        (
            write_zip([stored]),
            {"f": Damaged("sizes differ")},
        ),
    )
    deflated = Entry(b"f", b"content", method=8, uncompressed_size=0)
    yield "A2 central uncompressed size 0, deflated", (write_zip([deflated]), {"f": Damaged("")})
    # CRC-32 of this content is that of none, so that nothing but the sizes tells.
    hidden = Entry(b"f", with_crc_of_nothing(b"hidden"))
    size = len(hidden.data)  # as the local header says, without bit 3
    empty = replace(hidden, compressed_size=0, uncompressed_size=0)
    empty = replace(empty, local_compressed_size=size, local_uncompressed_size=size)
    yield "A2 hidden behind two central zeros", (write_zip([empty]), {"f": Damaged("size")})
    twice = Entry(
        b"f",
        b"content",
        compressed_size=U32,
        uncompressed_size=U32,
        extra=zip64_extra(7, 7) + zip64_extra(0, 0),
        local_compressed_size=7,
        local_uncompressed_size=7,
    )
    yield "A2 two Zip64 extras", (write_zip([twice]), {"f": Damaged("two of them")})
    beyond = Entry(b"f", b"content", extra=zip64_extra(0, 0))
    yield "A2 Zip64 extra that nothing defers to", (write_zip([beyond]), {"f": b"content"})


def _a3() -> Cases:
    """File name: local, central, or a Unicode path of one of them."""
    yield (
        "A3 local name",
        (
            write_zip([Entry(b"one", b"n", local_name=b"two")]),
            {"one": Damaged("name: expected")},
        ),
    )
    entry = Entry(b"raw", b"n", extra=unicode_path(b"raw", b"central"))
    entry.local_extra = unicode_path(b"raw", b"local")
    yield "A3 Unicode paths of both headers", (write_zip([entry]), {"central": b"n"})
    for version in (0, 2):
        other = bytearray(unicode_path(b"raw", b"other"))
        other[4] = version
        yield (
            f"A3 Unicode path of version {version}",
            (
                write_zip([Entry(b"raw", b"n", extra=bytes(other))]),
                {"raw": b"n"},
            ),
        )
    wrong = unicode_path(b"raw", b"other", crc=0)
    first, second = unicode_path(b"raw", b"first"), unicode_path(b"raw", b"second")
    of_first = unicode_path(b"first", b"second")
    for what, extras, shown in (
        ("of another name", wrong, "raw"),
        ("twice", first + second, "first"),
        ("twice, the first wrong", wrong + second, "raw"),
        ("of a Unicode path", first + of_first, "first"),
    ):
        yield (
            f"A3 Unicode path {what}",
            (
                write_zip([Entry(b"raw", b"n", extra=extras)]),
                {shown: b"n"},
            ),
        )
    yield (
        "A3 Unicode path beside bit 11",
        (
            write_zip([Entry(b"raw", b"n", flags=1 << 11, extra=first)]),
            {"raw": b"n"},
        ),
    )


def _a4() -> Cases:
    """File or directory: the slash, MS-DOS or Unix attributes."""
    yield "A4 slash, with data", (write_zip([Entry(b"d/", b"data")]), {"d/": DIRECTORY})
    yield "A4 slash", (write_zip([Entry(b"d/")]), {"d/": DIRECTORY})
    for host, shown in ((0, {"d/": DIRECTORY}), (3, {"d\\": b"data"})):
        yield f"A4 backslash, host {host}", (write_zip([Entry(b"d\\", b"data", host=host)]), shown)
    for host, attributes in itertools.product((0, 3, 19), (0x10, 0o040755 << 16)):
        # Data is not thrown away: who has some is a file, whatever the attributes are.
        yield (
            f"A4 attributes {attributes:#x} with data, host {host}",
            (
                write_zip([Entry(b"f", b"data", host=host, attributes=attributes)]),
                {"f": b"data"},
            ),
        )
        means_directory = (host == 0) == (attributes == 0x10)
        yield (
            f"A4 attributes {attributes:#x}, host {host}",
            (
                write_zip([Entry(b"f", host=host, attributes=attributes)]),
                {"f/": DIRECTORY} if means_directory else {"f": b""},
            ),
        )


def _a5() -> Cases:
    """Encryption: the local flag or the central one."""
    yield (
        "A5 local bit 0",
        (
            write_zip([Entry(b"f", b"n", local_flags=1)]),
            {"f": Damaged("encryption: expected")},
        ),
    )
    yield (
        "A5 central bit 0",
        (
            write_zip([Entry(b"f", b"n", flags=1, local_flags=0)]),
            {"f": ENCRYPTED},
        ),
    )
    yield (
        "A5 one of two",
        (
            write_zip([Entry(b"f", b"n", flags=1), Entry(b"g", b"n")]),
            {"f": ENCRYPTED, "g": b"n"},
        ),
    )


def _b1() -> Cases:
    """Duplicate names."""
    yield "B1", (write_zip([Entry(b"f", b"first"), Entry(b"f", b"last")]), {"f": b"last"})


def _b2() -> Cases:
    """Special bytes in names: each is shown as it is, but for separators and NUL."""
    for host in (0, 3):
        data = write_zip([Entry(b"a%cb" % byte, b"n", host=host) for byte in range(256)])
        shown: dict[str, object] = {}
        for byte in range(1, 256):
            decoded = bytes([byte]).decode("cp437")
            if byte == 0x2F or (byte == 0x5C and host == 0):
                shown["a/b"] = b"n"
            else:
                shown[f"a{decoded}b"] = b"n"
        yield f"B2 each byte, host {host}", (data, shown)


def _b3() -> Cases:
    """Paths that are one after cleaning."""
    for path in ("/a/b", "a//b", "./a/b", "a/./b", "../a/b", "../../a/b", "//a///b"):
        for order in (1, -1):
            entries = [Entry(b"a/b", b"1"), Entry(path.encode(), b"2")][::order]
            yield (
                f"B3 {path}, {'last' if order > 0 else 'first'}",
                (
                    write_zip(entries),
                    {"a/b": b"2" if order > 0 else b"1"},
                ),
            )
    for path in ("c/../a/b", "a/b/../../a/b", "a/.."):
        yield (
            f"B3 {path}",
            (
                write_zip([Entry(b"a/b", b"1"), Entry(path.encode(), b"2")]),
                {"a/b": b"1"},
            ),
        )
    for path in (".../a/b", "a/.../b", "a\\b", "a/b "):
        yield (
            f"B3 {path}",
            (
                write_zip([Entry(b"a/b", b"1"), Entry(path.encode(), b"2")]),
                {"a/b": b"1", path: b"2"},
            ),
        )
    yield (
        "B3 a\\b of MS-DOS",
        (
            write_zip([Entry(b"a/b", b"1"), Entry(b"a\\b", b"2", host=0)]),
            {"a/b": b"2"},
        ),
    )
    yield (
        "B3 a/b/.",
        (
            write_zip([Entry(b"a/b", b"1"), Entry(b"a/b/.", b"2")]),
            {"a/b (1)": b"1", "a/b/": DIRECTORY},
        ),
    )


def _b4() -> Cases:
    """Names that differ in case, or in Unicode's normal form."""
    yield (
        "B4 case",
        (
            write_zip([Entry(b"f.txt", b"1"), Entry(b"f.TXT", b"2")]),
            {"f.txt": b"1", "f.TXT": b"2"},
        ),
    )
    composed, decomposed = "\u00e9", "e\u0301"
    yield (
        "B4 normal form",
        (
            write_zip([Entry(composed.encode(), b"1"), Entry(decomposed.encode(), b"2")]),
            {composed: b"1", decomposed: b"2"},
        ),
    )


def _c1() -> Cases:
    """Who reads the stream of local headers sees other members than the directory's."""
    a, b, c = (Entry(name, name) for name in (b"a", b"b", b"c"))
    body = a.local() + b.local()
    yield (
        "C1 local header without a central one",
        (
            body + a.central(0) + end_records(End(), 1, len(body), len(a.central(0))),
            {"a": b"a"},
        ),
    )
    fake = a.central(0) + end_records(End(), 1, len(a.local()), len(a.central(0)))
    yield (
        "C1 end of an archive inside data",
        (
            write_zip([Entry(b"a", fake), b]),
            {"a": fake, "b": b"b"},
        ),
    )
    # b stands in the comment of c's header, inside the directory.
    body = a.local() + c.local()
    offset = len(body) + len(a.central(0)) + len(c.central(0))
    commented = Entry(b"c", b"c", comment=b.local())
    central = a.central(0) + commented.central(len(a.local())) + b.central(offset)
    yield (
        "C1 member inside the directory",
        (
            body + central + end_records(End(), 3, len(body), len(central)),
            {"a": b"a", "b": Damaged("pass the start of the central directory"), "c": b"c"},
        ),
    )
    outer = Entry(b"outer", b.local())
    inner_at = len(outer.local()) - len(b.local())
    body = outer.local()
    for what, central in (
        ("alone", b.central(inner_at)),
        ("beside its quotation", b.central(inner_at) + outer.central(0)),
    ):
        count = 1 if what == "alone" else 2
        yield (
            f"C1 member that another one quotes, {what}",
            (
                body + central + end_records(End(), count, len(body), len(central)),
                {"b": b"b"}
                if count == 1
                else dict.fromkeys(("b", "outer"), Damaged("overlap those of another member")),
            ),
        )
    # Readers of streams end a stored member at what looks like its descriptor.
    crc, size = zlib.crc32(b"x"), struct.pack("<2L", 1, 1)
    decoy = b"x" + b"PK\x07\x08" + struct.pack("<L", crc) + size + b.local()
    streamed = Entry(b"a", decoy, flags=8, local_crc=0)
    streamed.local_compressed_size = streamed.local_uncompressed_size = 0
    yield (
        "C1 descriptor and header inside stored data",
        (
            write_zip([streamed, c]),
            {"a": decoy, "c": b"c"},
        ),
    )


def _c2() -> Cases:
    """Which end of central directory record."""
    ambiguous = Refused("expected one that validates, found")
    for change in (0, 1, -1):
        # Three archives in a row; the comment of each is what follows it, give or take a byte.
        first, second, third = (write_zip([Entry(n, n)]) for n in (b"a", b"b", b"c"))
        third = write_zip([Entry(b"c", b"c")])[:-2] + struct.pack("<H", 1 + change) + b"."
        second = second[:-2] + struct.pack("<H", len(third)) + third
        first = first[:-2] + struct.pack("<H", len(second) + change) + second
        yield f"C2 three archives, comments {change:+} bytes", (first, ambiguous)
    inner = write_zip([Entry(b"inner", b"i")])
    outer = write_zip([Entry(b"a", b"a"), Entry(b"b.zip", inner)])
    yield "C2 archive as the last member", (outer, {"a": b"a", "b.zip": inner})
    yield (
        "C2 record without a directory in the comment",
        (
            write_zip([Entry(b"a", b"a")], _end(comment=end_records(End(), 3, 1 << 20, 1 << 20))),
            {"a": b"a"},
        ),
    )


def _c3() -> Cases:
    """How many headers: the count or the directory's size."""
    entries = [Entry(b"a", b"a"), Entry(b"b", b"b")]
    size = len(entries[0].central(0))
    counts: tuple[dict[str, int], ...] = (
        {"entry_count": 1},
        {"entries_on_disk": 1},
        {"entry_count": 1, "entries_on_disk": 1},
        {"size": size},
        {"size": size, "entry_count": 1},
        {"size": size, "entry_count": 1, "entries_on_disk": 1},
        {"entry_count": 3, "entries_on_disk": 3},
    )
    for fields in counts:
        yield (
            f"C3 {', '.join(fields)}",
            (
                write_zip(entries, _end(**fields)),
                Refused(""),
            ),
        )


def _c4() -> Cases:
    """Which directory: the adjacent one, or the one at the recorded offset."""
    yield "C4", (_two_directories(zip64=False), Refused("expected one directory, found one at"))


def _two_directories(*, zip64: bool) -> bytes:
    """Both have one header of one size; offsets lack the size of the second and its member."""
    first, second = Entry(b"first", b"1" * 99), Entry(b"other", b"2" * 99)
    body, one = first.local(), first.central(0)
    base = len(one) + len(second.local())
    two = second.central(len(body) + len(one) - base)
    end = end_records(End(zip64=zip64), 1, len(body), len(two))
    if zip64:  # the locator, as all offsets, lacks the base
        whole = body + one + second.local() + two
        record = end[:56]
        locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, len(whole) - base, 1)
        return whole + record + locator + end[76:]
    return body + one + second.local() + two + end


def _c5() -> Cases:
    """Zip64: which record, which of its fields."""
    entries = [Entry(b"a", b"a"), Entry(b"b", b"b")]
    both: Members = {"a": b"a", "b": b"b"}
    yield "C5 all deferred", (write_zip(entries, _end(zip64=True)), both)
    size = sum(len(e.central(0)) for e in entries)
    same = {"entry_count": 2, "entries_on_disk": 2, "size": size}
    yield "C5 nothing deferred, all equal", (write_zip(entries, _end(zip64=True, **same)), both)
    for field, value in (
        ("entry_count", 1),
        ("entries_on_disk", 1),
        ("size", size - 1),
        ("offset", 0),
        ("disk", 1),
        ("zip64_entry_count", 1),
        ("zip64_size", size // 2),
        ("zip64_offset", 1),
        ("zip64_record_offset", 0),
        ("disk_count", 2),
    ):
        yield (
            f"C5 {field} differs",
            (
                write_zip(entries, _end(zip64=True, **{field: value})),
                Refused(""),
            ),
        )
    # Behind a gap the locator is none: who searches for it sees another archive.
    narrow = write_zip(entries)
    records: bytes = end_records(End(zip64=True), 1, 0, len(entries[0].central(0)))[:76]
    yield (
        "C5 gap behind the locator",
        (
            write_zip(
                [entries[0], Entry(b"b", b"b", comment=records + b"\0")],
            ),
            both,
        ),
    )
    yield (
        "C5 locator without its record",
        (
            narrow[:-22] + struct.pack("<4sLQL", b"PK\x06\x07", 0, 0, 1) + narrow[-22:],
            Refused("Zip64 end of central directory record: expected at offset"),
        ),
    )
    yield (
        "C5 record inside the extensible data of another",
        (
            _record_in_extensible_data(),
            Refused("expected signature"),
        ),
    )
    yield (
        "C5 two directories",
        (
            _two_directories(zip64=True),
            Refused("expected one directory, found one at"),
        ),
    )


def _record_in_extensible_data() -> bytes:
    """The locator names the outer record; the adjacent one is inside its extensible data."""
    a, b = Entry(b"a", b"a"), Entry(b"b", b"b")
    body = a.local() + b.local()
    first, second = a.central(0), b.central(len(a.local()))
    hidden = end_records(End(zip64=True), 1, len(body) + len(first), len(second))[:56]
    data = struct.pack("<HL", 0x1337, len(hidden)) + hidden
    outer_at = len(body) + len(first) + len(second)
    end = End(zip64=True, zip64_extensible=data, zip64_record_offset=outer_at)
    return body + first + second + end_records(end, 2, len(body), len(first) + len(second))


def with_crc_of_nothing(content: bytes) -> bytes:
    """The content and four bytes that make its CRC-32 zero, that of no bytes at all."""
    table = [_crc_entry(number) for number in range(256)]
    by_top = {entry >> 24: number for number, entry in enumerate(table)}
    register = U32  # what it must be in the end, then before each of the four bytes
    for _ in range(4):
        number = by_top[register >> 24]
        register = ((register ^ table[number]) << 8) & U32 | number
    patch = register ^ zlib.crc32(content) ^ U32
    return content + patch.to_bytes(4, "little")


def _crc_entry(value: int) -> int:
    for _ in range(8):
        value = (value >> 1) ^ (0xEDB88320 if value & 1 else 0)
    return value


def size_matrix() -> Iterator[tuple[Entry, bytes]]:
    """A2 in full: each size 0 or true in either header, deferred to Zip64 or not, with all kinds
    of descriptors; 4,608 members, and what each holds."""
    content = with_crc_of_nothing(b"test")
    for method in (0, 8):
        plain = Entry(b"f", content, method=method)
        crc, packed, full = plain.sizes()
        zeros = itertools.product((False, True), repeat=4)
        wides = itertools.product((False, True), repeat=4)
        descriptors = [None, *itertools.product((0, packed), (0, full), ("<2L", "<2Q"))]
        for zero, wide, sizes in itertools.product(list(zeros), list(wides), descriptors):
            entry = Entry(b"f", content, method=method, crc=crc)
            values = [0 if z else v for z, v in zip(zero, (packed, full) * 2, strict=True)]
            if sizes is not None:
                entry.flags = 8
                entry.descriptor = b"PK\x07\x08" + struct.pack("<L", crc)
                entry.descriptor += struct.pack(sizes[2], sizes[0], sizes[1])
            entry.local_compressed_size, entry.local_uncompressed_size = (
                U32 if w else v for v, w in zip(values[:2], wide[:2], strict=True)
            )
            entry.compressed_size, entry.uncompressed_size = (
                U32 if w else v for v, w in zip(values[2:], wide[2:], strict=True)
            )
            # Uncompressed first (4.5.3).
            entry.local_extra = _deferred(values[1::-1], wide[1::-1])
            entry.extra = _deferred(values[3:1:-1], wide[3:1:-1])
            yield entry, content


def _deferred(values: list[int], wide: tuple[bool, ...]) -> bytes:
    chosen = [v for v, w in zip(values, wide, strict=True) if w]
    return zip64_extra(*chosen) if chosen else b""


def _end(**fields: Any) -> Layout:
    return Layout(end=End(**fields))
