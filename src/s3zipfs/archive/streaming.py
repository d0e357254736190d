"""Large members, read forward by decoders that stand by where they stopped."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Protocol

from s3zipfs.archive.decodeahead import DecodeAhead
from s3zipfs.archive.decoders import HEAD
from s3zipfs.archive.inflate import PIECE, Decoding, RawRead, start_decoder
from s3zipfs.archive.streampool import CHEAP, PER_MEMBER, PER_SEEKABLE, Stream, StreamPool
from s3zipfs.cache.extents import ExtentCache
from s3zipfs.waiting import Transfer, Wait
from s3zipfs.zipformat.member import Member


class Seeks(Protocol):
    """What lets streams of a member begin in its middle."""

    def reach(self, start: int) -> int:
        """Bytes that a stream may stand before `start`, so that beginning anew is no better."""

    def begin(self, start: int, end: int, wait: Wait) -> tuple[Decoding, RawRead] | None:
        """A decoding begun before `start`, and what it is to read as far as `end` with.

        None where it is best to begin at the member's start.
        """

    def assure(self, wait: Wait) -> None:
        """Wait until the whole member is known to be what was zipped.

        Raises:
            BadMember: it is not.
        """


class StreamReader:
    """A large member, read forward by streams of the pool."""

    def __init__(
        self,
        member: Member,
        content: Hashable,
        cache: ExtentCache,
        pool: StreamPool,
        read_raw: RawRead,
        *,
        ahead: DecodeAhead | None = None,
        seeks: Seeks | None = None,
    ) -> None:
        self._member = member
        self._content = content
        self._cache = cache  # of what was decoded
        self._pool = pool
        self._read_raw = read_raw
        self._ahead = ahead
        self._seeks = seeks
        self._most = PER_MEMBER if seeks is None else PER_SEEKABLE

    def read(self, start: int, end: int, wait: Wait) -> list[memoryview]:
        """The bytes `[start, end)`."""
        parts = self._read(start, end, wait)
        if self._ahead is not None:
            self._ahead.follow(self._content, start, end, self._decode_ahead)
        return parts

    def _read(self, start: int, end: int, wait: Wait) -> list[memoryview]:
        parts, at = self._cache.peek_from(self._content, start, end)
        while at < end:
            if (taken := self._take(at, end, wait)) is not None:
                stream, read_raw = taken
                try:
                    return parts + self._forward(stream.decoding, read_raw, at, end, wait)
                finally:
                    self._pool.give_back(stream)
            # What was found stays here: others may need its memory, and a stream that has passed it
            # does not come back.
            more, at = self._cache.peek_from(self._content, at, end)
            parts += more
        return parts

    def _take(self, start: int, end: int, wait: Wait) -> tuple[Stream, RawRead] | None:
        """A stream to go on with, and what it reads; None: look again, more may be kept."""
        within = None if self._seeks is None else self._seeks.reach(start)
        stream = self._pool.take(self._content, start, within=within, most=self._most)
        if isinstance(stream, Transfer):
            wait.result(stream)
            return None
        if stream is not None:
            return stream, self._read_raw
        # A stream may have passed meanwhile, and what it made is kept. The kernel's reads of one
        # window come side by side: each that missed this began anew.
        if self._cache.peek_from(self._content, start, end)[1] > start:
            return None
        decoding, read_raw = self._begin(start, end, wait)
        stream = Stream(self._content, decoding, start)
        self._pool.add(stream, wait, most=self._most)
        return stream, read_raw

    def _begin(self, start: int, end: int, wait: Wait) -> tuple[Decoding, RawRead]:
        begun = self._seeks.begin(start, end, wait) if self._seeks is not None else None
        if begun is not None:
            return begun
        head = self._read_raw(0, min(HEAD, self._member.compressed_size), wait)
        return Decoding(self._member, start_decoder(self._member, head)), self._read_raw

    def _forward(
        self, decoding: Decoding, read_raw: RawRead, start: int, end: int, wait: Wait
    ) -> list[memoryview]:
        size, wait = self._member.uncompressed_size, self._pool.driving(decoding, wait)
        self._assure(decoding, wait)
        parts = [] if decoding.position <= start else [decoding.last[start - decoding.reach :]]
        while decoding.position < end or (decoding.position == size and not decoding.finished):
            at = decoding.position
            decoding.advance(read_raw, wait, self._piece(decoding, start, end))
            self._assure(decoding, wait)
            if decoding.position > start or not decoding.begun:
                self._keep(decoding, asked=end)
            if decoding.position > max(at, start):
                parts.append(decoding.last[max(0, start - decoding.reach) :])
        if parts:
            parts[-1] = parts[-1][: len(parts[-1]) - (decoding.position - end)]
        return parts

    def _decode_ahead(self, decoding: Decoding, until: int, wait: Wait) -> bool:
        """Go on to `until`, and keep all of it; what could not be kept is the decoding's last."""
        if not self._cache.holds(self._content, decoding.reach, decoding.position):
            return False
        wait = self._pool.driving(decoding, wait)
        while decoding.position < until:
            decoding.advance(self._read_raw, wait)
            if not self._keep(decoding, asked=None):
                return False
        return True

    def _keep(self, decoding: Decoding, *, asked: int | None) -> bool:
        """Keep its last bytes, see `ExtentCache.keep`."""
        kept = self._cache.keep(self._content, decoding.reach, decoding.last, asked=asked)
        if not self._pool.is_doomed(decoding):
            return kept
        # Damage was met by another, and what was kept is forgotten: these may be part of it.
        self._cache.discard(self._content)
        return False

    def _piece(self, decoding: Decoding, start: int, end: int) -> int:
        """Most bytes to produce next: one that has just begun in the middle makes no more."""
        if not decoding.begun or decoding.position - decoding.begun > CHEAP:
            return PIECE
        return max(1, min(PIECE, (start if decoding.position < start else end) - decoding.position))

    def _assure(self, decoding: Decoding, wait: Wait) -> None:
        """A stream that did not see all of the member can't tell whether its end is a good one."""
        if decoding.begun and decoding.finished and self._seeks is not None:
            self._seeks.assure(wait)
