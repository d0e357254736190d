"""Reads that failed for want of an answer: the kernel asks at once for their first page again."""

from __future__ import annotations

import threading
import time
from collections import deque

from s3zipfs.errors import S3ZipError

# Where a read-ahead fails the kernel reads the page that the reader wants alone, and readers of
# one page do so one after another: each would wait for a deadline of its own (measured: twice the
# deadline for one reader).
MOMENT = 1.0  # seconds


class Rereads:
    """Failures of the last moment, by inode and range; safe for any number of threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards _failed
        self._failed: deque[tuple[float, int, int, int, S3ZipError]] = deque()

    def add(self, inode: int, start: int, end: int, error: S3ZipError) -> None:
        """That read has failed just now."""
        with self._lock:
            self._forget_old()
            self._failed.append((time.monotonic(), inode, start, end, error))

    def find(self, inode: int, start: int, end: int) -> S3ZipError | None:
        """The error of a read within the last moment that overlaps this one."""
        if not self._failed:
            return None
        with self._lock:
            self._forget_old()
            return next(
                (e for _, i, a, b, e in self._failed if i == inode and a < end and start < b), None
            )

    def _forget_old(self) -> None:
        too_old = time.monotonic() - MOMENT
        while self._failed and self._failed[0][0] < too_old:
            self._failed.popleft()
