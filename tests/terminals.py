"""Programs on a terminal of their own: what they show there, and what is typed."""

from __future__ import annotations

import fcntl
import os
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Self

from mounting import wait_until

S3ZIPFS: Final = (sys.executable, "-m", "s3zipfs")

_ESCAPES: Final = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[=>]|[\x07\r]|.\x08")


class Terminal:
    """A program on a terminal of 60 lines; killed at the end.

    Args:
        environment: beside the process's own.
        stdout: what takes it in the terminal's place, as of `subprocess`.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        columns: int = 100,
        stdout: int | None = None,
    ) -> None:
        self._ours, its = os.openpty()
        fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 60, columns, 0, 0))
        self.process = subprocess.Popen(
            command,
            cwd=cwd,
            env={**os.environ, "TERM": "xterm", **(environment or {})},
            stdin=its,
            stdout=its if stdout is None else stdout,
            stderr=its,
            start_new_session=True,
        )
        os.close(its)
        os.set_blocking(self._ours, False)
        self._shown = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._ours)

    @property
    def shown(self) -> str:
        """All that it has shown until now."""
        self._drain()
        return self._shown.decode(errors="replace")

    def type(self, text: str) -> None:
        """As if somebody had typed it."""
        os.write(self._ours, text.encode())

    def shows(self, text: str, seconds: float) -> bool:
        """Whether a text comes in that time, behind what was read before; escapes do not count."""
        read, give_up = len(self._shown), time.monotonic() + seconds
        is_open = True
        while is_open and (left := give_up - time.monotonic()) > 0:
            select.select([self._ours], [], [], left)
            is_open = self._drain()
            if text in _ESCAPES.sub("", self._shown[read:].decode(errors="replace")):
                return True
        return False

    def end(self, seconds: float) -> int:
        """Its exit code, once it has ended; a terminal that nobody reads gets full."""

        def has_ended() -> bool:
            self._drain()
            return self.process.poll() is not None

        wait_until(has_ended, seconds=seconds, what="the end of the program")
        return self.process.wait()

    def _drain(self) -> bool:
        """Read what is there; False where nobody is at the other end any more."""
        try:
            while piece := os.read(self._ours, 1 << 16):
                self._shown += piece
        except BlockingIOError:
            return True
        except OSError:  # EIO
            return False
        return False
