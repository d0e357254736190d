"""`s3zipfs doctor`: what is wrong with this machine, the endpoint or the credentials."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from s3zipfs.build import source_of
from s3zipfs.cli import logs
from s3zipfs.cli.aliases import check_alias
from s3zipfs.cli.errors import one_line
from s3zipfs.cli.options import command_line_of, store_options
from s3zipfs.doctor import folders, machine
from s3zipfs.doctor.endpoint import Endpoint
from s3zipfs.doctor.findings import Check, Checkup, Finding, Level, warning
from s3zipfs.doctor.host import Host
from s3zipfs.settings import ConnectionSettings, Loaded

EXIT_CODES = {Level.OK: 0, Level.NOTE: 0, Level.WARNING: 3, Level.ERROR: 1}
"""By the worst line. 2 is, as for all commands, a wrong option."""

_COLOURS = {Level.OK: "green", Level.NOTE: "blue", Level.WARNING: "yellow", Level.ERROR: "red"}
_WIDEST = len("warning")
# Of the time for a line: what a step of the network's is given, to say what it met.
_OF_A_STEP = 0.8


@click.command(short_help="Check machine, endpoint and credentials; say what to do.")
@click.argument("what", required=False, metavar="[SOURCE|NAME]")
@click.option("--json", "as_json", is_flag=True, help="one JSON object for each line")
@click.option(
    "--wait",
    type=click.FloatRange(min=0, min_open=True),
    default=5.0,
    metavar="S",
    help="seconds that each line may take (default 5)",
)
@store_options
def doctor(what: str | None, as_json: bool, wait: float, **options: Any) -> int:
    """Say what is wrong with this machine, the endpoint or the credentials, and what to do.

    SOURCE is s3://BUCKET or s3://BUCKET/PREFIX, or ALIAS/BUCKET with an alias of mc; NAME is that
    of a settings file, as for --config; without both, all buckets are asked for. Each line begins
    with ok, note, warning or error. Nothing is changed, and no secret is shown.

    The exit code tells the worst line: 0 nothing but ok and notes, 3 a warning, 1 an error.
    """
    logs.to_stderr(verbose=False)
    logs.hold()  # what is wrong is a line of ours
    if what is not None and (what.endswith(".toml") or "/" not in what):
        if options["config"] is not None:
            raise click.UsageError(f"{what}: give a settings file's name once, or s3://BUCKET")
        options["config"], what = what, None
    if what is not None:
        check_alias(what)
    command_line = command_line_of(options)
    loaded = command_line.load()
    checks = _checks(loaded, command_line.env_file, source=what, seconds=wait * _OF_A_STEP)
    checkup = Checkup(checks, seconds=wait)
    worst = Level.OK
    for text in loaded.warnings:
        worst = max(worst, _show(warning("settings", text, "mend that"), as_json=as_json))
    for finding in checkup.run():
        worst = max(worst, _show(finding, as_json=as_json))
    return EXIT_CODES[worst]


def _checks(
    loaded: Loaded, env_file: Path | None, *, source: str | None, seconds: float
) -> list[tuple[str, Check]]:
    host, settings = Host(), loaded.settings
    sources = list(map(source_of, settings.sources if source is None else [source]))
    endpoints = [("endpoint", Endpoint(host, settings, None, seconds))] if not sources else []
    ways: set[str] = set()
    for each in sources:
        own = settings.of(each)
        way = repr([getattr(own, name) for name in ConnectionSettings.model_fields])
        endpoint = Endpoint(host, own, each.url, seconds, is_known=way in ways)
        ways.add(way)
        endpoints.append((f"endpoint of {each.url}", endpoint))
    return [
        *machine.checks(host, settings),
        *folders.checks(host, settings, env_file=env_file, files=loaded.files),
        *((about, each.check) for about, each in endpoints),
    ]


def _show(finding: Finding, *, as_json: bool) -> Level:
    level = finding.level
    about, found, remedy = map(one_line, (finding.about, finding.found, finding.remedy))
    if as_json:
        told = {"level": level.name.lower(), "about": about, "found": found, "remedy": remedy}
        click.echo(json.dumps(told))
        return level
    word = click.style(f"{level.name.lower():{_WIDEST}}", fg=_COLOURS[level])
    click.echo(f"{word}  {about}: {found}{f' — {remedy}' if remedy else ''}")
    return level
