"""What stands at a mountpoint, and what is said of it."""

from __future__ import annotations

import errno
import os
import re
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from s3zipfs.errors import MountError
from s3zipfs.fuse import mountpoint, privileges
from s3zipfs.fuse.mountpoint import MountEntry

MOUNTINFO = b"""\
22 1 0:21 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
36 22 0:32 / /mnt/with\\040space rw,nosuid - fuse.s3zipfs s3://a\\134b rw,user_id=0
37 22 0:33 / /mnt/\\303\\274 ro master:2 shared:3 - fuse.sshfs host: rw
38 36 0:34 / /mnt/with\\040space rw - tmpfs tmpfs rw
"""


def test_mountinfo_is_unescaped() -> None:
    entries = mountpoint.parse_mountinfo(MOUNTINFO)
    assert [(str(e.path), e.type, e.source, e.device) for e in entries] == [
        ("/", "ext4", "/dev/sda1", "0:21"),
        ("/mnt/with space", "fuse.s3zipfs", "s3://a\\b", "0:32"),
        ("/mnt/ü", "fuse.sshfs", "host:", "0:33"),
        ("/mnt/with space", "tmpfs", "tmpfs", "0:34"),
    ]


def test_a_line_of_mountinfo_ends_at_a_newline_only() -> None:
    """The kernel escapes no other control character of a path, which is anybody's to choose."""
    text = b"36 22 0:32 / /tmp/a\rb\x0bc rw - fuse.sshfs host:\r rw\n" + MOUNTINFO
    first, *others = mountpoint.parse_mountinfo(text)
    assert first == MountEntry(Path("/tmp/a\rb\x0bc"), "fuse.sshfs", "host:\r", "0:32")
    assert others == mountpoint.parse_mountinfo(MOUNTINFO)


def test_paths_are_made_absolute_and_free_of_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "again").symlink_to(tmp_path / "link")
    (tmp_path / "loop").symlink_to("loop")
    assert mountpoint.absolute("link/mnt") == tmp_path / "real" / "mnt"
    assert mountpoint.absolute("again") == tmp_path / "real"
    assert mountpoint.absolute("a/../mnt/") == tmp_path / "mnt"
    assert mountpoint.absolute("/") == Path("/")
    with pytest.raises(MountError, match="the mountpoint is empty"):
        mountpoint.absolute("")
    with pytest.raises(MountError, match="too many symbolic links"):
        mountpoint.absolute("loop")


def test_what_is_mounted_is_not_touched_to_find_its_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def touched(_: object) -> bool:
        raise AssertionError("a dead or stopped mount must not be touched")

    entry = MountEntry(tmp_path, "fuse.s3zipfs", "s3://lab", "0:99")
    monkeypatch.setattr(mountpoint, "mount_at", lambda path: entry if path == tmp_path else None)
    monkeypatch.setattr(os.path, "islink", touched)
    assert mountpoint.absolute(tmp_path) == tmp_path


def refuses(path: Path, *words: str, allow_other: bool = False) -> None:
    with pytest.raises(MountError, match=".*".join(map(re.escape, words))):
        mountpoint.check(path, allow_other=allow_other)
    with pytest.raises(MountError, match=".*".join(map(re.escape, words))):
        mountpoint.prepare(path, allow_other=allow_other)


@pytest.fixture
def user(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user without privileges on a machine with FUSE."""
    machine = tmp_path_factory.mktemp("machine")
    for name in ("DEVICE", "_FUSE_CONF"):
        monkeypatch.setattr(mountpoint, name, machine / name)
    mountpoint.DEVICE.touch()
    monkeypatch.setattr(privileges, "_STATUS", machine / "status")
    privileges._STATUS.write_text("Name:\tpython\nCapEff:\t0000000000000000\n")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(shutil, "which", lambda name: f"/bin/{name}")


def test_what_is_at_the_path_is_named(user: None, tmp_path: Path) -> None:
    refuses(tmp_path / "nothing", str(tmp_path / "nothing"), "no such directory", "create it")
    (tmp_path / "file").touch()
    refuses(tmp_path / "file", "not a directory")
    refuses(tmp_path / "file" / "below", "Not a directory")
    refuses(tmp_path, "not empty")
    refuses(Path("/proc"), "proc (proc) is already mounted there")
    (tmp_path / "empty").mkdir()
    mountpoint.prepare(tmp_path / "empty", allow_other=False)


def test_a_missing_device_is_named(
    user: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mountpoint, "DEVICE", tmp_path / "fuse")
    refuses(tmp_path, "fuse is missing", "modprobe fuse", "--device /dev/fuse")


@pytest.mark.parametrize(
    ("number", "remedy"), [(errno.EACCES, "chmod 666"), (errno.EPERM, "--device /dev/fuse")]
)
def test_a_device_that_may_not_be_opened_is_named(
    user: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, remedy: str
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "open", refuse)
    refuses(tmp_path, "may not be opened", os.strerror(number), remedy)


def test_a_user_needs_fusermount3(
    user: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    refuses(tmp_path, "fusermount3", "apt install fuse3")


def test_root_of_a_container_needs_the_capability(
    user: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    refuses(tmp_path, "root may not mount here", "--cap-add SYS_ADMIN")


def test_a_user_needs_write_permission_at_the_place(
    user: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    refuses(tmp_path, "not yours to mount on")


def test_a_user_needs_leave_for_allow_other(user: None, tmp_path: Path) -> None:
    conf = mountpoint._FUSE_CONF
    for text in ("#user_allow_other\n", "mount_max = 1000\n"):
        conf.write_text(text)
        refuses(tmp_path, "--allow-other", "user_allow_other", allow_other=True)
    conf.unlink()
    refuses(tmp_path, "--allow-other", "user_allow_other", allow_other=True)
    conf.write_text("mount_max = 1000\n  user_allow_other\n")
    mountpoint.prepare(tmp_path, allow_other=True)


@pytest.fixture
def mounted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., list[Path]]:
    """Pretend that something is mounted, whose statfs gives an errno; the unmounts are gathered."""

    def pretend(kind: str, number: int) -> list[Path]:
        stack = [MountEntry(tmp_path, kind, "s3://lab", "0:99")]
        unmounted: list[Path] = []

        def unmount(path: Path) -> None:
            unmounted.append(path)
            stack.pop()

        monkeypatch.setattr(mountpoint, "mount_at", lambda _: stack[-1] if stack else None)
        monkeypatch.setattr(mountpoint, "errno_of_statfs", lambda *_: number)
        monkeypatch.setattr(mountpoint, "unmount", unmount)
        return unmounted

    return pretend


def test_only_a_dead_mount_of_ours_is_taken_away(
    user: None, tmp_path: Path, mounted: Callable[..., list[Path]]
) -> None:
    unmounted = mounted("fuse.s3zipfs", 0)
    refuses(tmp_path, "s3://lab (fuse.s3zipfs) is already mounted there")
    assert unmounted == []
    unmounted = mounted("fuse.s3zipfs", errno.ETIMEDOUT)
    refuses(tmp_path, "already mounted there and does not answer", f"umount -l {tmp_path}")
    assert unmounted == []
    unmounted = mounted("fuse.sshfs", errno.ENOTCONN)
    refuses(tmp_path, "(fuse.sshfs) is mounted there and dead", f"umount -l {tmp_path}")
    assert unmounted == []
    for dead in (errno.ENOTCONN, errno.ECONNABORTED):
        unmounted = mounted("fuse.s3zipfs", dead)
        mountpoint.check(tmp_path, allow_other=False)
        assert unmounted == [], "its readers would see an empty directory from here on"
        mountpoint.prepare(tmp_path, allow_other=False)
        assert unmounted == [tmp_path]


def test_an_automount_is_mounted_over_and_never_looked_at(
    user: None, tmp_path: Path, mounted: Callable[..., list[Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def looked(*_: object, **__: object) -> None:
        raise AssertionError("it would wait for the mount that is being made")

    unmounted = mounted("autofs", 0)
    for name in ("scandir", "statvfs", "lstat"):
        monkeypatch.setattr(os, name, looked)
    mountpoint.check(tmp_path, allow_other=False)
    mountpoint.prepare(tmp_path, allow_other=False)
    assert unmounted == []


def test_a_mount_that_does_not_answer_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = threading.Event()
    monkeypatch.setattr(os, "statvfs", lambda _: answer.wait(10))
    assert mountpoint.errno_of_statfs(tmp_path, 0.05) == errno.ETIMEDOUT
    answer.set()


def test_what_is_not_ours_is_not_unmounted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MountError, match="nothing is mounted there"):
        mountpoint.unmount(tmp_path)
    with pytest.raises(MountError, match="proc is mounted there, not s3zipfs"):
        mountpoint.unmount(Path("/proc"))
    another = MountEntry(tmp_path, "fuse.s3zipfs", "s3://lab", "0:99")
    monkeypatch.setattr(mountpoint, "mount_at", lambda _: another)
    with pytest.raises(MountError, match="another mount has taken the place of ours"):
        mountpoint.unmount(tmp_path, device="0:98")
