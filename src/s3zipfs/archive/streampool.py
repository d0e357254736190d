"""Decodings of large members, standing by where readers left them, within a share of memory."""

from __future__ import annotations

import threading
import time
from collections.abc import Hashable
from operator import itemgetter

from s3zipfs.archive.inflate import STREAM_COST, Decoding
from s3zipfs.budget import MemoryBudget
from s3zipfs.errors import DeadlineExceeded
from s3zipfs.waiting import POLL_SECONDS, Transfer, Wait

PER_MEMBER = 4  # streams; more readers than that take turns
PER_SEEKABLE = 16  # the same, where streams can begin in the middle

# Two readers for whom there is room in turn only must not each undo the other's work at every read.
# An idle stream gives way at once where it is cheap to make again or had a fair share of the
# decoder; else after this time, its own or that of the one who waits.
CHEAP = 8 << 20  # bytes from the member's start
QUANTUM = 256 << 20  # bytes from where it was first read
IDLE_SECONDS = 5.0


class Stream:
    """A decoding that stands where its last reader left it."""

    def __init__(self, content: Hashable, decoding: Decoding, wanted: int) -> None:
        self.content = content
        self.decoding = decoding
        self.wanted = wanted  # the first byte it was made for
        self.cost = STREAM_COST + decoding.decoder.memory
        self.used = time.monotonic()
        # Done when its present user gives it back; from where on it keeps what it makes in it.
        self.turn: Transfer[None] = Transfer()
        self.turned_at = decoding.reach
        self.is_doomed = False  # it goes with the end of its turn
        # `DecodeAhead` guards these.
        self.read_to = wanted  # where the furthest read in order ended
        self.in_order = 0  # bytes read in order
        self.is_followed = False  # it is decoded ahead just now

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
        self._lock = threading.Lock()  # guards _idle, _busy, _cost, and `Stream.is_doomed`
        self._idle: list[Stream] = []  # the longest idle first
        self._busy: list[Stream] = []
        self._cost = 0

    def take(
        self, content: Hashable, start: int, *, within: int | None = None, most: int = PER_MEMBER
    ) -> Stream | Transfer[None] | None:
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
            self._begin_turn(nearest)
            return nearest

    def take_idle(self, stream: Stream) -> bool:
        """Take that one; False where it is in use, or gone."""
        with self._lock:
            if stream not in self._idle:
                return False
            self._begin_turn(stream)
            return True

    def is_idle(self, stream: Stream) -> bool:
        """Whether it could be taken."""
        with self._lock:
            return stream in self._idle

    def driving(self, decoding: Decoding, wait: Wait) -> Wait:
        """That wait for who has taken the decoding, told to those whose turn is next."""
        with self._lock:
            return wait.telling(next(s.turn for s in self._busy if s.decoding is decoding))

    def _begin_turn(self, stream: Stream) -> None:
        """Take one that is idle; the lock is held."""
        self._idle.remove(stream)
        stream.turn = Transfer()
        stream.turned_at = stream.decoding.reach
        self._busy.append(stream)

    def nearest(self, content: Hashable, start: int, reach: int) -> Stream | None:
        """The stream of that content which has passed `start`, but not `reach`; the least far."""
        with self._lock:
            all_of_it = [s for s in (*self._idle, *self._busy) if s.content == content]
        passed = [s for s in all_of_it if s.decoding.begun <= start < s.decoding.position <= reach]
        return min(passed, key=lambda s: s.decoding.position, default=None)

    def add(self, stream: Stream, wait: Wait, *, most: int = PER_MEMBER) -> None:
        """Take in a new stream, for its maker to use; others make room for it.

        Of its content there are `most` then, unless they are all in use.

        Raises:
            DeadlineExceeded: all that there are were in use for all that time.
            Interrupted, TooManyWaiting: see `Wait`.
        """
        started = time.monotonic()
        while not self._admit(stream, most, patient=time.monotonic() - started < IDLE_SECONDS):
            if time.monotonic() - started > wait.timeout:
                raise DeadlineExceeded(f"no decoder was free within {wait.timeout:g} s")
            wait.pause(POLL_SECONDS / 2)

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
        stream.used = time.monotonic()
        with self._lock:
            usable = stream.decoding.usable and not stream.is_doomed
            turn = stream.turn  # the next taker begins a new one
            self._busy.remove(stream)
            if usable:
                self._idle.append(stream)
            else:
                self._cost -= stream.cost
        if not usable:
            self._budget.release(stream.cost)
        turn.set_result(None)

    def discard(self, content: Hashable) -> None:
        """Drop all streams of a content: they may have been given what it was found damaged by."""
        with self._lock:
            doomed = [s for s in self._idle if s.content == content]
            self._idle = [s for s in self._idle if s.content != content]
            freed = sum(s.cost for s in doomed)
            self._cost -= freed
            for stream in self._busy:
                stream.is_doomed = stream.is_doomed or stream.content == content
        self._budget.release(freed)

    def is_doomed(self, decoding: Decoding) -> bool:
        """Whether the content was discarded since the decoding, which is in use, began."""
        with self._lock:
            return any(s.is_doomed for s in self._busy if s.decoding is decoding)
