"""Owners and permissions of a mount, from the settings."""

from __future__ import annotations

import os
import stat
from typing import Any

import pytest

from s3zipfs.errors import SettingsError
from s3zipfs.fuse.shown import Shown
from s3zipfs.settings import load_settings


def shown(**given: Any) -> Shown:
    return Shown.of(load_settings(**given))


def test_nothing_said_is_the_process_s_own() -> None:
    before = os.umask(0o026)
    try:
        assert shown() == Shown(os.getuid(), os.getgid(), 0o026)
        assert shown(umask="0").umask == 0
    finally:
        os.umask(before)


def test_users_and_groups_are_numbers_or_names() -> None:
    assert (shown(uid="root").uid, shown(uid="12").uid, shown(uid=12).uid) == (0, 12, 12)
    assert (shown(gid="root").gid, shown(gid="12").gid) == (0, 12)
    for name in ("uid", "gid"):
        with pytest.raises(SettingsError, match="nobody-of-this-name"):
            shown(**{name: "nobody-of-this-name"})
        with pytest.raises(SettingsError, match=name):
            shown(**{name: -1})


def test_modes_are_octal_texts() -> None:
    found = shown(umask="022", file_mode="0440", dir_mode="550")
    assert (found.umask, found.file_mode, found.dir_mode) == (0o022, 0o440, 0o550)
    for wrong in ("8", "01777", "-1", "", 444):  # a number of TOML would be decimal
        with pytest.raises(SettingsError, match="octal"):
            shown(file_mode=wrong)


def test_the_umask_is_for_what_has_no_mode_of_its_own() -> None:
    found = Shown(0, 0, 0o027, file_mode=0o644)
    assert found.mode(stat.S_IFREG, 0o555) == stat.S_IFREG | 0o644
    assert found.mode(stat.S_IFDIR, 0o555) == stat.S_IFDIR | 0o550
    assert found.mode(stat.S_IFLNK, 0o777) == stat.S_IFLNK | 0o750
