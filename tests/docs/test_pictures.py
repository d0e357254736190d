"""The README's picture and figures are those that `make pictures` makes."""

from __future__ import annotations

import html
import re
import subprocess
import sys

import documented
import pictures

README = (documented.ROOT / "README.md").read_text()


def test_the_figures_are_those_of_the_benchmarks() -> None:
    done = subprocess.run(
        [sys.executable, str(documented.ROOT / "benchmarks" / "readme.py"), "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert README.count("| **") > 5


def test_the_picture_shows_its_commands_and_fetches_nothing() -> None:
    svg = pictures.PICTURE.read_text()
    assert pictures.PICTURE.name in README
    shown = "\n".join(re.findall(r"<text [^>]*>([^<]*)</text>", svg))
    shown = html.unescape(shown).replace("\u00a0", " ")
    for command in pictures.COMMANDS:
        assert command in shown
    assert re.findall(r"(?:href|src|url)\W{1,2}https?:", svg) == []
