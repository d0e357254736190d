"""Where the log goes, and how: stderr in the foreground, a file for a mount that returns."""

from __future__ import annotations

import hashlib
import logging
import logging.handlers
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from s3zipfs.cli.logs import writer
from s3zipfs.cli.logs.formats import Format, formatter, is_journal
from s3zipfs.cli.logs.rate import RateLimit
from s3zipfs.cli.logs.writer import Written, open_file

__all__ = [
    "default_file",
    "hold",
    "mount_to_file",
    "mount_to_stderr",
    "open_file",
    "set_level",
    "to_stderr",
]

_QUIET = ("botocore", "aiobotocore", "s3fs", "fsspec", "asyncio", "urllib3", "aiohttp")
_HELD_RECORDS = 10_000
_LONGEST_NAME = 200  # bytes; NAME_MAX is 255, and ".log.2" is added

log = logging.getLogger(__name__)


def to_stderr(*, verbose: bool) -> None:
    """The log of a command that ends soon: each line at once."""
    handler = logging.StreamHandler()
    handler.setFormatter(formatter("text", for_journal=is_journal(writer.STDERR)))
    _configure(handler, verbose=verbose)


def mount_to_stderr(*, verbose: bool, log_format: Format) -> None:
    """The log of a mount that stays, which waits for nobody; the journal gets levels."""
    handler = Written(writer.Descriptor(writer.STDERR), RateLimit())
    handler.setFormatter(formatter(log_format, for_journal=is_journal(writer.STDERR)))
    _configure(handler, verbose=verbose)


def mount_to_file(path: Path, *, verbose: bool, log_format: Format) -> None:
    """The same in a file that only its owner reads, rotated at 5 MB.

    Raises:
        OSError: it can't be opened.
    """
    handler = Written(writer.RotatedFile(path), RateLimit())
    handler.setFormatter(formatter(log_format))
    _configure(handler, verbose=verbose)


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


def default_file(mountpoint: Path) -> Path:
    """The log of a mount: in the user's state directory, named after the mountpoint."""
    state = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")  # noqa: PTH111
    name = str(mountpoint).strip("/").replace("/", "-") or "root"
    whole = os.fsencode(name)
    if len(whole) > _LONGEST_NAME:
        name = os.fsdecode(whole[-_LONGEST_NAME:]) + hashlib.sha256(whole).hexdigest()[:8]
    return Path(state) / "s3zipfs" / f"{name}.log"


def _configure(handler: logging.Handler, *, verbose: bool) -> None:
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
