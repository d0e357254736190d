"""Colours: on a terminal, unless NO_COLOR is set."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from contextlib import suppress

import pytest

ESCAPE = b"\x1b["


@pytest.mark.parametrize(("no_color", "coloured"), [("", True), ("1", False)])
def test_a_terminal_has_colours_unless_they_are_not_wanted(no_color: str, coloured: bool) -> None:
    ours, theirs = pty.openpty()
    try:
        subprocess.run(
            [sys.executable, "-m", "s3zipfs", "doctor"],
            check=False,
            stdout=theirs,
            timeout=100,
            env={**os.environ, "NO_COLOR": no_color, "TERM": "xterm"},
        )
        os.close(theirs)
        shown = b""
        with suppress(OSError):  # EIO: the other end is closed
            while data := os.read(ours, 1 << 16):
                shown += data
    finally:
        os.close(ours)
    assert b"python" in shown.lower()
    assert (ESCAPE in shown) is coloured


def test_what_is_no_terminal_has_none() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "s3zipfs", "doctor"], check=False, capture_output=True, timeout=100
    )
    assert b"python" in done.stdout.lower()
    assert ESCAPE not in done.stdout
