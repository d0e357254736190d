"""`s3zipfs ls`: by URL without a mount, or by a path on one."""

from __future__ import annotations

import datetime as dt
import json
import os
import stat
import sys
import time
from collections.abc import Iterator
from typing import Any

import click

from s3zipfs.cli.aliases import is_remote
from s3zipfs.cli.opening import log_held, node_at, tree_of
from s3zipfs.cli.options import settings_of, store_options
from s3zipfs.settings import Settings
from s3zipfs.tree.details import Details, details
from s3zipfs.tree.nodes import Kind
from s3zipfs.waiting import Wait

SHOWN_SECONDS = 0.2  # a listing that comes slowly is shown as it comes

_CONTROL = bytes(range(32)) + b"\x7f"
_FOR_TERMINALS = bytes.maketrans(_CONTROL, b"?" * len(_CONTROL))
_KINDS = {stat.S_IFDIR: "directory", stat.S_IFREG: "file", stat.S_IFLNK: "symlink"}


_HELP = """List what is at s3://BUCKET/KEY.zip/MEMBER…, or at a path.

With -l: mode, size and compressed size in bytes, compression method or "encrypted", time (UTC),
name; "-" is what is not known: on a path there is no compressed size. The size of an archive is
that of its object.

With --json, one object on a line of its own for each name:

\b
  name             a byte that is not UTF-8 is \\udc80 to \\udcff (Python's surrogateescape)
  kind             bucket, directory, archive, file or symlink
  size             bytes, or null
  compressed_size  bytes, of a member; else null, as the next three
  method           "stored", "deflated" and so on
  encrypted        true or false
  crc32            eight hexadecimal digits
  modified         "2026-05-17T12:34:56.000Z", or null
  etag             of an object, without its quotes; else null
"""


@click.command(help=_HELP, short_help="List a bucket, a prefix, or the inside of an archive.")
@click.argument("where", metavar="PATH_OR_URL")
@click.option("-l", "long", is_flag=True, help="with sizes, method and time")
@click.option("--json", "as_json", is_flag=True, help="one JSON object for each name")
@click.option("--verbose", "-v", is_flag=True, help="show the log, on stderr")
@store_options
def ls(where: str, long: bool, as_json: bool, verbose: bool, **options: Any) -> None:
    """List names, or facts of them."""
    settings = settings_of(options)
    with log_held(verbose=verbose):
        # As ls does it: a link is shown by -l, and else is a way to what it names.
        facts = long or as_json
        follow = not facts or where.endswith("/")
        if is_remote(where):
            found = _of_url(where, settings, follow=follow, facts=facts)
        else:
            found = _of_path(where, follow=follow, facts=facts)
        if as_json:
            _write(map(_json_line, found))
        else:
            _write(_lines(found, long=long))


def _write(lines: Iterator[bytes]) -> None:
    output = sys.stdout.buffer
    shown = time.monotonic()
    for line in lines:
        output.write(line + b"\n")
        if (now := time.monotonic()) - shown > SHOWN_SECONDS:
            output.flush()
            shown = now
    output.flush()


def _lines(found: Iterator[Details], *, long: bool) -> Iterator[bytes]:
    to_terminal = sys.stdout.isatty()
    for each in found:
        # Names are anyone's: a terminal would obey what is in them.
        name = each.name.translate(_FOR_TERMINALS) if to_terminal else each.name
        yield _facts(each).encode() + name if long else name


def _facts(of: Details) -> str:
    method = "encrypted" if of.is_encrypted else (of.method or "-").replace(" ", "-")
    when = "-"
    if of.modified is not None:
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(of.modified))
    sizes = f"{_or_dash(of.size):>14} {_or_dash(of.compressed_size):>14}"
    return f"{stat.filemode(of.mode)} {sizes} {method:<9} {when:<19} "


def _or_dash(number: int | None) -> str:
    return "-" if number is None else str(number)


def _json_line(of: Details) -> bytes:
    values = {
        "name": of.name.decode("utf-8", "surrogateescape"),
        "kind": of.kind,
        "size": of.size,
        "compressed_size": of.compressed_size,
        "method": of.method,
        "encrypted": of.is_encrypted,
        "crc32": None if of.crc32 is None else f"{of.crc32:08x}",
        "modified": _iso(of.modified),
        "etag": of.etag,
    }
    return json.dumps(values).encode()


def _iso(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    try:
        when = dt.datetime.fromtimestamp(seconds, dt.UTC)
    except (ValueError, OverflowError):  # a local file may be of the year 10,000
        return None
    return when.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _of_url(url: str, settings: Settings, *, follow: bool, facts: bool) -> Iterator[Details]:
    wait = Wait(settings.timeout)
    with tree_of(url, settings) as (tree, path):
        node = node_at(tree, path, wait, follow=follow)
        if tree.getattr(node, wait).kind is not Kind.DIRECTORY:
            yield details(tree, path.rstrip(b"/").rpartition(b"/")[2], node, wait)
            return
        for entry in tree.entries(node, wait):
            yield details(tree, entry.name, entry.node, wait) if facts else _named(entry.name)


def _of_path(path: str, *, follow: bool, facts: bool) -> Iterator[Details]:
    found = os.lstat(path)
    if not (os.path.isdir(path) if follow else stat.S_ISDIR(found.st_mode)):  # noqa: PTH112
        yield _stated(os.fsencode(path), found)
        return
    with os.scandir(os.fsencode(path)) as entries:
        for entry in entries:
            if facts:
                yield _stated(entry.name, entry.stat(follow_symlinks=False))
            else:
                yield _named(entry.name)


def _named(name: bytes) -> Details:
    return Details(name, "", 0)


def _stated(name: bytes, found: os.stat_result) -> Details:
    kind = _KINDS.get(stat.S_IFMT(found.st_mode), "other")
    size = None if kind == "directory" else found.st_size
    return Details(name, kind, found.st_mode, size, modified=found.st_mtime)
