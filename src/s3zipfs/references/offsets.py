"""At which byte of an object the data of its stored members begins.

The length of a local header stands in that header alone (n and m, APPNOTE 4.3.7): its extra field
need not be that of the central directory. One request for each would take an hour for a million.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from s3zipfs.archive.raw import read_header
from s3zipfs.cache.extents import joined
from s3zipfs.errors import BadMember
from s3zipfs.stores.base import ObjectInfo
from s3zipfs.tree.nodes import ObjectFile
from s3zipfs.tree.tree import Tree
from s3zipfs.tree.verifying import Numbers
from s3zipfs.waiting import Wait
from s3zipfs.zipformat.index import MemberIndex
from s3zipfs.zipformat.member import Member
from s3zipfs.zipformat.records import (
    LOCAL_FILE_HEADER_SIZE,
    local_header_span,
)

GAP: Final = 256 << 10  # bytes between two headers that are fetched: less than a request costs
BATCH_MEMBERS: Final = 256  # headers under way at a time, and as many that are read
BATCH_BYTES: Final = 8 << 20  # of the object, from the first to the last of them

Offsets = NDArray[np.int64]


def known_offsets(index: MemberIndex, numbers: Numbers) -> Offsets:
    """Where data begins as far as the central directory leaves no doubt; 0: it does.

    Where a header without an extra field, the name and the data reach exactly to the next local
    header there is no room for one. So it is in archives by Python and 7-Zip.

    Args:
        index: of the archive.
        numbers: members in the order of their local headers; all that it has.
    """
    columns = index.columns
    if not len(numbers):
        return np.zeros(0, np.int64)
    headers = columns["local_header_offsets"][numbers].astype(np.int64)
    names = columns["raw_lengths"][numbers].astype(np.int64)
    sizes = columns["compressed_sizes"][numbers].astype(np.int64)
    begins = headers + LOCAL_FILE_HEADER_SIZE + names
    known = np.zeros(len(numbers), np.int64)
    is_exact = begins[:-1] + sizes[:-1] == headers[1:]
    known[:-1][is_exact] = begins[:-1][is_exact]
    return known


def read_offsets(
    tree: Tree, info: ObjectInfo, members: Iterator[Member], wait: Wait
) -> Iterator[int]:
    """Where the data of each member begins, by its local header; neighbours by one request.

    Args:
        tree: to read by.
        info: the archive's object.
        members: in the order of their local headers.
        wait: for each read.

    Raises:
        BadMember: a local header contradicts the central directory, or data passes the end.
    """
    whole = ObjectFile(info)

    def start(batch: list[Member]) -> None:
        spans = [(whole, *_span(member, info)) for member in batch]
        tree.start_reads(spans, wait, max_gap=GAP)

    batches = _batches(members)
    coming = next(batches, [])
    start(coming)
    while coming:
        batch, coming = coming, next(batches, [])
        start(coming)
        for member in batch:
            yield _read_offset(tree, info, member, wait)


def _batches(members: Iterator[Member]) -> Iterator[list[Member]]:
    batch: list[Member] = []
    for member in members:
        reach = member.local_header_offset - batch[0].local_header_offset if batch else 0
        if len(batch) >= BATCH_MEMBERS or (batch and reach > BATCH_BYTES):
            yield batch
            batch = []
        batch.append(member)
    if batch:
        yield batch


def _span(member: Member, info: ObjectInfo) -> tuple[int, int]:
    start = member.local_header_offset
    if start + LOCAL_FILE_HEADER_SIZE > info.size:
        raise BadMember(f"{info.id}: {member.raw_name!r}: its local header passes the end")
    return start, min(start + local_header_span(member), info.size)


def _read_offset(tree: Tree, info: ObjectInfo, member: Member, wait: Wait) -> int:
    def read(first: int, last: int) -> memoryview:
        return joined(tree.read(ObjectFile(info), first, last, wait))

    start, end = _span(member, info)
    try:
        found, _ = read_header(member, read(start, end), info.size, read)
    except BadMember as error:
        raise BadMember(f"{info.id}: {error}") from error
    return start + found
