"""Who may read or write a file, by its mode."""

from __future__ import annotations

import os
import stat


def readers(found: os.stat_result) -> str | None:
    """Who but its owner can read a file; None: nobody who should not.

    A file of root may be read by its group: that is how a daemon's user gets what it may not
    change.
    """
    if found.st_mode & stat.S_IROTH:
        return "everybody"
    if found.st_mode & stat.S_IRGRP and found.st_uid != 0:
        return "its group"
    return None


def is_writable_by_all(found: os.stat_result) -> bool:
    """Whether anybody can say what stands in it."""
    return bool(found.st_mode & stat.S_IWOTH)
