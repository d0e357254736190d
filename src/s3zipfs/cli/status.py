"""`s3zipfs status`: what a mount does, live; or all mounts of this machine."""

from __future__ import annotations

import json
import sys
import time
from typing import Final

import click
from rich.console import Console, RenderableType
from rich.live import Live

from s3zipfs.cli.errors import FAILED
from s3zipfs.cli.statusview import Look, MountState, Status, overview, page, parse_status
from s3zipfs.errors import MountError
from s3zipfs.fuse.asking import TELLS_NOTHING, NoAnswer, mount_of, mounts, read_file, read_files
from s3zipfs.fuse.mountpoint import ANSWER_SECONDS, MountEntry

FILE: Final = "status.json"
WIDEST: Final = 10_000  # columns, where nobody sees where a line ends
OTHER_LINES: Final = 36  # of a terminal, beside what was read most and who reads most

_HELP = """Show what the mount at MOUNTPOINT does, until Ctrl-C; without one, all mounts.

Throughput, hit rates, requests, operations, the archives and files that were read most, the
processes that read most, and whether the endpoints answer. "Now" is since the last look. It is all
from .s3zipfs/status.json at the root of the mount, which is answered without the network.

Where the output is no terminal, or with --once, it is shown once.

With --json it is that document; of all mounts {"mounts": [...]}, each with mountpoint, source,
state (serving, dead, no answer, not permitted, tells nothing) and status, which is the document or
null. Units are in the names of the keys.

Exit code: 1 where the mount, or one of all, does not answer.
"""


@click.command(help=_HELP, short_help="Show what a mount does, live; or all mounts.")
@click.argument("mountpoint", required=False, metavar="[MOUNTPOINT]")
@click.option("--once", is_flag=True, help="show it once")
@click.option("--json", "as_json", is_flag=True, help="one JSON document, once")
@click.option(
    "--interval",
    type=click.FloatRange(min=0.1),
    default=1.0,
    metavar="S",
    help="seconds between two looks (default 1)",
)
@click.option(
    "--wait",
    type=click.FloatRange(min=0, min_open=True),
    default=ANSWER_SECONDS,
    metavar="S",
    help=f"seconds in which a mount has to answer (default {ANSWER_SECONDS:g})",
)
def status(mountpoint: str | None, once: bool, as_json: bool, interval: float, wait: float) -> int:
    """Show it."""
    if mountpoint is None:
        return _show_all(as_json=as_json, wait=wait)
    mounted = mount_of(mountpoint)
    if as_json:
        click.echo(json.dumps(_look(mounted, wait).status))
    elif once or not _is_live():
        _print(page(_look(mounted, wait)))
    else:
        _follow(mounted, interval, wait)
    return 0


def _look(mounted: MountEntry, wait: float) -> Look:
    content = read_file(mounted, FILE, seconds=wait)
    return Look(_parsed(mounted, content), time.monotonic())


def _parsed(mounted: MountEntry, content: bytes) -> Status:
    try:
        return parse_status(content)
    except ValueError as error:
        raise MountError(f"{mounted.path}: {FILE} can't be understood: {error}") from error


def _follow(mounted: MountEntry, interval: float, wait: float) -> None:
    """Show it again and again. No thread draws: the next look is taken by a fork."""
    console, now = _console(), _look(mounted, wait)
    with Live(page(now, rows=_room(console)), console=console, auto_refresh=False) as live:
        try:
            while True:
                time.sleep(interval)
                before, now = now, _look(mounted, wait)
                live.update(page(now, before, rows=_room(console)), refresh=True)
        except KeyboardInterrupt:
            return


def _room(console: Console) -> int:
    return max(3, (console.size.height - OTHER_LINES) // 2)


def _show_all(*, as_json: bool, wait: float) -> int:
    states = _states(wait)
    if as_json:
        told = [
            {"mountpoint": s.mountpoint, "source": s.source, "state": s.state, "status": s.status}
            for s in states
        ]
        click.echo(json.dumps({"mounts": told}))
    elif not states:
        click.echo("no mount of s3zipfs on this machine")
    else:
        _print(overview(states))
    return FAILED if any(each.status is None for each in states) else 0


def _states(wait: float) -> list[MountState]:
    asked = mounts()
    states = []
    for mounted, answer in zip(asked, read_files(asked, FILE, seconds=wait), strict=True):
        state, found, why = "serving", None, None
        if isinstance(answer, NoAnswer):
            state, why = answer.state, str(answer)
        else:
            try:
                found = _parsed(mounted, answer)
            except MountError as error:  # anybody's mount, which hides no other
                state, why = TELLS_NOTHING, str(error)
        states.append(MountState(str(mounted.path), mounted.source, state, found, why))
    return states


def _print(shown: RenderableType) -> None:
    console = _console()
    with console.capture() as captured:
        console.print(shown)
    for line in captured.get().splitlines():
        click.echo(line.rstrip())


def _is_live() -> bool:
    return sys.stdout.isatty() and not _console().is_dumb_terminal


def _console() -> Console:
    """For stdout; colours where that is a terminal, and NO_COLOR does not forbid them."""
    is_terminal = sys.stdout.isatty()
    return Console(
        highlight=False,
        markup=False,
        emoji=False,
        force_terminal=is_terminal,
        width=None if is_terminal else WIDEST,
    )
