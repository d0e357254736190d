"""Writing a log by a thread of its own: what logs never waits for a disk, a pipe or a terminal.

A reader that is answered late because of a log would be a fault of the log's. Where nothing can be
written lines are dropped, and counted.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import select
import threading
import time
from collections import deque
from pathlib import Path
from typing import Protocol

from s3zipfs.cli.logs.rate import RateLimit

MOST_BYTES = 4 << 20  # that wait to be written
END_SECONDS = 2.0  # for what is waiting, at the end of the process
LOOK_SECONDS = 5.0  # between two looks for what the limit has left out
FILE_BYTES = 5 << 20  # of one file
KEPT_FILES = 2  # older ones beside it
STDERR = 2


class Sink(Protocol):
    """Where lines go."""

    def write(self, data: bytes) -> None:
        """All of it. Raises `OSError` where it can't be; may block."""


class Descriptor:
    """What a descriptor leads to now, by one of its own: libfuse's messages are caught on 2."""

    def __init__(self, descriptor: int = STDERR) -> None:
        self._descriptor = os.dup(descriptor)

    def write(self, data: bytes) -> None:
        """See `Sink`."""
        _write_all(self._descriptor, data)


class RotatedFile:
    """A file of mode 0600 that begins anew at 5 MB; two older ones are kept.

    Raises:
        OSError: by the constructor, where it can't be opened.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = open_file(path)

    def write(self, data: bytes) -> None:
        """See `Sink`. Where a new file can't be begun, the old one goes on."""
        size = os.fstat(self._descriptor).st_size
        if size and size + len(data) > FILE_BYTES:
            with contextlib.suppress(OSError):
                self._rotate()
                size = 0
        try:
            _write_all(self._descriptor, data)
        except OSError:
            with contextlib.suppress(OSError):  # no half of a line
                os.ftruncate(self._descriptor, size)
            raise

    def _rotate(self) -> None:
        names = [self._path, *(self._older(number) for number in range(1, KEPT_FILES + 1))]
        for newer, older in reversed(list(itertools.pairwise(names))):
            with contextlib.suppress(FileNotFoundError):
                newer.replace(older)
        begun = open_file(self._path)
        follows = os.path.sameopenfile(self._descriptor, STDERR)
        os.close(self._descriptor)
        self._descriptor = begun
        if follows:  # a mount in the background: what libraries print stands in the log
            os.dup2(begun, STDERR)

    def _older(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")


def open_file(path: Path) -> int:
    """A descriptor that appends to a log which only its owner reads."""
    if not path.parent.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC, 0o600)


def _write_all(descriptor: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        try:
            left = left[os.write(descriptor, left) :]
        except BlockingIOError:  # somebody else made the pipe non-blocking
            select.select([], [descriptor], [])


class Written(logging.Handler):
    """Formats records where they are made, and has a thread write them, as often as `limit` says.

    `MOST_BYTES` may wait; what comes then is dropped. Once something can be written again, a line
    tells how many were lost.
    """

    def __init__(self, sink: Sink, limit: RateLimit) -> None:
        super().__init__()
        self._sink = sink
        self._limit = limit
        self._changed = threading.Condition()  # guards the next four
        self._lines: deque[bytes] = deque()
        self._size = 0  # bytes, of what waits or is being written
        self._lost = 0  # lines
        self._closing = False
        self._reason = "written too slowly"  # why lines were lost; the thread's own
        self._thread = threading.Thread(target=self._run, name="s3zipfs-log", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Never waits, and never fails for what it is told."""
        try:
            if self._limit.admits(record):
                self._put(record)
        except Exception as error:  # noqa: BLE001 - `handleError` would write to stderr here
            self._put(_warning("%r could not be logged: %r", record.msg, error))

    def flush(self) -> None:
        """Wait until all is written, for a short time."""
        give_up = time.monotonic() + END_SECONDS
        with self._changed:
            self._changed.wait_for(lambda: not self._size, give_up - time.monotonic())

    def close(self) -> None:
        """Write what is left, for a short time; the thread ends."""
        for summary in self._limit.summaries(everything=True):
            self._put(summary)
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(END_SECONDS)
        super().close()

    def _put(self, record: logging.LogRecord) -> None:
        line = self.format(record).encode(errors="backslashreplace") + b"\n"
        with self._changed:
            if self._size + len(line) > MOST_BYTES:
                self._lost += 1
                return
            self._lines.append(line)
            self._size += len(line)
            self._changed.notify_all()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._lines or self._closing, LOOK_SECONDS)
                if self._closing and not self._lines:
                    return
                line = self._lines.popleft() if self._lines else b""
                lost = self._lost
            if line:
                written = self._write(line, lost)
                with self._changed:
                    self._lost += -lost if written else 1
                    self._size -= len(line)
                    self._changed.notify_all()
            for summary in self._limit.summaries():
                self._put(summary)

    def _write(self, line: bytes, lost: int) -> bool:
        try:
            if lost:
                told = _warning("%d lines of the log were lost: %s", lost, self._reason)
                line = self.format(told).encode(errors="backslashreplace") + b"\n" + line
            self._sink.write(line)
        except OSError as error:
            self._reason = error.strerror or type(error).__name__
            return False
        self._reason = "written too slowly"
        return True


def _warning(message: str, *arguments: object) -> logging.LogRecord:
    told = {"name": __name__, "levelno": logging.WARNING, "levelname": "WARNING"}
    return logging.makeLogRecord({**told, "msg": message, "args": arguments})
