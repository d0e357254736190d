"""The names that a URL may go on with, for who completes it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any, Final

from s3zipfs.cli.opening import node_at, tree_of
from s3zipfs.cli.options import command_line_of
from s3zipfs.errors import S3ZipError
from s3zipfs.settings import SCHEMES
from s3zipfs.tree.nodes import DirEntry, Kind, Member, ObjectFile
from s3zipfs.tree.tree import Tree
from s3zipfs.waiting import Wait

SECONDS: Final = 4.0  # for the endpoint
MOST: Final = 200  # names

Name = tuple[str, bool]  # a URL, and whether it may go on


def names_at(url: str, options: dict[str, Any]) -> list[Name]:
    """What stands in the directory that is written out, and begins as the last part does.

    What was found is all: a listing that is long or slow is cut, and an error is told to nobody,
    since a line of it would stand in the middle of what is typed.
    """
    names: list[Name] = []
    with contextlib.suppress(S3ZipError, OSError):
        for name in _names(url, options):
            names.append(name)
            if len(names) == MOST:
                break
    return names


def _names(url: str, options: dict[str, Any]) -> Iterator[Name]:
    scheme, _, rest = url.partition("://")
    if scheme not in SCHEMES:
        return
    folder, slash, start = rest.rpartition("/")
    give_up = time.monotonic() + SECONDS
    settings = command_line_of(options).load().settings
    settings = settings.model_copy(update={"timeout": SECONDS})
    with tree_of(f"{scheme}://{folder}", settings) as (tree, path):
        wait = Wait(SECONDS, lambda: time.monotonic() > give_up)
        for entry in tree.entries(node_at(tree, path, wait, follow=True), wait):
            name = entry.name.decode(errors="replace")
            if name.startswith(start) and name.isprintable() and "\ufffd" not in name:
                yield _told(tree, entry, f"{scheme}://{folder}{slash}{name}", wait)


def _told(tree: Tree, entry: DirEntry, url: str, wait: Wait) -> Name:
    """With a slash where it is a directory. An archive may be meant itself, or what is in it."""
    match entry.node:
        case Member(_, 0):
            return url, True
        case ObjectFile():
            return url, False
        case Member() as member if tree.getattr(member, wait).kind is not Kind.DIRECTORY:
            return url, False
        case _:
            return f"{url}/", True
