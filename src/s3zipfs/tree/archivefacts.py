"""What an archive is like, told by its index and the end of its object alone. Pure."""

from __future__ import annotations

import stat
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from s3zipfs.archive.coalescing import plan_groups
from s3zipfs.archive.decoders import METHODS
from s3zipfs.archive.loading import FoundDirectory
from s3zipfs.archive.metadataplan import GAP, GROUP, NAMES, metadata_spans
from s3zipfs.zipformat.index import ROOT, MemberIndex
from s3zipfs.zipformat.member import ENCRYPTED_FLAGS
from s3zipfs.zipformat.methods import STORED, method_name
from s3zipfs.zipformat.named import numbers_named
from s3zipfs.zipformat.records import (
    END_OF_CENTRAL_DIRECTORY_SIGNATURE,
    END_OF_CENTRAL_DIRECTORY_SIZE,
    parse_end_of_central_directory_record,
)

Numbers = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class MethodFacts:
    """The members of one compression method."""

    members: int
    size: int  # bytes of content
    compressed_size: int


@dataclass(frozen=True, slots=True)
class ZarrFacts:
    """What is known of a Zarr hierarchy by names and sizes."""

    wrapper: str  # the one directory that all of it stands in; empty: there is none
    metadata: int  # members
    metadata_places: int  # GETs that they take together
    chunks: int  # all other members: chunks, or shards
    median_chunk: int  # bytes in the archive
    compressed_chunks: int  # by the zip, whatever zarr did before


@dataclass(frozen=True, slots=True)
class ArchiveFacts:
    """One archive version. Sizes are bytes."""

    members: int  # headers in the central directory
    files: int  # that are shown, symlinks too
    hidden: int
    duplicates: int
    damaged: int
    encrypted: int
    unsupported: int  # methods without a library
    methods: Mapping[str, MethodFacts]
    is_zip64: bool
    comment_size: int
    prefix_size: int  # foreign bytes before the archive
    trailing_size: int  # foreign bytes behind it
    directory_start: int
    directory_size: int
    descents: float  # share of members that stand in the object before the one named before
    zarr: ZarrFacts | None

    @property
    def is_sorted(self) -> bool:
        """Whether members stand about in the order of their names; at random, half descend."""
        return self.descents <= MOST_DESCENTS


# Names of numbers are ordered otherwise by bytes (10 before 2): one in ten descends then.
MOST_DESCENTS: Final = 0.25


def facts_of(index: MemberIndex, found: FoundDirectory, size: int) -> ArchiveFacts:
    """The facts of an archive whose object has `size` bytes."""
    columns, location = index.columns, found.location
    files = np.flatnonzero((index.modes & 0o170000) != stat.S_IFDIR)
    methods = columns["methods"][files]
    is_known = np.isin(methods, [STORED, *METHODS])
    record_at, comment_size = _end_record(found)
    return ArchiveFacts(
        members=index.member_count,
        files=len(files),
        hidden=index.hidden_count,
        duplicates=index.duplicate_count,
        damaged=int(np.count_nonzero(columns["damages"][files])),
        encrypted=int(np.count_nonzero(columns["flags"][files] & ENCRYPTED_FLAGS)),
        unsupported=int(np.count_nonzero(~is_known)),
        methods={
            method_name(method): _method_facts(index, files[methods == method])
            for method in np.unique(methods).tolist()
        },
        is_zip64=location.is_zip64,
        comment_size=comment_size,
        prefix_size=location.base,
        trailing_size=max(0, size - record_at - END_OF_CENTRAL_DIRECTORY_SIZE - comment_size),
        directory_start=location.start,
        directory_size=location.size,
        descents=_descents(index, files),
        zarr=_zarr_facts(index, files, size),
    )


def _end_record(found: FoundDirectory) -> tuple[int, int]:
    """Where the end record is, and the length of its comment."""
    tail, start = found.tail, found.tail_start
    at = bytes(tail).find(END_OF_CENTRAL_DIRECTORY_SIGNATURE, found.location.end - start)
    record = parse_end_of_central_directory_record(tail[at:], offset=start + at)
    return start + at, record.comment_length


def _method_facts(index: MemberIndex, numbers: Numbers) -> MethodFacts:
    def total(column: NDArray[np.unsignedinteger]) -> int:
        return int(column[numbers].astype(np.float64).sum())  # sizes may lie: past 64 bits

    return MethodFacts(len(numbers), total(index.sizes), total(index.columns["compressed_sizes"]))


def _descents(index: MemberIndex, files: Numbers) -> float:
    """Numbers are in the order of names: how many are followed by a lower one in the object."""
    if len(files) < 2:
        return 0.0
    order = np.argsort(index.columns["local_header_offsets"][files], kind="stable")
    return float(np.mean(np.diff(files[order]) < 0))


def _zarr_facts(index: MemberIndex, files: Numbers, size: int) -> ZarrFacts | None:
    metadata = numbers_named(index, NAMES)
    if not len(metadata):
        return None
    first = index.parent(int(metadata[0]))  # numbers are breadth first: nothing is above it
    is_wrapped = first != ROOT and list(index.children(ROOT)) == [first]
    chunks = np.setdiff1d(files, metadata)
    sizes = index.columns["compressed_sizes"][chunks]
    starts, ends = metadata_spans(index, size)
    places = plan_groups(starts.tolist(), ends.tolist(), gap=GAP, largest=GROUP, cost=size + GAP)
    return ZarrFacts(
        wrapper=index.path(first).decode("utf-8", "backslashreplace") if is_wrapped else "",
        metadata=len(metadata),
        metadata_places=len(places),
        chunks=len(chunks),
        median_chunk=int(np.median(sizes)) if len(chunks) else 0,
        compressed_chunks=int(np.count_nonzero(index.columns["methods"][chunks] != STORED)),
    )
