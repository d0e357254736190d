"""Blocks on disk against a model, damaged in every way, full, removed, and shared."""

from __future__ import annotations

import logging
import os
import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from s3zipfs.budget import MemoryBudget
from s3zipfs.cache import blockwriter
from s3zipfs.cache.blockindex import FILE, BlockIndex
from s3zipfs.cache.blockreader import plan_gaps
from s3zipfs.cache.disk import FOLDER, DiskCache
from s3zipfs.cache.records import CHUNK, FORMAT, head_size, identity_of
from s3zipfs.stores.base import ObjectId
from s3zipfs.waiting import Wait

OID = ObjectId("http://here", "lab", "a.zip", '"1"')
OTHERS = [
    ObjectId("http://there", "lab", "a.zip", '"1"'),
    ObjectId("http://here", "lad", "a.zip", '"1"'),
    ObjectId("http://here", "lab", "b.zip", '"1"'),
    ObjectId("http://here", "lab", "a.zip", '"2"'),
    ObjectId("http://here", "lab", "a.zip", '"1"', "v1"),
]
MAX = 64 << 20
SEGMENT = 1 << 20
SECONDS = 30.0
WAIT = Wait(SECONDS)

Make = Callable[..., DiskCache]


def content(start: int, end: int) -> bytes:
    """What every object of these tests holds there."""
    first = start - start % 8
    whole = b"".join((at * 2654435761 % 2**64).to_bytes(8, "big") for at in range(first, end, 8))
    return whole[start - first : end - first]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def make(folder: Path) -> Iterator[Make]:
    """`make()`: a cache in the test's folder, closed after it."""
    made: list[DiskCache] = []

    def new(max_bytes: int = MAX, segment: int = SEGMENT, retry: float = 0.0) -> DiskCache:
        budget = MemoryBudget(256 << 20)
        made.append(
            DiskCache(
                folder,
                max_bytes=max_bytes,
                budget=budget,
                segment_bytes=segment,
                retry_seconds=retry,
            )
        )
        return made[-1]

    yield new
    for each in made:
        each.close()


def put(cache: DiskCache, start: int, end: int, oid: ObjectId = OID) -> None:
    cache.offer(oid, start, memoryview(content(start, end)))
    assert cache.flush(SECONDS)


def got(cache: DiskCache, start: int, end: int, oid: ObjectId = OID) -> bytes | None:
    """The range, where all of it is on disk."""
    held = cache.look(oid, start, end)
    return None if held is None or held.gaps else bytes(held.data)


def segments(folder: Path) -> list[Path]:
    return sorted((folder / FOLDER).glob("*.seg"))


def size_of(folder: Path) -> int:
    return sum(file.stat().st_blocks * 512 for file in (folder / FOLDER).iterdir())


# What is kept


def test_what_was_offered_is_read_by_the_next_process(make: Make) -> None:
    first = make()
    put(first, 100, 300_000)
    first.close()
    second = make()
    assert got(second, 100, 300_000) == content(100, 300_000)
    assert second.counts.hits == 1


def test_a_part_of_a_record_is_read_without_the_whole(make: Make) -> None:
    cache = make()
    put(cache, 0, 700_000)
    for start, end in ((0, 1), (699_999, 700_000), (CHUNK - 1, CHUNK + 1), (1, 699_999)):
        assert got(cache, start, end) == content(start, end)


def test_records_that_touch_are_put_together(make: Make) -> None:
    cache = make()
    for start in range(0, 500_000, 50_000):
        put(cache, start, start + 50_000)
    assert got(cache, 49_999, 450_001) == content(49_999, 450_001)


def test_of_a_range_that_is_partly_there_the_rest_is_told(make: Make) -> None:
    cache = make()
    put(cache, 100_000, 200_000)
    held = cache.look(OID, 50_000, 300_000)
    assert held is not None
    assert held.gaps == ((50_000, 100_000), (200_000, 300_000))
    for gap in held.gaps:
        held.put(gap[0], memoryview(content(*gap)))
    assert bytes(held.data) == content(50_000, 300_000)
    assert cache.counts.partial == 1


@pytest.mark.parametrize("other", OTHERS, ids=str)
def test_nothing_is_read_for_another_version(make: Make, other: ObjectId) -> None:
    cache = make()
    put(cache, 0, 1000)
    assert got(cache, 0, 1000, other) is None
    assert cache.counts.misses == 1


def test_what_was_forgotten_is_not_there(make: Make) -> None:
    cache = make()
    for start in (0, 1000, 2000):
        put(cache, start, start + 1000)
    cache.discard(OID, 1500, 1501)
    assert cache.flush(SECONDS)
    assert got(cache, 1000, 2000) is None
    assert got(cache, 0, 1000) == content(0, 1000)
    assert got(cache, 2000, 3000) == content(2000, 3000)


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from(["offer", "look", "discard", "restart"]),
            st.sampled_from([OID, OTHERS[3]]),
            st.integers(0, 400_000),
            st.integers(1, 200_000),
        ),
        max_size=25,
    )
)
def test_every_byte_is_that_of_the_model(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, ObjectId, int, int]]
) -> None:
    folder = tmp_path_factory.mktemp("model")

    def new() -> DiskCache:
        budget = MemoryBudget(256 << 20)
        return DiskCache(folder, max_bytes=MAX, budget=budget, segment_bytes=SEGMENT)

    cache = new()
    kept: dict[ObjectId, set[range]] = {OID: set(), OTHERS[3]: set()}
    for verb, oid, start, length in steps:
        end = start + length
        if verb == "offer":
            put(cache, start, end, oid)
            kept[oid].add(range(start, end))
        elif verb == "discard":
            cache.discard(oid, start, end)
            assert cache.flush(SECONDS)
            kept[oid] = {r for r in kept[oid] if r.stop <= start or r.start >= end}
        elif verb == "restart":
            cache.close()
            cache = new()
        elif (held := cache.look(oid, start, end)) is not None:
            here = set().union(*(range(a, b) for a, b in held.gaps))
            for at in range(0, length, 997):
                if start + at in here:
                    continue
                assert any(start + at in r for r in kept[oid])
                assert held.data[at] == content(start + at, start + at + 1)[0]
    cache.close()
    shutil.rmtree(folder)


def test_gaps_around_few_bytes_are_one_get() -> None:
    assert plan_gaps([(100, 200)], 0, 1000) == ((0, 1000),)
    assert plan_gaps([(0, 10), (900, 1000)], 0, 1000) == ((10, 900),)
    large = 1 << 20
    assert plan_gaps([(large, 2 * large)], 0, 3 * large) == ((0, large), (2 * large, 3 * large))


# The bound


def test_the_least_recently_used_segment_goes_first(make: Make, folder: Path) -> None:
    bound = 16 << 20
    cache = make(bound)
    step = SEGMENT - head_size(SEGMENT) - 4096  # one block is one segment
    count = 10
    for number in range(count):
        put(cache, number * step, (number + 1) * step)
    assert got(cache, 0, step) == content(0, step)  # now it is the last used
    assert cache.flush(SECONDS)
    number = count
    while not cache.counts.evicted:
        put(cache, number * step, (number + 1) * step)
        number += 1
    assert got(cache, 0, 100) == content(0, 100)
    assert got(cache, step, step + 100) is None
    assert not (folder / FOLDER / "2.seg").exists()


def test_the_disk_never_takes_more_than_its_bound(make: Make, folder: Path) -> None:
    bound = 8 << 20
    cache = make(bound, segment=256 << 10)
    for number in range(300):
        cache.offer(OID, number * 100_000, memoryview(content(0, 90_000)))
        if number % 20 == 0:
            assert cache.flush(SECONDS)
            assert size_of(folder) <= bound
    assert cache.flush(SECONDS)
    assert size_of(folder) <= bound
    assert cache.counts.evicted > 0


def test_a_smaller_bound_holds_after_the_next_write(make: Make, folder: Path) -> None:
    first = make(64 << 20)
    for number in range(20):
        put(first, number << 20, (number << 20) + 1_000_000)
    first.close()
    second = make(8 << 20)
    put(second, 100 << 20, (100 << 20) + 1000)
    assert size_of(folder) <= 8 << 20


def test_a_block_larger_than_a_segment_is_dropped_and_counted(make: Make) -> None:
    cache = make(segment=64 << 10)
    put(cache, 0, 100_000)
    assert cache.counts.dropped == 1
    assert got(cache, 0, 100) is None


def test_what_the_disk_is_too_slow_for_is_dropped_and_never_waited_for(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = threading.Event()
    write = blockwriter.BlockWriter.write

    def slow(self: blockwriter.BlockWriter, batch: blockwriter.Batch) -> blockwriter.Outcome:
        assert disk.wait(SECONDS)
        return write(self, batch)

    monkeypatch.setattr(blockwriter.BlockWriter, "write", slow)
    cache = make()
    data = memoryview(bytes(8 << 20))
    for number in range(40):
        cache.offer(OID, number << 23, data)
    assert cache.counts.dropped > 0
    assert cache._budget.used <= cache._budget.limit
    disk.set()
    assert cache.flush(SECONDS)
    assert cache._budget.used == 0


def test_zero_bytes_keep_nothing(folder: Path) -> None:
    cache = DiskCache(folder, max_bytes=0, budget=MemoryBudget(64 << 20))
    cache.offer(OID, 0, memoryview(b"x"))
    assert cache.flush(SECONDS)
    assert cache.look(OID, 0, 1) is None
    assert not folder.exists()


# Privacy


def test_nobody_else_may_look_into_it(make: Make, folder: Path) -> None:
    mask = os.umask(0)
    try:
        put(make(), 0, 1000)
    finally:
        os.umask(mask)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / FOLDER).stat().st_mode & 0o777 == 0o700
    for file in (folder / FOLDER).iterdir():
        assert file.stat().st_mode & 0o777 == 0o600, file


def test_a_folder_that_others_may_write_to_is_not_used(
    make: Make, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (folder / FOLDER).mkdir(parents=True)
    (folder / FOLDER).chmod(0o777)
    cache = make()
    put(cache, 0, 1000)
    assert got(cache, 0, 1000) is None
    assert "not ours alone" in caplog.text


# Damage


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 0x10
    path.write_bytes(data)


@pytest.mark.parametrize("at", [0, 8, 28, 36, 40, 44, 60, 100_000])
def test_a_flipped_bit_is_discarded_and_written_again(make: Make, folder: Path, at: int) -> None:
    cache = make()
    put(cache, 0, 200_000)
    flip(segments(folder)[0], at)
    assert got(cache, 0, 200_000) is None
    assert cache.counts.discarded == 1
    assert cache.flush(SECONDS)
    assert cache.look(OID, 0, 1) is None
    assert cache.counts.discarded == 1  # forgotten, not met again
    put(cache, 0, 200_000)
    assert got(cache, 0, 200_000) == content(0, 200_000)


def test_a_flipped_bit_is_found_by_who_reads_that_part_alone(make: Make, folder: Path) -> None:
    cache = make()
    put(cache, 0, 400_000)
    flip(segments(folder)[0], head_size(400_000) + 300_000)
    assert got(cache, 0, 100_000) == content(0, 100_000)
    assert got(cache, 299_000, 301_000) is None
    assert cache.counts.discarded == 1


def test_a_truncated_segment_is_discarded(make: Make, folder: Path) -> None:
    cache = make()
    put(cache, 0, 200_000)
    put(cache, 200_000, 400_000)
    os.truncate(segments(folder)[0], 250_000)
    assert got(cache, 200_000, 400_000) is None
    assert got(cache, 0, 200_000) == content(0, 200_000)
    assert cache.counts.discarded == 1


def test_swapped_segments_are_discarded(make: Make, folder: Path) -> None:
    cache = make(segment=256 << 10)
    for number, oid in enumerate((OID, OTHERS[2])):
        cache.offer(oid, 0, memoryview(bytes([number]) * 200_000))
        assert cache.flush(SECONDS)
    one, two = segments(folder)
    one.rename(folder / "x")
    two.rename(one)
    (folder / "x").rename(two)
    assert got(cache, 0, 200_000) is None
    assert got(cache, 0, 200_000, OTHERS[2]) is None
    assert cache.counts.discarded == 2


def test_an_index_that_points_to_another_objects_record_is_not_believed(
    make: Make, folder: Path
) -> None:
    first = make()
    put(first, 0, 1000)
    put(first, 0, 1000, OTHERS[3])
    first.close()
    with sqlite3.connect(folder / FOLDER / FILE) as db:
        (offset,) = db.execute(
            "SELECT offset FROM records WHERE object = ?", (identity_of(OTHERS[3]).key,)
        ).fetchone()
        db.execute("UPDATE records SET offset = ? WHERE object = ?", (offset, identity_of(OID).key))
    db.close()
    second = make()
    assert got(second, 0, 1000) is None
    assert second.counts.discarded == 1


def test_a_removed_segment_is_a_miss(make: Make, folder: Path) -> None:
    first = make()
    put(first, 0, 1000)
    first.close()
    segments(folder)[0].unlink()
    cache = make()
    assert got(cache, 0, 1000) is None
    put(cache, 0, 1000)
    assert got(cache, 0, 1000) == content(0, 1000)
    assert cache.counts.failed == 0


def nonsense(path: Path) -> None:
    path.write_bytes(b"this is no database" * 1000)


def torn(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[4096:] = bytes(len(data) - 4096)  # all pages but the first
    path.write_bytes(data)


def cut(path: Path) -> None:
    os.truncate(path, 4096)


def emptied(path: Path) -> None:
    os.truncate(path, 0)


def rows_of_other_types(path: Path) -> None:
    with sqlite3.connect(path) as db:
        db.execute("UPDATE records SET offset = 'here'")
    db.close()


def rows_without_sense(path: Path) -> None:
    with sqlite3.connect(path) as db:
        db.execute('UPDATE records SET "end" = 1 << 60')
    db.close()


@pytest.mark.parametrize(
    "damage", [nonsense, torn, cut, emptied, rows_of_other_types, rows_without_sense]
)
def test_a_damaged_index_is_replaced(
    make: Make, folder: Path, caplog: pytest.LogCaptureFixture, damage: Callable[[Path], None]
) -> None:
    first = make()
    put(first, 0, 1000)
    first.close()
    damage(folder / FOLDER / FILE)
    cache = make()
    assert got(cache, 0, 1000) is None
    put(cache, 5000, 6000)
    put(cache, 0, 1000)
    assert got(cache, 0, 1000) == content(0, 1000)
    assert [path.name for path in folder.iterdir()] == [FOLDER]
    assert sum(record.levelno >= logging.WARNING for record in caplog.records) <= 1


def test_an_older_format_is_replaced(make: Make, folder: Path) -> None:
    (folder / FOLDER).mkdir(mode=0o700, parents=True)
    with sqlite3.connect(folder / FOLDER / FILE) as db:
        db.execute("CREATE TABLE blocks (name TEXT)")
        db.execute("PRAGMA user_version = -1")
    db.close()
    cache = make()
    assert got(cache, 0, 1000) is None
    put(cache, 0, 1000)
    assert got(cache, 0, 1000) == content(0, 1000)


def test_a_newer_format_is_left_alone(
    make: Make, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (folder / FOLDER).mkdir(mode=0o700, parents=True)
    with sqlite3.connect(folder / FOLDER / FILE) as db:
        db.execute(f"PRAGMA user_version = {FORMAT + 1}")
    db.close()
    before = (folder / FOLDER / FILE).read_bytes()
    cache = make()
    put(cache, 0, 1000)
    assert got(cache, 0, 1000) is None
    assert (folder / FOLDER / FILE).read_bytes() == before
    assert sum(record.levelno >= logging.WARNING for record in caplog.records) == 1


# Faults


def test_a_removed_folder_is_made_again(make: Make, folder: Path) -> None:
    cache = make()
    put(cache, 0, 1000)
    shutil.rmtree(folder)
    assert got(cache, 0, 1000) is None
    put(cache, 0, 1000)
    assert got(cache, 0, 1000) == content(0, 1000)
    assert cache.counts.failed == 0


def test_a_fault_is_told_once_and_the_disk_is_tried_again(
    make: Make, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder.write_text("in the way")
    cache = make()
    for _ in range(3):
        put(cache, 0, 1000)
        assert got(cache, 0, 1000) is None
    assert cache.counts.dropped == 3
    assert sum(record.levelno >= logging.WARNING for record in caplog.records) == 1
    folder.unlink()
    put(cache, 0, 1000)
    assert got(cache, 0, 1000) == content(0, 1000)


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), MemoryError()], ids=repr)
def test_an_error_while_reading_is_a_miss(
    make: Make, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    cache = make()
    put(cache, 0, 1000)

    def failing(*_: object) -> bytes:
        raise error

    with monkeypatch.context() as disk:
        disk.setattr(os, "pread", failing)
        assert cache.look(OID, 0, 1000) is None
    assert cache.counts.failed == 1
    assert got(cache, 0, 1000) == content(0, 1000)


def test_after_a_fault_the_disk_is_left_alone_for_a_while(make: Make, folder: Path) -> None:
    folder.write_text("in the way")
    cache = make(retry=3600)
    put(cache, 0, 1000)
    folder.unlink()
    put(cache, 0, 1000)
    assert cache.counts.failed == 1
    assert cache.counts.dropped == 2


def failing_once(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """The next batch is not written; told once one was."""
    write, written = blockwriter.BlockWriter.write, threading.Event()
    errors = [OSError(5, "Input/output error")]

    def failing(self: blockwriter.BlockWriter, batch: blockwriter.Batch) -> blockwriter.Outcome:
        if errors:
            raise errors.pop()
        outcome = write(self, batch)
        written.set()
        return outcome

    monkeypatch.setattr(blockwriter.BlockWriter, "write", failing)
    return written


def test_what_was_to_be_forgotten_while_the_disk_failed_is_with_the_next_block(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = make(retry=3600)
    put(cache, 0, 1000)
    put(cache, 5000, 6000)
    failing_once(monkeypatch)
    for start in (0, 5000):  # at the fault, and while the disk is left alone
        cache.discard(OID, start, start + 1000)
        assert cache.flush(SECONDS)
    cache._faults.works("writing")
    put(cache, 8000, 9000)
    assert got(cache, 0, 1000) is None
    assert got(cache, 5000, 6000) is None
    assert got(cache, 8000, 9000) == content(8000, 9000)


def test_what_was_to_be_forgotten_is_so_though_nothing_else_is_written(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("s3zipfs.cache.disk.IDLE_SECONDS", 0.01)
    cache = make()
    put(cache, 0, 1000)
    written = failing_once(monkeypatch)
    cache.discard(OID, 0, 1000)
    assert written.wait(SECONDS)
    assert got(cache, 0, 1000) is None


def test_a_damaged_record_that_was_met_while_the_disk_failed_is_forgotten_later(
    make: Make, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = make()
    put(cache, 0, 1000)
    flip(segments(folder)[0], head_size(1000) + 500)
    failing_once(monkeypatch)
    assert got(cache, 0, 1000) is None
    assert cache.flush(SECONDS)
    put(cache, 5000, 6000)
    assert got(cache, 0, 1000) is None
    assert cache.counts.discarded == 1, "it was met again"


def test_of_what_is_to_be_forgotten_no_more_is_kept_than_a_bound(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("s3zipfs.cache.disk.MOST_AGAIN", 3)
    cache = make(retry=3600)
    failing_once(monkeypatch)
    for start in range(10):
        cache.discard(OID, start, start + 1)
        assert cache.flush(SECONDS)
    assert [start for _, start, _ in cache._again.ranges] == [7, 8, 9]


# Several processes


def test_two_that_write_see_what_the_other_wrote(make: Make) -> None:
    one, two = make(), make()
    for number in range(20):
        put((one, two)[number % 2], number * 100_000, (number + 1) * 100_000)
    for cache in (one, two):
        assert got(cache, 0, 2_000_000) == content(0, 2_000_000)


def test_two_that_write_keep_one_bound(make: Make, folder: Path) -> None:
    bound = 16 << 20
    caches = [make(bound), make(bound)]
    for number in range(60):
        put(caches[number % 2], number * 500_000, (number + 1) * 500_000)
        assert size_of(folder) <= bound
    assert got(caches[0], 29_500_000, 30_000_000) == content(29_500_000, 30_000_000)


def test_the_segment_of_one_that_ended_is_continued(make: Make, folder: Path) -> None:
    for number in range(5):
        cache = make()
        put(cache, number * 1000, (number + 1) * 1000)
        cache.close()
    assert len(segments(folder)) == 1
    assert got(make(), 0, 5000) == content(0, 5000)


def test_the_segment_that_another_evicted_is_given_up(make: Make) -> None:
    cache = make()
    put(cache, 0, 1000)
    other = make()
    put(other, 5000, 6000)
    with BlockIndex(other._folder or Path(), timeout=SECONDS) as index, index.transaction():
        for number in (1, 2):
            index.drop_segment(number)
    put(cache, 1000, 2000)  # dropped, as its segment is gone
    put(cache, 2000, 3000)
    assert got(cache, 2000, 3000) == content(2000, 3000)


def test_a_start_and_a_look_read_no_more_than_the_rows_they_need(
    make: Make, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """100,000 records: no listing, and each statement finds its rows by a key."""
    first = make()
    put(first, 0, 1000)
    first.close()
    rows = ((7, at, at + 1, 1, 0) for at in range(100_000))
    with sqlite3.connect(folder / FOLDER / FILE) as db:
        db.executemany("INSERT INTO records VALUES (?, ?, ?, ?, ?)", rows)
    db.close()
    monkeypatch.setattr(os, "listdir", None)
    monkeypatch.setattr(os, "scandir", None)
    steps = 0

    def count() -> int:
        nonlocal steps
        steps += 1
        return 0

    connect = sqlite3.connect

    def counted(*args: object, **options: object) -> sqlite3.Connection:
        connection: sqlite3.Connection = connect(*args, **options)  # type: ignore[call-overload]
        connection.set_progress_handler(count, 1)
        return connection

    monkeypatch.setattr(sqlite3, "connect", counted)
    second = make()
    assert got(second, 0, 1000) == content(0, 1000)
    assert 0 < steps < 500  # instructions of SQLite's machine; a scan takes several for each row


def test_gaps_are_what_was_not_written(make: Make) -> None:
    cache = make()
    assert cache.gaps(OID, 0, 1000) == ((0, 1000),)
    for start, end in ((0, CHUNK), (4 * CHUNK, 5 * CHUNK), (40 * CHUNK, 41 * CHUNK)):
        assert cache.put(OID, start, memoryview(content(start, end)), WAIT)
    assert cache.flush(SECONDS)
    assert cache.gaps(OID, 0, CHUNK) == ()
    assert cache.gaps(OID, 10, 4 * CHUNK + 10) == ((CHUNK, 4 * CHUNK),)
    assert cache.reach(OID, 10, 50 * CHUNK) == CHUNK
    far = 600 * CHUNK  # more than a record may have
    assert cache.gaps(OID, 0, far) == (
        (CHUNK, 4 * CHUNK),
        (5 * CHUNK, 40 * CHUNK),
        (41 * CHUNK, far),
    )
    assert cache.gaps(OTHERS[0], 0, CHUNK) == ((0, CHUNK),)


def test_what_is_put_takes_the_place_of_what_lies_in_it(make: Make, folder: Path) -> None:
    """Of records that overlap a look-up may see the shorter one alone."""
    cache = make()
    for start in range(0, 8 * CHUNK, CHUNK):
        cache.put(OID, start, memoryview(bytes(CHUNK)), WAIT)
    assert cache.flush(SECONDS)
    assert cache.put(OID, 0, memoryview(content(0, 9 * CHUNK)), WAIT)
    assert cache.flush(SECONDS)
    with BlockIndex(folder / FOLDER, timeout=SECONDS) as index:
        assert index.totals()[2] == 1
    held = cache.look(OID, 0, 9 * CHUNK)
    assert held is not None
    assert not held.gaps
    assert bytes(held.data) == content(0, 9 * CHUNK)


def test_put_loses_nothing_however_much_comes_at_once(make: Make) -> None:
    cache = make(segment=16 << 20)
    size = 4 << 20
    with ThreadPoolExecutor(8) as pool:
        starts = range(0, 12 * size, size)
        put = [
            pool.submit(cache.put, OID, start, memoryview(bytes(size)), WAIT) for start in starts
        ]
    assert all(each.result() for each in put)
    assert cache.flush(SECONDS)
    assert cache.counts.dropped == 0
    assert cache.gaps(OID, 0, 12 * size) == ()


def test_a_cache_that_keeps_nothing_takes_nothing(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path, max_bytes=0, budget=MemoryBudget(MAX))
    assert not cache.put(OID, 0, memoryview(b"1"), WAIT)
    assert cache.gaps(OID, 0, 1) == ((0, 1),)
