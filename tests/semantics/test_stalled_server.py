"""Promise 2, never a hang: the server is stopped (SIGSTOP) under blocked readers."""

from __future__ import annotations

import io
import random
import signal
import statistics
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from mounting import Mount, mounted_type, wait_until
from s3clients import make_s3client
from s3server import S3Server

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
        wait_until(
            lambda: all(_is_blocked(each.pid) for each in started),
            seconds=60,
            what="all readers blocked in the kernel",
        )
        yield started
    finally:
        server.resume()
        for each in started:
            each.kill()
            each.wait()


def _is_blocked(pid: int) -> bool:
    try:
        where = Path(f"/proc/{pid}/syscall").read_text().split()[0]
        name = Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return False
    return name == "cat" and where == "0"  # read(2) on x86-64


TRIES = 3


def _seconds(*command: str) -> float:
    """What the fastest of a few takes: the others may have waited for the machine."""

    def once() -> float:
        start = time.monotonic()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=30)
        return time.monotonic() - start

    return min(once() for _ in range(TRIES))


def _seconds_to_end(processes: Sequence[subprocess.Popen[bytes]], number: signal.Signals) -> float:
    """How soon after a signal a process ends, one by one; the median, for the same reason."""
    taken = []
    for process in processes:
        process.send_signal(number)
        start = time.monotonic()
        process.wait(30)
        taken.append(time.monotonic() - start)
    return statistics.median(taken)


def test_root_and_df_answer_within_a_second(
    mount: Mount, readers: list[subprocess.Popen[bytes]]
) -> None:
    assert _seconds("stat", str(mount.path)) < 1
    assert _seconds("df", str(mount.path)) < 1
    assert all(each.poll() is None for each in readers)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_signal_ends_a_blocked_reader_within_half_a_second(
    readers: list[subprocess.Popen[bytes]], number: signal.Signals
) -> None:
    assert _seconds_to_end(readers[:8], number) < 0.5
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
                for each in blocked:
                    with pytest.raises(subprocess.TimeoutExpired):
                        each.wait(0.5)
                assert _seconds_to_end(blocked, signal.SIGINT) < 0.5
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
        wait_until(
            lambda: mount.log.exists() and all(each.poll() is None for each in blocked),
            seconds=5,
            what="all wait",
        )
        with pytest.raises(subprocess.TimeoutExpired):
            blocked[0].wait(0.5)
        assert _seconds_to_end(blocked[::-1], number) < 0.5
    finally:
        server.resume()
        for each in blocked:
            each.kill()
            each.wait()


def test_a_thousand_waiters_block_neither_the_root_nor_a_signal(
    mount: Mount, server: S3Server
) -> None:
    program = (
        "import os, sys, threading\n"
        "def stat(n):\n"
        "    try: os.stat(f'{sys.argv[1]}/never/{n}')\n"
        "    except OSError as error: errors.append(error.errno)\n"
        "errors = []\n"
        "threads = [threading.Thread(target=stat, args=[n]) for n in range(1000)]\n"
        "[t.start() for t in threads]\n"
        "print('started', flush=True)\n"
        "[t.join() for t in threads]\n"
    )
    server.pause()
    crowd = subprocess.Popen(
        [sys.executable, "-c", program, str(mount.path)], stdout=subprocess.PIPE
    )
    try:
        assert crowd.stdout is not None
        assert crowd.stdout.readline() == b"started\n"
        assert _seconds("stat", str(mount.path)) < 1
        assert _seconds("df", str(mount.path)) < 1
        crowd.kill()
        start = time.monotonic()
        crowd.wait(10)
        assert time.monotonic() - start < 2
    finally:
        server.resume()
        crowd.kill()
        crowd.wait()


def test_sigterm_ends_the_daemon_within_15_seconds_and_unmounts(
    mount: Mount, readers: list[subprocess.Popen[bytes]]
) -> None:
    mount.process.send_signal(signal.SIGTERM)
    start = time.monotonic()
    assert mount.process.wait(20) == 0
    assert time.monotonic() - start < 15
    assert mounted_type(mount.path) is None
    for reader in readers:
        reader.wait(5)


def test_readers_go_on_where_they_were_once_the_server_answers(
    server: S3Server, readers: list[subprocess.Popen[bytes]]
) -> None:
    server.resume()
    for reader in readers:
        assert reader.wait(60) == 0
