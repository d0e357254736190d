"""`s3zipfs config`: what is in force and where it came from, and whether it is right."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from pydantic import SecretStr

from s3zipfs.cli.errors import FAILED, line_of
from s3zipfs.cli.options import command_line_of, mount_options, store_options, warn
from s3zipfs.errors import SettingsError
from s3zipfs.settings import (
    NOWHERE,
    Kind,
    Loaded,
    Settings,
    Source,
    all_names,
    kind_of,
    load,
)

MASK = "********"
_USER = re.compile(r"(?<=://)[^/@]*(?=@)")  # in a URL: it may hold a password


@dataclass(frozen=True, slots=True)
class _Shown:
    """A setting; `place` is None for a default."""

    name: str
    value: Any  # as JSON has it; None: not set
    place: str | None

    def as_json(self) -> dict[str, Any]:
        return {"value": self.value, "from": self.place or "default"}

    def as_toml(self) -> str:
        """A line that a settings file may hold, where it is set."""
        where = f"  # {self.place or 'default'}"
        if self.value is None:
            return f"# {self.name} is not set"
        line = f"{self.name} = {json.dumps(self.value)}{where}"
        # A directory that is given is for blocks as well (`Settings.block_cache_size`).
        return f"# {line}" if self.name == "cache_dir" and self.place is None else line


@click.group(short_help="What settings are in force, and from where; whether they are right.")
def config() -> None:
    """Show or check settings; nothing is asked of a store."""


@config.command()
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="one JSON object")
@store_options
@mount_options
def show(name: str | None, as_json: bool, **options: Any) -> None:
    """Show the settings that a mount would have, and where each one came from.

    NAME is that of a settings file, as for --config. The output is what a settings file may hold;
    secrets are masked.
    """
    if name is not None and options["config"] is not None:
        raise click.UsageError(f"{name}: give a settings file once, by NAME or by --config")
    options["config"] = name or options["config"]
    loaded = command_line_of(options).load()
    warn(loaded)
    shown = list(_settings(loaded))
    tables = [list(_source(loaded, number)) for number in range(len(loaded.settings.sources))]
    if as_json:
        told = {
            "files": list(map(str, loaded.files)),
            "settings": {each.name: each.as_json() for each in shown},
            "sources": [{each.name: each.as_json() for each in table} for table in tables],
        }
        click.echo(json.dumps(told))
        return
    for each in shown:
        click.echo(each.as_toml())
    for table in tables:
        click.echo("\n[[source]]")
        for each in table:
            click.echo(each.as_toml())


@config.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--json", "as_json", is_flag=True, help="one JSON object for each name")
def check(names: tuple[str, ...], as_json: bool) -> int:
    """Check settings files, all that there are or those named, as a mount would.

    Each gets one line; wrong ones go to stderr, and the exit code is 1 then.
    """
    code = 0
    for name in names or all_names():
        files: list[Path] = []
        wrong: str | None = None
        try:
            loaded = load(name)
            files += loaded.files
            _check(loaded)
        except SettingsError as error:
            code, wrong = FAILED, line_of(error)
        if as_json:
            click.echo(json.dumps({"name": name, "files": list(map(str, files)), "error": wrong}))
        elif wrong is not None:
            click.echo(f"s3zipfs: {wrong}", err=True)
        else:
            click.echo(f"{name}: {', '.join(map(str, files))}: ok")
    return code


def _check(loaded: Loaded) -> None:
    from s3zipfs.build import check_settings  # noqa: PLC0415 - most of a second, for libraries

    with loaded.located():
        check_settings(loaded.settings)


def _settings(loaded: Loaded) -> Iterator[_Shown]:
    for name in Settings.model_fields:
        if name != "sources" or not loaded.settings.sources:
            value = getattr(loaded.settings, name)
            yield _Shown(name, _plain(name, value), loaded.places.get(name))


def _source(loaded: Loaded, number: int) -> Iterator[_Shown]:
    """What one says itself; all else is as for the mount."""
    source, where = loaded.settings.sources[number], loaded.places["sources"]
    for name in Source.model_fields:
        if name in source.model_fields_set:
            place = loaded.source_places.get((number, name), where)
            yield _Shown(name, _plain(name, getattr(source, name)), place)


def _plain(name: str, value: Any) -> Any:
    """As a settings file has it; None for what is not set."""
    match value:
        case None if name == "cache_dir":
            return NOWHERE
        case int() if kind_of(name) is Kind.MODE:
            return f"{value:03o}"
        case SecretStr():
            return MASK
        case Path():
            return str(value)
        case str() if name == "credential_command" and len(words := value.split(maxsplit=1)) == 2:
            return f"{words[0]} {MASK}"  # what follows the program may hold secrets
        case str():
            return _USER.sub(MASK, value)
        case tuple():
            return [_plain(name, each) for each in value]
        case _:
            return value
