"""`s3zipfs cache` as a user runs it, beside a filesystem that uses the same directory."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from commands import assert_one_line, s3zipfs

from s3zipfs.budget import MemoryBudget
from s3zipfs.cache.blockindex import FILE
from s3zipfs.cache.disk import FOLDER, DiskCache
from s3zipfs.stores.base import ObjectId

SECONDS = 30.0
SIZE = 1_000_000
COUNT = 20


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A cache directory with 20 MB of blocks and one index."""
    folder = tmp_path / "cache"
    running = running_on(folder)
    for number in range(COUNT):
        offer(running, number)
    running.close()
    (folder / "indexes").mkdir(mode=0o700)
    (folder / "indexes" / "0123").write_bytes(bytes(5000))
    return folder


def running_on(folder: Path) -> DiskCache:
    return DiskCache(
        folder, max_bytes=256 << 20, budget=MemoryBudget(256 << 20), segment_bytes=4 << 20
    )


def oid(number: int) -> ObjectId:
    return ObjectId("http://here", "lab", f"{number}.zip", '"1"')


def offer(running: DiskCache, number: int) -> None:
    running.offer(oid(number), 0, memoryview(bytes([number]) * SIZE))
    assert running.flush(SECONDS)


def cache(folder: Path, *words: str) -> dict[str, Any]:
    done = s3zipfs("cache", *words, "--json", "--cache-dir", str(folder))
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def test_info_tells_what_is_used(folder: Path) -> None:
    told = cache(folder, "info", "--cache-size", "1G")
    blocks = told["blocks"]
    assert told["cache_dir"] == str(folder)
    assert COUNT * SIZE < blocks["used_bytes"] < COUNT * SIZE * 1.1
    assert (blocks["objects"], blocks["records"], blocks["max_bytes"]) == (COUNT, COUNT, 1 << 30)
    assert told["indexes"] == {"used_bytes": 5000, "files": 1, "max_bytes": 2 << 30}


def test_info_is_for_people_too(folder: Path) -> None:
    done = s3zipfs("cache", "info", "--cache-dir", str(folder))
    assert done.returncode == 0
    directory, blocks, indexes = done.stdout.splitlines()
    assert directory == f"directory  {folder}"
    assert re.fullmatch(r"blocks +19\.\d MiB of 10\.0 GiB, 20 ranges of 20 objects", blocks)
    assert indexes == "indexes    4.9 KiB of 2.0 GiB, 1 archives"


def test_info_of_what_is_not_there_is_nothing(tmp_path: Path) -> None:
    told = cache(tmp_path / "none", "info")
    assert told["blocks"]["used_bytes"] == told["indexes"]["used_bytes"] == 0
    assert not (tmp_path / "none").exists()


def test_prune_leaves_the_most_recently_used(folder: Path) -> None:
    told = cache(folder, "prune", "--to", "10M")
    assert 0 < told["blocks"]["used_bytes"] <= 10 << 20
    running = running_on(folder)
    assert running.look(oid(COUNT - 1), 0, SIZE) is not None
    assert running.look(oid(0), 0, SIZE) is None
    running.close()


def test_prune_to_the_bounds_leaves_what_is_within_them(folder: Path) -> None:
    before = cache(folder, "info")
    after = cache(folder, "prune")
    assert after["blocks"]["records"] == before["blocks"]["records"]
    assert after["indexes"] == before["indexes"]


@pytest.mark.parametrize("words", [("clear",), ("prune", "--to", "0")])
def test_a_filesystem_that_is_running_goes_on(folder: Path, words: tuple[str, ...]) -> None:
    running = running_on(folder)
    assert running.look(oid(0), 0, SIZE) is not None
    offer(running, COUNT)
    told = cache(folder, *words)
    assert (told["blocks"]["records"], told["indexes"]["files"]) == (0, 0)
    assert running.look(oid(0), 0, SIZE) is None
    offer(running, 1)  # may be lost with the segment that was taken from it
    offer(running, 2)
    held = running.look(oid(2), 0, SIZE)
    assert held is not None
    assert bytes(held.data) == bytes([2]) * SIZE
    assert running.counts.failed == 0
    running.close()


@pytest.mark.parametrize("word", ["prune", "clear"])
def test_a_damaged_index_is_no_obstacle(folder: Path, word: str) -> None:
    (folder / FOLDER / FILE).write_bytes(b"no database" * 1000)
    told = cache(folder, "info")
    assert told["blocks"]["records"] is None
    assert told["blocks"]["used_bytes"] > COUNT * SIZE
    assert cache(folder, word)["blocks"]["records"] == 0


def test_without_a_directory_there_is_nothing_to_show() -> None:
    done = s3zipfs("cache", "info", "--cache-dir", "none")
    assert_one_line(done, "cache_dir", code=2)


def test_a_bound_that_is_too_small_is_refused(tmp_path: Path) -> None:
    done = s3zipfs("cache", "info", "--cache-dir", str(tmp_path), "--cache-size", "1M")
    assert_one_line(done, "--cache-size", "64M", code=2)
