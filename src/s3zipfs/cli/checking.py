"""`s3zipfs check`: read everything, say what is wrong."""

from __future__ import annotations

import contextlib
import itertools
import json
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import click

from s3zipfs.cli.aliases import is_remote
from s3zipfs.cli.errors import FAILED, line_of, one_line
from s3zipfs.cli.opening import log_held, node_at, tree_of
from s3zipfs.cli.options import settings_of, store_options
from s3zipfs.errors import S3ZipError
from s3zipfs.fuse.checking import MountedCheck
from s3zipfs.settings import Settings
from s3zipfs.tree.checking import Check
from s3zipfs.tree.findings import Counts, Finding
from s3zipfs.waiting import Wait

SHOWN_SECONDS = 0.1  # between two pictures of the bar
_ERASE = "\r\x1b[2K"  # ECMA-48: the line under the bar
_OF_INDEXES = ("archives", "compressed_bytes", "hidden", "duplicates", "other_objects")

_HELP = """Read every member of the archive at s3://BUCKET/KEY.zip, or of all archives below
s3://BUCKET/PREFIX, and verify structure, length and CRC-32. Exit code: 0 where nothing is wrong,
1 for any fault, 130 when interrupted.

A fault does not stop the rest; a store that can't be read does. Members that are encrypted, or
compressed by a method that no library here reads, are counted as "not checked": the archive may
well be sound, and no later run could pass. The same holds for members that are hidden (a name no
path can have, a device) and duplicates (a later member of the same name hides them). With
--strict any of these is a fault as well.

A path on a mount is read through that mount, whose endpoint and credentials no other program
knows: files that are not in archives are read too, a fault says EIO and the mount's log why, and
what the mount holds in memory is not fetched again. Indexes are not seen that way; to check the
structure give the URL.

One line is printed for each fault, then a summary. With --json, one document:

\b
  findings              a list of
    archive               URL, or the path on a mount
    member                path in the archive, or null: the archive itself; a byte that is
                          not UTF-8 is \\udc80 to \\udcff (Python's surrogateescape)
    fault                 true, or false: not checked
    kind                  archive, changed, denied, structure or content;
                          not checked: encrypted or unsupported
    message               for people
  where                 as given
  archives, members     how many were read
  bytes                 of the contents found good; compressed_bytes: of their data
  faults, not_checked   how many findings of each
  hidden, duplicates    members that are not shown
  other_objects         below a prefix, that are not archives by their names
  seconds, megabytes_per_second (10^6 bytes of content)
  error                 null; else the check was ended by it, and is not complete

Through a mount what only indexes tell is null. Where an error ends the check before anything was
found there is no document.
"""


class _Report(Protocol):
    def add(self, finding: Finding) -> None:
        """Write it."""

    def end(self, summary: dict[str, Any]) -> None:
        """Write what it came to."""

    def break_off(self, summary: dict[str, Any]) -> None:
        """The same where `error` ended the check."""


@click.command(help=_HELP, short_help="Read and verify everything in an archive or a prefix.")
@click.argument("where", metavar="PATH_OR_URL")
@click.option("--json", "as_json", is_flag=True, help="one JSON document")
@click.option("--strict", is_flag=True, help="what can't be checked is a fault")
@click.option("--verbose", "-v", is_flag=True, help="show the log, on stderr")
@store_options
def check(where: str, as_json: bool, strict: bool, verbose: bool, **options: Any) -> int:
    """Read everything and verify it."""
    settings = settings_of(options)
    # What is checked is what the store has, and not what an earlier run has kept of it.
    settings = settings.model_copy(update={"cache_dir": None})
    report: _Report = _Document(where) if as_json else _Lines()
    begun = time.monotonic()
    with log_held(verbose=verbose), _checking(where, settings) as (checking, steps):
        try:
            with _bar(checking, begun) as show:
                for finding in steps:
                    show(finding is not None)
                    if finding is not None:
                        report.add(finding)
        except (S3ZipError, OSError, KeyboardInterrupt) as error:
            reason = line_of(error) if isinstance(error, Exception) else "interrupted"
            report.break_off(_summary(checking, begun, error=reason))
            raise
        report.end(_summary(checking, begun))
    return FAILED if _is_faulty(checking.counts, strict=strict) else 0


@contextlib.contextmanager
def _checking(
    where: str, settings: Settings
) -> Iterator[tuple[Check | MountedCheck, Iterator[Finding | None]]]:
    if not is_remote(where):
        mounted = MountedCheck()
        yield mounted, mounted.run(where)
        return
    with tree_of(where, settings) as (tree, path):
        node = node_at(tree, path, Wait(settings.timeout), follow=True)
        whole = Check(tree, timeout=settings.timeout)
        with contextlib.closing(whole.run(node)) as steps:
            yield whole, steps


def _is_faulty(counts: Counts, *, strict: bool) -> bool:
    unknown = counts.not_checked.total() + counts.hidden + counts.duplicates
    return counts.faults > 0 or (strict and unknown > 0)


def _summary(
    checking: Check | MountedCheck, begun: float, error: str | None = None
) -> dict[str, Any]:
    counts, seconds = checking.counts, time.monotonic() - begun
    summary = {
        "archives": counts.archives,
        "members": counts.members,
        "bytes": counts.bytes,
        "compressed_bytes": counts.compressed_bytes,
        "faults": counts.faults,
        "not_checked": dict(counts.not_checked),
        "hidden": counts.hidden,
        "duplicates": counts.duplicates,
        "other_objects": counts.other_objects,
        "seconds": round(seconds, 3),
        "megabytes_per_second": round(counts.bytes / 1e6 / seconds, 3),
        "error": error,
    }
    if isinstance(checking, MountedCheck):
        summary |= dict.fromkeys(_OF_INDEXES)
    return summary


# The report


class _Lines:
    """For people: a line for each fault, and what it came to."""

    def add(self, finding: Finding) -> None:
        if finding.is_fault:
            click.echo(f"{one_line(_name(finding))}: {one_line(finding.message)}")

    def end(self, summary: dict[str, Any]) -> None:
        known = _counted(summary, "archives", "members", "bytes", "compressed_bytes")
        speed = f"{summary['seconds']:,.1f} s, {summary['megabytes_per_second']:,.1f} MB/s"
        not_checked = summary["not_checked"]
        doubts = [*_counted(summary, "faults"), f"{sum(not_checked.values()):,} not checked"]
        if not_checked:
            reasons = (f"{number:,} {reason}" for reason, number in sorted(not_checked.items()))
            doubts[-1] += f" ({', '.join(reasons)})"
        doubts += _counted(summary, "hidden", "duplicates", "other_objects")
        click.echo(f"{', '.join(known)} in {speed}\n{', '.join(doubts)}")

    def break_off(self, summary: dict[str, Any]) -> None:
        """Nothing: what ended the check is told on stderr."""


def _counted(summary: dict[str, Any], *names: str) -> list[str]:
    known = ((name.replace("_", " "), summary[name]) for name in names)
    return [
        f"{number:,} {name.removesuffix('s') if number == 1 else name}"
        for name, number in known
        if number is not None
    ]


class _Document:
    """One JSON document, written as the findings come: there may be millions."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._count = 0

    def add(self, finding: Finding) -> None:
        member = finding.member
        head = ",\n" if self._count else self._head()
        self._count += 1
        values = {
            "archive": finding.archive,
            "member": None if member is None else member.decode("utf-8", "surrogateescape"),
            "fault": finding.is_fault,
            "kind": finding.kind,
            "message": finding.message,
        }
        click.echo(head + json.dumps(values), nl=False)

    def end(self, summary: dict[str, Any]) -> None:
        head = "" if self._count else self._head()
        summary = summary | {"not_checked": sum(summary["not_checked"].values())}
        click.echo(f"{head}\n], {json.dumps(summary)[1:]}")

    def break_off(self, summary: dict[str, Any]) -> None:
        if self._count:
            self.end(summary)

    def _head(self) -> str:
        return f'{{"where": {json.dumps(self._where)}, "findings": [\n'


def _name(finding: Finding) -> str:
    if finding.member is None:
        return finding.archive
    return f"{finding.archive}/{finding.member.decode('utf-8', 'backslashreplace')}"


# Progress


@contextlib.contextmanager
def _bar(checking: Check | MountedCheck, begun: float) -> Iterator[Callable[[bool], None]]:
    """A bar on stderr, where that is a terminal.

    What is given is to be called at each step; with True the bar gives way to a line.
    """
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    shown = 0.0

    def facts(_: object) -> str:
        speed = checking.progress / 1e6 / (time.monotonic() - begun)
        return f"{checking.counts.members:,} members, {speed:,.0f} MB/s"

    def show(gives_way: bool) -> None:
        nonlocal shown
        if gives_way:
            click.echo(_ERASE, err=True, nl=False)
        elif (now := time.monotonic()) - shown >= SHOWN_SECONDS:
            shown = now
            draw(checking.total)

    def draw(total: int | None) -> None:
        bar.length = total
        bar.update(checking.progress - bar.pos, checking)

    # Without a length it shows that something moves: what a prefix holds is not known before.
    endless: Iterator[object] = itertools.repeat(None)
    with click.progressbar(endless, file=sys.stderr, item_show_func=facts) as bar:
        yield show
        draw(checking.progress)
