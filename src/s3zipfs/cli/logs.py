"""Where the log goes: stderr in the foreground, a file for a mount that returns."""

from __future__ import annotations

import hashlib
import logging
import logging.handlers
import os
import sys
import threading
from collections.abc import Callable
from io import TextIOWrapper
from pathlib import Path

_FORMAT = "%(asctime)s %(levelname)s %(message)s"
_QUIET = ("botocore", "aiobotocore", "s3fs", "fsspec", "asyncio", "urllib3", "aiohttp")
_LOG_BYTES = 5 << 20  # of one file; three are kept
_STDERR = 2
_HELD_RECORDS = 10_000
_LONGEST_NAME = 200  # bytes; NAME_MAX is 255, and ".log.2" is added

log = logging.getLogger(__name__)


def to_stderr(*, verbose: bool) -> None:
    """Log to stderr."""
    _configure(logging.StreamHandler(), verbose=verbose)


def to_file(path: Path, *, verbose: bool) -> None:
    """Log to a file that only its owner reads, rotated at 5 MB."""
    _configure(_OwnersFile(path, maxBytes=_LOG_BYTES, backupCount=2), verbose=verbose)


def set_level(*, verbose: bool) -> None:
    """Log more, or as usual, from now on."""
    logging.getLogger("s3zipfs").setLevel(logging.DEBUG if verbose else logging.INFO)


def hold() -> Callable[[], None]:
    """Keep records back until the function that is returned is called.

    A command that fails shows the one line that says why, and not what led to it.
    """
    root = logging.getLogger()
    handlers = root.handlers[:]
    held = logging.handlers.MemoryHandler(
        _HELD_RECORDS, flushLevel=logging.CRITICAL + 1, flushOnClose=False
    )
    root.handlers[:] = [held]

    def release() -> None:
        root.handlers[:] = handlers
        for record in held.buffer:
            root.handle(record)
        held.buffer.clear()

    return release


def open_file(path: Path) -> int:
    """A descriptor that appends to a log which only its owner reads."""
    if not path.parent.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC, 0o600)


def default_file(mountpoint: Path) -> Path:
    """The log of a mount: in the user's state directory, named after the mountpoint."""
    state = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")  # noqa: PTH111
    name = str(mountpoint).strip("/").replace("/", "-") or "root"
    whole = os.fsencode(name)
    if len(whole) > _LONGEST_NAME:
        name = os.fsdecode(whole[-_LONGEST_NAME:]) + hashlib.sha256(whole).hexdigest()[:8]
    return Path(state) / "s3zipfs" / f"{name}.log"


class _OwnersFile(logging.handlers.RotatingFileHandler):
    """A file of mode 0600 from its first byte on, each time it is opened."""

    def _open(self) -> TextIOWrapper:
        descriptor = open_file(Path(self.baseFilename))
        return os.fdopen(descriptor, "a", encoding="utf-8", errors="backslashreplace")

    def doRollover(self) -> None:  # noqa: N802 - logging's name
        """Begin a new file; stderr follows where it led to the old one."""
        before = self.stream
        follows = before is not None and os.path.sameopenfile(before.fileno(), _STDERR)
        super().doRollover()
        if follows and self.stream is not None:
            os.dup2(self.stream.fileno(), _STDERR)


def _configure(handler: logging.Handler, *, verbose: bool) -> None:
    handler.setFormatter(logging.Formatter(_FORMAT))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    set_level(verbose=verbose)
    for name in _QUIET:  # never below WARNING: botocore shows headers at DEBUG
        logging.getLogger(name).setLevel(logging.WARNING)
    threading.excepthook = _log_thread_error
    sys.unraisablehook = _log_unraisable  # of ctypes' callbacks too


def _log_thread_error(what: threading.ExceptHookArgs) -> None:
    if what.exc_value is not None:
        log.error("unexpected error in a thread", exc_info=what.exc_value)


def _log_unraisable(what: sys.UnraisableHookArgs) -> None:
    log.error("%s: %r", what.err_msg or "unexpected error", what.object, exc_info=what.exc_value)
