"""Large members, read forward by decoders that stand by where they stopped."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from operator import itemgetter
from typing import Protocol

from s3zipfs.archive.decoders import HEAD
from s3zipfs.archive.inflate import PIECE, STREAM_COST, Decoding, RawRead, start_decoder
from s3zipfs.budget import MemoryBudget
from s3zipfs.errors import DeadlineExceeded
from s3zipfs.waiting import POLL_SECONDS, Wait
from s3zipfs.zipformat.member import Member

PER_MEMBER = 4  # streams; more readers than that take turns
PER_SEEKABLE = 16  # the same, where streams can begin in the middle

# Two readers for whom there is room in turn only must not each undo the other's work at every read.
# An idle stream gives way at once where it is cheap to make again or had a fair share of the
# decoder; else after this time, its own or that of the one who waits.
CHEAP = 8 << 20  # bytes from the member's start
QUANTUM = 256 << 20  # bytes from where it was first read
IDLE_SECONDS = 5.0

Keep = Callable[[int, memoryview], None]
Peek = Callable[[int, int], list[memoryview] | None]


class Stream:
    """A decoding that stands where its last reader left it."""

    def __init__(self, content: Hashable, decoding: Decoding, wanted: int) -> None:
        self.content = content
        self.decoding = decoding
        self.wanted = wanted  # the first byte it was made for
        self.cost = STREAM_COST + decoding.decoder.memory
        self.used = time.monotonic()
        # Done when its present user gives it back; from where on it keeps what it makes in it.
        self.turn: Future[None] = Future()
        self.turned_at = decoding.reach

    @property
    def spare(self) -> bool:
        """Whether it gives way at once."""
        decoding = self.decoding
        return (
            decoding.finished
            or decoding.begun > 0
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

    def take(
        self, content: Hashable, start: int, *, within: int | None = None, most: int = PER_MEMBER
    ) -> Stream | Future[None] | None:
        """The stream of that content which is nearest before `start`, if there is one.

        One that stands more than `within` bytes before is none, unless there are `most` in use.
        While another thread drives that one, a future for the end of its turn: what is wanted
        may be in the cache by then.
        """
        with self._lock:
            busy = [s for s in self._busy if s.content == content]
            idle = [s for s in self._idle if s.content == content]
            far = start if within is None else within
            # One that is driven past `start` just now is worth waiting for: what it makes is kept.
            before = [(s.decoding.reach, s) for s in idle] + [(s.turned_at, s) for s in busy]
            near = [(at, s) for at, s in before if at <= start <= s.decoding.position + far]
            _, nearest = max(near, key=itemgetter(0), default=(0, None))
            if nearest is None and len(busy) >= most:
                nearest = busy[0]
            if nearest is None:
                return None
            if nearest in busy:
                return nearest.turn
            self._idle.remove(nearest)
            nearest.turn = Future()
            nearest.turned_at = nearest.decoding.reach
            self._busy.append(nearest)
            return nearest

    def add(self, stream: Stream, wait: Wait, *, most: int = PER_MEMBER) -> None:
        """Take in a new stream, for its maker to use; others make room for it.

        Of its content there are `most` then, unless they are all in use.

        Raises:
            DeadlineExceeded: all that there are were in use for all that time.
        """
        started = time.monotonic()
        while not self._admit(stream, most, patient=time.monotonic() - started < IDLE_SECONDS):
            wait.check()
            if time.monotonic() - started > wait.timeout:
                raise DeadlineExceeded(f"no decoder was free within {wait.timeout:g} s")
            time.sleep(POLL_SECONDS / 2)

    def _admit(self, stream: Stream, most: int, *, patient: bool) -> bool:
        freed = 0
        with self._lock:
            same = [s for s in (*self._idle, *self._busy) if s.content == stream.content]
            surplus = same[: max(0, len(same) - most + 1)]
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
        pool: StreamPool,
        read_raw: RawRead,
        *,
        keep: Keep,
        peek: Peek,
        seeks: Seeks | None = None,
    ) -> None:
        self._member = member
        self._content = content
        self._pool = pool
        self._read_raw = read_raw
        self._keep = keep
        self._peek = peek
        self._seeks = seeks
        self._most = PER_MEMBER if seeks is None else PER_SEEKABLE

    def read(self, start: int, end: int, wait: Wait) -> list[memoryview] | None:
        """The bytes `[start, end)`, where they are not kept already; None: look again.

        None after a wait for another thread.
        """
        if (parts := self._peek(start, end)) is not None:
            return parts
        within = None if self._seeks is None else self._seeks.reach(start)
        stream = self._pool.take(self._content, start, within=within, most=self._most)
        if isinstance(stream, Future):
            wait.result(stream)
            return None
        read_raw = self._read_raw
        if stream is None:
            # A stream may have passed meanwhile, and what it made is kept. The kernel's reads of
            # one window come side by side: each that missed this began anew.
            if (parts := self._peek(start, end)) is not None:
                return parts
            decoding, read_raw = self._begin(start, end, wait)
            stream = Stream(self._content, decoding, start)
            self._pool.add(stream, wait, most=self._most)
        try:
            return self._forward(stream.decoding, read_raw, start, end, wait)
        finally:
            self._pool.give_back(stream)

    def _begin(self, start: int, end: int, wait: Wait) -> tuple[Decoding, RawRead]:
        begun = self._seeks.begin(start, end, wait) if self._seeks is not None else None
        if begun is not None:
            return begun
        head = self._read_raw(0, min(HEAD, self._member.compressed_size), wait)
        return Decoding(self._member, start_decoder(self._member, head)), self._read_raw

    def _forward(
        self, decoding: Decoding, read_raw: RawRead, start: int, end: int, wait: Wait
    ) -> list[memoryview]:
        size = self._member.uncompressed_size
        self._assure(decoding, wait)
        parts = [] if decoding.position <= start else [decoding.last[start - decoding.reach :]]
        while decoding.position < end or (decoding.position == size and not decoding.finished):
            at = decoding.position
            decoding.advance(read_raw, wait, self._piece(decoding, start, end))
            self._assure(decoding, wait)
            if decoding.position > start or not decoding.begun:
                self._keep(decoding.reach, decoding.last)
            if decoding.position > max(at, start):
                parts.append(decoding.last[max(0, start - decoding.reach) :])
        if parts:
            parts[-1] = parts[-1][: len(parts[-1]) - (decoding.position - end)]
        return parts

    def _piece(self, decoding: Decoding, start: int, end: int) -> int:
        """Most bytes to produce next: one that has just begun in the middle makes no more."""
        if not decoding.begun or decoding.position - decoding.begun > CHEAP:
            return PIECE
        return max(1, min(PIECE, (start if decoding.position < start else end) - decoding.position))

    def _assure(self, decoding: Decoding, wait: Wait) -> None:
        """A stream that did not see all of the member can't tell whether its end is a good one."""
        if decoding.begun and decoding.finished and self._seeks is not None:
            self._seeks.assure(wait)
