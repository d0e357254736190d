"""Faults of the disk that keeps blocks: it is left alone for a while, and one warning says so."""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path
from typing import Final

log = logging.getLogger(__name__)

WARN_SECONDS: Final = 600.0  # a fault that comes and goes is warned of this often


class Faults:
    """When to try the disk again, and what was said of it."""

    def __init__(self, folder: Path | None, retry_seconds: float) -> None:
        self._folder = folder
        self._retry_seconds = retry_seconds
        self._lock = threading.Lock()  # guards all below
        self._retry_at: dict[str, float] = {}  # of reading and of writing, while it fails
        self._warned_at: float | None = None

    def may_try(self, what: str) -> bool:
        """Whether it works, or has been left alone for long enough; `what`: reading or writing."""
        retry_at = self._retry_at.get(what)
        return retry_at is None or time.monotonic() >= retry_at

    def failed(self, what: str, error: Exception) -> None:
        """It met a fault; one warning says so."""
        now = time.monotonic()
        with self._lock:
            is_known = self._warned_at is not None
            self._warned_at = self._warned_at or now
            self._retry_at[what] = now + self._retry_seconds
        log.log(
            logging.DEBUG if is_known else logging.WARNING,
            "cache of blocks in %s: %s: %s; without it until it works again",
            *(self._folder, what, error),
        )

    def works(self, what: str) -> None:
        """It met none."""
        if what not in self._retry_at:
            return
        with self._lock:
            self._retry_at.pop(what, None)
            works = not self._retry_at
            # A fault that comes and goes is not a line each time.
            if works and time.monotonic() - (self._warned_at or 0) > WARN_SECONDS:
                self._warned_at = None
        if works:
            log.info("cache of blocks in %s: works again", self._folder)
