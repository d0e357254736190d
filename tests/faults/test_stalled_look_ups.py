"""A look-up that stalls while the kernel is to forget a name of the same directory."""

from __future__ import annotations

import errno
import os
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest
from faults.px import Proxy, lists, silent
from faults.reading import SOON, failure
from mounting import Mount, wait_until
from trees import zipped

from s3zipfs.fuse.invalidation import PATIENCE_SECONDS

pytestmark = pytest.mark.timeout(300)

SIZE = 32 << 20
ROUNDS = 6


def stat(path: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(["stat", str(path)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def test_a_name_to_be_forgotten_blocks_no_other_behind_a_stalled_look_up(
    px: Proxy, s3client: Any, bucket: str, tmp_path: Path
) -> None:
    def put(filler: bytes) -> None:
        body = zipped({"data": filler * SIZE}, zipfile.ZIP_STORED)
        s3client.put_object(Bucket=bucket, Key="d/x.zip", Body=body)

    put(b"1")
    options = ("--ttl", "3600", "--timeout", "30", "--memory", "32M", "--cache-dir", "none")
    with Mount(tmp_path / "mnt", px.server, [f"s3://{bucket}"], *options) as mounted:
        folder = mounted.path / "d"
        data = folder / "x.zip" / "data"
        descriptor = os.open(data, os.O_RDONLY)
        started = []
        try:
            assert os.pread(descriptor, 1, 0) == b"1"
            put(b"2")
            px.tell(silent, lists("d/"))
            started.append(stat(folder / "stalled"))
            assert px.silent.wait(SOON)
            assert failure(lambda: os.pread(descriptor, 1, SIZE // 2)) == errno.ESTALE
            for number in range(ROUNDS):  # for longer than a notice of the name is patient
                other = stat(folder / f"other-{number}")
                started.append(other)
                with pytest.raises(subprocess.TimeoutExpired):
                    other.wait(2 * PATIENCE_SECONDS / ROUNDS)
                other.kill()
                other.wait(60)  # behind a lock of the kernel it would not end
                assert started[0].poll() is None
            px.honest()
            assert started[0].wait(SOON) == 1
            assert started[0].stderr is not None
            assert b"No such file" in started[0].stderr.read()
            wait_until(lambda: reads(data, b"2"), seconds=SOON, what="the new version")
        finally:
            px.honest()
            os.close(descriptor)
            for each in started:
                each.kill()
                each.communicate()


def reads(path: Path, filler: bytes) -> bool:
    """Whether the path leads to that version."""
    try:
        with path.open("rb", buffering=0) as file:
            return file.read(1) == filler
    except OSError as error:
        if error.errno == errno.ESTALE:
            return False
        raise
