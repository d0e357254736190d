"""Which archives, members and bytes a command is about: names first, then ranges of objects."""

from __future__ import annotations

import enum
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from s3zipfs.archive.metadataplan import GAP, NAMES, metadata_spans
from s3zipfs.cache.blockreader import WORTH_A_GET
from s3zipfs.stores.base import ObjectInfo
from s3zipfs.tree.globs import Globs
from s3zipfs.tree.nodes import Member, Node, ObjectFile
from s3zipfs.tree.tree import Tree
from s3zipfs.tree.verifying import Numbers, members_below
from s3zipfs.waiting import Wait
from s3zipfs.zipformat.index import ROOT, MemberIndex
from s3zipfs.zipformat.named import numbers_named
from s3zipfs.zipformat.records import (
    LOCAL_EXTRA_SLACK,
    LOCAL_FILE_HEADER_SIZE,
    U16_MAX,
)

Spans = list[tuple[int, int]]

# Behind a member's data: a descriptor with its signature, Zip64 (APPNOTE 4.3.9).
_DESCRIPTOR: Final = 24


class Part(enum.StrEnum):
    """What of the archives; the words are those of the command's JSON."""

    DATA = "data"  # all that is read of them, and their indexes
    METADATA = "metadata"  # the members that describe a Zarr hierarchy, and the indexes
    INDEXES = "indexes"


@dataclass(frozen=True, slots=True)
class Target:
    """One object, and what of it is meant."""

    info: ObjectInfo
    path: str  # from where the walk began; empty: it began there
    number: int | None  # the node of an archive at or below which; None: a plain object
    globs: Globs  # at that place

    @property
    def is_whole(self) -> bool:
        """Whether every byte of the object is meant."""
        return self.number in {None, ROOT} and self.globs.takes_all


def find_targets(tree: Tree, node: Node, globs: Globs, part: Part, wait: Wait) -> Iterator[Target]:
    """The objects at or below a node, in the order of the tree. Lists names, opens no archive."""
    walks: list[tuple[str, Globs, Iterator[Any]]] = []

    def targets(found: Node, path: str, here: Globs) -> Iterator[Target]:
        match found:
            case Member(info, number):
                yield Target(info, path, number, here)
            case ObjectFile(info):
                if part is Part.DATA and here.takes_all:
                    yield Target(info, path, None, here)
            case _:
                walks.append((path, here, tree.entries(found, wait)))

    yield from targets(node, "", globs)
    while walks:
        path, here, entries = walks[-1]
        entry = next(entries, None)
        if entry is None:
            walks.pop()
        elif (inside := here.enter(entry.name)).may_match:
            name = os.fsdecode(entry.name)
            yield from targets(entry.node, f"{path}/{name}".lstrip("/"), inside)


def select_members(index: MemberIndex, number: int, globs: Globs) -> Numbers:
    """The files and symlinks at or below a node that are taken."""
    if globs.takes_all:
        return members_below(index, number)
    taken: list[Numbers] = []
    ahead = [(number, globs)]
    while ahead:
        directory, here = ahead.pop()
        for child in index.children(directory):
            inside = here.enter(index.name(child))
            if inside.takes_all:
                taken.append(members_below(index, child))
            elif inside.may_match and index.is_directory(child):
                ahead.append((child, inside))
    return np.concatenate(taken) if taken else np.zeros(0, np.uint32)


def spans_of(target: Target, part: Part, index: MemberIndex | None) -> Spans:
    """The ranges of the object that reading a target asks for, its index apart.

    `index` is the archive's; None where the whole object is meant.
    """
    size = target.info.size
    if part is Part.INDEXES:
        return []
    if part is Part.METADATA:
        return [] if index is None else _joined(*metadata_spans(index, size), gap=GAP)
    if target.is_whole or index is None or target.number is None:
        return [(0, size)] if size else []
    numbers = select_members(index, target.number, target.globs)
    spans = _joined(*_reaches(index, numbers, size), gap=WORTH_A_GET)
    if np.isin(numbers, numbers_named(index, NAMES)).any():
        # Whoever reads one of these has the others fetched as well.
        spans += _joined(*metadata_spans(index, size), gap=GAP)
        spans = _joined(*np.array(spans, np.int64).reshape(-1, 2).T, gap=0)
    return spans


def _reaches(
    index: MemberIndex, numbers: Numbers, size: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """From the local header of each member to the end of its data, however long the header is."""
    columns = index.columns
    all_starts = np.sort(np.minimum(columns["local_header_offsets"], size).astype(np.int64))
    starts = np.minimum(columns["local_header_offsets"][numbers], size).astype(np.int64)
    lengths = np.minimum(columns["compressed_sizes"][numbers], size).astype(np.int64)
    named = starts + LOCAL_FILE_HEADER_SIZE + columns["raw_lengths"][numbers].astype(np.int64)
    following = np.append(all_starts, size)[np.searchsorted(all_starts, starts, "right")]
    # What a reader asks for first, and what it asks for where the extra field is longer.
    likely = named + LOCAL_EXTRA_SLACK + lengths
    longest = np.minimum(named + U16_MAX + lengths + _DESCRIPTOR, following)
    return starts, np.minimum(np.maximum(likely, longest), size)


def _joined(starts: NDArray[np.int64], ends: NDArray[np.int64], *, gap: int) -> Spans:
    """Ranges in order, as one where at most `gap` bytes lie between them."""
    is_some = ends > starts
    order = np.argsort(starts[is_some], kind="stable")
    starts, ends = starts[is_some][order], ends[is_some][order]
    if not len(starts):
        return []
    reach = np.maximum.accumulate(ends)
    breaks = np.flatnonzero(starts[1:] > reach[:-1] + gap)
    firsts = starts[np.append(0, breaks + 1)]
    lasts = reach[np.append(breaks, len(starts) - 1)]
    return list(zip(firsts.tolist(), lasts.tolist(), strict=True))
