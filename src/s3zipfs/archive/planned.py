"""What reading an archive asks of the store, found by the code that reads, on no bytes."""

from __future__ import annotations

from collections.abc import Callable

from s3zipfs.archive.checkpoints import Checkpoints
from s3zipfs.archive.decoders import HEAD
from s3zipfs.archive.inflate import end_of_feed
from s3zipfs.archive.loading import find_directory
from s3zipfs.archive.metadataplan import MetadataPlan, may_be_metadata
from s3zipfs.archive.raw import RawMembers, span_of_read
from s3zipfs.archive.seekable import plan_resume
from s3zipfs.cache.planned import PlannedGets
from s3zipfs.cache.reader import ObjectReader
from s3zipfs.stores.base import ObjectInfo
from s3zipfs.waiting import Wait
from s3zipfs.zipformat.index import MemberIndex
from s3zipfs.zipformat.member import Member
from s3zipfs.zipformat.methods import DEFLATED

PIECE = 1 << 20  # bytes of a read in order, as the kernel's

_WAIT = Wait(0)  # nothing is waited for


def read_object(info: ObjectInfo, gets: PlannedGets, start: int, end: int) -> None:
    """Read `[start, end)` of an object that is no archive, in order."""
    reader = ObjectReader(info, gets)
    for at in range(start, end, PIECE):
        reader.read(at, min(at + PIECE, end), _WAIT)


class PlannedReads:
    """Reads of one archive version, one after another, as one process makes them.

    `gets` must know the end of the object; `learn` is to tell it the local header of a member that
    is about to be read. `most_metadata`: see `MetadataPlan`.
    """

    def __init__(
        self,
        info: ObjectInfo,
        index: MemberIndex,
        gets: PlannedGets,
        learn: Callable[[Member], object],
        *,
        most_metadata: int,
    ) -> None:
        self._gets = gets
        self._learn = learn
        self._info = info
        self._metadata = MetadataPlan(index, info.size, most=most_metadata)
        self._reader = ObjectReader(info, gets)
        self._raw = RawMembers(self._reader, index.node_count)

    async def load_index(self) -> None:
        """Find and fetch the central directory."""
        found = await find_directory(self._reader)
        for start, end in found.pieces():
            self._gets.get_once(self._info.id, start, end)

    def read_whole(self, member: Member) -> None:
        """Read all of it, in order."""
        if self._comes_with_others(member):
            return
        self._learn(member)
        size = member.uncompressed_size
        if size and span_of_read(member, 0, size) is None:
            self._raw.read(member, 0, min(HEAD, member.compressed_size), _WAIT)
            self._feed(member)
            return
        for start in range(0, size, PIECE):
            span = span_of_read(member, start, min(start + PIECE, size))
            if span is not None:
                self._raw.read(member, *span, _WAIT)
            if span == (0, member.compressed_size):
                return  # all of it was verified, and is kept

    def read_part(
        self, member: Member, start: int, end: int, checkpoints: Checkpoints | None
    ) -> None:
        """Read `[start, end)` at once.

        Of a large compressed member without checkpoints: all of it, since it is gone through.
        """
        if start >= end or self._comes_with_others(member):
            return
        self._learn(member)
        span = span_of_read(member, start, end)
        if span is not None:
            self._raw.read(member, *span, _WAIT)
            return
        found = None if checkpoints is None else checkpoints.before(start)
        if checkpoints is None or found is None:
            if member.method != DEFLATED:
                self._raw.read(member, 0, min(HEAD, member.compressed_size), _WAIT)
            self._feed(member)
            return
        for needed in plan_resume(checkpoints, found, member, end):
            self._raw.read(member, *needed, _WAIT)

    def _comes_with_others(self, member: Member) -> bool:
        """Whether it is metadata of Zarr's that is fetched together, which is noted then."""
        if not may_be_metadata(member) or not member.uncompressed_size:
            return False
        coming, groups = self._metadata.read(member.number)
        for group in groups:
            self._gets.get_once(self._info.id, group.start, group.end)
        return coming is not None

    def _feed(self, member: Member) -> None:
        """Give all of it to a decoder, from its start."""
        fed = 0
        while fed < member.compressed_size:
            fed, start = end_of_feed(member, fed), fed
            self._raw.read(member, start, fed, _WAIT)
