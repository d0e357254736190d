"""Writes docs/compatibility.md from what the tests of tests/zarr found; `make test-zarr` runs it.

With `--compatibility` each test module that has rows leaves `.tools/compatibility/MODULE.json`
(`record`). A run of some tests replaces their rows only. The page has no date and no path: what
changes nothing in the rows or versions leaves it as it was.
"""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from s3server import find_minio

REPOSITORY = Path(__file__).resolve().parent.parent
RESULTS = REPOSITORY / ".tools" / "compatibility"
PAGE = REPOSITORY / "docs" / "compatibility.md"

Outcome = Literal["skipped", "passed", "failed"]
SAYS_MORE: tuple[Outcome, ...] = ("skipped", "passed", "failed")  # of two tests of one row

SECTIONS = (
    *("zarr 3", "zarr 3, codecs", "zarr 2.18", "zarr 2.18, experimental v3"),
    *("Archives as written", "Ecosystem", "Clusters"),
)
"""These come first; others follow in the order of their names."""

HEAD = """\
# Compatibility

Written by `make test-zarr`: a row is a test, or several, against a real MinIO, and nearly all of
them through a real mount. ✓ works, ✗ failed in the last run. *Not possible* has its cause outside
of s3zipfs, and a test that shows it.
"""


@dataclass(frozen=True)
class Row:
    """One line of the page.

    `reason` says why it can't work, for a cause outside of the project: its test then shows that
    it does not. `note` is a remark.
    """

    section: str
    name: str
    outcome: Outcome
    reason: str = ""
    note: str = ""

    def merged(self, other: Row) -> Row:
        """One row of two that several tests stand for: a failure is one of all of them."""
        return max(self, other, key=lambda row: SAYS_MORE.index(row.outcome))

    def line(self) -> str:
        """A line of the table."""
        cell = {"passed": "✓", "skipped": "not run", "failed": "✗"}[self.outcome]
        if self.outcome == "passed" and self.reason:
            cell = f"not possible: {self.reason}"
        elif self.note:
            cell += f" {self.note}"
        return "| " + " | ".join(text.replace("|", "\\|") for text in (self.name, cell)) + " |"


@dataclass(frozen=True)
class Found:
    """What one module, or a whole run, found. `versions` has lines of packages for each section."""

    rows: tuple[Row, ...]
    versions: Mapping[str, frozenset[str]]


def record(module: str, found: Found) -> None:
    """Write down what the tests of a module found, keeping its rows that did not run this time."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    with (RESULTS / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # guards the files against tests in another process
        file = RESULTS / f"{module}.json"
        rows = {(row.section, row.name): row for row in _read(file).rows} if file.exists() else {}
        rows |= {(row.section, row.name): row for row in found.rows}
        content = {
            "rows": [dataclasses.asdict(row) for row in rows.values()],
            "versions": {name: sorted(lines) for name, lines in found.versions.items()},
        }
        _replace(file, json.dumps(content, ensure_ascii=False, indent=1) + "\n")


def _read(file: Path) -> Found:
    content = json.loads(file.read_text(encoding="utf-8"))
    versions = {name: frozenset(lines) for name, lines in content["versions"].items()}
    return Found(tuple(Row(**row) for row in content["rows"]), versions)


def _replace(file: Path, text: str) -> None:
    beside = file.with_name(f".{file.name}.{os.getpid()}")
    beside.write_text(text, encoding="utf-8")
    beside.replace(file)


def render(modules: Iterable[Found]) -> str:
    """The page's Markdown."""
    rows: dict[str, dict[str, Row]] = {}
    versions: dict[str, set[str]] = {}
    for found in modules:
        for row in found.rows:
            section = rows.setdefault(row.section, {})
            section[row.name] = section[row.name].merged(row) if row.name in section else row
        for name, lines in found.versions.items():
            versions.setdefault(name, set()).update(lines)
    parts = [HEAD]
    for name in sorted(rows, key=_place):
        used_here = versions.get(name, set())
        told = [line for line in used_here if not _is_begun(line, used_here)]
        used = "  \n".join(f"With {line}." for line in sorted(told))
        table = "\n".join(["| | |", "|---|---|", *(row.line() for row in rows[name].values())])
        parts.append(f"## {name[0].upper()}{name[1:]}\n\n{used}\n\n{table}\n")
    return "\n".join(parts)


def _is_begun(line: str, others: Iterable[str]) -> bool:
    """Whether another line says the same and more."""
    return any(other.startswith(f"{line},") for other in others)


def _place(section: str) -> tuple[int, str]:
    return SECTIONS.index(section) if section in SECTIONS else len(SECTIONS), section


def main() -> int:
    """Write the page, unless it is as it should be already."""
    files = sorted(RESULTS.glob("*.json"))
    if not files:
        print("compatibility: no test with a row has run", file=sys.stderr)
        return 1
    if find_minio() is None and "S3ZIPFS_TEST_ENDPOINT" not in os.environ:
        print("compatibility: the page stays as it is, since there was no real MinIO")
        return 0
    page = render([_read(file) for file in files])
    if not PAGE.exists() or PAGE.read_text(encoding="utf-8") != page:
        _replace(PAGE, page)
        print(f"compatibility: {PAGE.relative_to(REPOSITORY)} has changed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
