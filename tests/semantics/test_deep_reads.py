"""Promises 2 and 3 deep in a large deflated member, where a read waits for a pass over it."""

from __future__ import annotations

import errno
import os
import random
import signal
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest
from mounting import Mount, wait_until
from s3clients import make_s3client
from s3server import S3Server
from timing import READING, wait_until_blocked

SIZE = 200 << 20
PART = 64 << 10
DEEP = SIZE - (3 << 20)

_BLOCK = b"".join(b"%d\n" % random.Random(1).getrandbits(60 + n % 3) for n in range(50_000))
CONTENT = random.Random(2).randbytes(4 << 20) + (_BLOCK * (1 + SIZE // len(_BLOCK)))
CONTENT = CONTENT[: SIZE - (4 << 20)] + random.Random(4).randbytes(4 << 20)

READ = "import os, sys; f = os.open(sys.argv[1], os.O_RDONLY); os.pread(f, 65536, int(sys.argv[2]))"


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    """A server of our own: the session's must not be paused."""
    with S3Server.start(own=True) as started:
        if started.kind != "minio":
            pytest.skip("moto copies the whole archive for each range that is asked of it")
        buffer = BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            archive.writestr("data", CONTENT)
        client = make_s3client(started)
        client.create_bucket(Bucket="lab")
        client.put_object(Bucket="lab", Key="x.zip", Body=buffer.getvalue())
        yield started


@pytest.fixture
def data(request: pytest.FixtureRequest, tmp_path: Path, server: S3Server) -> Iterator[Path]:
    """The member in a mount with that timeout, without a cache on disk, whose names are known."""
    options = ("--timeout", str(request.param), "--ttl", "3600", "--cache-dir", "none")
    with Mount(tmp_path / "mnt", server, ["s3://lab"], *options) as mounted:
        path = mounted.path / "x.zip" / "data"
        assert path.stat().st_size == SIZE
        yield path


def pread(path: Path, at: int, length: int = PART) -> bytes:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return os.pread(descriptor, length, at)
    finally:
        os.close(descriptor)


def is_read(path: Path, at: int) -> bool:
    """Whether it is read, and truly so; False where it is an error yet."""
    try:
        found = pread(path, at)
    except OSError:
        return False
    assert found == CONTENT[at : at + PART]
    return True


@pytest.mark.parametrize("data", [5], indirect=True)
def test_a_deep_read_of_a_silent_store_ends_and_the_next_one_is_true(
    data: Path, server: S3Server
) -> None:
    assert pread(data, 0) == CONTENT[:PART]
    server.pause()
    try:
        with pytest.raises(OSError, match=os.strerror(errno.ETIMEDOUT)):
            pread(data, DEEP)
    finally:
        server.resume()
    # What the kernel had asked for ahead fails a moment later than what was waited for.
    wait_until(lambda: is_read(data, DEEP), seconds=60, what="the server is asked again")
    for start in random.Random(5).sample(range(SIZE - PART), 50):
        assert pread(data, start) == CONTENT[start : start + PART]


@pytest.mark.parametrize("data", [120], indirect=True)
def test_a_reader_that_waits_for_a_pass_can_be_killed(data: Path, server: S3Server) -> None:
    assert pread(data, 0) == CONTENT[:PART]
    server.pause()
    try:
        reader = subprocess.Popen([sys.executable, "-c", READ, str(data), str(DEEP)])
        wait_until_blocked([reader], READING)
        reader.kill()
        assert reader.wait(60) == -signal.SIGKILL
    finally:
        server.resume()
    assert pread(data, DEEP) == CONTENT[DEEP : DEEP + PART]
