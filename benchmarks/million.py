"""An archive of a million members: first look, walks, look-ups, memory."""

from __future__ import annotations

import contextlib
import os
import random
import tempfile
import time
import zipfile
from pathlib import Path
from typing import Any

import boto3
from mounts import RCLONE, Mounted, rclone, s3zipfs
from s3server import S3Server

MEMBERS = 1_000_000
BUCKET, KEY = "million", "million.zip"
Figures = dict[str, float]


def member_name(number: int) -> str:
    """`x/12/34/123456.dat`."""
    return f"x/{number // 10_000:02}/{number // 100 % 100:02}/{number:06}.dat"


def upload(server: S3Server, folder: Path) -> None:
    """Make the archive (kept in `folder`) and put it into its bucket."""
    target = folder / KEY
    if not target.exists():
        making = target.with_suffix(".making")
        with zipfile.ZipFile(making, "w") as archive:
            for number in range(MEMBERS):
                info = zipfile.ZipInfo(member_name(number), (2020, 1, 1, 0, 0, 0))
                archive.writestr(info, b"%d" % number)
        making.rename(target)
    client: Any = boto3.client(
        "s3",
        endpoint_url=server.endpoint,
        aws_access_key_id=server.access_key,
        aws_secret_access_key=server.secret_key,
        region_name="us-east-1",
    )
    with contextlib.suppress(client.exceptions.BucketAlreadyOwnedByYou):
        client.create_bucket(Bucket=BUCKET)
    client.upload_file(str(target), BUCKET, KEY)


def inside(mounted: Mounted) -> Path:
    """Where the members are."""
    return mounted.path / KEY


def first_look(mounted: Mounted) -> float:
    """Seconds of the first listing inside."""
    start = time.perf_counter()
    with os.scandir(inside(mounted)) as entries:
        assert [entry.name for entry in entries] == ["x"]
    return time.perf_counter() - start


def walk(mounted: Mounted) -> float:
    """Entries per second of `os.walk` over everything."""
    start, count = time.perf_counter(), 0
    for _, folders, files in os.walk(inside(mounted)):
        count += len(folders) + len(files)
    assert count == MEMBERS + 101 * 100 + 1, count
    return count / (time.perf_counter() - start)


def stat_all(mounted: Mounted) -> float:
    """Members per second of `os.stat` of each."""
    base, start = str(inside(mounted)) + "/", time.perf_counter()
    for number in range(MEMBERS):
        os.stat(base + member_name(number))
    return MEMBERS / (time.perf_counter() - start)


def look_ups(mounted: Mounted, count: int = 10_000) -> float:
    """Random members per second, stat of each, nothing walked before."""
    base, generator = str(inside(mounted)) + "/", random.Random(1)
    names = [base + member_name(generator.randrange(MEMBERS)) for _ in range(count)]
    start = time.perf_counter()
    for name in names:
        os.stat(name)
    return count / (time.perf_counter() - start)


def missing(mounted: Mounted, count: int = 20_000) -> float:
    """Missing names per second, each new."""
    base, start = f"{inside(mounted)}/x/00/00/", time.perf_counter()
    for number in range(count):
        with contextlib.suppress(FileNotFoundError):
            os.stat(f"{base}nothing{number}")
    return count / (time.perf_counter() - start)


def measure(mounted: Mounted) -> Figures:
    """All figures of one fresh mount."""
    figures = {"first ls, s": first_look(mounted)}
    figures["random look-ups/s"] = look_ups(mounted)
    figures["missing names/s"] = missing(mounted)
    figures["peak RSS after look-ups, MB"] = mounted.memory()
    figures["walk, entries/s"] = walk(mounted)
    figures["second walk, entries/s"] = walk(mounted)
    figures["stat of everything, /s"] = stat_all(mounted)
    figures["peak RSS after the walks, MB"] = mounted.memory()
    return figures


def run(server: S3Server, folder: Path) -> dict[str, Figures]:
    """Our figures, ours with the persisted index, and rclone's where it was built."""
    upload(server, folder)
    results: dict[str, Figures] = {}
    with tempfile.TemporaryDirectory() as cache:
        with s3zipfs(server, BUCKET, Path(cache)) as mounted:
            results["s3zipfs"] = measure(mounted)
        with s3zipfs(server, BUCKET, Path(cache)) as mounted:
            results["s3zipfs, persisted index"] = measure(mounted)
    if RCLONE.exists():
        with tempfile.TemporaryDirectory() as cache, rclone(server, BUCKET, Path(cache)) as mounted:
            results["rclone"] = measure(mounted)
    return results
