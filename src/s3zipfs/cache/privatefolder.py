"""Folders that nobody but their owner may look into or write to."""

from __future__ import annotations

import os
import stat
from pathlib import Path


def make_private(folder: Path) -> None:
    """Make a folder and what is missing above it, mode 0700; one that is there stays as it is.

    Raises:
        OSError: it can't be made.
    """
    # Path.mkdir gives its mode to the last one alone; XDG wants 0700 for all.
    for missing in reversed([p for p in (folder, *folder.parents) if not p.exists()]):
        missing.mkdir(mode=0o700, exist_ok=True)


def check_private(folder: Path) -> None:
    """That nobody else can write there.

    Raises:
        FileNotFoundError, NotADirectoryError
        PermissionError: another's, or of a mode wider than 0700.
    """
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode):
        raise NotADirectoryError(f"{folder}: not a directory")
    if status.st_uid != os.geteuid() or status.st_mode & 0o077:
        raise PermissionError(f"{folder}: not ours alone (owner, or a mode wider than 0700)")
