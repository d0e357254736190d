"""A bucket of 100,000 keys in one prefix, through the mount."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from mounting import Mount
from s3clients import make_s3client, put_many
from s3server import S3Server

KEYS = 100_000


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    """A server of its own: its data folder is dropped at once, key by key takes minutes."""
    with S3Server.start(own=True) as started:
        make_s3client(started).create_bucket(Bucket="lab")
        keys = (f"flat/{number:06}.bin" for number in range(KEYS))
        asyncio.run(put_many(started, "lab", keys, b"x"))
        yield started


@pytest.mark.timeout(600)
def test_100_000_keys_list_in_pages_within_200_mb(tmp_path: Path, server: S3Server) -> None:
    if server.kind != "minio":
        pytest.skip("moto takes minutes for as many keys")
    with Mount(tmp_path / "mnt", server, ["s3://lab"]) as mount:
        with os.scandir(mount.path / "flat") as entries:
            first = next(entries)
            assert first.is_file()
            early = mount.memory("VmRSS")
            names = {first.name, *(entry.name for entry in entries)}
        assert names == {f"{number:06}.bin" for number in range(KEYS)}
        sizes = {entry.stat().st_size for entry in os.scandir(mount.path / "flat")}
        assert sizes == {1}
        assert mount.memory() < 200_000_000
        assert early < mount.memory()  # the first name came before the last page
