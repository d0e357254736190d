"""Promise 2, never a hang: the server is stopped (SIGSTOP) under blocked readers."""

from __future__ import annotations

import errno
import io
import random
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from mounting import Mount, mounted_type
from s3clients import make_s3client
from s3server import S3Server
from timing import LISTING, LOOKING_UP, READING, TRIES, fastest, median_to_end, wait_until_blocked

READERS = 64
SIZE = 4 << 20


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    """A server of our own: the session's must not be paused."""
    with S3Server.start(own=True) as started:
        if started.kind != "minio":
            pytest.skip("moto copies the whole archive for each range that is asked of it")
        client = make_s3client(started)
        client.create_bucket(Bucket="lab")
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
            for number in range(READERS):
                archive.writestr(f"{number:03}", random.Random(number).randbytes(SIZE))
        client.put_object(Bucket="lab", Key="x.zip", Body=buffer.getvalue())
        client.put_object(Bucket="lab", Key="never/listed", Body=b"")
        yield started


@pytest.fixture
def mount(tmp_path: Path, server: S3Server) -> Iterator[Mount]:
    options = ("--timeout", "60", "--ttl", "3600", "--memory", "64M")
    with Mount(tmp_path / "mnt", server, ["s3://lab"], *options) as mounted:
        # What a reader knows before the server stalls: names, not bytes.
        assert len(list((mounted.path / "x.zip").iterdir())) == READERS
        yield mounted


@pytest.fixture
def readers(mount: Mount, server: S3Server) -> Iterator[list[subprocess.Popen[bytes]]]:
    """64 readers, each blocked in a read of its own member, with the server stopped."""
    server.pause()
    started = []
    try:
        for number in range(READERS):
            path = mount.path / "x.zip" / f"{number:03}"
            started.append(subprocess.Popen(["cat", str(path)], stdout=subprocess.DEVNULL))
        wait_until_blocked(started, READING)
        yield started
    finally:
        server.resume()
        for each in started:
            each.kill()
            each.wait()


def test_root_and_df_answer_within_a_second(
    mount: Mount, readers: list[subprocess.Popen[bytes]]
) -> None:
    assert fastest("stat", str(mount.path)) < 1
    assert fastest("df", str(mount.path)) < 1
    assert fastest("cat", f"{mount.path}/.s3zipfs/status.json") < 1
    assert all(each.poll() is None for each in readers)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_signal_ends_a_blocked_reader_within_half_a_second(
    readers: list[subprocess.Popen[bytes]], number: signal.Signals
) -> None:
    assert median_to_end(readers[:8], number) < 0.5
    assert {each.poll() for each in readers[:8]} == {-number}
    assert all(each.poll() is None for each in readers[8:])


def test_a_signal_ends_a_blocked_lookup_and_listing_within_half_a_second(
    mount: Mount, server: S3Server
) -> None:
    server.pause()
    try:
        # A name for each: one name the kernel looks up once, and who waits for another's look-up is
        # not ours to free.
        stats = [["stat", f"{mount.path}/never/{number}"] for number in range(TRIES)]
        for commands in (stats, [["ls", f"{mount.path}/never"]] * TRIES):
            blocked = [
                subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                for command in commands
            ]
            try:
                wait_until_blocked(blocked, LOOKING_UP | LISTING)
                assert median_to_end(blocked, signal.SIGINT) < 0.5
            finally:
                for each in blocked:
                    each.kill()
                    each.wait()
    finally:
        server.resume()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_look_ups_of_one_directory_do_not_wait_for_each_other(
    mount: Mount, server: S3Server, number: signal.Signals
) -> None:
    server.pause()
    blocked = []
    try:
        for name in ("one", "two", "three"):
            command = ["stat", f"{mount.path}/never/{name}"]
            blocked.append(subprocess.Popen(command, stderr=subprocess.DEVNULL))
        wait_until_blocked(blocked, LOOKING_UP)
        assert median_to_end(blocked[::-1], number) < 0.5
    finally:
        server.resume()
        for each in blocked:
            each.kill()
            each.wait()


@pytest.mark.parametrize(
    "waiting", ["os.stat(f'{folder}/{n}')", "os.listdir(folder)"], ids=["look-ups", "listings"]
)
def test_a_thousand_waiters_block_neither_the_root_nor_a_signal(
    mount: Mount, server: S3Server, waiting: str
) -> None:
    folder = mount.path / "never"
    assert folder.is_dir()  # one name the kernel looks up once, however many wait for it
    program = (
        "import os, sys, threading\n"
        "folder = sys.argv[1]\n"
        "def wait(n):\n"
        f"    try: {waiting}\n"
        "    except OSError as error: os.write(1, b'%d\\n' % error.errno)\n"
        "threads = [threading.Thread(target=wait, args=[n]) for n in range(1000)]\n"
        "[t.start() for t in threads]\n"
        "[t.join() for t in threads]\n"
    )
    server.pause()
    crowd = subprocess.Popen(
        [sys.executable, "-c", program, str(folder)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert crowd.stdout is not None
        assert crowd.stdout.readline() == f"{errno.EAGAIN}\n"  # as many wait as may
        assert fastest("stat", str(mount.path)) < 1
        assert fastest("df", str(mount.path)) < 1
        crowd.kill()
        start = time.monotonic()
        crowd.wait(60)
        assert time.monotonic() - start < 2
    finally:
        server.resume()
        crowd.kill()
        crowd.communicate()


def test_sigterm_ends_the_daemon_within_15_seconds_and_unmounts(
    mount: Mount, readers: list[subprocess.Popen[bytes]]
) -> None:
    mount.process.send_signal(signal.SIGTERM)
    start = time.monotonic()
    assert mount.process.wait(60) == 0
    assert time.monotonic() - start < 15
    assert mounted_type(mount.path) is None
    for reader in readers:
        reader.wait(60)


def test_readers_go_on_where_they_were_once_the_server_answers(
    server: S3Server, readers: list[subprocess.Popen[bytes]]
) -> None:
    server.resume()
    for reader in readers:
        assert reader.wait(60) == 0
