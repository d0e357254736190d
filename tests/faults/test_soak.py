"""64 readers, a store that fails at random and archives that are replaced: every byte is verified.

`make soak` runs it for ten minutes.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
import zipfile
from collections import Counter
from io import BytesIO
from pathlib import Path
from typing import Any, Self

import pytest
from fakes3 import Answer, Request, Silence
from faults.px import Proxy, cut_after, everything, silent
from faults.soak_reader import content
from mounting import Mount, wait_until
from replacing import replacing
from s3server import S3Server

SECONDS = float(os.environ.get("S3ZIPFS_SOAK_SECONDS", "60"))
PROCESSES, THREADS = 4, 16
BLOCKS = {"small": 1, "middle": 100, "large": 1500, "deep": 5000}  # the last is gone through once
STEADY, REPLACED = ("a.zip", "b.zip"), ("c.zip", "d.zip")
PERIOD = 1.0  # seconds from one version to the next
MEMORY = 64 << 20
GROWTH = 32 << 20  # bytes of RSS, of which the allocators keep some
DESCRIPTORS = 64  # connections come and go: 32 requests of either library
# What the readers may say. ENOENT is none of it: nothing is deleted.
ALLOWED = {"good"}
ALLOWED |= {f"{fault} {key}" for fault in ("EIO", "ETIMEDOUT") for key in STEADY + REPLACED}
ALLOWED |= {f"ESTALE {key}" for key in REPLACED}

pytestmark = pytest.mark.timeout(SECONDS + 240)


def archive(version: int, method: int) -> bytes:
    """Its members, all of one version."""
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w", method, compresslevel=1) as target:
        for name, blocks in BLOCKS.items():
            target.writestr(name, content(version, blocks))
    return buffer.getvalue()


class Weather:
    """What may befall a request; most are let through."""

    def __init__(self, px: Proxy) -> None:
        self._px = px
        self._random = random.Random(6)
        self.met: Counter[str] = Counter()

    def __call__(self, request: Request) -> Answer | Silence:
        kind = self._random.choices(
            ("truth", "late", "503", "cut", "reset", "stall", "silence"),
            weights=(80, 6, 5, 4, 3, 1, 1),
        )[0]
        self.met[kind] += 1
        match kind:
            case "truth":
                return self._px.truth(request)
            case "late":
                time.sleep(self._random.random() / 2)
                return self._px.truth(request)
            case "503":
                return self._px.refusing(503, "SlowDown")(request)
            case "silence":
                return silent(request)
        answer = self._px.truth(request)
        if request.method == "HEAD" or len(answer.body) < 2:
            return answer
        size = self._random.randrange(1, len(answer.body))
        if kind == "stall":
            return Answer(answer.status, answer.body, answer.headers, stall_after=size)
        return cut_after(size, reset=kind == "reset")(answer)


class Readers:
    """Processes of `soak_reader`, and what they have said."""

    def __init__(self, folder: Path, mountpoint: Path) -> None:
        self._outputs = [folder / f"reader-{number}" for number in range(PROCESSES)]
        paths = [str(mountpoint / key / name) for key in STEADY + REPLACED for name in BLOCKS]
        program = [sys.executable, "-S", str(Path(__file__).with_name("soak_reader.py"))]
        self._processes = []
        for output in self._outputs:
            with output.open("wb") as stream:
                started = subprocess.Popen(
                    [*program, str(THREADS), *paths], stdout=stream, stderr=stream
                )
            self._processes.append(started)

    @property
    def said(self) -> Counter[str]:
        lines: Counter[str] = Counter()
        for output in self._outputs:
            lines.update(output.read_text().split("\n")[:-1])
        return lines

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for each in self._processes:
            each.kill()
            each.wait()


def descriptors(mounted: Mount) -> int:
    return len(os.listdir(f"/proc/{mounted.process.pid}/fd"))


def soak(mounted: Mount, readers: Readers) -> list[tuple[int, int]]:
    """Let them read for the time that was set; RSS and descriptors, from time to time."""
    wait_until(lambda: readers.said["good"] > PROCESSES * THREADS, seconds=120, what="reads")
    held = []
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        assert set(readers.said) <= ALLOWED, readers.said
        held.append((mounted.memory("VmRSS"), descriptors(mounted)))
        time.sleep(0.5)
    return held


def test_every_byte_is_right_whatever_the_store_does_and_nothing_grows(
    s3server: S3Server, s3client: Any, bucket: str, px: Proxy, tmp_path: Path
) -> None:
    def put(key: str, version: int) -> None:
        method = zipfile.ZIP_DEFLATED if version % 3 else zipfile.ZIP_STORED
        s3client.put_object(Bucket=bucket, Key=key, Body=archive(version, method))

    for version, key in enumerate(STEADY + REPLACED):
        put(key, version)
    options = ["--ttl", "1", "--timeout", "10", "--memory", str(MEMORY)]
    options += ["--cache-dir", str(tmp_path / "cache"), "--cache-size", "64M"]
    with Mount(tmp_path / "mnt", px.server, [f"s3://{bucket}"], *options) as mounted:
        weather = Weather(px)
        px.tell(weather, everything)
        with (
            Readers(tmp_path, mounted.path) as readers,
            replacing(
                lambda version: put(REPLACED[version % 2], len(STEADY + REPLACED) + version),
                period=PERIOD,
            ),
        ):
            held = soak(mounted, readers)
        said = readers.said
        assert len(weather.met) == 7, weather.met
        assert said["good"] > 10 * (said.total() - said["good"]), said
        third = len(held) // 3
        for which, most in ((0, GROWTH), (1, DESCRIPTORS)):
            before = max(each[which] for each in held[:-third])
            assert max(each[which] for each in held[-third:]) <= before + most, held
        px.honest()
        for number, key in enumerate(STEADY):
            for name, blocks in BLOCKS.items():
                wait_until_read(mounted.path / key / name, content(number, blocks))


def wait_until_read(path: Path, expected: bytes) -> None:
    """All of it, once the last error is forgotten."""

    def is_read() -> bool:
        try:
            return path.read_bytes() == expected
        except OSError:
            return False

    wait_until(is_read, seconds=60, what=f"{path} is read whole")
