"""No descriptors, no threads, little memory: what can't be done fails alone, all else goes on."""

from __future__ import annotations

import errno
import os
import random
import resource
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from faults.cases import CONTENT, next_case
from faults.px import Proxy, gets, silent
from faults.reading import assert_whole, failure, opened
from faults.toxiproxy import PROGRAM, Toxiproxy
from mounting import Mount
from s3server import S3Server

pytestmark = pytest.mark.timeout(300)


@pytest.mark.skipif(not PROGRAM.exists(), reason="no toxiproxy-server: 'make tools' builds it")
def test_without_descriptors_a_call_is_emfile_and_the_next_one_well(
    s3server: S3Server, faults_bucket: str, numbers: Iterator[int], tmp_path: Path
) -> None:
    options = ("--timeout", "20", "--cache-dir", str(tmp_path / "cache"))
    sources = [f"s3://{faults_bucket}"]
    with (
        Toxiproxy(s3server) as link,
        Mount(tmp_path / "mnt", link.server, sources, *options) as mounted,
    ):
        case, another = (opened(next_case(mounted.path, numbers)) for _ in range(2))
        assert_whole(case)
        link.close()  # no connection is left: the next request needs a descriptor
        link.open()
        pid = mounted.process.pid
        before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, before[1]))
        assert failure((another.archive / "deflated").read_bytes) == errno.EMFILE
        assert failure(lambda: os.listdir(mounted.path / "many")) == errno.EMFILE
        assert_whole(case)
        assert os.statvfs(mounted.path).f_files
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
        assert_whole(another)
        assert len(os.listdir(mounted.path / "many")) > 1000
        mounted.wait_for_line("EMFILE")


# The process starts no more threads that answer the kernel while a file exists.
NO_MORE_THREADS = """
import os, threading
start = threading.Thread.start
def limited(thread):
    if thread.name.startswith("s3zipfs-fuse-") and os.path.exists(os.environ["NO_MORE_THREADS"]):
        raise RuntimeError("can't start new thread")  # the words of CPython
    start(thread)
threading.Thread.start = limited
"""


def test_without_threads_requests_wait_and_none_is_lost(
    px: Proxy, faults_bucket: str, numbers: Iterator[int], tmp_path: Path
) -> None:
    (tmp_path / "sitecustomize.py").write_text(NO_MORE_THREADS)
    limit = tmp_path / "no-more"
    environment = {"PYTHONPATH": str(tmp_path), "NO_MORE_THREADS": str(limit)}
    options = ("--timeout", "15", "--cache-dir", "none")
    with Mount(
        tmp_path / "mnt", px.server, [f"s3://{faults_bucket}"], *options, environment=environment
    ) as mounted:
        cases = [opened(next_case(mounted.path, numbers)) for _ in range(2)]
        px.tell(silent, gets(cases[0].key), times=1)  # asked again after 5 s
        limit.touch()
        paths = [case.archive / name for case in cases for name in CONTENT] * 8
        with ThreadPoolExecutor(len(paths)) as pool:
            read = list(pool.map(lambda path: (path.name, path.read_bytes()), paths))
        assert all(content == CONTENT[name] for name, content in read)
        mounted.wait_for_line("requests wait for a thread")
        limit.unlink()
        for case in cases:
            assert_whole(case)


# Archives whose members, inflated at once, are twelve times the budget.
BUDGET = 64 << 20
MEMBERS = 16  # of each archive
ARCHIVES = 4
INFLATED = 12 << 20

# 64 threads, each reading the files it is given; the name of each ends in its CRC-32.
READING = r"""
import os, sys, threading, zlib
def read(path):
    crc, left = 0, True
    with open(path, "rb", buffering=0) as file:
        while left := file.read(1 << 20):
            crc = zlib.crc32(left, crc)
    os.write(1, b"good\n" if crc == int(path[-8:], 16) else b"WRONG\n")
threads = [threading.Thread(target=read, args=[path]) for path in sys.argv[1:]]
[each.start() for each in threads]
[each.join() for each in threads]
"""


def large(number: int, method: int) -> tuple[list[str], bytes]:
    """The members' names and the archive."""
    buffer, names = BytesIO(), []
    with zipfile.ZipFile(buffer, "w", method, compresslevel=1) as archive:
        for member in range(MEMBERS):
            block = random.Random(number * MEMBERS + member).randbytes(16 << 10)
            content = block * (INFLATED // len(block))
            names.append(f"{member:02}-{zlib.crc32(content):08x}")
            archive.writestr(names[-1], content)
    return names, buffer.getvalue()


def test_sixty_four_readers_stay_within_the_memory_that_was_given(
    s3server: S3Server, s3client: Any, bucket: str, tmp_path: Path
) -> None:
    members: list[str] = []
    for number in range(ARCHIVES):
        method = zipfile.ZIP_DEFLATED if number % 2 else zipfile.ZIP_STORED
        names, body = large(number, method)
        s3client.put_object(Bucket=bucket, Key=f"{number}.zip", Body=body)
        members += [f"{number}.zip/{name}" for name in names]
    options = ("--memory", str(BUDGET), "--cache-dir", "none")
    with Mount(tmp_path / "mnt", s3server, [f"s3://{bucket}"], *options) as mounted:
        for archive in os.scandir(mounted.path):
            os.listdir(archive)
        base = mounted.memory("VmRSS")  # of the libraries, once they are in use
        done = subprocess.run(
            [sys.executable, "-S", "-c", READING, *(f"{mounted.path}/{m}" for m in members)],
            check=False,
            capture_output=True,
            text=True,
            timeout=240,
        )
        assert done.stdout.split() == ["good"] * len(members), done.stderr[-2000:]
        # Measured: 1.6 to 1.9 times the budget; what is no budget's is stacks, connections' buffers
        # and the allocator's rest.
        assert mounted.memory() < base + BUDGET * 9 // 4
