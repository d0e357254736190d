"""Open an archive that is wholly in memory, as a reader of ranges would; counts the ranges."""

from __future__ import annotations

import zlib

from s3zipfs.errors import BadArchive, BadMember
from s3zipfs.zipformat.index import IndexBuilder, MemberIndex, build_index
from s3zipfs.zipformat.plan import DirectoryLocation, MoreNeeded, locate_directory, plan_tail
from s3zipfs.zipformat.records import local_header_span, parse_local_header


def locate(data: bytes, *, tail_bytes: int | None = None) -> tuple[DirectoryLocation, int]:
    """The directory's place, and how many ranges it took to find it."""
    view = memoryview(data)
    start, _ = plan_tail(len(data))
    if tail_bytes is not None:
        start = max(0, len(data) - tail_bytes)
    for reads in range(1, 10):
        location = locate_directory(view[start:], start, len(data))
        if isinstance(location, DirectoryLocation):
            return location, reads
        assert location.start < start, "asks for what it has"
        assert location.end == len(data)
        start = location.start
    raise AssertionError("asks without end")


def open_index(
    data: bytes, *, encoding: str | None = None, piece: int | None = None
) -> MemberIndex:
    """The index; `piece`: the directory arrives in pieces of so many bytes."""
    location, _ = locate(data)
    directory = memoryview(data)[location.start : location.end]
    if piece is None:
        return build_index(directory, location, encoding=encoding)
    builder = IndexBuilder(location, encoding=encoding)
    for start in range(0, len(directory), piece):
        builder.feed(directory[start : start + piece])
    return MemberIndex(builder.finish())


def read_member(data: bytes, index: MemberIndex, number: int, *, span: int | None = None) -> bytes:
    """A member's content, verified as a reader must: header, size, CRC. Stored and deflated."""
    member = index.member(number)
    view = memoryview(data)[member.local_header_offset :]
    take = local_header_span(member) if span is None else span
    found = parse_local_header(view[:take], member)
    while isinstance(found, MoreNeeded):
        if found.end > len(view):
            raise BadMember("local header passes the end of the object")
        assert found.end > take, "asks for what it has"
        take = found.end
        found = parse_local_header(view[:take], member)
    body = bytes(view[found : found + member.compressed_size])
    if len(body) != member.compressed_size:
        raise BadMember("data passes the end of the object")
    if member.method == 8:
        unpacker = zlib.decompressobj(-15)
        try:
            body = unpacker.decompress(body, member.uncompressed_size + 1)
        except zlib.error as error:
            raise BadMember(str(error)) from error
        if not unpacker.eof:
            raise BadMember("deflate stream does not end")
    elif member.method != 0:
        raise BadMember(f"method {member.method}")
    if len(body) != member.uncompressed_size or zlib.crc32(body) != member.crc32:
        raise BadMember("size or CRC differ")
    return body


def listing(index: MemberIndex) -> dict[bytes, int]:
    """All paths but the root, directories with a slash at the end."""
    return {
        index.path(n) + (b"/" if index.is_directory(n) else b""): n
        for n in range(1, index.node_count)
    }


def contents(data: bytes, index: MemberIndex) -> dict[bytes, bytes | None]:
    """Content by path; None of a directory."""
    return {
        path: None if index.is_directory(n) else read_member(data, index, n)
        for path, n in listing(index).items()
    }


def is_refused(data: bytes) -> BadArchive | None:
    """The error that opening gives, if it gives one."""
    try:
        open_index(data)
    except BadArchive as error:
        return error
    return None
