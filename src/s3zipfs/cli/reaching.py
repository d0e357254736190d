"""From a URL or a path on a mount to two trees: one that asks the store, one that never does."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from s3zipfs.build import build_tree
from s3zipfs.cli.aliases import is_remote
from s3zipfs.cli.opening import sources_of
from s3zipfs.errors import MountError, SettingsError
from s3zipfs.fuse.asking import mount_of, read_file
from s3zipfs.fuse.mountpoint import MountEntry
from s3zipfs.settings import Settings, Source, settings_told
from s3zipfs.tree.tree import Tree

TOLD: Final = "settings.json"  # in `.s3zipfs` of a mount


@dataclass(frozen=True, slots=True)
class Place:
    """What was given, and how it is reached."""

    settings: Settings  # of the mount that it is on, else the command's own
    sources: Sequence[str | Source]
    path: bytes  # from the root of their tree
    mounted: Path | None  # the same on a mount


def place_of(where: str, settings: Settings) -> Place:
    """What a URL or a path names.

    Raises:
        SettingsError: it is on no mount of ours, or that one is older.
        OSError: the path does not exist.
    """
    if is_remote(where):
        sources, path = sources_of(where, settings)
        return Place(settings, sources, path, None)
    real = Path(where).resolve(strict=True)
    mounted = _mount_of(real)
    try:
        of_mount = settings_told(json.loads(read_file(mounted, TOLD)), settings)
    except (MountError, ValueError) as error:
        raise SettingsError(f"{error}; give the URL, and the --cache-dir of the mount") from error
    below = os.fsencode(real.relative_to(mounted.path))
    return Place(of_mount, of_mount.sources, b"" if below == b"." else below, real)


def _mount_of(path: Path) -> MountEntry:
    try:
        return mount_of(path)
    except MountError:
        raise SettingsError(
            f"{path} is not on a mount of s3zipfs; give a URL, s3://BUCKET/KEY"
        ) from None


@contextlib.contextmanager
def trees_at(place: Place, *, keeps: bool) -> Iterator[tuple[Tree, Tree]]:
    """A tree of the place's sources, and one of the same names and what is on disk.

    `keeps`: the first one uses the disk as well.
    """
    settings = place.settings
    asking = settings if keeps else settings.model_copy(update={"cache_dir": None})
    with (
        contextlib.closing(build_tree(asking, place.sources)) as tree,
        contextlib.closing(build_tree(settings, place.sources, offline=True)) as offline,
    ):
        yield tree, offline
