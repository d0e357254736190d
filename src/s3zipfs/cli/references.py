"""`s3zipfs refs`: a kerchunk reference file of an archive."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import click

from s3zipfs.cli.aliases import is_remote
from s3zipfs.cli.errors import one_line
from s3zipfs.cli.opening import archive_directory_at, log_held, tree_of
from s3zipfs.cli.options import settings_of, store_options
from s3zipfs.errors import SettingsError
from s3zipfs.references.collecting import References, collect
from s3zipfs.references.jsonfile import json_parts, write_json
from s3zipfs.references.parquet import load_arrow, write_parquet
from s3zipfs.settings import Settings
from s3zipfs.waiting import Wait

_HELP = """Write where the members of the archive at s3://BUCKET/KEY.zip[/GROUP] stand in it, as
a kerchunk reference file: what xarray, Dask and Zarr read by fsspec's "reference" filesystem,
straight from the store, without s3zipfs.

\b
  json     one document, version 1: [URL, offset, length] for each stored member; to standard
           output where no FILE is given
  parquet  a folder of tables, loaded piece by piece, for archives of millions of chunks. It holds
           Zarr arrays and nothing else, and needs the extra "refs": pip install 's3zipfs[refs]'

Metadata stands in the file itself, however it is compressed. URLs are s3://BUCKET/KEY; endpoint
and credentials are not in the file, and are given to fsspec by whoever reads it (remote_options).
One archive is one file; kerchunk combines several.

A reference names bytes of an object, not a version of it: once the object is overwritten, readers
of an old file get wrong bytes, and nothing tells them. Make the file anew then, or keep archives
that never change. Nothing verifies a CRC either. A mount and s3zip:// do both.

Members that are compressed, encrypted, damaged or symbolic links can't be told, and a reader would
take them for missing, which is fill values to Zarr: the command fails and says how many. With
--skip it leaves them out.
"""


@click.command(help=_HELP, short_help="Write a kerchunk reference file of an archive.")
@click.argument("where", metavar="URL")
@click.option(
    "--output", "-o", type=click.Path(path_type=Path), metavar="FILE", help="where to write it"
)
@click.option(
    "--format", "form", type=click.Choice(["json", "parquet"]), default="json", help="what to write"
)
@click.option("--skip", is_flag=True, help="leave out what can't be told")
@click.option("--verbose", "-v", is_flag=True, help="show the log, on stderr")
@store_options
def refs(
    where: str, output: Path | None, form: str, skip: bool, verbose: bool, **options: Any
) -> None:
    """Write the references."""
    settings = settings_of(options)
    if form == "parquet":
        _check_folder(output)
    with log_held(verbose=verbose):
        found = _collect(where, settings, skip=skip)
        others = 0
        if output is None:
            for part in json_parts(found):
                click.echo(part, nl=False)
        elif form == "json":
            write_json(found, output)
        else:
            others = write_parquet(found, output)
    _tell(found, output, others)


def _check_folder(output: Path | None) -> None:
    """Before anything is asked for."""
    if output is None:
        raise SettingsError("--format parquet writes a folder; name it with -o")
    if ".json" in output.name:
        raise SettingsError(f"{output}: fsspec takes a name with .json for a document")
    if os.path.lexists(output):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(output))
    load_arrow()


def _collect(where: str, settings: Settings, *, skip: bool) -> References:
    if not is_remote(where):
        raise SettingsError(f"{where}: references name an object; give s3://BUCKET/KEY.zip")
    with tree_of(where, settings) as (tree, path):
        wait = Wait(settings.timeout)
        instead = "the archive or the group that it is in"
        node = archive_directory_at(where, tree, path, wait, instead=instead)
        return collect(tree, node, wait, skip=skip)


def _tell(found: References, output: Path | None, others: int) -> None:
    left_out = [f"{count:,} {reason}" for reason, count in found.left_out.most_common()]
    if others:
        left_out.append(f"{others:,} that are not Zarr's")
    if left_out:
        text = one_line(f"left out, and missing to whoever reads: {', '.join(left_out)}")
        click.echo(f"s3zipfs: warning: {text}", err=True)
    if output is not None:
        told = f"{len(found):,} references, {len(found.inlined):,} members inlined"
        click.echo(one_line(f"{output}: {told}, of version {found.etag}"))
