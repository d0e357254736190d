"""Which reads belong to one stream, and how far ahead of it to fetch. Pure: offsets in, ranges out.

Streams are told by byte order in the *object*, so that a reader of one large member and a reader
of many small members in archive order look the same.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from dataclasses import dataclass

FIRST_WINDOW = 4  # reads of the present size, fetched ahead at the second read in order
LARGE_MEMBER = 1 << 20  # bytes; of whole members only so much, or one of them
MAX_WINDOW = 32 << 20  # bytes; of a mount

# Who reads a member in order mostly reads it to its end, but may stop behind it: past that, no more
# is fetched ahead than one part in BEYOND of what the stream has read, or these bytes, or so many
# reads. Who has read a quarter of an object in order is taken to read it all.
BEYOND = 25
LEAST_BEYOND = 4 << 20
MEMBERS_BEYOND = 8
MOST_OF_ALL = 4
# What was read is made up for in steps, so that several requests are always under way.
LEAST_STEP = 3 << 19  # bytes; or half of a small window
# One GET, and a step where the window holds two. Larger ones are no cheaper and come back later.
# MinIO's CPU for 483 MB: 1.1 s by 2 MiB each, 0.68 by 4, 0.46 by 8, and by 16.
LARGEST_GET = 8 << 20

MAX_STREAMS = 64  # per object, as many as readers at once; the one idle for longest gives way

# The kernel sends the reads of one readahead window in any order, and members are separated by
# headers: a read within two of its own lengths of a stream's end still belongs to it.
SLACK = 2
# At the second read of a stream no more than this: of 60 random chunks of 1 MB in 484 MB, half as
# many bytes again were fetched ahead for nothing.
SECOND_SLACK = 128 << 10  # bytes
# Several threads that share one stream drift apart: what is read this far behind its end belongs
# to it as well.
LAG = 4 << 20  # bytes
MAX_ASKED = 1000  # ranges of one object that were asked for together; two calls are under way


@dataclass(slots=True, eq=False)
class _Stream:
    end: int  # where the furthest read of it ended
    ahead: int  # what has been asked for, at least up to here
    window: int  # bytes to keep ahead
    read: int  # bytes, in all


class StreamTable:
    """The streams of one object. Not thread-safe: its owner guards it."""

    def __init__(self, size: int, window: int = MAX_WINDOW) -> None:
        self._size = size
        self._most = window  # bytes to keep ahead
        self._streams: list[_Stream] = []  # the most recently used last
        self._asked: list[tuple[int, int]] = []  # ascending

    def ask(self, start: int, end: int) -> None:
        """Note that all of `[start, end)` that is wanted is being fetched: its reads tell nothing.

        Of every other chunk, asked for together, what lies between was fetched ahead as well.
        """
        if len(self._asked) >= MAX_ASKED:
            self._asked.clear()
        insort(self._asked, (start, end))

    def observe(self, start: int, end: int, until: int | None = None) -> tuple[int, int] | None:
        """Note a read of `[start, end)`; the range to fetch ahead now, or None.

        `until` is where what is read ends (a member, or else the object).
        """
        length = end - start
        if self._was_asked(start, end):
            return None
        stream = self._find(start, SLACK * length)
        if stream is None:
            self._streams.append(_Stream(end=end, ahead=end, window=0, read=length))
            del self._streams[:-MAX_STREAMS]
            return None
        self._streams.remove(stream)
        self._streams.append(stream)
        if end <= stream.end:
            return None
        stream.read += end - max(start, stream.end)
        stream.end = end
        stream.ahead = max(stream.ahead, end)
        inside = (self._size if until is None else until) - end
        first_window = FIRST_WINDOW * length
        if not inside:  # whole members are read: whether the next is wanted too is not known yet
            first_window = min(first_window, max(length, LARGE_MEMBER))
        most = max(inside, self._beyond(stream, length), first_window)
        window = min(stream.window, most)
        least = LARGEST_GET if window >= 2 * LARGEST_GET else LEAST_STEP
        step = max(window // 4, min(window // 2, least))
        if stream.ahead - end > window - step:
            return None
        stream.window = min(max(2 * stream.window, first_window), self._most, most)
        first, reach = stream.ahead, min(end + stream.window, self._next_beginning(end))
        stream.ahead = max(first, reach)
        return (first, reach) if reach > first else None

    def _was_asked(self, start: int, end: int) -> bool:
        at = bisect_right(self._asked, (start, self._size)) - 1
        return at >= 0 and end <= self._asked[at][1]

    def _next_beginning(self, end: int) -> int:
        """Where another stream began, behind which all is read already; or the object's end."""
        beginnings = (each.end - each.read for each in self._streams if each.window)
        return min((at for at in beginnings if at >= end), default=self._size)

    def _beyond(self, stream: _Stream, length: int) -> int:
        """Most bytes to keep ahead past the end of what is read."""
        if stream.read * MOST_OF_ALL > self._size:
            return self._most
        least = max(LEAST_BEYOND, MEMBERS_BEYOND * length)
        return max(stream.read // BEYOND, min(stream.read, least))

    def shorten(self, end: int, reach: int) -> None:
        """Of what `observe` wanted fetched as far as `end` no more than to `reach` was."""
        for stream in self._streams:
            if stream.ahead == end:
                stream.ahead = reach

    def refuse(self, start: int, end: int) -> None:
        """What `observe` wanted fetched was not: ask again at the next read, for less."""
        for stream in self._streams:
            if stream.ahead == end:
                stream.ahead = start
                stream.window //= 4

    def forget(self, start: int, end: int) -> None:
        """What a stream is to have read of `[start, end)` did not come: it is none.

        The kernel asks again for a window that failed page by page, behind the end of that stream
        (measured: 256 GETs of 4 KiB).
        """
        self._streams = [
            each for each in self._streams if each.end <= start or end <= each.end - each.read
        ]

    def _find(self, start: int, slack: int) -> _Stream | None:
        for stream in reversed(self._streams):  # 64 by max and min are 100 µs
            behind = stream.end - start
            near = slack if stream.window else min(slack, SECOND_SLACK)
            is_near = -near <= behind <= near
            was_passed = 0 <= behind <= stream.read and behind <= LAG
            if is_near or was_passed or stream.end <= start <= stream.ahead:
                return stream
        return None
