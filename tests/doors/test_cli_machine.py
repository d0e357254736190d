"""Machines that cannot mount: each says what is missing, in one line, and leaves nothing behind."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from commands import assert_one_line
from identities import Identity, ordinary_identity
from mounting import mounted_type

FAILED = 1
# Refused before the network is asked.
SOURCE = ("s3://lab", "--endpoint-url", "http://127.0.0.1:1")


@pytest.fixture(scope="module")
def user() -> Iterator[Identity]:
    with ordinary_identity() as identity:
        yield identity


def run(identity: Identity, path: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """`mount` as that user; both in the background and in the foreground say the same."""
    keys = {"AWS_ACCESS_KEY_ID": "nobody", "AWS_SECRET_ACCESS_KEY": "nothing"}
    command = [*identity.prefix, identity.python, "-m", "s3zipfs", "mount", *SOURCE, *options]
    said = [
        subprocess.run(
            [*command, *stay, str(path)],
            env={**os.environ, **identity.environment, **keys},
            check=False,
            capture_output=True,
            text=True,
            timeout=60,
            cwd="/",
        )
        for stay in ((), ("--foreground",))
    ]
    assert said[0].stderr == said[1].stderr
    assert mounted_type(path) is None
    return said[0]


@pytest.fixture
def place(user: Identity) -> Iterator[Path]:
    """An empty directory of the user's."""
    path = user.folder / "place"
    user.run("mkdir", str(path))
    yield path
    path.rmdir()


def test_a_user_needs_leave_to_let_others_in(user: Identity, place: Path) -> None:
    if not user.prefix or "\nuser_allow_other" in Path("/etc/fuse.conf").read_text():
        pytest.skip("this machine allows it")
    done = run(user, place, "--allow-other")
    assert_one_line(done, "--allow-other", "user_allow_other", "/etc/fuse.conf", code=FAILED)


def test_a_user_needs_fusermount3(user: Identity, place: Path) -> None:
    if not user.prefix:
        pytest.skip("needs root, to be another user")
    done = run(replace(user, prefix=(*user.prefix, "env", "PATH=/nonexistent")), place)
    assert_one_line(done, "fusermount3 is missing", "apt install fuse3", code=FAILED)


def test_a_user_mounts_on_directories_of_their_own_only(user: Identity, tmp_path: Path) -> None:
    if not user.prefix:
        pytest.skip("needs root, to be another user")
    foreign = user.folder.parent / "foreign"
    foreign.mkdir(mode=0o755)
    try:
        assert_one_line(run(user, foreign), str(foreign), "no write permission", code=FAILED)
    finally:
        foreign.rmdir()


def with_devices(*commands: str) -> tuple[str, ...]:
    """Run with a /dev of its own, which nobody else sees."""
    script = ["mount -t tmpfs tmpfs /dev", "mknod -m 666 /dev/null c 1 3", *commands]
    return ("unshare", "--mount", "sh", "-c", " && ".join([*script, 'exec "$@"']), "sh")


def test_a_user_may_not_open_the_device(user: Identity, place: Path) -> None:
    if not user.prefix:
        pytest.skip("needs root, for a /dev of its own")
    devices = with_devices("mknod -m 600 /dev/fuse c 10 229")
    done = run(replace(user, prefix=(*devices, *user.prefix)), place)
    assert_one_line(done, "/dev/fuse may not be opened", "chmod 666 /dev/fuse", code=FAILED)


def test_root_without_the_capability(user: Identity, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    drop = ("setpriv", "--inh-caps=-sys_admin", "--bounding-set=-sys_admin", "--")
    root = Identity(tmp_path, user.python, drop, {"PYTHONPATH": user.environment["PYTHONPATH"]})
    done = run(root, tmp_path)
    assert_one_line(done, "root may not mount here", "--cap-add SYS_ADMIN", code=FAILED)


def test_a_machine_without_the_device(user: Identity, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, for a /dev of its own")
    environment = {"PYTHONPATH": user.environment["PYTHONPATH"]}
    root = Identity(tmp_path, user.python, with_devices(), environment)
    done = run(root, tmp_path)
    assert_one_line(done, "/dev/fuse is missing", "modprobe fuse", "--device", code=FAILED)
