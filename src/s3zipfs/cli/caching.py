"""`s3zipfs cache`: what is kept on disk, and removing some or all of it."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from rich.filesize import pick_unit_and_suffix

from s3zipfs.cache import upkeep
from s3zipfs.cli.options import SIZE, cache_options, settings_of
from s3zipfs.errors import SettingsError
from s3zipfs.settings import DEFAULT_CACHE_SIZE, Settings

_UNITS = ["bytes", "KiB", "MiB", "GiB", "TiB"]


@click.group(short_help="What is kept on disk: show it, prune it, clear it.")
def cache() -> None:
    """Show or remove what outlives a mount; safe while mounts are running."""


@cache.command()
@click.option("--json", "as_json", is_flag=True, help="one JSON object")
@cache_options
def info(as_json: bool, **options: Any) -> None:
    """Show what is used, and the bounds."""
    settings = settings_of(options)
    _show(_folder(settings), settings, as_json=as_json)


@cache.command()
@click.option("--to", type=SIZE, metavar="BYTES", help="leave so much of blocks, and of indexes")
@click.option("--json", "as_json", is_flag=True, help="show what is left as one JSON object")
@cache_options
def prune(to: int | None, as_json: bool, **options: Any) -> None:
    """Remove what was not used for longest, until the bounds hold; show what is left."""
    settings = settings_of(options)
    folder = _folder(settings)
    upkeep.prune_blocks(folder, _most(settings) if to is None else to)
    upkeep.prune_indexes(folder, settings.index_cache_size if to is None else to)
    _show(folder, settings, as_json=as_json)


@cache.command()
@click.option("--json", "as_json", is_flag=True, help="show what is left as one JSON object")
@cache_options
def clear(as_json: bool, **options: Any) -> None:
    """Remove all of it; mounts that are running fetch it again."""
    settings = settings_of(options)
    folder = _folder(settings)
    upkeep.clear(folder)
    _show(folder, settings, as_json=as_json)


def _most(settings: Settings) -> int:
    """The bound of a mount that was given this directory."""
    return DEFAULT_CACHE_SIZE if settings.cache_size is None else settings.cache_size


def _folder(settings: Settings) -> Path:
    if settings.cache_dir is None:
        raise SettingsError("cache_dir: there is none, so that nothing is kept")
    return settings.cache_dir


def _show(folder: Path, settings: Settings, *, as_json: bool) -> None:
    blocks, indexes = upkeep.block_usage(folder), upkeep.index_usage(folder)
    if as_json:
        values = {
            "cache_dir": str(folder),
            "blocks": {**asdict(blocks), "max_bytes": _most(settings)},
            "indexes": {**asdict(indexes), "max_bytes": settings.index_cache_size},
        }
        click.echo(json.dumps(values))
        return
    click.echo(f"directory  {folder}")
    records = "of another format, or damaged"
    if blocks.segments is not None:
        records = f"{blocks.records} ranges of {blocks.objects} objects"
    click.echo(f"blocks     {_of(blocks.used_bytes, _most(settings))}, {records}")
    click.echo(
        f"indexes    {_of(indexes.used_bytes, settings.index_cache_size)}, {indexes.files} archives"
    )


def _of(used: int, bound: int) -> str:
    return f"{_size(used)} of {_size(bound)}"


def _size(count: int) -> str:
    # Binary, as --cache-size is.
    unit, name = pick_unit_and_suffix(count, _UNITS, 1024)
    return f"{count} {name}" if unit == 1 else f"{count / unit:.1f} {name}"
