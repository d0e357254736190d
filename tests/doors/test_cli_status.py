"""`s3zipfs status` of real mounts: living, stuck, stopped, dead, and others'."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from commands import assert_one_line, s3zipfs
from identities import Identity, ordinary_identity
from mounting import Mount, wait_until
from s3server import S3Server
from terminals import S3ZIPFS, Terminal
from trees import zipped

PATIENT = ("--wait", "30")  # seconds for a mount that will answer
SHORT = ("--wait", "0.5")  # for one that will not
WATCHED = (*S3ZIPFS, "status", "--interval", "0.1", *PATIENT)
STUCK = """
import threading
from s3zipfs.tree.tree import Tree

publish = Tree.publish
Tree.publish = lambda self, files: publish(self, {name: threading.Event().wait for name in files})
"""

HOSTILE = """
from s3zipfs.tree.tree import Tree

publish = Tree.publish
Tree.publish = lambda self, files: publish(self, {name: lambda: CONTENT for name in files})
"""


@pytest.fixture
def filled(s3client: Any, bucket: str) -> str:
    s3client.put_object(Bucket=bucket, Key="x.zip", Body=zipped({"a": bytes(3_000_000)}))
    return bucket


@pytest.fixture
def mount(tmp_path: Path, s3server: S3Server, filled: str) -> Iterator[Mount]:
    with Mount(tmp_path / "mnt", s3server, [f"s3://{filled}"]) as mounted:
        yield mounted


def of_all(*options: str) -> dict[str, dict[str, Any]]:
    """What is told of each mount of this machine, which other tests have as well."""
    told = json.loads(s3zipfs("status", "--json", *options).stdout)
    return {each["mountpoint"]: each for each in told["mounts"]}


def test_it_is_told_once_where_nobody_looks(mount: Mount, s3server: S3Server, filled: str) -> None:
    assert len((mount.path / "x.zip/a").read_bytes()) == 3_000_000
    done = s3zipfs("status", str(mount.path), *PATIENT)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0] == f"{mount.path}  s3://{filled}"
    assert f"process {mount.process.pid}, up " in lines[1]
    assert lines[2] == f"{s3server.endpoint}  answers"
    assert any(line.split()[:2] == [f"{filled}/x.zip", "3.0"] for line in lines)
    assert "\x1b" not in done.stdout
    assert not any(line.endswith(" ") for line in lines)


def test_a_path_on_the_mount_is_as_good_as_its_mountpoint(mount: Mount) -> None:
    link = mount.path.with_name("link")
    link.symlink_to(mount.path / "x.zip")
    for path in (mount.path / "x.zip", mount.path / "no/such", link):
        done = s3zipfs("status", str(path), "--once", *PATIENT)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith(f"{mount.path}  ")


def test_json_is_the_document_of_the_mount(mount: Mount) -> None:
    (mount.path / "x.zip/a").read_bytes()
    done = s3zipfs("status", str(mount.path), "--json", *PATIENT)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("\n") == 1
    told = json.loads(done.stdout)
    there = json.loads((mount.path / ".s3zipfs/status.json").read_bytes())
    assert told.keys() == there.keys()
    assert told["pid"] == mount.process.pid
    assert told["bytes"]["read"] == 3_000_000


def test_without_a_mountpoint_all_mounts_are_told(
    mount: Mount, tmp_path: Path, s3server: S3Server, filled: str
) -> None:
    with Mount(tmp_path / "all", s3server, []) as other:
        told = of_all(*PATIENT)
        for path, source, pid in (
            (mount.path, f"s3://{filled}", mount.process.pid),
            (other.path, s3server.endpoint, other.process.pid),
        ):
            assert told[str(path)]["source"] == source
            assert told[str(path)]["state"] == "serving"
            assert told[str(path)]["status"]["pid"] == pid
        lines = s3zipfs("status", *PATIENT).stdout.splitlines()
        for path in (mount.path, other.path):
            (line,) = [each for each in lines if each.startswith(f"{path}  ")]
            assert line.split()[2] == "serving"


@contextlib.contextmanager
def stopped(mount: Mount) -> Iterator[None]:
    mount.process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        mount.process.send_signal(signal.SIGCONT)


def test_a_mount_that_is_stopped_is_told_and_blocks_nobody(
    mount: Mount, tmp_path: Path, s3server: S3Server
) -> None:
    with stopped(mount):
        done = s3zipfs("status", str(mount.path), *SHORT)
        assert_one_line(done, str(mount.path), "no answer", f"umount -l {mount.path}", code=1)
        with Mount(tmp_path / "well", s3server, []) as well:
            told = of_all("--wait", "15")
            assert told[str(mount.path)]["state"] == "no answer"
            assert told[str(mount.path)]["status"] is None
            assert told[str(well.path)]["state"] == "serving"
            shown = s3zipfs("status", *SHORT)
            assert shown.returncode == 1
            assert f"\n{mount.path}: no answer: " in shown.stdout
    assert s3zipfs("status", str(mount.path), *PATIENT).returncode == 0


@contextlib.contextmanager
def patched(tmp_path: Path, server: S3Server, bucket: str, code: str) -> Iterator[Mount]:
    """A mount whose process runs that code first."""
    (tmp_path / "sitecustomize.py").write_text(code)
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {"PYTHONPATH": path}
    with Mount(tmp_path / "odd", server, [f"s3://{bucket}"], environment=environment) as mount:
        yield mount


@pytest.mark.parametrize("content", [b"[" * 1_000_000, b"[]", b"\xff", b'{"a":' * 50_000])
def test_a_mount_that_tells_nonsense_is_told_and_hides_no_other(
    mount: Mount, tmp_path: Path, s3server: S3Server, filled: str, content: bytes
) -> None:
    code = f"CONTENT = {content!r}{HOSTILE}"
    with patched(tmp_path, s3server, filled, code) as odd:
        done = s3zipfs("status", str(odd.path), *PATIENT)
        assert_one_line(done, str(odd.path), "can't be understood", code=1)
        told = of_all(*PATIENT)
        assert told[str(odd.path)]["state"] == "tells nothing"
        assert told[str(odd.path)]["status"] is None
        assert told[str(mount.path)]["state"] == "serving"


def test_a_mount_that_took_the_question_and_never_answers_blocks_nobody(
    tmp_path: Path, s3server: S3Server, filled: str
) -> None:
    with patched(tmp_path, s3server, filled, STUCK) as mount:
        try:
            # No signal frees such a reader, SIGKILL neither: it must not be the command itself.
            done = s3zipfs("status", str(mount.path), *SHORT)
            assert_one_line(done, str(mount.path), "no answer", code=1)
        finally:
            mount.process.kill()
            mount.process.wait()


def test_a_dead_mount_is_told(mount: Mount) -> None:
    mount.process.kill()
    mount.process.wait()
    done = s3zipfs("status", str(mount.path))
    assert_one_line(done, str(mount.path), "dead", f"s3zipfs umount {mount.path}", code=1)
    assert of_all()[str(mount.path)]["state"] == "dead"


@pytest.fixture(scope="module")
def user() -> Iterator[Identity]:
    with ordinary_identity() as identity:
        yield identity


def test_the_mount_of_another_user_is_told(user: Identity, s3server: S3Server, filled: str) -> None:
    if not user.prefix:
        pytest.skip("needs root, to be another user")
    # In a directory that everybody may pass; pytest's own are for their owner alone.
    with Mount(user.folder / "mnt", s3server, [f"s3://{filled}"]) as mount:
        done = subprocess.run(
            [*user.prefix, user.python, "-m", "s3zipfs", "status", str(mount.path)],
            env={**os.environ, **user.environment},
            check=False,
            capture_output=True,
            text=True,
            timeout=60,
            cwd="/",
        )
    assert_one_line(done, str(mount.path), "not permitted", "allow_other", code=1)


def test_a_path_on_no_mount_is_one_line(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing"):
        assert_one_line(s3zipfs("status", str(path)), str(path), "on no mount of s3zipfs", code=1)


def test_on_a_terminal_it_goes_on_until_ctrl_c(mount: Mount, filled: str) -> None:
    with Terminal([*WATCHED, str(mount.path)]) as terminal:
        wait_until(lambda: terminal.shown.count("up 0:") > 2, seconds=60, what="three looks")
        assert f"s3://{filled}" in terminal.shown
        assert "\x1b[32manswers" in terminal.shown
        (mount.path / "x.zip/a").read_bytes()
        wait_until(lambda: "3.0 MB" in terminal.shown, seconds=60, what="what was read")
        assert "/s" in terminal.shown
        terminal.process.send_signal(signal.SIGINT)
        assert terminal.end(60) == 0
        assert terminal.shown.rstrip("\r\n").endswith("\x1b[?25h")  # the cursor is back


def test_the_end_of_the_mount_is_the_end_of_it(mount: Mount) -> None:
    with Terminal([*WATCHED, str(mount.path)]) as terminal:
        wait_until(lambda: terminal.shown.count("up 0:") > 1, seconds=60, what="two looks")
        mount.process.kill()
        assert terminal.end(60) == 1
        assert f"s3zipfs: {mount.path}: dead" in terminal.shown
        assert "Traceback" not in terminal.shown
