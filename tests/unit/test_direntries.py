"""Packed READDIRPLUS replies are byte for byte those of libfuse."""

from __future__ import annotations

import ctypes as c
import io
import zipfile

from s3zipfs.fuse import lowlevel as ll
from s3zipfs.fuse.answers import PREFERRED_READ, Answers
from s3zipfs.fuse.direntries import Stamp, pack
from s3zipfs.fuse.inodes import Inodes
from s3zipfs.stores.base import ObjectId, ObjectInfo
from s3zipfs.tree.nodes import FOREVER, Attributes, Buckets, Kind, Member
from s3zipfs.zipformat.index import MemberIndex, build_index
from s3zipfs.zipformat.plan import DirectoryLocation, locate_directory

INFO = ObjectInfo(ObjectId("memory:", "lab", "x.zip", '"1"'), 1, 0.0)


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


def by_libfuse(index: MemberIndex, numbers: range, room: int, answers: Answers) -> bytes:
    buffer, used = c.create_string_buffer(room + 400), 0
    for offset, number in enumerate(numbers, 1):
        mode = index.mode(number)
        kind = Kind.DIRECTORY if index.is_directory(number) else Kind.FILE
        permissions = 0o555 if mode & 0o111 else 0o444
        attributes = Attributes(kind, index.size(number), permissions, index.modified(number))
        entry = answers.entry(Member(INFO, number), attributes, FOREVER)
        place = (None, c.addressof(buffer) + used, room + 400 - used)
        needed = ll.lib.fuse_add_direntry_plus(
            *place, index.name(number), c.byref(entry), offset + 6
        )
        if used + needed > room:
            break
        used += needed
    return buffer.raw[:used]


def test_packed_entries_equal_those_of_libfuse() -> None:
    names = ["a", "bb/c", "d" * 255, "é" * 20, *(f"file-{'x' * (n % 9)}{n}" for n in range(100))]
    index = index_of(*names)
    inodes = Inodes(Buckets())
    answers = Answers(inodes)
    stamp = Stamp(answers.uid, answers.gid, answers.umask, PREFERRED_READ, int(FOREVER))
    for numbers in (index.children(0), index.children(0)[5:], index.children(0)[:1]):
        first = inodes.number(Member(INFO, numbers.start))
        for room in (0, 100, 160, 200, 1000, 4096, 100_000):
            packed, count = pack(index, numbers, room, first_inode=first, offset=6, stamp=stamp)
            expected = by_libfuse(index, numbers, room, answers)
            assert packed.tobytes() == expected
            assert len(packed) <= room
            assert count <= len(numbers)
            assert (count == len(numbers)) == (
                room == 100_000 or (len(numbers) == 1 and room >= 160)
            )
