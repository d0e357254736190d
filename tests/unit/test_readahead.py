"""The kernel's read-ahead, where it may be set."""

from __future__ import annotations

from pathlib import Path

from s3zipfs.fuse.mountpoint import MountEntry
from s3zipfs.fuse.readahead import READ_AHEAD, widen

MOUNTED = MountEntry(Path("/mnt"), "fuse.s3zipfs", "s3://lab", "0:77")


def test_read_ahead_is_set_on_the_mounts_own_device(tmp_path: Path) -> None:
    setting = tmp_path / "0:77" / "read_ahead_kb"
    setting.parent.mkdir()
    setting.write_text("128\n")
    widen(MOUNTED, tmp_path)
    assert setting.read_text() == str(READ_AHEAD // 1024)


def test_where_it_may_not_be_set_the_mount_goes_on(tmp_path: Path) -> None:
    widen(MOUNTED, tmp_path)
    assert not list(tmp_path.iterdir())
