"""The life of a mount: what its readers see when it is told to reload, is killed or cut off."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from commands import assert_one_line, mount
from mounting import Mount, mounted_type, wait_until
from s3server import S3Server
from trees import zipped

READERS = 64
PROCESSES = 4
KILLS = 20 if "S3ZIPFS_SOAK_SECONDS" in os.environ else 5
RESTART_SECONDS = 5.0
DEAD = {errno.ENOTCONN, errno.ECONNABORTED}  # the latter: what was under way at that moment

# Threads that read members whole, again and again; the name of each ends in its CRC-32.
READING = """
import errno, os, random, sys, threading, time, zlib
folder, threads = sys.argv[1], int(sys.argv[2])
names = sys.argv[3:]
lock = threading.Lock()
def say(word):
    with lock:
        print(word, flush=True)
def read():
    while True:
        name = random.choice(names)
        try:
            with open(os.path.join(folder, name), "rb") as file:
                content = file.read()
            say("good" if zlib.crc32(content) == int(name[-8:], 16) else "WRONG")
        except OSError as error:
            say(errno.errorcode[error.errno])
        time.sleep(0.005)
for _ in range(threads):
    threading.Thread(target=read, daemon=True).start()
threading.Event().wait()
"""


@pytest.fixture
def archived(s3client: Any, bucket: str) -> dict[str, bytes]:
    """The members of `x.zip`, half of it compressible."""
    members = {}
    for number in range(READERS):
        random = Random(number)
        content = random.randbytes(100_000) + bytes(random.randrange(200_000))
        members[f"{number:03}-{zlib.crc32(content):08x}"] = content
    s3client.put_object(Bucket=bucket, Key="x.zip", Body=zipped(members, method=8))
    return members


@pytest.fixture
def dead_or_alive(tmp_path: Path) -> Iterator[Path]:
    """A mountpoint on which dead mounts may be left."""
    path = tmp_path / "mnt"
    path.mkdir()
    yield path
    while mounted_type(path) is not None:
        subprocess.run(["fusermount3", "-uz", str(path)], check=True)


class Readers:
    """64 readers of an archive, and the files in which they say what they met."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._outputs: list[Path] = []
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self, archive: Path, members: Iterable[str]) -> None:
        arguments = [str(archive), str(READERS // PROCESSES), *members]
        for number in range(PROCESSES):
            self._outputs.append(self._folder / f"said-{number}")
            with self._outputs[-1].open("wb") as stream:
                program = [sys.executable, "-S", "-c", READING, *arguments]
                self._processes.append(subprocess.Popen(program, stdout=stream, stderr=stream))

    @property
    def said(self) -> Counter[str]:
        words: Counter[str] = Counter()
        for output in self._outputs:
            words.update(output.read_text().split("\n")[:-1])
        return words

    def stop(self) -> None:
        for each in self._processes:
            each.kill()
            each.wait()


@pytest.fixture
def readers(tmp_path: Path) -> Iterator[Readers]:
    made = Readers(tmp_path)
    yield made
    made.stop()


def errno_of_listing(path: Path) -> int:
    """What `ls` meets; 0: nothing but names."""
    try:
        os.listdir(path)
    except OSError as error:
        return error.errno or 0
    return 0


@pytest.mark.timeout(60 + 60 * KILLS)
def test_kill_9_under_64_readers_gives_no_wrong_byte_and_a_restart_serves_at_once(
    dead_or_alive: Path,
    s3server: S3Server,
    bucket: str,
    archived: dict[str, bytes],
    readers: Readers,
) -> None:
    restarts = []

    def wait_for_reads(more: int) -> None:
        enough = readers.said["good"] + more
        wait_until(lambda: readers.said["good"] >= enough, seconds=60, what="reads")

    for number in range(KILLS):
        started = time.monotonic()
        with Mount(dead_or_alive, s3server, [f"s3://{bucket}"]) as mounted:
            if number == 0:
                readers.start(mounted.path / "x.zip", archived)
            wait_for_reads(1)
            restarts.append(time.monotonic() - started)
            wait_for_reads(READERS)
            mounted.process.kill()
            mounted.process.wait()
            assert errno_of_listing(dead_or_alive) in DEAD, "a dead mount that looks empty"
            assert errno_of_listing(dead_or_alive / "x.zip") in DEAD
            mounted.keep()  # dead as it is: the next one takes it away
    # ENOENT: between the dead mount and the next one, where there is only the mountpoint.
    assert set(readers.said) <= {"good", "ENOTCONN", "ECONNABORTED", "ENOENT"}, readers.said
    # A machine that is busy otherwise delays one or the other.
    assert min(restarts) < RESTART_SECONDS, restarts


def test_a_restart_that_fails_leaves_the_dead_mount_as_it_is(
    dead_or_alive: Path, s3server: S3Server, bucket: str
) -> None:
    with Mount(dead_or_alive, s3server, [f"s3://{bucket}"]) as mounted:
        mounted.process.kill()
        mounted.process.wait()
        mounted.keep()
    done = mount(s3server, "s3://no-such-bucket-here", str(dead_or_alive))
    assert_one_line(done, "no such bucket", code=1)
    assert errno_of_listing(dead_or_alive) in DEAD, "its readers now see an empty directory"
    assert mount(s3server, f"s3://{bucket}", str(dead_or_alive)).returncode == 0
    assert os.listdir(dead_or_alive) == []


def test_a_directory_in_use_is_no_mountpoint(
    dead_or_alive: Path, s3server: S3Server, bucket: str
) -> None:
    (dead_or_alive / "file").write_text("mine")
    done = mount(s3server, f"s3://{bucket}", str(dead_or_alive))
    assert_one_line(done, str(dead_or_alive), "not empty", code=1)
    assert (dead_or_alive / "file").read_text() == "mine"


def test_an_aborted_connection_ends_the_daemon_and_leaves_no_mount(
    tmp_path: Path, dead_or_alive: Path, s3server: S3Server, bucket: str
) -> None:
    control = tmp_path / "fusectl"
    control.mkdir()
    if subprocess.run(["mount", "-t", "fusectl", "none", str(control)], check=False).returncode:
        pytest.skip("only root may abort a connection")
    try:
        with Mount(dead_or_alive, s3server, [f"s3://{bucket}"]) as mounted:
            device = dead_or_alive.stat().st_dev
            (control / str(os.minor(device)) / "abort").write_text("1")
            assert mounted.process.wait(30) == 1
            assert "aborted" in mounted.log.read_text()
            assert mounted_type(dead_or_alive) is None
    finally:
        subprocess.run(["umount", str(control)], check=True)


def test_sighup_reloads_the_ttl_the_log_level_and_the_credentials(
    tmp_path: Path, s3server: S3Server, s3client: Any, bucket: str
) -> None:
    file = tmp_path / "env"
    file.write_text("S3ZIPFS_TTL=3600\n")
    options = ("--env-file", str(file))
    for key in ("old/a", "new/a"):
        s3client.put_object(Bucket=bucket, Key=key, Body=b"1")
    with Mount(tmp_path / "mnt", s3server, [f"s3://{bucket}"], *options) as mounted:

        def hang_up(*words: str) -> None:
            before = len(mounted.log.read_text())
            mounted.process.send_signal(signal.SIGHUP)
            wait_until(
                lambda: all(word in mounted.log.read_text()[before:] for word in words),
                seconds=30,
                what=f"{words} in the log",
            )

        assert os.listdir(mounted.path / "old") == ["a"]
        file.write_text("S3ZIPFS_TTL=0\nS3ZIPFS_VERBOSE=yes\n")
        hang_up("--ttl 0, verbose", "credentials")
        for number in range(3):
            s3client.put_object(Bucket=bucket, Key=f"new/{number}", Body=b"1")
            assert len(os.listdir(mounted.path / "new")) == number + 2
        s3client.put_object(Bucket=bucket, Key="old/b", Body=b"1")
        assert os.listdir(mounted.path / "old") == ["a"], "it was believed for an hour"

        file.write_text("S3ZIPFS_TTL=soon\n")
        hang_up("nothing is reloaded: S3ZIPFS_TTL")
        assert len(os.listdir(mounted.path / "new")) == 4
