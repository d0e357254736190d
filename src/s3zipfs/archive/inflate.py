"""Members through their decoders: small ones whole, large ones as streams that stand by."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable
from concurrent.futures import Future

from isal import isal_zlib

from s3zipfs.archive.decoders import HEAD, METHODS, Decoder, IsalError, open_decoder
from s3zipfs.budget import MemoryBudget
from s3zipfs.cache.extents import joined
from s3zipfs.errors import BadMember, DeadlineExceeded, UnsupportedMember
from s3zipfs.waiting import POLL_SECONDS, Wait
from s3zipfs.zipformat.member import Member
from s3zipfs.zipformat.methods import DEFLATED, method_name

FEED = 128 << 10  # compressed bytes given to a decoder at once
PIECE = 512 << 10  # most bytes taken from it at once

PER_MEMBER = 4  # streams; more readers than that take turns
STREAM_COST = FEED + PIECE  # bytes beside the decoder's: what it was fed, and gave last

# Two readers for whom there is room in turn only must not each undo the other's work at every read.
# An idle stream gives way at once where it is cheap to make again or had a fair share of the
# decoder; else after this time, its own or that of the one who waits.
CHEAP = 8 << 20  # bytes from the member's start
QUANTUM = 256 << 20  # bytes from where it was first read
IDLE_SECONDS = 5.0

RawRead = Callable[[int, int, Wait], memoryview]
Keep = Callable[[int, memoryview], None]


def broken(member: Member, what: str) -> BadMember:
    """The error for a damaged member; says which."""
    return BadMember(f"{_named(member)}: {what}")


def _named(member: Member) -> str:
    return f"member {member.raw_name.decode('utf-8', 'backslashreplace')}"


def verify(member: Member, crc32: int) -> None:
    """Raise `BadMember` where the bytes read are not those that were zipped (APPNOTE 4.4.7)."""
    if crc32 != member.crc32:
        raise broken(member, f"CRC-32: expected {member.crc32:08x}, found {crc32:08x}")


def whole_cost(member: Member) -> int:
    """Bytes of memory that `decode_whole` takes at most, what it is given and returns included."""
    size = member.compressed_size + member.uncompressed_size
    if member.method == DEFLATED:
        return size
    # The pieces before they are joined, and a window that is never larger than what has come out.
    return size + 2 * member.uncompressed_size + METHODS[member.method].overhead


def decode_whole(member: Member, data: memoryview, wait: Wait) -> memoryview:
    """All bytes of a member, verified; `data` is its compressed data (APPNOTE 4.3.8).

    Raises:
        BadMember: it is damaged.
        UnsupportedMember: it needs a larger window than is given.
    """
    if member.method == DEFLATED:
        return _inflate_whole(member, data)
    decoding = Decoding(member, start_decoder(member, data[:HEAD]))
    pieces: list[memoryview] = []
    while not decoding.verified:
        at = decoding.position
        decoding.advance(lambda start, end, _wait: data[start:end], wait)
        if decoding.position > at:
            pieces.append(decoding.last)
    return joined(pieces)


def _inflate_whole(member: Member, data: memoryview) -> memoryview:
    """The same in one call, for what nearly all members are."""
    inflater = isal_zlib.decompressobj(-15)
    try:
        inflated = inflater.decompress(data, member.uncompressed_size + 1)
    except IsalError as error:
        raise broken(member, f"deflate data: {error}") from error
    if not inflater.eof or inflater.unused_data or len(inflated) != member.uncompressed_size:
        raise _length_fault(member, len(inflated), ended=inflater.eof)
    verify(member, isal_zlib.crc32(inflated))
    return memoryview(inflated)


def _length_fault(member: Member, found: int, *, ended: bool) -> BadMember:
    name, size = method_name(member.method), member.uncompressed_size
    if found > size or (found == size and not ended):
        return broken(member, f"{name} data does not end: expected {size} bytes, found more")
    if found == size:
        return broken(member, f"{name} data ends before the compressed size")
    state = "ends" if ended else "is cut off"
    return broken(member, f"{name} data {state}: expected {size} bytes, found {found}")


def start_decoder(member: Member, head: memoryview) -> Decoder:
    """A decoder for the member; its errors name the member."""
    try:
        return open_decoder(member, head)
    except (BadMember, UnsupportedMember) as error:
        raise type(error)(f"{_named(member)}: {error}") from error


class Decoding:
    """One member on its way through its decoder. Used by one thread at a time.

    Reading raw bytes may fail or be interrupted at any time: nothing is lost, the next `advance`
    goes on from there. After any other error it is not `usable`.
    """

    def __init__(self, member: Member, decoder: Decoder) -> None:
        self.member = member
        self.decoder = decoder
        self.fed = 0  # compressed bytes given
        self.position = 0  # bytes produced
        self.crc32 = 0
        self.last = memoryview(b"")  # ends at `position`
        self.verified = False  # all was produced, and is what was zipped
        self.usable = True

    @property
    def reach(self) -> int:
        """The first byte that can still be had."""
        return self.position - len(self.last)

    def advance(self, read_raw: RawRead, wait: Wait) -> None:
        """Produce the next bytes as `last`; after the last ones of the member check the whole.

        Raises:
            BadMember: damaged, or its size or CRC-32 are not those declared.
        """
        member = self.member
        if self.position < member.uncompressed_size and not self._step(read_raw, wait):
            self.usable = False
            raise _length_fault(member, self.position, ended=True)
        if self.position >= member.uncompressed_size:
            # An end mark may stand behind the last byte; `_step` refuses any byte more.
            while self._step(read_raw, wait):
                pass
            self.usable = False
            verify(member, self.crc32)
            self.usable = self.verified = True

    def _step(self, read_raw: RawRead, wait: Wait) -> bool:
        """Decode until there are bytes (True), or the data has ended as it should."""
        member, decoder = self.member, self.decoder
        while True:
            wait.check()
            data = memoryview(b"")
            if decoder.needs_input:
                end = min(self.fed + FEED, member.compressed_size)
                if end == self.fed:
                    if decoder.complete:
                        return False
                    self.usable = False
                    raise _length_fault(member, self.position, ended=False)
                data = read_raw(self.fed, end, wait)
                self.fed = end
            self.usable = False
            try:
                piece = decoder.decode(data, min(PIECE, member.uncompressed_size + 1))
            except BadMember as error:
                raise broken(member, str(error)) from error
            if self.position + len(piece) > member.uncompressed_size:
                raise _length_fault(member, self.position + len(piece), ended=False)
            self.usable = True
            if piece:
                self.position += len(piece)
                self.last = memoryview(piece)
                self.crc32 = isal_zlib.crc32(piece, self.crc32)
                return True


class Stream:
    """A decoding that stands where its last reader left it."""

    def __init__(self, content: Hashable, decoding: Decoding, wanted: int) -> None:
        self.content = content
        self.decoding = decoding
        self.wanted = wanted  # the first byte it was made for
        self.cost = STREAM_COST + decoding.decoder.memory
        self.used = time.monotonic()
        # Done when its present user gives it back.
        self.turn: Future[None] = Future()

    @property
    def spare(self) -> bool:
        """Whether it gives way at once."""
        decoding = self.decoding
        return (
            decoding.verified
            or decoding.position < CHEAP
            or decoding.position - self.wanted >= QUANTUM
            or time.monotonic() - self.used > IDLE_SECONDS
        )


class StreamPool:
    """The streams of a process, standing where they stopped; the longest idle give way.

    At most half of the budget is in them, or one of them where that is more.
    """

    def __init__(self, budget: MemoryBudget) -> None:
        self._budget = budget
        self._most = budget.limit // 2
        self._lock = threading.Lock()  # guards _idle, _busy, _cost
        self._idle: list[Stream] = []  # the longest idle first
        self._busy: list[Stream] = []
        self._cost = 0

    def take(self, content: Hashable, start: int) -> Stream | Future[None] | None:
        """The stream of that content which is nearest before `start`, if there is one.

        While another thread drives that one, a future for the end of its turn: what is wanted
        may be in the cache by then.
        """
        with self._lock:
            busy = [s for s in self._busy if s.content == content]
            idle = [s for s in self._idle if s.content == content]
            before = [s for s in (*idle, *busy) if s.decoding.reach <= start]
            nearest = max(before, key=lambda s: s.decoding.reach, default=None)
            if nearest is None and len(busy) >= PER_MEMBER:
                nearest = busy[0]
            if nearest is None:
                return None
            if nearest in busy:
                return nearest.turn
            self._idle.remove(nearest)
            nearest.turn = Future()
            self._busy.append(nearest)
            return nearest

    def add(self, stream: Stream, wait: Wait) -> None:
        """Take in a new stream, for its maker to use; others make room for it.

        Raises:
            DeadlineExceeded: all that there are were in use for all that time.
        """
        started = time.monotonic()
        while not self._admit(stream, patient=time.monotonic() - started < IDLE_SECONDS):
            wait.check()
            if time.monotonic() - started > wait.timeout:
                raise DeadlineExceeded(f"no decoder was free within {wait.timeout:g} s")
            time.sleep(POLL_SECONDS / 2)

    def _admit(self, stream: Stream, *, patient: bool) -> bool:
        freed = 0
        with self._lock:
            same = [s for s in (*self._idle, *self._busy) if s.content == stream.content]
            surplus = same[: max(0, len(same) - PER_MEMBER + 1)]
            doomed = [s for s in surplus if s in self._idle]
            others = [s for s in self._idle if s not in doomed and (s.spare or not patient)]
            excess = self._cost + stream.cost - self._most - sum(s.cost for s in doomed)
            while excess > 0 and others:
                doomed.append(others.pop(0))
                excess -= doomed[-1].cost
            admitted = excess <= 0 or len(doomed) == len(self._idle) + len(self._busy)
            if admitted:
                for old in doomed:
                    self._idle.remove(old)
                    freed += old.cost
                self._busy.append(stream)
                self._cost += stream.cost - freed
        if admitted:
            self._budget.release(freed)
            self._budget.charge(stream.cost)
        return admitted

    def give_back(self, stream: Stream) -> None:
        """End the turn; a stream that is not usable is dropped."""
        usable = stream.decoding.usable
        stream.used = time.monotonic()
        with self._lock:
            turn = stream.turn  # the next taker begins a new one
            self._busy.remove(stream)
            if usable:
                self._idle.append(stream)
            else:
                self._cost -= stream.cost
        if not usable:
            self._budget.release(stream.cost)
        turn.set_result(None)


class StreamReader:
    """A large member, read forward by streams of the pool."""

    def __init__(
        self, member: Member, content: Hashable, pool: StreamPool, read_raw: RawRead, keep: Keep
    ) -> None:
        self._member = member
        self._content = content
        self._pool = pool
        self._read_raw = read_raw
        self._keep = keep

    def read(self, start: int, end: int, wait: Wait) -> list[memoryview] | None:
        """The bytes `[start, end)`; None after a wait for another thread: look in the cache."""
        stream = self._pool.take(self._content, start)
        if isinstance(stream, Future):
            wait.result(stream)
            return None
        if stream is None:
            head = self._read_raw(0, min(HEAD, self._member.compressed_size), wait)
            decoder = start_decoder(self._member, head)
            stream = Stream(self._content, Decoding(self._member, decoder), start)
            self._pool.add(stream, wait)
        try:
            return self._forward(stream.decoding, start, end, wait)
        finally:
            self._pool.give_back(stream)

    def _forward(self, decoding: Decoding, start: int, end: int, wait: Wait) -> list[memoryview]:
        size = self._member.uncompressed_size
        parts = [] if decoding.position <= start else [decoding.last[start - decoding.reach :]]
        while decoding.position < end or (decoding.position == size and not decoding.verified):
            at = decoding.position
            decoding.advance(self._read_raw, wait)
            self._keep(decoding.reach, decoding.last)
            if decoding.position > max(at, start):
                parts.append(decoding.last[max(0, start - decoding.reach) :])
        if parts:
            parts[-1] = parts[-1][: len(parts[-1]) - (decoding.position - end)]
        return parts
