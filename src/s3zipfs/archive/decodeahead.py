"""Large members that are read in order are decoded ahead of their readers.

The kernel's own read-ahead overlaps most of it already: 585 MB came by 455 MB/s so, and by 437
without (medians of five, two CPUs).
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from s3zipfs.archive.inflate import PIECE, Decoding
from s3zipfs.archive.streampool import Stream, StreamPool
from s3zipfs.errors import S3ZipError
from s3zipfs.waiting import Wait

log = logging.getLogger(__name__)

WINDOW: Final = 8 << 20  # bytes of content, at most as many as were read in order before
LEAST: Final = 2 << 20  # bytes read in order, from which on more is expected
SLACK: Final = 2 << 20  # bytes; the kernel's reads in order come in any order, that far apart
TURN: Final = 1 << 20  # bytes decoded before those who wait for the stream are let in
# Seconds without a byte from the store after which the stream is left to those who wait for it,
# and who have a deadline.
PATIENCE: Final = 0.1

Decode = Callable[[Decoding, int, Wait], bool]
"""Go on to that byte, and keep all of it; False where that was not possible."""


class DecodeAhead:
    """The threads that go on with streams while what was decoded before is read."""

    def __init__(self, pool: StreamPool) -> None:
        self._pool = pool
        self._lock = threading.Lock()  # guards what `Stream` says of how it is read
        self._threads = ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="s3zipfs-decoding")
        self._closing = False

    def follow(self, content: Hashable, start: int, end: int, decode: Decode) -> None:
        """Note that `[start, end)` was read, and go on with its stream where more will be read."""
        stream = self._pool.nearest(content, start, end + WINDOW)
        if stream is None or self._closing:
            return
        with self._lock:
            if abs(start - stream.read_to) <= SLACK:
                stream.in_order += max(0, end - stream.read_to)
                stream.read_to = max(end, stream.read_to)
            else:
                stream.in_order, stream.read_to = 0, end
        self._begin(stream, decode)

    def _begin(self, stream: Stream, decode: Decode) -> None:
        with self._lock:
            position = stream.decoding.position
            is_far = 2 * (position - stream.read_to) >= self._window(stream)
            if stream.is_followed or stream.in_order < LEAST or is_far:
                return
            if position >= self._goal(stream):
                return
            stream.is_followed = True
        try:
            self._threads.submit(self._go_on, stream, decode)
        except RuntimeError as error:  # closed, or the process may have no more threads
            log.debug("nothing is decoded ahead: %s", error)
            self._left(stream)

    def close(self) -> None:
        """Stop what is under way."""
        self._closing = True
        self._threads.shutdown()

    def _window(self, stream: Stream) -> int:
        return min(stream.in_order, WINDOW)

    def _goal(self, stream: Stream) -> int:
        """How far to go on; the last piece, with the verdict on all, is left to who reads it.

        The lock is held.
        """
        goal = stream.read_to + self._window(stream)
        return min(goal, stream.decoding.member.uncompressed_size - PIECE)

    def _go_on(self, stream: Stream, decode: Decode) -> None:
        try:
            is_well = self._decode(stream, decode)
        finally:
            self._left(stream)
        if is_well and self._pool.is_idle(stream):
            # Who read between the last look at it and this found it followed still.
            self._begin(stream, decode)

    def _decode(self, stream: Stream, decode: Decode) -> bool:
        """Go on as far as is wanted, or until somebody else uses the stream; False: it failed."""
        wait, decoding = Wait(PATIENCE, lambda: self._closing), stream.decoding
        try:
            while True:
                with self._lock:
                    goal = self._goal(stream)
                if decoding.position >= goal or not self._pool.take_idle(stream):
                    return True
                try:
                    if not decode(decoding, min(decoding.position + TURN, goal), wait):
                        return False
                finally:
                    self._pool.give_back(stream)
        except S3ZipError as error:  # whoever reads on meets it, too
            log.debug("decoding ahead: %s", error)
        except Exception:
            log.exception("decoding ahead: unexpected error")
        return False

    def _left(self, stream: Stream) -> None:
        with self._lock:
            stream.is_followed = False
