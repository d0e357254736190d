"""Promise 3, never a lie: a damaged member never ends cleanly, however it is read."""

from __future__ import annotations

import errno
import io
import os
import random
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mounting import Mount
from s3server import S3Server

CONTENT = random.Random(11).randbytes(3 << 20) + bytes(2 << 20)


@pytest.fixture(params=[zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED], ids=["stored", "deflated"])
def damaged(
    request: pytest.FixtureRequest, tmp_path: Path, s3server: S3Server, s3client: Any, bucket: str
) -> Iterator[Path]:
    """A large member with one bit flipped early in its data."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", request.param) as archive:
        archive.writestr("data", CONTENT)
        archive.writestr("neighbour", b"well")
    data = bytearray(buffer.getvalue())
    data[100_000] ^= 4
    s3client.put_object(Bucket=bucket, Key="x.zip", Body=bytes(data))
    with Mount(tmp_path / "mnt", s3server, [f"s3://{bucket}"]) as mounted:
        yield mounted.path / "x.zip" / "data"


READERS = {
    "cat": ["cat", "{}"],
    "cp": ["cp", "{}", "/dev/null"],
    "dd": ["dd", "if={}", "of=/dev/null", "bs=4k"],
    "large dd": ["dd", "if={}", "of=/dev/null", "bs=1M"],
    "md5sum": ["md5sum", "{}"],
}


def test_no_reader_reaches_a_clean_end_and_neighbours_are_well(damaged: Path) -> None:
    for name, command in [*READERS.items()] * 2:
        words = [word.format(damaged) for word in command]
        done = subprocess.run(words, capture_output=True, check=False, timeout=60)
        assert done.returncode != 0, f"{name} ended cleanly"
        assert b"Input/output error" in done.stderr
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        damaged.read_bytes()
    assert (damaged.parent / "neighbour").read_bytes() == b"well"
