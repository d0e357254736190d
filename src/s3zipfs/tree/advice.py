"""What would make an archive cheaper to read, by rules: each says why, and what to do. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from s3zipfs.archive.decoders import METHODS
from s3zipfs.tree.archivefacts import ArchiveFacts
from s3zipfs.zipformat.member import Member
from s3zipfs.zipformat.methods import DEFLATED, STORED, method_name

TINY_CHUNK: Final = 64 << 10  # bytes: at 10 ms and 100 MB/s a request takes as long as 1 MB
MANY: Final = 1000  # chunks, from which on their size matters
LARGE_DIRECTORY: Final = 16 << 20  # bytes: two GETs of 8 MiB, and 0.2 s of CPU
MANY_PLACES: Final = 8  # GETs for metadata
LARGE_MEMBER: Final = 16 << 20  # bytes: up to here a member is decoded whole
LONG_COMMENT: Final = 1024  # bytes


@dataclass(frozen=True, slots=True)
class Advice:
    """One line."""

    rule: str  # its name, for programs
    text: str  # the reason, and what to do


@dataclass(frozen=True, slots=True)
class Situation:
    """Where an archive is read."""

    index_requests: int  # GETs that its index takes while nothing of it is kept
    keeps_indexes: bool  # there is a cache directory, and room for its index
    unwraps: bool  # --single-root unwrap


def advise(archive: ArchiveFacts, situation: Situation) -> list[Advice]:
    """For an archive, the most telling first."""
    rules = (_of_content, _of_zarr, _of_layout, _of_index)
    return [each for rule in rules for each in rule(archive, situation)]


def advise_on_member(member: Member) -> list[Advice]:
    """For one member."""
    if member.is_encrypted:
        return [Advice("encrypted", "it is encrypted, so it can't be read; zip it without -e")]
    if member.method not in {STORED, *METHODS}:
        text = f"{method_name(member.method)}: no library here reads it; store or deflate it"
        return [Advice("unsupported", text)]
    if member.method == STORED or member.uncompressed_size <= LARGE_MEMBER:
        return []
    if member.method == DEFLATED:
        text = (
            "deflated and over 16 MiB: the first read at random goes through all of it once; "
            "what is read so is better stored (zip -0)"
        )
        return [Advice("large-deflated", text)]
    text = (
        f"{method_name(member.method)} and over 16 MiB: each read at random begins at its start; "
        "store it (zip -0), or deflate it"
    )
    return [Advice("forward-only", text)]


def _of_content(archive: ArchiveFacts, _: Situation) -> Iterator[Advice]:
    if archive.damaged:
        text = (
            f"{archive.damaged:,} members contradict the archive (overlapping, or out of it) and "
            "are not read; s3zipfs check says which, write it anew"
        )
        yield Advice("damaged", text)
    if archive.encrypted:
        text = f"{archive.encrypted:,} members are encrypted, so they can't be read; zip without -e"
        yield Advice("encrypted", text)
    if archive.unsupported:
        text = (
            f"{archive.unsupported:,} members have a method that no library here reads; store or "
            "deflate them"
        )
        yield Advice("unsupported", text)
    if archive.duplicates:
        text = (
            f"{archive.duplicates:,} names stand in it more than once and the last one counts, "
            "while the others still take room; write it anew"
        )
        yield Advice("duplicates", text)


def _of_zarr(archive: ArchiveFacts, situation: Situation) -> Iterator[Advice]:
    zarr = archive.zarr
    if zarr is None:
        return
    if zarr.wrapper and not situation.unwraps:
        text = (
            f"the Zarr root is in {zarr.wrapper}/, where zarr.open of the archive finds nothing; "
            "--single-root unwrap shows it at the top, or zip from inside of it"
        )
        yield Advice("wrapped-root", text)
    if 10 * zarr.compressed_chunks > zarr.chunks:
        text = (
            f"{zarr.compressed_chunks:,} of {zarr.chunks:,} chunks are compressed by the zip: a "
            "part of one can't be read by itself, and zarr compresses better; store them (zip -0)"
        )
        yield Advice("deflated-chunks", text)
    if zarr.chunks > MANY and zarr.median_chunk < TINY_CHUNK:
        text = (
            f"half of the {zarr.chunks:,} chunks are {zarr.median_chunk:,} bytes or less, so a "
            "request costs more than what it brings; use larger chunks, or shards (Zarr 3)"
        )
        yield Advice("tiny-chunks", text)
    if zarr.metadata_places > MANY_PLACES:
        text = (
            f"{zarr.metadata:,} metadata members stand at {zarr.metadata_places:,} places, a GET "
            "each; write them one after another, first, or zarr.consolidate_metadata"
        )
        yield Advice("scattered-metadata", text)


def _of_layout(archive: ArchiveFacts, _: Situation) -> Iterator[Advice]:
    if not archive.is_sorted:
        text = (
            f"{archive.descents:.0%} of the members stand before the one whose name precedes "
            "theirs, so reading in order jumps and nothing is read ahead; zip sorted names"
        )
        yield Advice("unsorted", text)
    if archive.prefix_size or archive.trailing_size:
        foreign = archive.prefix_size + archive.trailing_size
        text = (
            f"{foreign:,} foreign bytes stand before or behind the archive, and not all programs "
            "agree on what they read then; zip -A mends offsets, or write it anew"
        )
        yield Advice("foreign-bytes", text)
    if archive.comment_size > LONG_COMMENT:
        text = (
            f"a comment of {archive.comment_size:,} bytes is fetched with each index; leave it out"
        )
        yield Advice("long-comment", text)


def _of_index(archive: ArchiveFacts, situation: Situation) -> Iterator[Advice]:
    if archive.directory_size > LARGE_DIRECTORY:
        text = (
            f"a central directory of {archive.directory_size:,} bytes is fetched before the first "
            "name is seen; fewer and larger members (shards) make it small, s3zipfs warm "
            "--index-only takes the wait"
        )
        yield Advice("large-directory", text)
    if situation.index_requests > 1 and not situation.keeps_indexes:
        text = (
            f"each process fetches its index again, by {situation.index_requests:,} GETs; give "
            "--cache-dir, and --index-cache-size where there is no room"
        )
        yield Advice("index-not-kept", text)
