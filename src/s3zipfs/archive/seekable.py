"""Large deflated members that are read at random: what is known of them, and the way in."""

from __future__ import annotations

import threading
from collections import OrderedDict
from concurrent.futures import Future
from functools import partial
from typing import Final

from s3zipfs.archive import libz
from s3zipfs.archive.checkpoints import Checkpoint, Checkpoints, ResumedDeflate, from_bytes
from s3zipfs.archive.indexing import PASS_COST, Indexer, IndexingPass
from s3zipfs.archive.inflate import FEED, Decoding, RawRead
from s3zipfs.archive.streampool import CHEAP
from s3zipfs.budget import MemoryBudget
from s3zipfs.cache.checkpointfile import PersistedCheckpoints
from s3zipfs.stores.base import ObjectId, ObjectInfo
from s3zipfs.waiting import Wait
from s3zipfs.zipformat.member import Member

MEMBERS: Final = 1024  # of which something is held in memory
SOUND: Final = 10_000  # members that are known to be whole
LARGEST_SPAN: Final = 8 << 20  # compressed bytes fetched at once to begin at a checkpoint

_OVERHEAD: Final = 2000  # bytes of memory that a member takes beside its checkpoints

Content = tuple[ObjectId, int]


class _Held:
    """What is known of one member. The table's lock guards `job`, `is_complete` and `charged`."""

    def __init__(self, info: ObjectInfo, member: Member) -> None:
        self.info = info
        self.member = member
        self.checkpoints = Checkpoints()
        self.job: IndexingPass | None = None  # that adds to them
        self.is_complete = False  # there are all checkpoints, and the member is whole
        self.loaded: Future[None] = Future()  # what was on disk is here
        self.charged: int | None = 0  # bytes; None once it was dropped

    @property
    def content(self) -> Content:
        return self.info.id, self.member.number

    @property
    def cost(self) -> int:
        return _OVERHEAD + self.checkpoints.nbytes + (PASS_COST if self.job else 0)

    @property
    def is_running(self) -> bool:
        job = self.job
        return job is not None and job.is_running

    def before(self, start: int) -> Checkpoint | None:
        """The checkpoint to begin at for that byte; None where none is near, or all is in doubt."""
        job = self.job
        if job is not None and job.error is not None:
            return None
        found = self.checkpoints.before(start)
        passed = self.is_complete or (job is not None and job.reached >= start)
        return found if found and (passed or start - found.position <= CHEAP) else None


class SeekTable:
    """The checkpoints of members in use, in memory and on disk; the longest unused give way.

    They are taken at a member's first read far from where its streams stand, by one pass over it,
    and written to disk once the pass has found it whole.
    """

    def __init__(self, budget: MemoryBudget, files: PersistedCheckpoints) -> None:
        self._budget = budget
        self._files = files
        self.indexer = Indexer()
        self._lock = threading.Lock()  # guards _held, _sound, and what `_Held` says
        self._held: OrderedDict[Content, _Held] = OrderedDict()  # the most recently used last
        self._sound: OrderedDict[Content, None] = OrderedDict()
        budget.add_reclaimer(self._reclaim)

    def close(self) -> None:
        """Stop what is under way."""
        self.indexer.close()

    def seeks(self, info: ObjectInfo, member: Member, read_raw: RawRead) -> MemberSeeks | None:
        """The way into the middle of a deflated member; None where this machine has no zlib."""
        return MemberSeeks(self, info, member, read_raw) if libz.is_available() else None

    def peek(self, content: Content) -> _Held | None:
        """What is in memory of a member."""
        with self._lock:
            held = self._held.get(content)
        return held if held is not None and held.loaded.done() else None

    def get(self, info: ObjectInfo, member: Member, wait: Wait) -> _Held:
        """What is known of a member, on disk as well."""
        new = _Held(info, member)
        with self._lock:
            held = self._held.setdefault(new.content, new)
            self._held.move_to_end(new.content)
        if held is new:
            try:
                self._load(new)
            finally:
                new.loaded.set_result(None)
        wait.result(held.loaded)
        return held

    def _load(self, held: _Held) -> None:
        parse = partial(
            from_bytes,
            compressed_size=held.member.compressed_size,
            uncompressed_size=held.member.uncompressed_size,
        )
        found = self._files.open(held.info, held.member, parse)
        if found is not None:
            held.checkpoints = found
            self._note_complete(held)
        self._charge(held)
        with self._lock:
            doomed = [h for h in self._held.values() if not h.is_running]
            freed = sum(self._drop(h) for h in doomed[: max(0, len(self._held) - MEMBERS)])
        self._budget.release(freed)

    def checkpoints(self, info: ObjectInfo, member: Member, wait: Wait) -> Checkpoints | None:
        """All of them, where they are in memory or on disk."""
        held = self.get(info, member, wait)
        return held.checkpoints if held.is_complete else None

    # Passes

    def job(self, held: _Held) -> IndexingPass | None:
        """The pass over a member; None where there is nothing left to find."""
        with self._lock:
            if held.is_complete:
                return None
            if held.job is None:
                held.job = IndexingPass(
                    held.member,
                    held.checkpoints,
                    turned=lambda: self._charge(held),
                    completed=lambda: self._completed(held),
                )
            job = held.job
        self._charge(held)
        return job

    def _completed(self, held: _Held) -> None:
        self._note_complete(held)
        self._charge(held)
        self._files.save(held.info, held.member, held.checkpoints.to_bytes())

    def _note_complete(self, held: _Held) -> None:
        with self._lock:
            held.is_complete = True
            held.job = None
            self._sound[held.content] = None
            while len(self._sound) > SOUND:
                self._sound.popitem(last=False)

    def is_sound(self, content: Content) -> bool:
        """Whether the member is known to be what was zipped."""
        with self._lock:
            return content in self._sound

    def forget(self, held: _Held) -> None:
        """Nothing that was found is of use any more."""
        with self._lock:
            freed = self._drop(held)
        self._budget.release(freed)

    # Memory

    def _charge(self, held: _Held) -> None:
        with self._lock:
            if held.charged is None:
                return
            grown = held.cost - held.charged
            held.charged += grown
        if grown > 0:
            self._budget.charge(grown)
        else:
            self._budget.release(-grown)

    def _drop(self, held: _Held) -> int:
        """Forget it; the bytes to be released. The lock is held."""
        freed, held.charged = held.charged or 0, None
        if self._held.get(held.content) is held:
            del self._held[held.content]
        return freed

    def _reclaim(self, size: int) -> int:
        freed = 0
        with self._lock:
            # The last one stays: it is in use, and is had again by a pass over all of it only.
            for held in [h for h in list(self._held.values())[:-1] if not h.is_running]:
                if freed >= size:
                    break
                freed += self._drop(held)
        self._budget.release(freed)
        return freed


def plan_resume(
    checkpoints: Checkpoints, found: Checkpoint, member: Member, end: int
) -> list[tuple[int, int]]:
    """The compressed data to read to go on at a checkpoint as far as `end`, a read each.

    The header of its block, where that is needed, and what lies before the next checkpoint.
    """
    following = checkpoints.after(end)
    if following is not None:
        stop = following.start + 1
    else:  # the last, or the last so far
        ratio = member.compressed_size / member.uncompressed_size
        stop = found.start + FEED + int((end - found.position) * 1.25 * ratio)
    stop = min(stop, found.start + LARGEST_SPAN, member.compressed_size)
    if not found.header_bits:
        return [(found.start, stop)]
    last = -(-(found.header + found.header_bits) // 8)
    return [(found.header // 8, last), (found.start, stop)]


class MemberSeeks:
    """How streams of one member begin in its middle (`streaming.Seeks`)."""

    def __init__(
        self, table: SeekTable, info: ObjectInfo, member: Member, read_raw: RawRead
    ) -> None:
        self._table = table
        self._info = info
        self._member = member
        self._read_raw = read_raw

    def reach(self, start: int) -> int:
        """See `Seeks`."""
        held = self._table.peek((self._info.id, self._member.number))
        found = held.before(start) if held else None
        if held is None or found is None:
            return CHEAP
        # The kernel's reads in order come in any order, less than that apart.
        return max(held.checkpoints.spacing, start - found.position)

    def begin(self, start: int, end: int, wait: Wait) -> tuple[Decoding, RawRead] | None:
        """See `Seeks`."""
        near = self._table.peek((self._info.id, self._member.number))
        if start < CHEAP and (near is None or near.before(start) is None):
            return None
        held = self._table.get(self._info, self._member, wait)
        found = held.before(start)
        if found is None:
            self._wait(held, start, wait)
            found = held.checkpoints.before(start)
        return self._resume(held, found, end, wait) if found else None

    def assure(self, wait: Wait) -> None:
        """See `Seeks`."""
        if not self._table.is_sound((self._info.id, self._member.number)):
            self._wait(self._table.get(self._info, self._member, wait), None, wait)

    def _wait(self, held: _Held, until: int | None, wait: Wait) -> None:
        """Let the pass reach that byte; None: let it find the member whole."""
        job = self._table.job(held)
        if job is None:
            return
        try:
            until = job.verdict if until is None else until
            self._table.indexer.wait(job, until, self._read_raw, wait)
        finally:
            if job.error is not None:
                self._table.forget(held)

    def _resume(
        self, held: _Held, found: Checkpoint, end: int, wait: Wait
    ) -> tuple[Decoding, RawRead]:
        """A decoding from there, and what it needs as far as `end`, fetched at once."""
        member = self._member
        *headers, (_, stop) = plan_resume(held.checkpoints, found, member, end)
        header = self._read_raw(*headers[0], wait) if headers else memoryview(b"")
        span = self._read_raw(found.start, stop, wait)

        def read_raw(first: int, last: int, wait: Wait) -> memoryview:
            if found.start <= first < stop:
                return span[first - found.start : last - found.start]
            return self._read_raw(first, last, wait)

        decoder = ResumedDeflate(found, header)
        decoding = Decoding(member, decoder, position=found.position, fed=found.start)
        return decoding, read_raw
