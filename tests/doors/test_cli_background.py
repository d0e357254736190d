"""The life of a mount that outlives its command: how it begins, how it fails, how it ends."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from commands import assert_one_line, daemon_of, keys_of, mount, s3zipfs
from mounting import Mount, mounted_type, wait_until
from s3server import S3Server

from s3zipfs.cli import background

FAILED, USAGE, INTERRUPTED = 1, 2, 130


@pytest.fixture
def silent() -> Iterator[str]:
    """An endpoint that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@contextlib.contextmanager
def waiting(
    endpoint: str, path: Path, *options: str, keys: dict[str, str]
) -> Iterator[subprocess.Popen[str]]:
    """A mount command whose child is at work."""
    command = [sys.executable, "-m", "s3zipfs", "mount", "s3://lab", str(path), *options]
    environment = {**os.environ, **keys, "XDG_STATE_HOME": str(path.parent / "state")}
    process = subprocess.Popen(
        [*command, "--endpoint-url", endpoint],
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        wait_until(lambda: _child(path), seconds=60, what="a child")
        yield process
    finally:
        for pid in (process.pid, _child(path)):
            if pid:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        process.communicate()


def _child(path: Path) -> int:
    with contextlib.suppress(ProcessLookupError):
        return daemon_of(path)
    return 0


KEYS = {"AWS_ACCESS_KEY_ID": "nobody", "AWS_SECRET_ACCESS_KEY": "nothing"}


def test_ctrl_c_while_it_waits_ends_the_child(silent: str, mountpoint: Path) -> None:
    with waiting(silent, mountpoint, keys=KEYS) as process:
        child = daemon_of(mountpoint)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
        assert process.returncode == INTERRUPTED
        assert said.strip() == "s3zipfs: interrupted"
        assert not Path(f"/proc/{child}").exists()
        assert mounted_type(mountpoint) is None


def test_ctrl_c_while_the_child_is_started_ends_it_too(
    silent: str, mountpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["mount", "s3://lab", str(mountpoint), "--endpoint-url", silent]
    started: list[subprocess.Popen[bytes]] = []

    class Interrupted(subprocess.Popen[bytes]):
        def __init__(self, *words: Any, **options: Any) -> None:
            super().__init__(*words, **options)
            started.append(self)
            signal.raise_signal(signal.SIGINT)

    for name, value in {**KEYS, "XDG_STATE_HOME": str(mountpoint.parent / "state")}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "argv", ["s3zipfs", *arguments])
    monkeypatch.setattr(subprocess, "Popen", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        background.mount(mountpoint, None)
    assert started[0].returncode is not None
    assert mounted_type(mountpoint) is None


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_child_that_dies_is_named_with_its_log(
    silent: str, mountpoint: Path, number: signal.Signals
) -> None:
    with waiting(silent, mountpoint, keys=KEYS) as process:
        os.kill(daemon_of(mountpoint), number)
        _, said = process.communicate(timeout=60)
        assert process.returncode == FAILED
        assert said.count("\n") == 1
        assert "ended before it was ready" in said
        assert number.name in said
        assert Path(said.strip().partition("its log: ")[2]).is_file()


def test_an_endpoint_that_does_not_answer_is_told_within_the_timeout(
    silent: str, mountpoint: Path
) -> None:
    arguments = ("mount", "s3://lab", str(mountpoint), "--endpoint-url", silent, "--timeout", "1")
    assert_one_line(s3zipfs(*arguments, environment=KEYS), "--timeout", code=FAILED)


def test_a_command_killed_while_it_waits_leaves_no_mount(mountpoint: Path) -> None:
    with S3Server.start(own=True) as server:
        if server.kind != "minio":
            pytest.skip("moto takes any bucket for missing")
        keys = keys_of(server)
        server.pause()
        with waiting(server.endpoint, mountpoint, keys=keys) as process:
            child = daemon_of(mountpoint)
            process.kill()
            process.wait()
            server.resume()
            wait_until(
                lambda: not Path(f"/proc/{child}").exists(), seconds=60, what="the child's end"
            )
            assert mounted_type(mountpoint) is None


def test_the_daemon_keeps_nothing_of_its_command(
    s3server: S3Server, filled: str, mountpoint: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    assert mount(s3server, "--", filled, str(mountpoint)).returncode == 0
    process = Path(f"/proc/{daemon_of(mountpoint)}")
    assert (process / "cwd").readlink() == Path("/")
    assert int((process / "stat").read_text().rpartition(")")[2].split()[3]) == int(process.name)
    log = tmp_path / "state" / "s3zipfs" / f"{str(mountpoint).strip('/').replace('/', '-')}.log"
    leads_to = [str((process / "fd" / number).readlink()) for number in "012"]
    assert leads_to == [os.devnull, os.devnull, str(log)]
    assert (log.stat().st_mode & 0o777, log.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    ready = f"ready: s3://{filled} is mounted at {mountpoint}"
    wait_until(lambda: ready in log.read_text(), seconds=60, what="a line of the log")
    command = (process / "cmdline").read_bytes() + log.read_bytes()
    assert s3server.secret_key.encode() not in command


def test_a_variable_that_is_empty_still_says_nothing_when_settings_are_read_again(
    s3server: S3Server, filled: str, mountpoint: Path, tmp_path: Path
) -> None:
    environment = {**keys_of(s3server), "S3ZIPFS_ACCESS_KEY_FILE": ""}
    log = tmp_path / "log"
    options = ("--endpoint-url", s3server.endpoint, "--log-file", str(log))
    done = s3zipfs("mount", f"s3://{filled}", str(mountpoint), *options, environment=environment)
    assert done.returncode == 0, done.stderr
    os.kill(daemon_of(mountpoint), signal.SIGHUP)
    wait_until(lambda: "credentials" in log.read_text(), seconds=60, what="a line of the log")
    assert "the credentials are as they were" in log.read_text()


def test_a_command_without_standard_streams_mounts(
    s3server: S3Server, filled: str, mountpoint: Path
) -> None:
    program = [sys.executable, "-m", "s3zipfs", "mount", f"s3://{filled}", str(mountpoint)]
    program += ["--endpoint-url", s3server.endpoint]
    environment = {**os.environ, **keys_of(s3server), "XDG_STATE_HOME": str(mountpoint.parent)}
    closed = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh"]
    assert subprocess.run([*closed, *program], env=environment, check=False).returncode == 0
    assert (mountpoint / "plain.txt").read_text() == "plain\n"


def test_a_log_that_cannot_be_written(
    s3server: S3Server, filled: str, mountpoint: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    source, path = f"s3://{filled}", str(mountpoint)
    done = mount(s3server, source, "--log-file", str(tmp_path / "file" / "log"), path)
    assert_one_line(done, "log file", "file/log", "Not a directory", code=USAGE)
    # The default was not asked for: the mount does without, and says so.
    environment = {**keys_of(s3server), "XDG_STATE_HOME": str(tmp_path / "file")}
    endpoint = ("--endpoint-url", s3server.endpoint)
    done = s3zipfs("mount", source, path, *endpoint, environment=environment)
    assert done.returncode == 0
    assert done.stderr.count("\n") == 1
    assert "no log is kept" in done.stderr
    assert (mountpoint / "plain.txt").read_text() == "plain\n"


def test_a_link_to_the_mountpoint_is_the_mountpoint(
    s3server: S3Server, filled: str, mountpoint: Path
) -> None:
    link = mountpoint.parent / "link"
    link.symlink_to(mountpoint.name)
    assert mount(s3server, f"s3://{filled}", str(link)).returncode == 0
    assert mounted_type(mountpoint) == "fuse.s3zipfs"
    assert_one_line(mount(s3server, str(link)), "already mounted", code=FAILED)
    assert s3zipfs("umount", str(link)).returncode == 0
    assert mounted_type(mountpoint) is None


def test_names_that_need_escapes_are_shown_as_they_are(
    s3server: S3Server, s3client: Any, filled: str, tmp_path: Path
) -> None:
    s3client.put_object(Bucket=filled, Key="a,b\\c d/é", Body=b"1")
    source = f"s3://{filled}/a,b\\c d"
    with Mount(tmp_path / "m n", s3server, [source]) as mounted:
        columns = ["findmnt", "-no", "SOURCE", str(mounted.path)]
        assert subprocess.check_output(columns, text=True).rstrip("\n") == source
        assert os.listdir(mounted.path) == ["é"]


def test_of_two_mounts_at_once_one_is_refused(
    s3server: S3Server, filled: str, mountpoint: Path
) -> None:
    command = [sys.executable, "-m", "s3zipfs", "mount", f"s3://{filled}", str(mountpoint)]
    command += ["--endpoint-url", s3server.endpoint]
    environment = {**os.environ, **keys_of(s3server), "XDG_STATE_HOME": str(mountpoint.parent)}
    pipe = subprocess.PIPE
    both = [subprocess.Popen(command, env=environment, stderr=pipe, text=True) for _ in range(2)]
    said = [each.communicate(timeout=60)[1] for each in both]
    assert sorted(each.returncode for each in both) == [0, FAILED]
    assert "already mounted" in "".join(said)
    assert s3zipfs("umount", str(mountpoint)).returncode == 0
    assert mounted_type(mountpoint) is None


def test_a_stopped_daemon_blocks_neither_mount_nor_umount(
    s3server: S3Server, filled: str, mountpoint: Path
) -> None:
    assert mount(s3server, f"s3://{filled}", str(mountpoint)).returncode == 0
    daemon = daemon_of(mountpoint)
    os.kill(daemon, signal.SIGSTOP)
    try:
        done = mount(s3server, f"s3://{filled}", str(mountpoint))
        assert_one_line(done, "already mounted", "does not answer", code=FAILED)
        assert s3zipfs("umount", str(mountpoint)).returncode == 0
        assert mounted_type(mountpoint) is None
    finally:
        os.kill(daemon, signal.SIGCONT)
    wait_until(lambda: not Path(f"/proc/{daemon}").exists(), seconds=60, what="the daemon's end")


@pytest.mark.parametrize("command", [["umount"], ["fusermount3", "-u"]])
def test_an_unmount_from_outside_ends_it_with_success(
    tmp_path: Path, s3server: S3Server, filled: str, command: list[str]
) -> None:
    with Mount(tmp_path / "mnt", s3server, [f"s3://{filled}"]) as mounted:
        assert (mounted.path / "x.zip" / "a.txt").read_text() == "hello\n"
        subprocess.run([*command, str(mounted.path)], check=True)
        assert mounted.process.wait(60) == 0


def test_the_end_of_one_mount_leaves_another_alone(
    tmp_path: Path, s3server: S3Server, filled: str, mountpoint: Path
) -> None:
    with Mount(mountpoint, s3server, [f"s3://{filled}"]) as first:
        # After one close the kernel knows that the daemon need not be told of any.
        assert (mountpoint / "plain.txt").read_text() == "plain\n"
        with (mountpoint / "plain.txt").open() as kept:
            # Unmounted while in use: the daemon stays for the open file.
            assert s3zipfs("umount", str(mountpoint)).returncode == 0
            assert mount(s3server, f"s3://{filled}", str(mountpoint)).returncode == 0
            assert kept.read() == "plain\n"
            first.process.send_signal(signal.SIGTERM)
            assert first.process.wait(15) == 0
        assert (mountpoint / "plain.txt").read_text() == "plain\n"
        assert s3zipfs("umount", str(mountpoint)).returncode == 0
