"""Colours: on a terminal, unless NO_COLOR is set."""

from __future__ import annotations

import subprocess

import pytest
from terminals import S3ZIPFS, Terminal

ESCAPE = "\x1b["


@pytest.mark.parametrize(("no_color", "coloured"), [("", True), ("1", False)])
def test_a_terminal_has_colours_unless_they_are_not_wanted(no_color: str, coloured: bool) -> None:
    with Terminal([*S3ZIPFS, "doctor"], environment={"NO_COLOR": no_color}) as terminal:
        terminal.end(100)
        shown = terminal.shown
    assert "python" in shown.lower()
    assert (ESCAPE in shown) is coloured


def test_what_is_no_terminal_has_none() -> None:
    done = subprocess.run(
        [*S3ZIPFS, "doctor"], check=False, capture_output=True, text=True, timeout=100
    )
    assert "python" in done.stdout.lower()
    assert ESCAPE not in done.stdout
