"""Packed READDIRPLUS replies are byte for byte those of libfuse."""

from __future__ import annotations

import ctypes as c
import io
import zipfile

import mfusepy
import pytest

from s3zipfs.fuse import lowlevel as ll
from s3zipfs.fuse import protocol as p
from s3zipfs.fuse.answers import PREFERRED_READ, Answers
from s3zipfs.fuse.direntries import Stamp, pack
from s3zipfs.fuse.inodes import Inodes
from s3zipfs.fuse.shown import Shown
from s3zipfs.stores.base import ObjectId, ObjectInfo
from s3zipfs.tree.nodes import FOREVER, Attributes, Buckets, Kind, Member
from s3zipfs.zipformat.index import MemberIndex, build_index
from s3zipfs.zipformat.plan import DirectoryLocation, locate_directory

INFO = ObjectInfo(ObjectId("memory:", "lab", "x.zip", '"1"'), 1, 0.0)

as_shown = pytest.mark.parametrize(
    "shown", [Shown(7, 8, 0o027), Shown(0, 9, 0o077, file_mode=0o640, dir_mode=0o751)]
)


def index_of(*names: str) -> MemberIndex:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for number, name in enumerate(names):
            info = zipfile.ZipInfo(name, (1980 + number % 100, 1, 2, 3, 4, 6))
            info.external_attr = (0o100755 if number % 3 else 0o100600) << 16
            archive.writestr(info, bytes(number * 700))
    data = memoryview(buffer.getvalue())
    location = locate_directory(data, 0, len(data))
    assert isinstance(location, DirectoryLocation)
    return build_index(data[location.start : location.end], location)


class Entry(c.Structure):
    """`struct fuse_entry_param` of fuse_lowlevel.h."""

    _fields_ = (
        ("ino", c.c_uint64),
        ("generation", c.c_uint64),
        ("attr", mfusepy.c_stat),
        ("attr_timeout", c.c_double),
        ("entry_timeout", c.c_double),
    )


def expected_mode(attributes: Attributes, shown: Shown) -> int:
    permissions = attributes.permissions & ~shown.umask
    if attributes.kind is Kind.DIRECTORY and shown.dir_mode is not None:
        permissions = shown.dir_mode
    if attributes.kind is Kind.FILE and shown.file_mode is not None:
        permissions = shown.file_mode
    return attributes.kind | permissions


def entry_of(inode: int, attributes: Attributes, answers: Answers) -> Entry:
    entry = Entry(ino=inode, entry_timeout=FOREVER, attr_timeout=FOREVER)
    answer = entry.attr
    answer.st_ino, answer.st_nlink, answer.st_size = inode, 1, attributes.size
    answer.st_mode = expected_mode(attributes, answers.shown)
    answer.st_uid, answer.st_gid = answers.shown.uid, answers.shown.gid
    answer.st_blksize, answer.st_blocks = PREFERRED_READ, (attributes.size + 511) // 512
    for time_of in (answer.st_mtimespec, answer.st_ctimespec, answer.st_atimespec):
        time_of.tv_sec = int(attributes.modified)
        time_of.tv_nsec = int(attributes.modified % 1 * 1e9)
    return entry


def add_direntry_plus(
    buffer: c.Array[c.c_char], used: int, name: bytes, entry: Entry, offset: int
) -> int:
    function = ll.lib.fuse_add_direntry_plus
    function.restype = c.c_size_t
    function.argtypes = [
        c.c_void_p,
        c.c_void_p,
        c.c_size_t,
        c.c_char_p,
        c.POINTER(Entry),
        c.c_int64,
    ]
    place = c.addressof(buffer) + used, len(buffer) - used
    return int(function(None, *place, name, c.byref(entry), offset))


def by_libfuse(
    index: MemberIndex, numbers: range, room: int, first: int, answers: Answers
) -> bytes:
    buffer, used = c.create_string_buffer(room + 400), 0
    for offset, number in enumerate(numbers, 1):
        mode = index.mode(number)
        kind = Kind.DIRECTORY if index.is_directory(number) else Kind.FILE
        permissions = 0o555 if mode & 0o111 else 0o444
        attributes = Attributes(kind, index.size(number), permissions, index.modified(number))
        entry = entry_of(first + offset - 1, attributes, answers)
        needed = add_direntry_plus(buffer, used, index.name(number), entry, offset + 6)
        if used + needed > room:
            break
        used += needed
    return buffer.raw[:used]


@as_shown
def test_packed_entries_equal_those_of_libfuse(shown: Shown) -> None:
    names = ["a", "bb/c", "d" * 255, "é" * 20, *(f"file-{'x' * (n % 9)}{n}" for n in range(100))]
    index = index_of(*names)
    inodes = Inodes(Buckets())
    answers = Answers(inodes, shown)
    stamp = Stamp(answers.shown, PREFERRED_READ, int(FOREVER))
    for numbers in (index.children(0), index.children(0)[5:], index.children(0)[:1]):
        first = inodes.number(Member(INFO, numbers.start))
        for room in (0, 100, 160, 200, 1000, 4096, 100_000):
            packed, count = pack(index, numbers, room, first_inode=first, offset=6, stamp=stamp)
            expected = by_libfuse(index, numbers, room, first, answers)
            assert packed.tobytes() == expected
            assert len(packed) <= room
            assert count <= len(numbers)
            assert (count == len(numbers)) == (
                room == 100_000 or (len(numbers) == 1 and room >= 160)
            )


@as_shown
def test_single_entries_equal_those_of_libfuse(shown: Shown) -> None:
    inodes = Inodes(Buckets())
    answers = Answers(inodes, shown)
    for kind, size, modified in (
        (Kind.FILE, 12345, 1.5e9 + 0.25),
        (Kind.DIRECTORY, 0, -3.0),
        (Kind.SYMLINK, 7, 0.0),
    ):
        node, name = Member(INFO, 3), b"name-of-the-entry"
        attributes = Attributes(kind, size, 0o555, modified)
        inode, record = answers.entry(node, attributes, FOREVER)
        buffer = c.create_string_buffer(1000)
        needed = add_direntry_plus(buffer, 0, name, entry_of(inode, attributes, answers), 9)
        assert record + p.dirent(inode, 9, kind, name) == buffer.raw[:needed]
