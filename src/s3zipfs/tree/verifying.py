"""Read members of one archive in the order in which they stand in it, and say what is wrong."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

from s3zipfs.archive.raw import read_header
from s3zipfs.cache.extents import joined
from s3zipfs.errors import BadMember, S3ZipError, UnsupportedMember
from s3zipfs.stores.base import ObjectInfo
from s3zipfs.tree.findings import Finding, Kind
from s3zipfs.tree.nodes import Member, ObjectFile
from s3zipfs.tree.tree import Tree
from s3zipfs.waiting import Wait
from s3zipfs.zipformat.index import MemberIndex
from s3zipfs.zipformat.member import Member as ZipMember
from s3zipfs.zipformat.records import (
    LOCAL_FILE_HEADER_SIZE,
    local_header_span,
)

BATCH_MEMBERS: Final = 4096
BATCH_BYTES: Final = 4 << 20  # of content
GAPS: Final = 64 << 10  # bytes between two members that are fetched rather than left out
WHOLE: Final = 16 << 20  # bytes: a member up to this size is one read, since it is inflated at once
PIECE: Final = 4 << 20  # bytes of a larger one per read

Numbers = NDArray[np.uint32]


@dataclass(slots=True)
class Batch:
    """What became of some members."""

    members: int = 0
    bytes: int = 0  # of those found good
    compressed_bytes: int = 0
    findings: list[Finding] = field(default_factory=list)


def members_below(index: MemberIndex, number: int) -> Numbers:
    """The files and symlinks at or below a node, in the order of their local headers."""
    levels = []
    child_start = index.columns["child_start"]
    first, last = number, number + 1
    while first < last:  # the nodes of one level below a node are consecutive
        levels.append(np.arange(first, last, dtype=np.uint32))
        first, last = int(child_start[first]), int(child_start[last])
    numbers = np.concatenate(levels)
    numbers = numbers[(index.modes[numbers] & 0o170000) != stat.S_IFDIR]
    offsets = index.columns["local_header_offsets"][numbers]
    ordered: Numbers = numbers[np.argsort(offsets, kind="stable")]
    return ordered


def batches(index: MemberIndex, numbers: Numbers) -> Iterator[Numbers]:
    """Cut into what one thread reads at a time: neither too small nor a long wait."""
    for first in range(0, len(numbers), BATCH_MEMBERS):
        some = numbers[first : first + BATCH_MEMBERS]
        sizes = index.sizes[some].astype(np.float64)  # sizes may lie: their sum passes 64 bits
        cuts = np.flatnonzero(np.diff(np.cumsum(sizes) // BATCH_BYTES)) + 1
        yield from np.split(some, cuts)


def total_size(index: MemberIndex, numbers: Numbers) -> int:
    """Bytes of content as declared."""
    return int(index.sizes[numbers].astype(np.float64).sum())


class Verifier:
    """Reads members of a tree's archives as any other reader does. Safe for many threads."""

    def __init__(self, tree: Tree, wait: Wait, advance: Callable[[int], None]) -> None:
        self._tree = tree
        self._wait = wait
        self._advance = advance  # told of bytes of content as they are dealt with

    def verify(self, info: ObjectInfo, index: MemberIndex, numbers: Numbers, batch: Batch) -> None:
        """Read each member to its end, and note in `batch` what became of it.

        Raises:
            S3ZipError: what is not the fault of a member.
        """
        self._fetch(info, index, numbers)
        for number in numbers.tolist():
            self._wait.check()
            member = index.member(number)
            problem = self._problem(info, index, member)
            batch.members += 1
            if problem is None:
                batch.bytes += member.uncompressed_size
                batch.compressed_bytes += member.compressed_size
            else:
                batch.findings.append(Finding(url(info), index.path(number), *problem))

    def _fetch(self, info: ObjectInfo, index: MemberIndex, numbers: Numbers) -> None:
        """Have small members that are neighbours in memory before they are read, by one request.

        Several threads at once are no stream that reading ahead could follow.
        """
        first, last = int(numbers[0]), int(numbers[-1])
        offsets, sizes = (index.columns[c] for c in ("local_header_offsets", "compressed_sizes"))
        start, end = int(offsets[first]), min(int(offsets[last]) + int(sizes[last]), info.size)
        most = min(
            2 * BATCH_BYTES, int(sizes[numbers].astype(np.float64).sum()) + GAPS * len(numbers)
        )
        if len(numbers) > 1 and 0 < end - start <= most:
            self._tree.read(ObjectFile(info), start, end, self._wait)

    def _problem(
        self, info: ObjectInfo, index: MemberIndex, member: ZipMember
    ) -> tuple[Kind, str] | None:
        read = 0
        try:
            if member.damaged is not None:
                return Kind.STRUCTURE, member.damaged
            if member.is_encrypted:
                return Kind.ENCRYPTED, "encrypted"
            for size in self._read(info, member):
                read += size
                self._advance(size)
        except UnsupportedMember as error:
            return Kind.UNSUPPORTED, _without_names(error, info, index, member)
        except BadMember as error:
            return Kind.CONTENT, _without_names(error, info, index, member)
        finally:
            self._advance(member.uncompressed_size - read)
        return None

    def _read(self, info: ObjectInfo, member: ZipMember) -> Iterator[int]:
        """Read all of it; the sizes of the pieces as they come."""
        size, crc32, at = member.uncompressed_size, 0, 0
        node = Member(info, member.number)
        step = size if size <= WHOLE else PIECE
        if size == 0:
            self._tree.read(node, 0, 1, self._wait)
            if member.compressed_size == 0:
                self._read_header(info, member)
        while at < size:
            length = 0
            for part in self._tree.read(node, at, min(at + step, size), self._wait):
                crc32 = isal_zlib.crc32(part, crc32)
                length += len(part)
            if not length:
                raise BadMember(f"ends after {at} of {size} bytes")
            at += length
            yield length
        # The readers have compared it too, but one that was given up for memory starts anew.
        if crc32 != member.crc32:
            raise BadMember(f"CRC-32: expected {member.crc32:08x}, found {crc32:08x}")

    def _read_header(self, info: ObjectInfo, member: ZipMember) -> None:
        """Compare the local header of an empty member: no read of it needs that."""
        start = member.local_header_offset
        if start + LOCAL_FILE_HEADER_SIZE > info.size:
            raise BadMember("its local header passes the end of the object")

        def read(first: int, last: int) -> memoryview:
            return joined(self._tree.read(ObjectFile(info), first, last, self._wait))

        view = read(start, min(start + local_header_span(member), info.size))
        read_header(member, view, info.size, read)


def url(info: ObjectInfo) -> str:
    """The URL of an object."""
    return f"s3://{info.id.bucket}/{info.id.key}"


def _without_names(
    error: S3ZipError, info: ObjectInfo, index: MemberIndex, member: ZipMember
) -> str:
    """The reason alone: a finding has the names in fields of its own."""
    text = str(error).removeprefix(f"{info.id}: ")
    text = text.removeprefix(f"member {member.raw_name.decode('utf-8', 'backslashreplace')}: ")
    path = index.path(member.number)
    return text.removeprefix(f"{path.decode('utf-8', 'backslashreplace')}: ")
