"""A place to mount at, and a bucket with an archive in it."""

from __future__ import annotations

import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mounting import mounted_type
from trees import zipped


@pytest.fixture
def mountpoint(tmp_path: Path) -> Iterator[Path]:
    """An empty directory. What is mounted there is unmounted, also when the test fails."""
    path = tmp_path / "mnt"
    path.mkdir()
    yield path
    while mounted_type(path) is not None:
        subprocess.run(["fusermount3", "-uz", str(path)], check=True)


@pytest.fixture
def filled(s3client: Any, bucket: str) -> str:
    """A bucket with `x.zip` (`a.txt`, `d/b.bin`) and `plain.txt`."""
    members = {"a.txt": b"hello\n", "d/b.bin": bytes(3 << 20)}
    s3client.put_object(Bucket=bucket, Key="x.zip", Body=zipped(members, zipfile.ZIP_DEFLATED))
    s3client.put_object(Bucket=bucket, Key="plain.txt", Body=b"plain\n")
    return bucket
