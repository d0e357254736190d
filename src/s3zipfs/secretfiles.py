"""Files that hold secrets: nobody but their owner may be able to read them."""

from __future__ import annotations

import stat
from pathlib import Path

from s3zipfs.errors import SettingsError
from s3zipfs.settings.private import readers


def read_secret(path: Path, setting: str) -> str:
    """The text of a file that holds one secret, without the blanks around it.

    Raises:
        SettingsError: it can't be read, is empty, or others can read it.
    """
    refuse_if_others_can_read(path, setting)
    try:
        text = path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise SettingsError(f"{setting}: {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SettingsError(f"{setting}: {path}: is not text") from None
    if not text:
        raise SettingsError(f"{setting}: {path}: is empty")
    return text


def refuse_if_others_can_read(path: Path, setting: str) -> None:
    """Raise `SettingsError` where they can: by its mode, and a way to it that is open to them."""
    try:
        who = readers(path.stat())
        is_open = who is not None and all(
            above.stat().st_mode & (stat.S_IXGRP | stat.S_IXOTH) for above in path.resolve().parents
        )
    except OSError as error:
        raise SettingsError(f"{setting}: {path}: {error.strerror}") from None
    if is_open:
        raise SettingsError(f"{setting}: {path}: {who} can read it; 'chmod 600' it")
