"""Promise 1, never a mix: an archive is replaced while readers hold members of it open."""

from __future__ import annotations

import errno
import io
import mmap
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mounting import Mount, wait_until
from s3server import S3Server

TTL = 1.0
SLACK = 30.0  # seconds: of a machine that is busy otherwise
BLOCK = 4096
STALE = os.strerror(errno.ESTALE)


def archive_of(version: int, size: int) -> bytes:
    """A zip with one stored member `data`, filled with the version's own digit."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("data", bytes([48 + version]) * size)
    return buffer.getvalue()


@pytest.fixture
def mount(tmp_path: Path, s3server: S3Server, bucket: str) -> Iterator[Mount]:
    with Mount(tmp_path / "mnt", s3server, [f"s3://{bucket}"], "--ttl", str(TTL)) as mounted:
        yield mounted


def sees(path: Path, version: int) -> bool:
    """Whether a new open of the path reads that version, whole."""
    try:
        content = path.read_bytes()
    except OSError as error:
        if error.errno == errno.ESTALE:
            return False
        raise
    assert len(set(content)) == 1, "one read returned two versions"
    return content[0] == 48 + version


SIZES = [(48 << 20, 24 << 20), (24 << 20, 48 << 20)]


@pytest.mark.parametrize(("first", "second"), SIZES, ids=["shorter", "longer"])
def test_read_after_replacement_is_the_old_version_or_estale(
    mount: Mount, s3client: Any, bucket: str, first: int, second: int
) -> None:
    path = mount.path / "x.zip" / "data"
    s3client.put_object(Bucket=bucket, Key="x.zip", Body=archive_of(1, first))
    wait_until(path.exists, seconds=TTL + SLACK, what="the first version")
    descriptor = os.open(path, os.O_RDONLY)
    try:
        assert os.pread(descriptor, BLOCK, 0) == b"1" * BLOCK
        s3client.put_object(Bucket=bucket, Key="x.zip", Body=archive_of(2, second))

        outcomes = set()
        offset = 0
        while offset < first:
            try:
                block = os.pread(descriptor, 1 << 20, offset)
            except OSError as error:
                outcomes.add(errno.errorcode[error.errno or 0])
                offset += 1 << 20
            else:
                assert block, f"a clean end at {offset} of {first}"
                assert set(block) == {ord("1")}, f"at {offset}: {set(block)}"
                outcomes.add("old")
                offset += len(block)
        assert outcomes <= {"old", "ESTALE"}
        assert "ESTALE" in outcomes, "the whole old version was cached: the test shows nothing"

        wait_until(
            lambda: sees(path, 2), seconds=TTL + SLACK, what="a new open sees the new version"
        )
        with pytest.raises(OSError, match=STALE):
            os.pread(descriptor, BLOCK, first - (4 << 20))
    finally:
        os.close(descriptor)


@pytest.mark.parametrize(
    ("name", "options"),
    [("x.zip", []), ("x", []), ("x", ["--strip-suffix"]), ("x", ["--immutable"])],
)
def test_a_412_makes_the_name_be_looked_up_again_at_once(
    tmp_path: Path,
    s3server: S3Server,
    s3client: Any,
    bucket: str,
    name: str,
    options: list[str],
) -> None:
    s3client.put_object(Bucket=bucket, Key="x.zip", Body=archive_of(1, 32 << 20))
    source = f"s3://{bucket}"
    with Mount(tmp_path / "mnt", s3server, [source], "--ttl", "3600", *options) as mount:
        path = mount.path / name / "data"
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.pread(descriptor, BLOCK, 0)
            s3client.put_object(Bucket=bucket, Key="x.zip", Body=archive_of(2, 16 << 20))
            with pytest.raises(OSError, match=STALE):
                os.pread(descriptor, BLOCK, 31 << 20)
        finally:
            os.close(descriptor)
        wait_until(
            lambda: sees(path, 2), seconds=SLACK, what="the new version, long before the TTL"
        )


# A child maps the file, reads its first page, waits for the replacement, and reads on page by
# page, each page in a child of its own, since SIGBUS ends it.
MAPPED = """
import mmap, os, sys
flags = getattr(mmap, sys.argv[2])
descriptor = os.open(sys.argv[1], os.O_RDONLY)
mapped = mmap.mmap(descriptor, 0, flags=flags, prot=mmap.PROT_READ)
print(chr(mapped[0]), flush=True)
sys.stdin.readline()
for offset in range(0, len(mapped), 1 << 20):
    child = os.fork()
    if not child:
        page = mapped[offset:offset + 4096]
        os._exit(page[0] if page == page[:1] * 4096 else 99)
    status = os.waitpid(child, 0)[1]
    died = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    print(f"signal {died}" if died else chr(os.WEXITSTATUS(status)), flush=True)
"""


@pytest.mark.parametrize("flags", ["MAP_SHARED", "MAP_PRIVATE"])
@pytest.mark.parametrize(("first", "second"), SIZES, ids=["shorter", "longer"])
def test_mmap_after_replacement_is_the_old_version_or_sigbus(
    mount: Mount, s3client: Any, bucket: str, flags: str, first: int, second: int
) -> None:
    assert hasattr(mmap, flags)
    path = mount.path / "x.zip" / "data"
    s3client.put_object(Bucket=bucket, Key="x.zip", Body=archive_of(1, first))
    wait_until(path.exists, seconds=TTL + SLACK, what="the first version")
    reader = subprocess.Popen(
        [sys.executable, "-c", MAPPED, str(path), flags],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert reader.stdout is not None
        assert reader.stdout.readline() == "1\n"
        s3client.put_object(Bucket=bucket, Key="x.zip", Body=archive_of(2, second))
        pages = set(reader.communicate("go\n", timeout=60)[0].split("\n")) - {""}
    finally:
        reader.kill()
        reader.wait()
    assert pages <= {"1", "signal 7"}, f"pages of the mapped old version: {pages}"
    assert "signal 7" in pages, "the whole old version was cached: the test shows nothing"
    wait_until(lambda: sees(path, 2), seconds=TTL + SLACK, what="a new open sees the new version")
