"""How often one fault is told: an outage under a thousand readers is a few lines, and a number."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any

from s3zipfs.cli.logs.formats import fields_of

SECONDS = 60.0
MOST_OF_ONE = 5  # lines in that time about one object by one template
MOST_OF_TEMPLATE = 60  # lines in that time by one template, whatever they are about


@dataclass(slots=True)
class _Window:
    """What was said since `began`."""

    most: int
    began: float
    said: int = 0
    suppressed: int = 0
    last: str = ""  # the text that was suppressed last: not the record, which may hold buffers
    fields: dict[str, Any] = field(default_factory=dict)


class RateLimit:
    """Counts records by template, and by template and object. DEBUG was asked for: no limit."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()  # guards _windows
        self._windows: dict[Hashable, _Window] = {}

    def admits(self, record: logging.LogRecord) -> bool:
        """Whether it is to be written; what is not is counted."""
        if record.levelno < logging.INFO:
            return True
        template = record.name, record.levelno, str(record.msg)
        about = _object(record)
        now = self._clock()
        with self._lock:
            windows = []
            for key, most in ((template, MOST_OF_TEMPLATE), ((*template, about), MOST_OF_ONE)):
                window = self._windows.get(key)
                if window is None:
                    window = self._windows[key] = _Window(most, now)
                if window.said >= window.most:
                    window.suppressed += 1
                    window.last = record.getMessage()
                    window.fields = fields_of(record)
                    return False
                windows.append(window)
            # Only what is written counts: one object's many faults leave room for another's first.
            for window in windows:
                window.said += 1
        return True

    def summaries(self, *, everything: bool = False) -> list[logging.LogRecord]:
        """A record for each window that is over, or of all of them, in which some were left out.

        To be asked from time to time: it also forgets what is over.
        """
        before = float("inf") if everything else self._clock() - SECONDS
        with self._lock:
            over = {key: each for key, each in self._windows.items() if each.began <= before}
            for key in over:
                del self._windows[key]
        return [_summary(key, each) for key, each in over.items() if each.suppressed]


def _object(record: logging.LogRecord) -> Hashable:
    """The object version that a record is about; else its first argument."""
    told = vars(record)
    if "key" in told or "bucket" in told:
        return told.get("bucket"), told.get("key"), told.get("etag")
    return str(record.args[0]) if isinstance(record.args, tuple) and record.args else ""


def _summary(key: Hashable, window: _Window) -> logging.LogRecord:
    name, level = key[:2] if isinstance(key, tuple) else ("", logging.WARNING)
    told = {
        **window.fields,
        "name": name,
        "levelno": level,
        "levelname": logging.getLevelName(level),
        "msg": "… %d more suppressed, the last: %s",
        "args": (window.suppressed, window.last),
        "suppressed": window.suppressed,
    }
    return logging.makeLogRecord(told)
