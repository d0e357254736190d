"""What happens to the disk under a real mount: reads never fail, and never a wrong byte."""

from __future__ import annotations

import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest
from mounting import Mount, small_disk, wait_until
from s3clients import make_s3client
from s3server import S3Server

from s3zipfs.cache.blockindex import FILE
from s3zipfs.cache.disk import FOLDER

COUNT = 24
SIZE = 1 << 20
SECONDS = 60.0


def content(number: int) -> bytes:
    return random.Random(number).randbytes(SIZE)


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    """A server of our own: the session's must not be paused."""
    with S3Server.start(own=True) as started:
        client = make_s3client(started)
        client.create_bucket(Bucket="lab")
        buffer = BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
            for number in range(COUNT):
                archive.writestr(f"{number:03}", content(number))
        client.put_object(Bucket="lab", Key="x.zip", Body=buffer.getvalue())
        yield started


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


# All of the archive may wait for the disk; or little of it stays in memory, so that the disk and
# the store are asked again.
AMPLE, SMALL = "256M", "32M"


def mount(
    tmp_path: Path, server: S3Server, cache: Path, name: str = "mnt", memory: str = AMPLE
) -> Mount:
    options = ("--cache-dir", str(cache), "--ttl", "3600", "--timeout", "30", "--memory", memory)
    return Mount(tmp_path / name, server, ["s3://lab"], *options)


def read(mounted: Mount, number: int) -> bytes:
    """By O_DIRECT, so that the daemon is asked again."""
    path = mounted.path / "x.zip" / f"{number:03}"
    done = subprocess.run(
        ["dd", f"if={path}", "iflag=direct", "bs=128k"],
        capture_output=True,
        check=False,
        timeout=SECONDS,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def read_all(mounted: Mount) -> None:
    for number in range(COUNT):
        assert read(mounted, number) == content(number), number


def has_records(cache: Path, least: int) -> bool:
    """Whether the index knows of so many bytes."""
    try:
        db = sqlite3.connect(f"{(cache / FOLDER / FILE).as_uri()}?mode=ro", uri=True)
    except sqlite3.Error:
        return False
    try:
        (held,) = db.execute('SELECT coalesce(sum("end" - start), 0) FROM records').fetchone()
    except sqlite3.Error:
        return False
    finally:
        db.close()
    return bool(held >= least)


def wait_until_written(cache: Path, least: int = COUNT * SIZE) -> None:
    wait_until(lambda: has_records(cache, least), seconds=SECONDS, what="blocks on disk")


def assert_served_without_the_store(tmp_path: Path, server: S3Server, cache: Path) -> None:
    """A new mount reads it all with the server stopped, once it knows what is in the bucket."""
    with mount(tmp_path, server, cache, "again") as mounted:
        assert (mounted.path / "x.zip").is_dir()
        server.pause()
        try:
            read_all(mounted)
        finally:
            server.resume()


def warnings(mounted: Mount) -> list[str]:
    lines = mounted.log.read_text().splitlines()
    return [line for line in lines if "WARNING cache of blocks" in line]


def test_after_kill_9_the_cache_serves_again(tmp_path: Path, server: S3Server, cache: Path) -> None:
    with mount(tmp_path, server, cache) as mounted:
        read_all(mounted)
        wait_until_written(cache)
        mounted.process.send_signal(signal.SIGKILL)
        mounted.process.wait(SECONDS)
    assert_served_without_the_store(tmp_path, server, cache)


def test_killed_at_any_moment_the_cache_is_never_wrong(
    tmp_path: Path, server: S3Server, cache: Path
) -> None:
    for count in (1, 5, 11):
        with mount(tmp_path, server, cache, f"mnt{count}") as mounted:
            for number in range(count):
                assert read(mounted, number) == content(number)
            mounted.process.send_signal(signal.SIGKILL)
            mounted.process.wait(SECONDS)
    with mount(tmp_path, server, cache) as mounted:
        read_all(mounted)
        assert warnings(mounted) == []


def test_sigterm_lets_the_disk_have_what_was_read_last(
    tmp_path: Path, server: S3Server, cache: Path
) -> None:
    with mount(tmp_path, server, cache) as mounted:
        read_all(mounted)
    assert_served_without_the_store(tmp_path, server, cache)


def test_a_cache_that_is_removed_under_a_mount_comes_back(
    tmp_path: Path, server: S3Server, cache: Path
) -> None:
    with mount(tmp_path, server, cache, memory=SMALL) as mounted:
        read_all(mounted)
        wait_until_written(cache, SIZE)
        shutil.rmtree(cache, ignore_errors=True)

        def is_back() -> bool:
            read_all(mounted)
            return has_records(cache, SIZE)

        wait_until(is_back, seconds=SECONDS, what="blocks on disk again")
        assert warnings(mounted) == []


def test_what_is_flipped_on_disk_is_fetched_again(
    tmp_path: Path, server: S3Server, cache: Path
) -> None:
    with mount(tmp_path, server, cache) as mounted:
        read_all(mounted)
    for segment in (cache / FOLDER).glob("*.seg"):
        data = bytearray(segment.read_bytes())
        for at in range(1000, len(data), 100_000):
            data[at] ^= 1
        segment.write_bytes(data)
    with mount(tmp_path, server, cache) as mounted:
        read_all(mounted)


def test_two_mounts_share_a_cache(tmp_path: Path, server: S3Server, cache: Path) -> None:
    wrong: list[int] = []

    def check(mounted: Mount, numbers: range) -> None:
        wrong.extend(number for number in numbers if read(mounted, number) != content(number))

    with (
        mount(tmp_path, server, cache, "one") as one,
        mount(tmp_path, server, cache, "two") as two,
    ):
        readers = [
            threading.Thread(target=check, args=(one, range(0, COUNT, 2))),
            threading.Thread(target=check, args=(two, range(1, COUNT, 2))),
        ]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join()
        wait_until_written(cache)
        server.pause()
        try:  # each has what the other fetched
            check(one, range(1, COUNT, 2))
            check(two, range(0, COUNT, 2))
        finally:
            server.resume()
        assert warnings(one) == warnings(two) == []
    assert wrong == []


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small disk of its own."""
    with small_disk(tmp_path / "disk", "8m") as path:
        yield path


def remount(disk: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(disk)], check=True)


def comes_back(mounted: Mount, cache: Path) -> None:
    def is_back() -> bool:
        read_all(mounted)
        return has_records(cache, SIZE)

    wait_until(is_back, seconds=SECONDS, what="blocks on disk after the fault")


def test_a_full_disk_is_told_once_and_used_when_it_has_room(
    tmp_path: Path, server: S3Server, disk: Path
) -> None:
    with mount(tmp_path, server, disk / "cache", memory=SMALL) as mounted:
        for _ in range(2):
            read_all(mounted)
        wait_until(lambda: warnings(mounted), seconds=SECONDS, what="a warning")
        remount(disk, "size=400m")
        comes_back(mounted, disk / "cache")
        assert len(warnings(mounted)) == 1
        assert "No space left" in warnings(mounted)[0]


def test_a_read_only_disk_is_told_once_and_used_when_it_is_writable(
    tmp_path: Path, server: S3Server, disk: Path
) -> None:
    remount(disk, "ro,size=400m")
    with mount(tmp_path, server, disk / "cache", memory=SMALL) as mounted:
        for _ in range(2):
            read_all(mounted)
        wait_until(lambda: warnings(mounted), seconds=SECONDS, what="a warning")
        remount(disk, "rw,size=400m")
        comes_back(mounted, disk / "cache")
        assert len(warnings(mounted)) == 1


def test_a_huge_cache_left_by_a_crash_is_not_read_at_the_start(
    tmp_path: Path, server: S3Server, cache: Path
) -> None:
    with mount(tmp_path, server, cache) as mounted:
        read_all(mounted)
    # 100,000 records more, by a process that ends without closing the index.
    program = (
        "import os, sqlite3, sys\n"
        "db = sqlite3.connect(sys.argv[1])\n"
        "rows = ((7, n, n + 1, 1, 0) for n in range(100_000))\n"
        "db.executemany('INSERT INTO records VALUES (?, ?, ?, ?, ?)', rows)\n"
        "db.commit()\n"
        "os.kill(os.getpid(), 9)\n"
    )
    index = cache / FOLDER / FILE
    subprocess.run([sys.executable, "-c", program, str(index)], check=False, timeout=SECONDS)
    assert Path(f"{index}-wal").stat().st_size > 1 << 20
    with mount(tmp_path, server, cache, "again") as mounted:
        maps = Path(f"/proc/{mounted.process.pid}/maps").read_text()
        assert str(cache) not in maps  # SQLite maps what it shares
        read_all(mounted)
        assert warnings(mounted) == []
