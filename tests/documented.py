"""The pages of the documentation: their code blocks, their links, their headings.

A block of code is run by `pagescript`, or says before it why it is not:

    <!-- not run: installs packages -->
    <!-- runs in: ecosystem -->             by the Python of .tools/env-ecosystem

`text` is what programs print, or a drawing; it holds no command.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RUN = ("sh", "console", "python", "pycon", "toml", "fstab")

_FENCE = re.compile(r"^( *)(`{3,})([\w-]*)\s*$")
_SAID = re.compile(r"^ *<!-- (not run|runs in): (.+) -->\s*$")
_HEADING = re.compile(r"^#{1,6} +(.+?)\s*$")
_LINK = re.compile(r"\]\(([^)\s]+)\)|<img [^>]*src=\"([^\"]+)\"")
_EXPLICIT = re.compile(r'<a (?:id|name)="([^"]+)"')


@dataclass(frozen=True)
class Block:
    """A fenced block; `line` is that of its first line of text."""

    line: int
    language: str
    text: str
    not_run: str  # why not; else empty
    environment: str  # whose Python runs it; else empty


def pages() -> list[Path]:
    """The READMEs and all of docs/, relative to the repository."""
    found = [ROOT / "README.md", ROOT / "examples" / "README.md"]
    found += sorted((ROOT / "docs").rglob("*.md"))
    return [page.relative_to(ROOT) for page in found]


def blocks(text: str) -> Iterator[Block]:
    """The fenced blocks of a page, in order."""
    lines = text.splitlines()
    at = 0
    while at < len(lines):
        opened = _FENCE.match(lines[at])
        at += 1
        if opened is None:
            continue
        indent, fence, language = opened.groups()
        said = _said_before(lines, at - 2)
        first = at
        while lines[at].strip() != fence:
            at += 1
        inner = [line.removeprefix(indent) for line in lines[first:at]]
        yield Block(
            first + 1,
            language,
            "".join(f"{line}\n" for line in inner),
            said.get("not run", ""),
            said.get("runs in", ""),
        )
        at += 1


def _said_before(lines: list[str], at: int) -> dict[str, str]:
    while at >= 0 and not lines[at].strip():
        at -= 1
    found = _SAID.match(lines[at]) if at >= 0 else None
    return {} if found is None else {found[1]: found[2]}


def prose(text: str) -> str:
    """A page without its fenced blocks, with as many lines."""
    left: list[str] = []
    fence = ""
    for line in text.splitlines():
        mark = _FENCE.match(line)
        if fence:
            fence = "" if line.strip() == fence else fence
            left.append("")
        elif mark is not None:
            fence = mark[2]
            left.append("")
        else:
            left.append(line)
    return "\n".join(left)


def links(text: str) -> list[str]:
    """The targets of a page's links and pictures, those in code left out."""
    return [a or b for a, b in _LINK.findall(re.sub(r"`[^`\n]*`", "", prose(text)))]


def anchors(text: str) -> set[str]:
    """What `#…` may name in a page, as GitHub and Python-Markdown both make it of headings."""
    found: set[str] = set(_EXPLICIT.findall(text))
    for line in prose(text).splitlines():
        heading = _HEADING.match(line)
        if heading is not None:
            plain = re.sub(r"[^\w\- ]", "", re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading[1]))
            found.add(plain.strip().lower().replace(" ", "-"))
    return found
