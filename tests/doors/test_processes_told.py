"""What the status of a mount tells of the processes that use it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mounting import Mount, wait_until
from s3server import S3Server
from trees import zipped

SIZE = 3 << 20

# Reads all of each path, in a thread of another name; then says so, and waits for the end.
READER = """
import sys, threading
from pathlib import Path
def read():
    Path("/proc/thread-self/comm").write_text("another")
    for path in sys.argv[1:]:
        with open(path, "rb", buffering=0) as file:
            file.readall()
thread = threading.Thread(target=read)
thread.start()
thread.join()
print("read", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def mount(tmp_path: Path, s3server: S3Server, s3client: Any, bucket: str) -> Iterator[Mount]:
    for number in range(4):
        body = zipped({"a.bin": bytes(SIZE), "b.txt": b"hello\n"})
        s3client.put_object(Bucket=bucket, Key=f"{number}.zip", Body=body)
    options = ("--cache-dir", "none")
    with Mount(tmp_path / "mnt", s3server, [f"s3://{bucket}"], *options) as mounted:
        yield mounted


def status(mount: Mount) -> dict[str, Any]:
    told: dict[str, Any] = json.loads((mount.path / ".s3zipfs/status.json").read_bytes())
    return told


def process(mount: Mount, pid: int) -> dict[str, Any]:
    (found,) = [each for each in status(mount)["processes"] if each["pid"] == pid]
    assert isinstance(found, dict)
    return found


def requests(mount: Mount) -> int:
    """Of all verbs, as they were sent."""
    return sum(sum(outcomes.values()) for outcomes in status(mount)["requests"].values())


def test_a_process_is_told_with_all_that_it_caused(mount: Mount) -> None:
    before = requests(mount)
    paths = [str(mount.path / f"{number}.zip/a.bin") for number in range(3)]
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", READER, *paths]
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as reader:
        assert reader.stdout is not None
        assert reader.stdout.readline() == "read\n"
        # The kernel has an answer before it is counted.
        wait_until(
            lambda: process(mount, reader.pid)["bytes_read"] == 3 * SIZE,
            seconds=60,
            what="all bytes told as read",
        )
        found = process(mount, reader.pid)
        assert found["name"] == Path(sys.executable).name[:15]
        assert found["bytes_read"] == 3 * SIZE
        assert found["archives_opened"] == 3
        assert found["operations"] >= 9  # each archive and member looked up, and read at least once
        assert found["state"] == "free"
        assert found["requests"] > 3
        # Nobody else had the store asked for anything: what was read ahead was for it too. A
        # request counts for it when it is sent, and for the mount once it has ended.
        wait_until(
            lambda: process(mount, reader.pid)["requests"] == requests(mount) - before,
            seconds=60,
            what="all requests told as those of the one that reads",
        )


def test_who_only_asks_for_what_is_held_causes_no_request(mount: Mount) -> None:
    assert (mount.path / "0.zip/b.txt").read_bytes() == b"hello\n"
    before = requests(mount)
    command = [sys.executable, "-c", READER, *[str(mount.path / "0.zip/b.txt")] * 3]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as reader:
        assert reader.stdout is not None
        assert reader.stdout.readline() == "read\n"
        told = [each for each in status(mount)["processes"] if each["pid"] == reader.pid]
    assert requests(mount) == before
    assert [each["requests"] for each in told] in ([], [0])  # all may have come from the kernel
