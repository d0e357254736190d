"""One archive version: its object, its index, and positional reads of its members."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable

from s3zipfs.archive.decodeahead import DecodeAhead
from s3zipfs.archive.decoders import METHODS
from s3zipfs.archive.faults import Faults
from s3zipfs.archive.inflate import (
    broken,
    decode_whole,
    verify,
    whole_cost,
)
from s3zipfs.archive.ledger import CrcLedger
from s3zipfs.archive.metadata import MetadataMembers
from s3zipfs.archive.raw import WHOLE_STORED, RawMembers, span_of_read
from s3zipfs.archive.seekable import SeekTable
from s3zipfs.archive.streaming import StreamReader
from s3zipfs.archive.streampool import StreamPool
from s3zipfs.budget import MemoryBudget
from s3zipfs.cache.extents import ExtentCache, joined
from s3zipfs.cache.reader import ObjectReader
from s3zipfs.cache.spans import merged
from s3zipfs.errors import (
    BadMember,
    Interrupted,
    IsADirectory,
    TooManyWaiting,
    UnsupportedMember,
)
from s3zipfs.stores.base import ObjectInfo
from s3zipfs.waiting import Transfer, Wait
from s3zipfs.zipformat.index import MemberIndex
from s3zipfs.zipformat.member import Member
from s3zipfs.zipformat.methods import DEFLATED, STORED, method_name

# Bytes of an open archive beside its columns: 15 arrays, a reader, dictionaries (measured over
# 20,000 archives of three members).
OVERHEAD = 10_000
LEDGERS = 256  # members with a checksum under way, per archive


class Archive:
    """Members of one `ObjectId`, by their number in the index. Safe for any number of threads."""

    def __init__(
        self,
        reader: ObjectReader,
        index: MemberIndex,
        cache: ExtentCache,
        budget: MemoryBudget,
        *,
        streams: StreamPool,
        ahead: DecodeAhead,
        seeks: SeekTable,
        faults: Faults,
        metadata: MetadataMembers,
    ) -> None:
        self.info: ObjectInfo = reader.info
        self.index = index
        self._reader = reader
        self._cache = cache
        self._budget = budget
        self._streams = streams
        self._ahead = ahead
        self._seeks = seeks
        self._faults = faults
        self._metadata = metadata
        self._raw = RawMembers(reader, index.node_count)
        self._lock = threading.Lock()  # guards _ledgers, _decoding
        self._ledgers: OrderedDict[int, CrcLedger] = OrderedDict()
        self._decoding: dict[int, Transfer[memoryview]] = {}  # members that are decoded whole now

    @property
    def nbytes(self) -> int:
        """Bytes of memory that the archive holds while it is open."""
        return self.index.nbytes + self._raw.nbytes + OVERHEAD

    def check_readable(self, number: int) -> Member:
        """The member, where its content can be read at all.

        Raises:
            IsADirectory: it has no content.
            UnsupportedMember: encrypted, or a method without a library here.
            BadMember: it contradicts the archive it stands in.
        """
        if self.index.is_directory(number):
            raise IsADirectory(f"{self.info.id}: {self._path(number)}: is a directory")
        member = self.index.member(number)
        if member.damaged:
            raise broken(member, member.damaged)
        if member.is_encrypted:
            method = method_name(member.method)
            raise UnsupportedMember(f"{self.info.id}: {self._path(number)}: encrypted ({method})")
        if member.method != STORED and member.method not in METHODS:
            raise UnsupportedMember(
                f"{self.info.id}: {self._path(number)}: method {method_name(member.method)}"
            )
        return member

    def read(self, number: int, start: int, end: int, wait: Wait) -> list[memoryview]:
        """The bytes `[start, end)` of a member, cut at its end; empty behind it."""
        member = self.check_readable(number)
        self._faults.check(self.info.id, number)
        end = min(end, member.uncompressed_size)
        try:
            if start >= end:
                if member.uncompressed_size == 0:
                    self._check_empty(member, wait)
                return []
            if (content := self._metadata.content(self.index, member, wait)) is not None:
                return [content[start:end]]
            span = span_of_read(member, start, end)
            if span is None:
                return self._read_streamed(member, start, end, wait)
            if member.method == STORED:
                return self._read_stored(member, span, start, end, wait)
            return self._read_whole(member, span, start, end, wait)
        except UnsupportedMember as error:
            raise UnsupportedMember(f"{self.info.id}: {error}") from error
        except BadMember as error:
            named = BadMember(f"{self.info.id}: {error}")
            self._faults.remember(self.info.id, number, named)
            self._streams.discard((self.info.id, number))  # first: they keep nothing any more
            self._cache.discard((self.info.id, number))
            self._raw.discard(member)
            raise named from error

    def start_reads(self, reads: Iterable[tuple[int, int, int]], *, max_gap: int) -> None:
        """Have what reads `(number, start, end)` need fetched, by few GETs; waits for none of them.

        Neighbours with up to `max_gap` bytes between them come together. Of members too large to be
        decoded whole nothing is known beforehand.
        """
        needed = [span for read in reads for span in self._needed(*read)]
        for start, end in merged(needed, max_gap=max_gap):
            self._reader.start(start, min(end, self.info.size))

    def _needed(self, number: int, start: int, end: int) -> list[tuple[int, int]]:
        """Which bytes of the object a read will ask for, or a few more: a header may be longer."""
        if self.index.is_directory(number):
            return []
        member = self.index.member(number)
        end = min(end, member.uncompressed_size)
        span = span_of_read(member, start, end) if start < end else None
        if span is None:
            return []
        if member.method != STORED and self._cache.holds((self.info.id, number), start, end):
            return []
        return list(self._raw.needed(member, *span))

    def _path(self, number: int) -> str:
        return self.index.path(number).decode("utf-8", "backslashreplace")

    def _check_empty(self, member: Member, wait: Wait) -> None:
        """Data that decodes to nothing, or none at all, as some writers have it."""
        size = member.compressed_size
        if size > WHOLE_STORED:
            raise broken(member, f"{size} bytes of compressed data for no content")
        if size == 0:
            verify(member, 0)
        else:
            decode_whole(member, joined(self._raw.read(member, 0, size, wait)), wait)

    # Stored

    def _read_stored(
        self, member: Member, span: tuple[int, int], start: int, end: int, wait: Wait
    ) -> list[memoryview]:
        parts, at = self._raw.read(member, *span, wait), span[0]
        if span != (start, end):
            parts = [joined(parts)]
        for part in parts:
            self._verify_part(member, at, part)
            at += len(part)
        return parts if span == (start, end) else [parts[0][start - span[0] : end - span[0]]]

    def _verify_part(self, member: Member, start: int, data: memoryview) -> None:
        with self._lock:
            ledger = self._ledgers.setdefault(member.number, CrcLedger(member.uncompressed_size))
            self._ledgers.move_to_end(member.number)
            while len(self._ledgers) > LEDGERS:
                self._ledgers.popitem(last=False)
            ledger.add(start, data)
            whole = ledger.whole
            if whole is not None and whole != member.crc32:
                del self._ledgers[member.number]
        if whole is not None:
            verify(member, whole)

    # Decoded whole

    def _read_whole(
        self, member: Member, span: tuple[int, int], start: int, end: int, wait: Wait
    ) -> list[memoryview]:
        content = (self.info.id, member.number)
        while True:
            if (parts := self._cache.peek(content, start, end)) is not None:
                return parts
            with self._lock:
                decoding = self._decoding.get(member.number)
                is_ours = decoding is None and not self._cache.holds(content, start, end)
                if is_ours:
                    decoding = self._decoding[member.number] = Transfer()
            if decoding is None:  # it was completed since we looked
                continue
            if is_ours:
                self._decode(decoding, member, span, end, wait)
            try:
                return [wait.result(decoding)[start:end]]
            except (Interrupted, TooManyWaiting) as error:
                wait.check()
                if is_ours or not decoding.done() or decoding.exception() is not error:
                    raise
                # Its owner gave up, or could not wait: take it over.

    def _decode(
        self,
        decoding: Transfer[memoryview],
        member: Member,
        span: tuple[int, int],
        end: int,
        wait: Wait,
    ) -> None:
        """The content, or what was wrong, for all who read the member now; they wait meanwhile.

        They get it here, since the cache may have to drop it for others before they look.
        """
        data, fault = memoryview(b""), None
        try:
            data = self._decode_whole(member, span, end, wait.telling(decoding))
        except BaseException as error:  # noqa: BLE001 - it is raised where the content is awaited
            fault = error
        with self._lock:
            del self._decoding[member.number]
        if fault is None:
            decoding.set_result(data)
        else:
            decoding.set_exception(fault)

    def _decode_whole(
        self, member: Member, span: tuple[int, int], end: int, wait: Wait
    ) -> memoryview:
        content, size = (self.info.id, member.number), member.uncompressed_size
        while True:
            with self._budget.reserved(whole_cost(member), wait):
                covering, missing = self._cache.claim(content, 0, size, chunk=size, asked=end)
                for extent in missing:
                    try:
                        raw = self._raw.read(member, *span, wait)
                        self._cache.complete(extent, decode_whole(member, joined(raw), wait))
                    except BaseException as error:
                        self._cache.fail(extent, error)
                        raise
            try:
                return wait.result(covering[0].future)
            except Interrupted:  # it was on its way for this archive as it was open before
                wait.check()

    def _read_streamed(self, member: Member, start: int, end: int, wait: Wait) -> list[memoryview]:
        content = (self.info.id, member.number)

        def read_raw(first: int, last: int, wait: Wait) -> memoryview:
            return joined(self._raw.read(member, first, last, wait))

        deflated = member.method == DEFLATED
        seeks = self._seeks.seeks(self.info, member, read_raw) if deflated else None
        reader = StreamReader(
            member,
            content,
            self._cache,
            self._streams,
            read_raw,
            ahead=self._ahead,
            seeks=seeks,
        )
        return reader.read(start, end, wait)
