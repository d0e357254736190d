"""Extents: byte ranges of immutable contents, in memory or on their way, each fetched once."""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, replace

from s3zipfs.budget import MemoryBudget
from s3zipfs.waiting import Transfer

# What an extent costs beside its bytes: the object, its future and condition, list slots
# (tracemalloc: 1.1 kB).
OVERHEAD = 1200


class Extent:
    """Bytes `[start, end)` of one content; `future` is done once they are here."""

    __slots__ = ("content", "end", "fetched", "future", "start", "through", "wanted")

    def __init__(self, content: Hashable, start: int, end: int, *, asked: int | None) -> None:
        """`asked`: up to where somebody reads it now; None: nobody does yet."""
        self.content = content
        self.start = start
        self.end = end
        self.wanted = asked is not None  # False: fetched ahead, and nobody has asked for it yet
        self.fetched = False  # the store was asked for it; not what was on disk
        # Its last byte was asked for: mostly, it will not be needed again.
        self.through = asked is not None and asked >= end
        self.future: Transfer[memoryview] = Transfer()

    @property
    def cost(self) -> int:
        """Bytes charged to the budget."""
        return self.end - self.start + OVERHEAD


@dataclass(slots=True)
class Counts:
    """Bytes since the start; `ahead - ahead_used - ahead_wasted` are ahead of their readers now.

    An extent of which a part was asked for counts as used.
    """

    found: int = 0  # asked for, and in memory by then
    ahead: int = 0  # fetched or inflated before they were asked for, or on their way
    ahead_used: int = 0  # of these, asked for later
    ahead_wasted: int = 0  # of these, dropped before they were


class _Content:
    """The extents of one content, in order, never overlapping."""

    __slots__ = ("extents", "starts")

    def __init__(self) -> None:
        self.starts: list[int] = []
        self.extents: list[Extent] = []

    def first_touching(self, start: int) -> int:
        """Index of the first extent that ends after `start`."""
        at = bisect_right(self.starts, start) - 1
        return at if at >= 0 and self.extents[at].end > start else at + 1

    def insert(self, extent: Extent) -> None:
        at = bisect_right(self.starts, extent.start)
        self.starts.insert(at, extent.start)
        self.extents.insert(at, extent)

    def remove(self, extent: Extent) -> bool:
        at = bisect_right(self.starts, extent.start) - 1
        if at < 0 or self.extents[at] is not extent:
            return False
        del self.starts[at], self.extents[at]
        return True


class ExtentCache:
    """All extents of a process, bounded by the budget; the least recently used give way.

    A content is anything hashable whose bytes never change: an `ObjectId`, or a member of one.
    Whoever *claims* a range owns the extents that were missing and must complete or fail each;
    everyone else who claims it meanwhile waits on the same futures.

    Of what was read to its end at most `most_read` bytes are kept, where that is given: a mount's
    readers have it in the kernel's page cache, and memory that is used again at once is faster than
    fresh pages (1 GiB in order: 0.3 s of CPU less, and 150 MB of peak RSS).
    """

    def __init__(self, budget: MemoryBudget, *, most_read: int | None = None) -> None:
        self._budget = budget
        self._most_read = budget.limit if most_read is None else most_read
        self._lock = threading.Lock()  # guards all below
        self._contents: dict[Hashable, _Content] = {}
        # Complete extents, the most recently used last. What was read to its end gives way before
        # what is about to be read.
        self._read: OrderedDict[Extent, None] = OrderedDict()
        self._unread: OrderedDict[Extent, None] = OrderedDict()
        self._read_cost = 0
        self._unread_cost = 0
        self._ahead_cost = 0  # of all that is fetched ahead, complete or on its way
        self._counts = Counts()
        budget.add_reclaimer(self._reclaim, spare=lambda: self._read_cost + self._unread_cost)

    @property
    def counts(self) -> Counts:
        """What became of the bytes until now."""
        with self._lock:
            return replace(self._counts)

    def claim(
        self, content: Hashable, start: int, end: int, *, chunk: int, asked: int | None = None
    ) -> tuple[list[Extent], list[Extent]]:
        """The extents that cover `[start, end)`, and those of them that the caller must fetch.

        Missing ranges are split into equal parts of about `chunk` bytes. The new extents are
        charged. `asked`: up to where it is read now, if less than `end`.
        """
        asked = end if asked is None else asked
        with self._lock:
            covering, missing = self._cover(content, start, end, chunk=chunk, asked=asked)
        self._budget.charge(sum(extent.cost for extent in missing))
        return covering, missing

    def claim_ahead(
        self, content: Hashable, start: int, end: int, *, chunk: int
    ) -> list[Extent] | None:
        """What of a range that is not needed yet the caller must fetch; None: no memory for it.

        All that is ahead of its readers takes at most half of the budget.
        """
        most = end - start + OVERHEAD * (2 + (end - start) // chunk)
        if self._ahead_cost + most > self._budget.limit // 2 or not self._budget.try_charge(most):
            return None
        with self._lock:
            _, missing = self._cover(content, start, end, chunk=chunk, asked=None)
            cost = sum(extent.cost for extent in missing)
            self._ahead_cost += cost
            self._counts.ahead += sum(extent.end - extent.start for extent in missing)
        if cost > most:  # it is in more pieces than one would think
            self._budget.charge(cost - most)
        else:
            self._budget.release(most - cost)
        return missing

    def _cover(
        self, content: Hashable, start: int, end: int, *, chunk: int, asked: int | None
    ) -> tuple[list[Extent], list[Extent]]:
        """`asked`: up to where somebody reads it now; None: nobody does yet."""
        held = self._contents.setdefault(content, _Content())
        covering: list[Extent] = []
        missing: list[Extent] = []
        position, at = start, held.first_touching(start)
        while position < end:
            present = held.extents[at] if at < len(held.extents) else None
            if present is not None and present.start <= position:
                covering.append(present)
                if asked is not None:
                    self._want(present, asked)
                    if self._is_complete(present):
                        found = min(end, present.end, asked) - position
                        self._counts.found += max(0, found)
                position, at = present.end, at + 1
                continue
            gap = (end if present is None else min(end, present.start)) - position
            stop = position + -(-gap // max(1, (gap + chunk // 2) // chunk))
            extent = Extent(content, position, stop, asked=asked)
            held.insert(extent)
            covering.append(extent)
            missing.append(extent)
            position, at = stop, at + 1
        return covering, missing

    def _want(self, extent: Extent, end: int) -> None:
        """Somebody reads it, up to `end`; the lock is held."""
        if not extent.wanted:
            extent.wanted = True
            self._ahead_cost -= extent.cost
            self._counts.ahead_used += extent.end - extent.start
        extent.through = extent.through or end >= extent.end
        if extent in self._read:
            self._read.move_to_end(extent)
        elif extent in self._unread:
            if extent.through:
                del self._unread[extent]
                self._unread_cost -= extent.cost
                self._hold(extent)
            else:
                self._unread.move_to_end(extent)

    def _hold(self, extent: Extent) -> None:
        """Its bytes are here; the lock is held."""
        if extent.through:
            self._read[extent] = None
            self._read_cost += extent.cost
        else:
            self._unread[extent] = None
            self._unread_cost += extent.cost

    def _is_complete(self, extent: Extent) -> bool:
        """Whether its bytes are held; the lock is held too."""
        return extent in self._read or extent in self._unread

    def complete(self, extent: Extent, data: memoryview) -> None:
        """The bytes of an owned extent are here; nothing, where it is done already."""
        with self._lock:
            if extent.future.done():
                return
            self._hold(extent)
            extent.future.set_result(data)
        self._drop_read()

    def _drop_read(self) -> None:
        if self._read_cost <= self._most_read:
            return
        dropped = 0
        with self._lock:
            while self._read_cost > self._most_read:
                dropped += self._remove_first(self._read)
        self._budget.release(dropped)

    def fail(self, extent: Extent, error: BaseException) -> None:
        """An owned extent can't be had; whoever waits gets the error, whoever comes tries again.

        Nothing, where it is done already.
        """
        with self._lock:
            if extent.future.done():
                return
            dropped = self._remove(extent)
            extent.future.set_exception(error)
        if dropped:
            self._budget.release(extent.cost)

    def peek(self, content: Hashable, start: int, end: int) -> list[memoryview] | None:
        """The bytes `[start, end)` where all of them are in memory; claims nothing."""
        parts, reach = self.peek_from(content, start, end)
        return parts if reach == end else None

    def peek_from(self, content: Hashable, start: int, end: int) -> tuple[list[memoryview], int]:
        """What of `[start, end)` is in memory without a gap from `start`, and how far that reaches.

        Claims nothing.
        """
        with self._lock:
            found, reach = self._held_from(content, start, end)
            for extent in found:
                self._want(extent, end)
            self._counts.found += reach - start
        return slices(found, [extent.future.result() for extent in found], start, reach), reach

    def holds(self, content: Hashable, start: int, end: int) -> bool:
        """Whether all of `[start, end)` is in memory; unlike `peek`, that is no use of it."""
        with self._lock:
            return self._held_from(content, start, end)[1] == end

    def _held_from(self, content: Hashable, start: int, end: int) -> tuple[list[Extent], int]:
        """The complete extents without a gap from `start`, and their end; the lock is held."""
        found: list[Extent] = []
        held = self._contents.get(content) or _Content()
        position, at = start, held.first_touching(start)
        while position < end and at < len(held.extents):
            extent = held.extents[at]
            if extent.start > position or not self._is_complete(extent):
                break
            found.append(extent)
            position, at = extent.end, at + 1
        return found, min(position, end)

    def keep(self, content: Hashable, start: int, data: memoryview, *, asked: int | None) -> bool:
        """Keep what was produced, where memory allows and nothing overlaps it; whether it is kept.

        `asked`: up to where it is read now; None: nobody has asked for it yet.
        """
        extent = Extent(content, start, start + len(data), asked=asked)
        ahead = 0 if extent.wanted else extent.cost
        if ahead and self._ahead_cost + ahead > self._budget.limit // 2:
            return False
        if not self._budget.try_charge(extent.cost):
            return False
        with self._lock:
            held = self._contents.setdefault(content, _Content())
            at = held.first_touching(extent.start)
            free = at >= len(held.extents) or held.extents[at].start >= extent.end
            if free:
                held.insert(extent)
                self._hold(extent)
                self._ahead_cost += ahead
                self._counts.ahead += 0 if extent.wanted else len(data)
                extent.future.set_result(data)
        if not free:
            self._budget.release(extent.cost)
        return free

    def discard(self, content: Hashable) -> None:
        """Forget all complete extents of a content, as when its CRC turned out wrong."""
        with self._lock:
            held = self._contents.get(content)
            doomed = [e for e in held.extents if self._is_complete(e)] if held else []
        for extent in doomed:
            self._drop(extent)

    def _drop(self, extent: Extent) -> None:
        with self._lock:
            dropped = self._remove(extent)
        if dropped:
            self._budget.release(extent.cost)

    def _remove(self, extent: Extent) -> bool:
        """Take it out of all tables; the lock is held."""
        if extent in self._read:
            del self._read[extent]
            self._read_cost -= extent.cost
        elif extent in self._unread:
            del self._unread[extent]
            self._unread_cost -= extent.cost
        held = self._contents.get(extent.content)
        if held is None or not held.remove(extent):
            return False
        if not held.extents:
            del self._contents[extent.content]
        if not extent.wanted:
            self._ahead_cost -= extent.cost
            self._counts.ahead_wasted += extent.end - extent.start
        return True

    def _remove_first(self, complete: OrderedDict[Extent, None]) -> int:
        """The cost of the least recently used, which is gone; the lock is held."""
        extent = next(iter(complete))
        self._remove(extent)
        return extent.cost

    def _reclaim(self, size: int) -> int:
        freed = 0
        with self._lock:
            while freed < size and (complete := self._read or self._unread):
                freed += self._remove_first(complete)
        self._budget.release(freed)
        return freed


def slices(extents: list[Extent], data: list[memoryview], start: int, end: int) -> list[memoryview]:
    """The parts of consecutive extents' `data` that make up `[start, end)`; nothing is copied."""
    parts = []
    for extent, view in zip(extents, data, strict=True):
        first = max(start - extent.start, 0)
        last = min(end, extent.end) - extent.start
        parts.append(view[first:last])
    return parts


def joined(parts: list[memoryview]) -> memoryview:
    """One buffer of several; no copy where there is only one."""
    return parts[0] if len(parts) == 1 else memoryview(b"".join(parts))
