"""`s3zipfs tree`: the Zarr hierarchy of an archive, by URL without a mount, or by a path on one."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import sys
from collections.abc import Iterator
from typing import Any

import click

from s3zipfs.cli.aliases import is_remote
from s3zipfs.cli.errors import FAILED, one_line
from s3zipfs.cli.opening import archive_directory_at, log_held, tree_of
from s3zipfs.cli.options import settings_of, store_options
from s3zipfs.errors import SettingsError
from s3zipfs.settings import Settings
from s3zipfs.tree.directories import ArchiveDirectory, Directory, PathDirectory
from s3zipfs.tree.hierarchy import HierarchyNode, Path, walk_files, walk_hierarchy
from s3zipfs.tree.zarrmetadata import ArrayMetadata
from s3zipfs.waiting import Wait

LONGEST = 40  # characters of a fill value

_HELP = """Show the Zarr groups and arrays at s3://BUCKET/KEY.zip[/GROUP], or at a path.

Of each array: shape, data type, chunks, shards, codecs, fill value, how many of its chunks (or
shards) are stored, and their bytes with the ratio of compression. Only metadata is read, of an
archive by few requests. Metadata that is broken is told at its place, and the exit code is 1.

Where there is no Zarr metadata, all directories and files are shown with their sizes.

With --json, one object on a line of its own for each group and array:

\b
  path             from the start, "" for it; a byte that is not UTF-8 is \\udc80 to \\udcff
                   (Python's surrogateescape), as in all output
  kind             group, array or broken; without Zarr: directory or file
  zarr_format      2 or 3
  shape, chunks    lists; chunks is null where they are not all alike
  shards           a list, or null: each object is a chunk
  data_type        numpy's name where it has one
  codecs           of a chunk: a list of {"name", "configuration"}
  fill_value       as in the metadata
  dimension_names  a list, or null
  size             bytes of all values, or null: not known
  stored_size      bytes of the objects that are stored, or null: not counted
  stored           how many those are: chunks, or shards; null: not counted
  possible         how many there may be, or null
  fault            of what is broken; else null

Groups have path, kind, zarr_format and fault only; files path, kind and size.
"""


@click.command(help=_HELP, short_help="Show the Zarr groups and arrays of an archive.")
@click.argument("where", metavar="PATH_OR_URL")
@click.option("--depth", type=click.IntRange(min=0), metavar="N", help="levels to go down")
@click.option("--json", "as_json", is_flag=True, help="one JSON object for each group and array")
@click.option("--verbose", "-v", is_flag=True, help="show the log, on stderr")
@store_options
def tree(where: str, depth: int | None, as_json: bool, verbose: bool, **options: Any) -> int:
    """Show the hierarchy."""
    settings = settings_of(options)
    faults = 0
    with log_held(verbose=verbose), _directory(where, settings) as directory:
        nodes = walk_hierarchy(directory, depth=depth)
        first = next(nodes, None)
        lines: _Lines | _Objects = _Objects() if as_json else _Lines(where)
        if first is None:
            lines.begin_files()
            for path, size in walk_files(directory, depth=depth):
                lines.add_file(path, size)
        else:
            for node in itertools.chain([first], nodes):
                lines.add(node)
                faults += node.fault is not None
        sys.stdout.flush()
    return FAILED if faults else 0


@contextlib.contextmanager
def _directory(where: str, settings: Settings) -> Iterator[Directory]:
    if not is_remote(where):
        if not os.path.isdir(where):  # noqa: PTH112 - follows, and errs as scandir does
            os.stat(where)  # noqa: PTH116
            raise SettingsError(f"{where}: a file; give a directory, or the URL of an archive")
        yield PathDirectory(os.fsencode(where))
        return
    with tree_of(where, settings) as (names, path):
        wait = Wait(settings.timeout)
        instead = "the group or array that it is in"
        node = archive_directory_at(where, names, path, wait, instead=instead)
        yield ArchiveDirectory(names, node, wait)


# For people


class _Lines:
    """A line for each name, indented by its level."""

    def __init__(self, where: str) -> None:
        self._where = one_line(where.rstrip("/"))
        self._format: int | None = None  # of the nodes shown last
        self._shown: Path | None = None  # the line before; None: there is none

    def add(self, node: HierarchyNode) -> None:
        """Write a group, an array, or what is broken."""
        self._add_parents(node.path)
        self._line(node.path, f"broken: {node.fault}" if node.fault else self._facts(node))

    def begin_files(self) -> None:
        """Write that there is no Zarr here."""
        self._line((), "no Zarr metadata")

    def add_file(self, path: Path, size: int | None) -> None:
        """Write a file with its size, or a directory."""
        self._line(path, "directory" if size is None else _bytes(size))

    def _add_parents(self, path: Path) -> None:
        """Directories on the way that are no groups themselves."""
        shown = self._shown
        for level in range(len(path)):
            if shown is None or shown[:level] != path[:level] or len(shown) < level:
                self._line(path[:level], "directory")
        self._shown = path

    def _line(self, path: Path, facts: str) -> None:
        name = one_line(path[-1].decode("utf-8", "backslashreplace")) if path else self._where
        click.echo(f"{'  ' * len(path)}{name}: {one_line(facts)}")
        self._shown = path

    def _facts(self, node: HierarchyNode) -> str:
        found = node.metadata
        if found is None:
            return ""
        kind = "" if found.zarr_format == self._format else f"Zarr {found.zarr_format} "
        self._format = found.zarr_format
        if not isinstance(found, ArrayMetadata):
            return f"{kind}group"
        return f"{kind}array, {', '.join(_array_facts(found, node))}"


def _array_facts(array: ArrayMetadata, node: HierarchyNode) -> Iterator[str]:
    yield f"{_extents(array.shape)} {array.data_type}"
    yield "no regular chunks" if array.chunks is None else f"chunks {_extents(array.chunks)}"
    if array.shards is not None:
        yield f"shards {_extents(array.shards)}"
    yield " ".join(map(str, array.codecs)) or "no codec"
    fill = json.dumps(array.fill_value, ensure_ascii=False)
    yield f"fill {fill if len(fill) <= LONGEST else fill[:LONGEST] + '…'}"
    if node.stored is None:
        yield "chunks not counted"
        return
    objects = "chunks" if array.shards is None else "shards"
    yield f"{node.stored.count:,} of {array.possible:,} {objects}"
    yield _sizes(array.size, node.stored.size)


def _sizes(size: int | None, stored: int) -> str:
    if size is None:
        return _bytes(stored)
    ratio = f" ({size / stored:.3g}x)" if stored else ""
    return f"{_bytes(stored)} of {_bytes(size)}{ratio}"


def _extents(extents: tuple[int, ...]) -> str:
    return f"({', '.join(map(str, extents))})"


def _bytes(size: int) -> str:
    """With a decimal unit, three digits."""
    if size < 1000:
        return f"{size} B"
    value = float(size)
    for unit in ("kB", "MB", "GB", "TB", "PB"):
        value /= 1000
        if value < 999.5 or unit == "PB":
            break
    return f"{value:.3g} {unit}" if value < 999.5 else f"{value:,.0f} {unit}"


# For programs


class _Objects:
    """A JSON object for each name."""

    def add(self, node: HierarchyNode) -> None:
        """Write a group, an array, or what is broken."""
        found, stored = node.metadata, node.stored
        values: dict[str, Any] = {"path": _path(node.path), "kind": "broken"}
        if found is not None:
            values |= {"kind": "group", "zarr_format": found.zarr_format}
        if isinstance(found, ArrayMetadata):
            values |= {
                "kind": "array",
                "shape": found.shape,
                "data_type": found.data_type,
                "chunks": found.chunks,
                "shards": found.shards,
                "codecs": [
                    {"name": codec.name, "configuration": codec.configuration}
                    for codec in found.codecs
                ],
                "fill_value": found.fill_value,
                "dimension_names": found.dimension_names,
                "size": found.size,
                "stored_size": None if stored is None else stored.size,
                "stored": None if stored is None else stored.count,
                "possible": found.possible,
            }
        click.echo(json.dumps(values | {"fault": node.fault}))

    def begin_files(self) -> None:
        """Nothing: the kinds say it."""

    def add_file(self, path: Path, size: int | None) -> None:
        """Write a file with its size, or a directory."""
        kind = "directory" if size is None else "file"
        click.echo(json.dumps({"path": _path(path), "kind": kind, "size": size}))


def _path(path: Path) -> str:
    return b"/".join(path).decode("utf-8", "surrogateescape")
