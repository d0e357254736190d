"""How long a new, a replaced and a deleted object take to be seen: the TTL, and no longer."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mounting import Mount, wait_until
from s3server import S3Server
from trees import zipped

TTL = 2.0
SLACK = 20.0  # seconds: of a machine that is busy otherwise


@pytest.fixture
def mounted(tmp_path: Path, s3server: S3Server, s3client: Any, bucket: str) -> Iterator[Path]:
    s3client.put_object(Bucket=bucket, Key="x.zip", Body=zipped({"old": b"1"}))
    s3client.put_object(Bucket=bucket, Key="plain", Body=b"old")
    with Mount(tmp_path / "mnt", s3server, [f"s3://{bucket}"], "--ttl", str(TTL)) as mount:
        yield mount.path


def soon(path: Path, *names: str) -> None:
    """The directory's listing becomes this."""
    wait_until(
        lambda: sorted(os.listdir(path)) == sorted(names),
        seconds=TTL + SLACK,
        what=f"{names} in {path}",
    )


def test_a_new_object_is_seen_within_the_ttl_though_its_absence_was_believed(
    mounted: Path, s3client: Any, bucket: str
) -> None:
    soon(mounted, "plain", "x.zip")
    assert not (mounted / "new.zip").exists()
    s3client.put_object(Bucket=bucket, Key="new.zip", Body=zipped({"a": b"1"}))
    wait_until((mounted / "new.zip" / "a").exists, seconds=TTL + SLACK, what="the new archive")
    soon(mounted, "new.zip", "plain", "x.zip")


def test_a_replaced_object_is_seen_within_the_ttl(
    mounted: Path, s3client: Any, bucket: str
) -> None:
    soon(mounted / "x.zip", "old")
    assert (mounted / "plain").read_bytes() == b"old"
    s3client.put_object(Bucket=bucket, Key="x.zip", Body=zipped({"new": b"22"}))
    s3client.put_object(Bucket=bucket, Key="plain", Body=b"newer")
    soon(mounted / "x.zip", "new")
    assert (mounted / "x.zip" / "new").read_bytes() == b"22"
    wait_until(lambda: (mounted / "plain").stat().st_size == 5, seconds=TTL + SLACK, what="size")
    assert (mounted / "plain").read_bytes() == b"newer"


def test_a_deleted_object_is_gone_within_the_ttl(mounted: Path, s3client: Any, bucket: str) -> None:
    soon(mounted, "plain", "x.zip")
    soon(mounted / "x.zip", "old")
    for key in ("x.zip", "plain"):
        s3client.delete_object(Bucket=bucket, Key=key)
    soon(mounted)
    for name in ("x.zip", "plain"):
        wait_until(lambda: not (mounted / name).exists(), seconds=TTL + SLACK, what=f"no {name}")  # noqa: B023
