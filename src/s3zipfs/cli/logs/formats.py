"""A record as text, as the journal wants it, or as one JSON object; each ends without a newline."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal

Format = Literal["text", "json"]

_TEXT = "%(asctime)s %(levelname)s %(message)s"
_STANDARD = frozenset({*vars(logging.makeLogRecord({})), "message", "asctime", "taskName"})

# sd-daemon(3): SD_DEBUG, SD_INFO, SD_WARNING, SD_ERR, SD_CRIT
_PRIORITIES = (
    (logging.CRITICAL, 2),
    (logging.ERROR, 3),
    (logging.WARNING, 4),
    (logging.INFO, 6),
)
_DEBUG = 7


def formatter(wanted: Format, *, for_journal: bool = False) -> logging.Formatter:
    """The formatter of a log. `for_journal`: with levels that journald takes as priorities."""
    if for_journal:
        return _Journal(_Json() if wanted == "json" else logging.Formatter("%(message)s"))
    return _Json() if wanted == "json" else logging.Formatter(_TEXT)


def is_journal(descriptor: int, environment: Mapping[str, str] = os.environ) -> bool:
    """Whether what is written there reaches the journal itself (systemd.exec(5), JOURNAL_STREAM).

    Children of a service inherit the variable, and may have been given another stderr.
    """
    try:
        found = os.fstat(descriptor)
    except OSError:
        return False
    return environment.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"


def fields_of(record: logging.LogRecord) -> dict[str, Any]:
    """What was told beside the text (`extra=`): bucket, key, ETag and so on of a fault."""
    return {name: value for name, value in vars(record).items() if name not in _STANDARD}


class _Json(logging.Formatter):
    """One object on one line: time (UTC), level, logger, message, and the record's own fields."""

    def format(self, record: logging.LogRecord) -> str:
        told = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **fields_of(record),
        }
        if record.exc_info:
            told["exception"] = self.formatException(record.exc_info)
        # ASCII, and NaN as a string: any parser of lines reads it.
        return json.dumps(told, default=str)


class _Journal(logging.Formatter):
    """`<N>` before each line; the time is the journal's own."""

    def __init__(self, inner: logging.Formatter) -> None:
        super().__init__()
        self._inner = inner

    def format(self, record: logging.LogRecord) -> str:
        level = next((n for least, n in _PRIORITIES if record.levelno >= least), _DEBUG)
        lines = self._inner.format(record).split("\n")
        return "\n".join(f"<{level}>{line}" for line in lines if line)
