"""What references can tell of an archive: where stored members stand, and metadata as it is."""

from __future__ import annotations

import stat
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from s3zipfs.archive.metadataplan import NAMES
from s3zipfs.errors import BadMember, UnsupportedMember
from s3zipfs.references.offsets import Offsets, known_offsets, read_offsets
from s3zipfs.stores.base import ObjectInfo
from s3zipfs.tree.nodes import Member
from s3zipfs.tree.tree import Tree
from s3zipfs.tree.verifying import members_below, url
from s3zipfs.waiting import Wait
from s3zipfs.zipformat.index import ROOT, MemberIndex
from s3zipfs.zipformat.member import ENCRYPTED_FLAGS
from s3zipfs.zipformat.methods import STORED, method_name
from s3zipfs.zipformat.named import numbers_named

_EMPTY_READ = 1  # bytes: of a member without content it verifies that there is none

Mask = NDArray[np.bool_]  # of all nodes, by number


@dataclass(frozen=True, slots=True)
class Reference:
    """Where the content of a member stands in the object, in bytes."""

    path: bytes
    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class References:
    """What was collected. Paths begin at the archive, or at the directory in it that was named."""

    url: str  # s3://BUCKET/KEY
    etag: str  # of the version that is meant, without its quotes
    inlined: dict[bytes, bytes]  # content by path: metadata, and what is empty
    left_out: Counter[str]  # members that can't be told, by the reason
    _index: MemberIndex
    _top: int
    _offsets: Offsets  # by number; 0: is no reference

    def __iter__(self) -> Iterator[Reference]:
        """In the order of the tree."""
        for number, path in _walk(self._index, self._top):
            if offset := int(self._offsets[number]):
                yield Reference(path, offset, self._index.size(number))

    def __len__(self) -> int:
        return int(np.count_nonzero(self._offsets))


def collect(tree: Tree, node: Member, wait: Wait, *, skip: bool) -> References:
    """References of all files at or below a directory of an archive.

    Requests: those of its index and of its metadata, and for local headers where the central
    directory leaves in doubt how long they are (`offsets`).

    Raises:
        UnsupportedMember: some can't be told, and not `skip`; says how many of which kind.
        BadMember: metadata is damaged, or a local header contradicts the central directory.
    """
    info = node.info
    index = tree.index(info, wait)
    below = np.zeros(index.node_count, np.bool_)
    below[members_below(index, node.number)] = True
    inlined = _inlined(index) & below
    left_out, told = _left_out(index, below & ~inlined)
    if left_out and not skip:
        kinds = ", ".join(f"{count:,} {reason}" for reason, count in left_out.most_common())
        raise UnsupportedMember(
            f"{url(info)}: of {np.count_nonzero(below):,} members no reference can tell {kinds}: "
            "a reader would take them for missing"
        )
    contents = {
        path: _content(tree, Member(info, number), index.size(number), wait)
        for number, path in _walk(index, node.number)
        if inlined[number]
    }
    return References(
        url=url(info),
        etag=info.id.etag.strip('"'),
        inlined=contents,
        left_out=left_out,
        _index=index,
        _top=node.number,
        _offsets=_offsets(tree, info, index, told, wait),
    )


def _walk(index: MemberIndex, top: int) -> Iterator[tuple[int, bytes]]:
    """All files below a directory with their paths from there, in the order of the tree."""
    ahead = [(top, b"")]
    while ahead:
        number, path = ahead.pop()
        if not index.is_directory(number):
            yield number, path
            continue
        prefix = path + b"/" if path else b""
        children = index.children(number)
        ahead += [(child, prefix + index.name(child)) for child in reversed(children)]


def _inlined(index: MemberIndex) -> Mask:
    """Metadata, however it is compressed; and what is empty: a range of no bytes is no range."""
    mask: Mask = (index.modes & 0o170000) == stat.S_IFREG
    mask &= (index.sizes == 0) & (index.columns["damages"] == 0)
    mask &= (index.columns["flags"] & ENCRYPTED_FLAGS) == 0
    mask[numbers_named(index, NAMES)] = True
    return mask


def _left_out(index: MemberIndex, files: Mask) -> tuple[Counter[str], Mask]:
    """What of these files can't be told, counted by the reason; and what can."""
    columns, told = index.columns, files.copy()
    counts: Counter[str] = Counter()

    def leave_out(which: Mask, reason: str) -> None:
        found = told & which
        if count := int(np.count_nonzero(found)):
            counts[reason] += count
            told[found] = False

    leave_out((index.modes & 0o170000) != stat.S_IFREG, "symbolic links")
    leave_out(columns["damages"] != 0, "damaged")
    leave_out((columns["flags"] & ENCRYPTED_FLAGS) != 0, "encrypted")
    for method in np.unique(columns["methods"][told]).tolist():
        if method != STORED:
            leave_out(columns["methods"] == method, method_name(method))
    return counts, told


def _content(tree: Tree, member: Member, size: int, wait: Wait) -> bytes:
    return b"".join(tree.read(member, 0, size or _EMPTY_READ, wait))


def _offsets(tree: Tree, info: ObjectInfo, index: MemberIndex, told: Mask, wait: Wait) -> Offsets:
    numbers = members_below(index, ROOT)
    known = known_offsets(index, numbers)
    offsets = np.zeros(index.node_count, np.int64)
    offsets[numbers] = known
    offsets[~told] = 0
    doubtful = numbers[told[numbers] & (known == 0)]
    members = map(index.member, doubtful.tolist())
    found = read_offsets(tree, info, members, wait)
    for number, offset in zip(doubtful.tolist(), found, strict=True):
        if offset + index.size(number) > info.size:
            name = index.path(number).decode("utf-8", "backslashreplace")
            raise BadMember(f"{info.id}: {name}: its data passes the end of the object")
        offsets[number] = offset
    return offsets
