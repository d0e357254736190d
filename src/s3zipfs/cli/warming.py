"""`s3zipfs warm`: have on disk what will be read."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any, Final, Self, TypeVar

import click
from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn
from rich.progress import TransferSpeedColumn as SpeedColumn

from s3zipfs.cache.room import disk_size, free_for_blocks, needed_cache_size
from s3zipfs.cli.errors import FAILED, one_line
from s3zipfs.cli.opening import log_held, node_at
from s3zipfs.cli.options import settings_of, store_options
from s3zipfs.cli.reaching import Place, place_of, trees_at
from s3zipfs.errors import NotFound, S3ZipError, SettingsError
from s3zipfs.settings import Settings
from s3zipfs.tree.globs import parse_globs
from s3zipfs.tree.selecting import Part
from s3zipfs.tree.warming import Estimate, State, Warming
from s3zipfs.waiting import Wait

ASKED_BYTES: Final = 1_000_000_000  # more than this, or so many requests, is asked about before
ASKED_REQUESTS: Final = 1000
LINE_SECONDS: Final = 5.0  # between two lines of progress, where there is no terminal
ROUNDS: Final = 2  # what others' blocks pushed out meanwhile is fetched once more

T = TypeVar("T")

_HELP = """Fetch what will be read and keep it in the cache on disk, so that mounts, filesystems and
commands with the same --cache-dir read it without asking the store.

All of it is fetched, archives as the objects they are, by GETs of 8 MiB in the order of their
bytes; or with --glob what matches. --metadata is for who opens Zarr hierarchies and reads few
chunks of them, --index-only for who lists many archives. Indexes are always kept as well.

What it will cost is told before, in requests and bytes, since stores charge for both, and in time,
as measured on the first 8 MB. More than 1 GB or 1000 requests is asked about on a terminal. What is
on disk already is not fetched again: run it again after Ctrl-C, or when archives were replaced.

A pattern of --glob is a path from PATH_OR_URL on, in which *, ? and [...] stand for what they do
in a shell, and ** for any number of directories: 'runs/*.zip', '**/*.zarr.zip/0/**'. What matches
is taken with all that is below it.

A path on a mount is fetched into that mount's cache, with its settings; credentials that it was
given by its environment have to be in this command's as well. The mount then knows the names, too:
within --ttl it asks for nothing. Else names are asked for as ever, by a LIST for each directory.

--check fetches nothing and tells what is there. Exit code: 0 where all of it is on disk, else 1;
130 when interrupted.

With --json, one document:

\b
  where, part           as given; data, metadata or indexes
  cache_dir             where it is kept
  warm                  true: all of it is on disk
  objects               how many are meant
  bytes                 of them that reading asks for, indexes apart
  missing_bytes         of these, that are not on disk
  requests              GETs that were sent; fetched_bytes: what they brought
  seconds               that it took
  estimate              null, or what was told before: requests, bytes, seconds (null: too little to
                        be measured)
  not_warm              a list of
    object, path          URL, and from PATH_OR_URL on
    bytes, missing_bytes  bytes is null where only the index would tell
    index                 warm, cold, or null: it has none
    fault                 null, or why it can't be had
"""


@click.command(help=_HELP, short_help="Fetch what will be read into the cache on disk.")
@click.argument("where", metavar="PATH_OR_URL")
@click.option("--glob", "globs", multiple=True, metavar="PATTERN", help="only what matches")
@click.option("--metadata", is_flag=True, help="only what describes Zarr hierarchies")
@click.option("--index-only", is_flag=True, help="only the indexes of archives")
@click.option("--check", "is_check", is_flag=True, help="fetch nothing, tell what is there")
@click.option("--yes", "-y", is_flag=True, help="do not ask")
@click.option("--json", "as_json", is_flag=True, help="one JSON document")
@click.option("--verbose", "-v", is_flag=True, help="show the log, on stderr")
@store_options
def warm(
    *, where: str, globs: tuple[str, ...], as_json: bool, verbose: bool, **options: Any
) -> int:
    """Fill the cache."""
    part, is_check, yes = _part(options), options.pop("is_check"), options.pop("yes")
    place = place_of(where, settings_of(options))
    settings = place.settings
    folder = _folder(settings)
    with log_held(verbose=verbose), trees_at(place, keeps=True) as (tree, offline):
        run = Warming(tree, offline, part, timeout=settings.timeout, memory=settings.memory)
        node = node_at(tree, place.path, Wait(settings.timeout), follow=True)
        try:
            run.find(node, parse_globs(globs))
        except NotFound as error:
            raise NotFound(f"{where}: {error}") from error
        begun = time.monotonic()
        estimate = None if is_check else _fill(run, settings, folder, is_asked=not yes)
        states = list(run.states())
        if not is_check:
            _show_names(place, run)
        asked = tree.figures().requests
    document = {
        "where": where,
        "part": part,
        "cache_dir": str(folder),
        **_summary(states),
        "requests": sum(asked.outcomes.get("get", {}).values()),
        "fetched_bytes": asked.bytes_fetched,
    }
    document |= {"seconds": round(time.monotonic() - begun, 3), "estimate": _told(estimate)}
    if as_json:
        click.echo(json.dumps(document))
    else:
        _write(document, is_check=is_check)
    return 0 if document["warm"] else FAILED


def _part(options: dict[str, Any]) -> Part:
    """What of the archives; taken out of the options."""
    metadata, index_only = options.pop("metadata"), options.pop("index_only")
    if metadata and index_only:
        raise click.UsageError("--metadata and --index-only: the first has indexes as well.")
    return Part.METADATA if metadata else Part.INDEXES if index_only else Part.DATA


def _folder(settings: Settings) -> Path:
    """Where it will be kept.

    Raises:
        SettingsError: nowhere.
    """
    if settings.cache_dir is None:
        raise SettingsError("cache_dir: there is none, so that nothing can be kept; --cache-dir")
    if not settings.block_cache_size:
        raise SettingsError(
            "nothing that is fetched would be kept: give --cache-size, as 50G, or --cache-dir, "
            "and the same to mounts and programs that are to read it"
        )
    with contextlib.suppress(FileNotFoundError):
        if (owner := settings.cache_dir.stat().st_uid) != os.geteuid():
            raise SettingsError(
                f"{settings.cache_dir}: of user {owner}, who alone may write there; run this as him"
            )
    return settings.cache_dir


# Filling


def _fill(run: Warming, settings: Settings, folder: Path, *, is_asked: bool) -> Estimate | None:
    """Fetch what is missing; what was told of it before."""
    try:
        cold = _ended(run.find_cold(), _Shown("looking", len(run.targets), run, "indexes"))
        if cold:
            estimate = run.estimate_indexes(cold)
            _say(f"at first {_count(len(cold), 'index')}: at least {_cost(estimate)}")
            _ask(estimate, is_asked=is_asked and estimate.requests > ASKED_REQUESTS)
            run.indexes = 0
            _ended(run.load_indexes(cold), _Shown("indexes", len(cold), run, "indexes"))
        _check_room(run, settings, folder)
        estimate = _ended(run.measure(run.plan()))
        if estimate.requests:
            measured = _amount(run.bytes, run.requests)
            beside = f", beside {measured} to measure the link" if run.requests else ""
            _say(f"to fetch: {_cost(estimate)}{beside}; stores charge for both")
            is_much = estimate.bytes > ASKED_BYTES or estimate.requests > ASKED_REQUESTS
            _ask(estimate, is_asked=is_asked and is_much)
        for _ in range(ROUNDS):
            pieces = run.plan()
            size = sum(each.end - each.start for each in pieces)
            _ended(run.fetch(pieces), _Shown("fetching", size, run, "bytes"))
        run.indexes = 0
        _ended(run.finish(), _Shown("indexes", len(run.targets), run, "indexes"))
    except KeyboardInterrupt:
        _say(f"{_amount(run.bytes, run.requests)} are kept; it goes on there")
        raise
    return estimate


def _show_names(place: Place, run: Warming) -> None:
    """Have a mount ask for the names that were found, so that its readers need not."""
    if place.mounted is None:
        return
    place.mounted.stat()
    for directory in {(place.mounted / each.path).parent for each in run.targets if each.path}:
        # What is gone by now, or can't be listed, was told above.
        with contextlib.suppress(OSError), os.scandir(directory) as names:
            for _ in names:
                pass


def _check_room(run: Warming, settings: Settings, folder: Path) -> None:
    """Raise `SettingsError` where not all of it can be on disk at once."""
    size, ranges = run.size()
    needed = needed_cache_size(size, ranges)
    if size and needed > settings.block_cache_size:
        raise SettingsError(
            f"{decimal(size)} do not fit into --cache-size {settings.block_cache_size >> 20}M; "
            f"it takes {-(-needed >> 20)}M, of mounts that are to read it as well, or less by "
            "--glob or --metadata. Nothing was fetched of them"
        )
    free = free_for_blocks(folder)
    if disk_size(size, ranges) > free:
        raise SettingsError(
            f"{folder}: its disk has room for {decimal(free)} of {decimal(size)}, 5 % left free; "
            "nothing was fetched of them"
        )


def _ask(estimate: Estimate, *, is_asked: bool) -> None:
    if not is_asked or not (sys.stdin.isatty() and sys.stderr.isatty()):
        return
    if not click.confirm(f"s3zipfs: fetch {_cost(estimate)}?", err=True):
        raise S3ZipError("nothing more was fetched")


class _Shown:
    """How far a step is: of `total`, by what `run` counts."""

    def __init__(self, what: str, total: int, run: Warming, counts: str) -> None:
        self._what = what
        self._total = total
        self._run = run
        self._counts = counts
        self._begun = int(getattr(run, counts))
        self._last = time.monotonic()
        self._bar: Progress | None = None
        if sys.stderr.isatty():
            columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
            amount = (DownloadColumn(), SpeedColumn()) if counts == "bytes" else ()
            self._bar = Progress(*columns, *amount, console=Console(stderr=True), transient=True)
            self._task = self._bar.add_task(what, total=total)

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def show(self) -> None:
        """Draw it, or write a line now and then."""
        done = int(getattr(self._run, self._counts)) - self._begun
        if self._bar is not None:
            self._bar.update(self._task, completed=done)
        elif (now := time.monotonic()) - self._last > LINE_SECONDS:
            self._last = now
            is_size = self._counts == "bytes"
            amounts = (decimal(n) if is_size else f"{n:,}" for n in (done, self._total))
            _say(f"{self._what}: {' of '.join(amounts)}")


def _ended(steps: Generator[None, None, T], shown: _Shown | None = None) -> T:
    """What the steps come to."""
    with contextlib.closing(steps), shown or contextlib.nullcontext():
        while True:
            try:
                next(steps)
            except StopIteration as end:
                result: T = end.value
                return result
            if shown is not None:
                shown.show()


# Telling


def _summary(states: list[State]) -> dict[str, Any]:
    not_warm = [each for each in states if not each.is_warm]
    return {
        "warm": not not_warm,
        "objects": len(states),
        "bytes": sum(each.bytes or 0 for each in states),
        "missing_bytes": sum(each.missing for each in states),
        "not_warm": [
            {
                "object": f"s3://{each.target.info.id.bucket}/{each.target.info.id.key}",
                "path": each.target.path,
                "bytes": each.bytes,
                "missing_bytes": each.missing,
                "index": {True: "warm", False: "cold", None: None}[each.index_is_warm],
                "fault": each.fault,
            }
            for each in not_warm
        ],
    }


def _told(estimate: Estimate | None) -> dict[str, Any] | None:
    if estimate is None:
        return None
    seconds = None if estimate.seconds is None else round(estimate.seconds, 3)
    return {"requests": estimate.requests, "bytes": estimate.bytes, "seconds": seconds}


def _write(document: dict[str, Any], *, is_check: bool) -> None:
    for each in document["not_warm"]:
        click.echo(f"{one_line(each['object'])}: {one_line(_lack(each))}")
    size, missing = document["bytes"], document["missing_bytes"]
    there = "all of it is" if document["warm"] else f"{decimal(size - missing)} are"
    if not is_check:
        brought = _amount(document["fetched_bytes"], document["requests"])
        click.echo(f"fetched {brought} in {document['seconds']:,.1f} s")
    known = f"{_count(document['objects'], 'object')}, {decimal(size)}"
    click.echo(f"{known}: {there} on disk, in {document['cache_dir']}")


def _lack(each: dict[str, Any]) -> str:
    if each["fault"] is not None:
        return str(each["fault"])
    lacks = [f"{decimal(each['missing_bytes'])} to be fetched"] if each["missing_bytes"] else []
    lacks += ["no index"] if each["index"] == "cold" else []
    return ", ".join(lacks)


def _cost(estimate: Estimate) -> str:
    cost = _amount(estimate.bytes, estimate.requests)
    if estimate.seconds is None:
        return cost
    speed = estimate.bytes / estimate.seconds if estimate.seconds else 0
    return f"{cost}, about {_duration(estimate.seconds)} at {decimal(int(speed))}/s as measured"


def _amount(size: int, requests: int) -> str:
    return f"{decimal(size)} by {_count(requests, 'GET')}"


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes / 60:.1f} h"


def _count(number: int, thing: str) -> str:
    plural = {"index": "indexes"}.get(thing, f"{thing}s")
    return f"{number:,} {thing if number == 1 else plural}"


def _say(line: str) -> None:
    click.echo(f"s3zipfs: {one_line(line)}", err=True)
