"""The one place where an error becomes a line and an exit code, and how a process ends."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from pathlib import Path
from typing import NoReturn

import click

from s3zipfs.errors import DeadlineExceeded, S3ZipError, SettingsError

FAILED, USAGE, INTERRUPTED = 1, 2, 128 + 2  # exit codes; 0: done


def code_of(error: Exception) -> int:
    """The exit code: 2 where what was typed or set is wrong, 1 where it did not work."""
    return USAGE if isinstance(error, click.ClickException | SettingsError) else FAILED


def line_of(error: Exception, *, log: Path | None = None) -> str:
    """What is wrong and, where we know it, what to do; one printable line."""
    match error:
        case click.UsageError(ctx=click.Context() as context):
            text = f"{error.format_message().rstrip('.')}; see {context.command_path} --help"
        case click.ClickException():
            text = error.format_message()
        case DeadlineExceeded():
            text = f"{error}: does the endpoint answer? (--endpoint-url, --timeout)"
        case S3ZipError():
            text = str(error)
        case OSError(strerror=str() as reason, filename=None):
            text = reason
        case OSError(strerror=str() as reason):
            text = f"{_shown(error.filename)}: {reason}"
        case _:
            with_what = f"its log, {log}" if log is not None else "what -v shows"
            text = f"unexpected {type(error).__name__}: {error}; please report it with {with_what}"
    return one_line(text) or type(error).__name__


def is_expected(error: Exception) -> bool:
    """Whether the line says it all; a traceback helps with the others."""
    return isinstance(error, click.ClickException | S3ZipError | OSError)


def one_line(text: str) -> str:
    """The text without line ends, and without what a terminal would obey: names are anyone's."""
    return "".join(each if each.isprintable() else "\ufffd" for each in " ".join(text.split()))


def _shown(name: object) -> str:
    return name.decode(errors="replace") if isinstance(name, bytes) else str(name)


def leave(code: int) -> NoReturn:
    """End without the interpreter's own end, which waits for threads that wait for the store.

    And obstore's threads that outlive it panic, with a trace on stderr (Ctrl-C in a GET).
    """
    with contextlib.suppress(OSError):  # what was printed before an error
        sys.stdout.flush()
    logging.shutdown()
    os._exit(code)
