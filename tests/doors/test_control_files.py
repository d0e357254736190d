"""`.s3zipfs` at the root of a real mount, by ordinary programs."""

from __future__ import annotations

import errno
import json
import mmap
import os
import random
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from mounting import Mount, wait_until
from s3server import S3Server
from trees import zipped

from s3zipfs.fuse.inodes import MAX_SNAPSHOTS

LARGE = random.Random(9).randbytes(5 << 20)
ARCHIVE = zipped({"d/a.txt": b"hello\n", "large": LARGE})
THREADS = 16


@dataclass
class World:
    mount: Mount
    bucket: str
    s3client: Any

    @property
    def control(self) -> Path:
        return self.mount.path / ".s3zipfs"


@pytest.fixture
def world(tmp_path: Path, s3server: S3Server, s3client: Any, bucket: str) -> Iterator[World]:
    s3client.put_object(Bucket=bucket, Key="x.zip", Body=ARCHIVE)
    s3client.put_object(Bucket=bucket, Key="deep/y.zip", Body=ARCHIVE)
    s3client.put_object(Bucket=bucket, Key="plain.txt", Body=b"plain\n")
    with Mount(tmp_path / "mnt", s3server, [f"s3://{bucket}"], "--ttl", "3600") as mounted:
        yield World(mounted, bucket, s3client)


def whole_status(content: bytes) -> int:
    """That it is one whole document; its length."""
    assert content.endswith(b"}\n")
    assert json.loads(content)["version"]
    return len(content)


def test_the_status_names_the_mount_and_its_daemon(world: World) -> None:
    status = json.loads((world.control / "status.json").read_bytes())
    assert status["pid"] == world.mount.process.pid
    assert status["mountpoint"] == str(world.mount.path)
    assert status["sources"] == [f"s3://{world.bucket}"]
    later = json.loads((world.control / "status.json").read_bytes())
    assert later["uptime_seconds"] >= status["uptime_seconds"] >= 0


def test_it_is_not_listed_and_all_below_it_is(world: World) -> None:
    assert sorted(os.listdir(world.mount.path)) == ["deep", "plain.txt", "x.zip"]
    found = subprocess.run(
        ["find", str(world.mount.path)], check=True, capture_output=True, text=True
    )
    assert ".s3zipfs" not in found.stdout
    assert {"status.json", "raw"} <= set(os.listdir(world.control))
    assert sorted(os.listdir(world.control / "raw")) == ["deep", "plain.txt", "x.zip"]


def test_a_generated_file_has_the_size_that_it_says_by_every_way_to_read_it(
    world: World, tmp_path: Path
) -> None:
    path = world.control / "status.json"
    with path.open("rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        assert whole_status(file.read(1 << 20)) == size
        assert os.pread(file.fileno(), 1 << 20, size - 2) == b"}\n"
        assert os.pread(file.fileno(), 1, size) == b""
        with mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped:
            assert whole_status(mapped[:]) == size
    whole_status(subprocess.check_output(["cat", str(path)]))
    assert subprocess.check_output(["tail", "-c", "2", str(path)]) == b"}\n"
    # It compares what stat and fstat say of the file, and refuses one that is another.
    subprocess.run(["cp", "--archive", str(path), str(tmp_path / "copy")], check=True)
    whole_status((tmp_path / "copy").read_bytes())


def test_sixteen_threads_at_once_each_read_what_they_opened(world: World) -> None:
    path = world.control / "status.json"
    together = threading.Barrier(THREADS)

    def read_often(_: int) -> None:
        together.wait(60)
        for _ in range(40):
            with path.open("rb", buffering=0) as file:
                size = os.fstat(file.fileno()).st_size
                with mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped:
                    assert whole_status(mapped[:]) == size
                assert whole_status(file.read(1 << 20)) == size
                assert os.fstat(file.fileno()).st_size == size

    with ThreadPoolExecutor(THREADS) as threads:
        list(threads.map(read_often, range(THREADS)))


def test_an_open_file_keeps_its_content_until_too_many_are_open(world: World) -> None:
    path = world.control / "status.json"
    descriptors = [os.open(path, os.O_RDONLY) for _ in range(MAX_SNAPSHOTS + 2)]
    try:
        with pytest.raises(OSError, match="Stale") as caught:
            os.read(descriptors[0], 1 << 16)
        assert caught.value.errno == errno.ESTALE
        for descriptor in descriptors[-8:]:
            whole_status(os.read(descriptor, 1 << 16))
    finally:
        for descriptor in descriptors:
            os.close(descriptor)
    whole_status(path.read_bytes())


def test_in_raw_archives_are_files_of_their_true_size(world: World, tmp_path: Path) -> None:
    for name in ("x.zip", "deep/y.zip"):
        raw = world.control / "raw" / name
        assert raw.stat().st_size == len(ARCHIVE)
        assert raw.read_bytes() == ARCHIVE
        assert (world.mount.path / name / "d/a.txt").read_bytes() == b"hello\n"
    copies = tmp_path / "copies"
    subprocess.run(["cp", "--archive", str(world.control / "raw"), str(copies)], check=True)
    assert (copies / "deep/y.zip").read_bytes() == ARCHIVE
    assert (copies / "plain.txt").read_bytes() == b"plain\n"
    tested = ["unzip", "-tq", str(world.control / "raw/x.zip")]
    assert b"No errors" in subprocess.check_output(tested)


def test_walking_one_tree_leaves_the_directories_of_the_other_where_they_are(world: World) -> None:
    plain, raw = world.mount.path / "deep", world.control / "raw" / "deep"
    held = [os.open(path, os.O_RDONLY | os.O_DIRECTORY) for path in (plain, raw)]
    try:
        for path in (plain, raw, plain, raw):
            assert os.listdir(path) == ["y.zip"]
        # A directory has one place: where it is reached by another one, the kernel moves it there.
        for path, descriptor in zip((plain, raw), held, strict=True):
            assert Path(f"/proc/self/fd/{descriptor}").readlink() == path
    finally:
        for descriptor in held:
            os.close(descriptor)


def read_on(descriptor: int) -> None:
    """Read the old version, as far as it goes."""
    for offset in range(0, len(ARCHIVE), 1 << 20):
        piece = os.pread(descriptor, 1 << 20, offset)
        assert piece == ARCHIVE[offset : offset + len(piece)] != b""


def reads(path: Path, content: bytes) -> bool:
    """Whether a new open of it gives that, as it does once the kernel was told of the new one."""
    try:
        return path.read_bytes() == content
    except OSError as error:
        if error.errno != errno.ESTALE:
            raise
        return False


def test_a_raw_file_that_was_replaced_is_estale_and_its_name_the_new_version(world: World) -> None:
    raw = world.control / "raw" / "x.zip"
    descriptor = os.open(raw, os.O_RDONLY)
    try:
        assert os.pread(descriptor, 10, 0) == ARCHIVE[:10]
        smaller = zipped({"d/a.txt": b"other\n"})
        world.s3client.put_object(Bucket=world.bucket, Key="x.zip", Body=smaller)
        with pytest.raises(OSError, match="Stale") as caught:
            read_on(descriptor)
        assert caught.value.errno == errno.ESTALE
    finally:
        os.close(descriptor)
    member = world.mount.path / "x.zip/d/a.txt"
    wait_until(lambda: reads(raw, smaller), seconds=60, what="the new file")
    wait_until(lambda: reads(member, b"other\n"), seconds=60, what="the new archive")


def test_nothing_can_be_written_there(world: World) -> None:
    for path in (world.control / "status.json", world.control / "new"):
        with pytest.raises(OSError, match="Read-only") as caught:
            path.write_bytes(b"x")
        assert caught.value.errno == errno.EROFS
