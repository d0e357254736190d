"""`s3zipfs cat`: by URL without a mount, or by a path on one."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import click

from s3zipfs.cli.aliases import is_remote
from s3zipfs.cli.opening import log_held, node_at, tree_of
from s3zipfs.cli.options import settings_of, store_options
from s3zipfs.errors import IsADirectory
from s3zipfs.settings import Settings
from s3zipfs.tree.nodes import Kind
from s3zipfs.waiting import Wait

PIECE = 1 << 20  # bytes written at once


@click.command(short_help="Write a file of a bucket or archive to standard output.")
@click.argument("where", metavar="PATH_OR_URL")
@click.option("--verbose", "-v", is_flag=True, help="show the log, on stderr")
@store_options
def cat(where: str, verbose: bool, **options: Any) -> None:
    """Write what is at s3://BUCKET/KEY.zip/MEMBER, or at a path, to standard output."""
    settings = settings_of(options)
    output = sys.stdout.buffer
    with log_held(verbose=verbose):
        for piece in _pieces(where, settings):
            output.write(piece)
        output.flush()


def _pieces(where: str, settings: Settings) -> Iterator[bytes | memoryview]:
    if not is_remote(where):
        with open(where, "rb", buffering=0) as file:  # noqa: PTH123
            while piece := file.read(PIECE):
                yield piece
        return
    wait = Wait(settings.timeout)
    with tree_of(where, settings) as (tree, path):
        node = node_at(tree, path, wait, follow=True)
        attributes = tree.getattr(node, wait)
        if attributes.kind is Kind.DIRECTORY:
            raise IsADirectory(f"{where}: is a directory")
        tree.check_open(node, wait)
        for start in range(0, attributes.size, PIECE):
            yield from tree.read(node, start, start + PIECE, wait)
