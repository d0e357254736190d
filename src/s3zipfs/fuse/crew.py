"""The threads that answer requests: few read them, others wait for the store or stand by.

Where many read, each request wakes another one, and they take the GIL from each other, while the
one that has just answered could go on with the next.
"""

from __future__ import annotations

import logging
import os
import queue
import threading
from collections.abc import Callable
from typing import Final

log = logging.getLogger(__name__)

READING: Final = max(2, os.cpu_count() or 1)
STANDING_BY: Final = 16  # threads of a burst end after it, but for these
# Seconds without a request being read after which one more thread reads: those that work may be
# held up by a disk that hangs, or by a decoder.
HELD_UP: Final = 0.05


class Crew:
    """At most `most` threads; of these `waiting` may wait for the store at once (`Places`)."""

    def __init__(self, *, most: int, waiting: int) -> None:
        self._most = most
        self._work: Callable[[], bool] = lambda: False
        self._lock = threading.Lock()  # guards the counts
        self._waiting = waiting  # places left
        self._threads = 0
        self._standing_by = 0
        self._reading = 0  # waiting for a request, or on their way to it
        self._read = 0  # requests, ever
        self._call: queue.SimpleQueue[None] = queue.SimpleQueue()  # for those that stand by
        self._none_reads = threading.Event()
        self._ended = threading.Event()

    def start(self, work: Callable[[], bool]) -> bool:
        """Put threads to `work`, again and again until it says False; whether there is one.

        It calls `has_read` once it has a request.
        """
        self._work = work
        if not self._call_one():
            return False
        for _ in range(1, READING):
            self._call_one()
        name = "s3zipfs-fuse-lookout"
        try:
            threading.Thread(target=self._look_out, name=name, daemon=True).start()
        except RuntimeError as failed:
            log.warning("nobody looks after requests that are held up: %s", failed)
        return True

    def stop(self) -> None:
        """There is no more work; those that stand by learn it as well."""
        self._ended.set()
        self._none_reads.set()
        with self._lock:
            standing_by, self._standing_by = self._standing_by, 0
        for _ in range(standing_by):
            self._call.put(None)

    def has_read(self) -> None:
        """This thread has a request."""
        with self._lock:
            self._reading -= 1
            self._read += 1
            none_reads = not self._reading
        if none_reads and not self._none_reads.is_set():
            self._none_reads.set()

    def progress(self) -> tuple[int, int]:
        """How many threads wait for a request or are about to, and the requests read so far."""
        with self._lock:
            return self._reading, self._read

    # `waiting.Places`

    def acquire(self) -> bool:
        """This thread is about to wait: let another one read. False where too many wait."""
        with self._lock:
            if self._waiting == 0:
                return False
            self._waiting -= 1
            none_reads = not self._reading
        if none_reads:
            self._call_one()
        return True

    def release(self) -> None:
        """It goes on."""
        with self._lock:
            self._waiting += 1

    # Threads

    def _call_one(self) -> bool:
        """Let one more read; False where there is none."""
        with self._lock:
            stands_by = self._standing_by > 0
            if not stands_by and self._threads >= self._most:
                return False
            self._reading += 1
            self._standing_by -= stands_by
            self._threads += not stands_by
            number = self._threads
        if stands_by:
            self._call.put(None)
            return True
        try:
            name = f"s3zipfs-fuse-{number}"
            threading.Thread(target=self._serve, name=name, daemon=True).start()
        except RuntimeError as failed:  # the process may have no more
            log.warning("requests wait for a thread: %s", failed)
            with self._lock:
                self._threads -= 1
                self._reading -= 1
            return False
        return True

    def _serve(self) -> None:
        while self._work():
            if not self._stay():
                return
        self.stop()

    def _stay(self) -> bool:
        """Read on, or stand by where enough do that; False where enough stand by as well."""
        with self._lock:
            if self._reading < READING:
                self._reading += 1
                return True
            if self._standing_by >= STANDING_BY:
                self._threads -= 1
                return False
            self._standing_by += 1
        self._call.get()  # who calls has counted it in
        return True

    def _look_out(self) -> None:
        """Let one more read where those that work are held up."""
        while True:
            self._none_reads.wait()
            with self._lock:
                read = self._read
            if self._ended.wait(HELD_UP):
                return
            self._none_reads.clear()
            with self._lock:
                none_reads = not self._reading
                is_held_up = none_reads and self._read == read
            if none_reads:  # others than at first, maybe: nobody else would tell of them any more
                self._none_reads.set()
            if is_held_up:
                self._call_one()
