"""A process that may have no more threads, for a moment: each job is run once, or told not to be.

An executor that can't start a thread raises, with the job in its queue already.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from s3zipfs.budget import MemoryBudget
from s3zipfs.cache.disk import DiskCache
from s3zipfs.stores.base import ObjectId
from s3zipfs.stores.threads import Threads

SECONDS = 30.0
OID = ObjectId("http://here", "lab", "a.zip", '"1"')

Refuse = Callable[[str], None]


@pytest.fixture
def refuse(monkeypatch: pytest.MonkeyPatch) -> Refuse:
    """`refuse(prefix)`: the next thread of such a name is not started."""
    start, names = threading.Thread.start, set[str]()

    def refusing(self: threading.Thread) -> None:
        for prefix in names:
            if self.name.startswith(prefix):
                names.remove(prefix)
                raise RuntimeError("can't start new thread")
        start(self)

    monkeypatch.setattr(threading.Thread, "start", refusing)
    return names.add


def test_a_job_that_was_refused_is_not_run_later(refuse: Refuse) -> None:
    threads, gate, ran = Threads(2, name="fetch"), threading.Event(), list[str]()

    def first() -> None:
        assert gate.wait(SECONDS)

    assert threads.start(first)
    refuse("fetch")
    assert not threads.start(lambda: ran.append("refused"))
    assert threads.start(lambda: ran.append("next"))
    gate.set()
    threads._pool.shutdown(wait=True)
    assert ran == ["next"]
    assert threads._free._value == 2, "a place was given back twice, or never"


def test_a_job_that_a_thread_took_all_the_same_is_under_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    threads, ran = Threads(2, name="fetch"), list[str]()
    submit = threads._pool.submit

    def taken(*arguments: object) -> None:
        submit(*arguments).result(SECONDS)  # type: ignore[arg-type]
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threads._pool, "submit", taken)
    assert threads.start(lambda: ran.append("taken"))
    assert ran == ["taken"]
    assert threads._free._value == 2


def test_who_is_interrupted_as_he_starts_a_job_leaves_its_place_free(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    threads = Threads(1, name="fetch")
    with monkeypatch.context() as patch:
        patch.setattr(threads._pool, "submit", interrupted)
        with pytest.raises(KeyboardInterrupt):
            threads.start(lambda: None)
    assert threads.start(lambda: None)
    threads._pool.shutdown(wait=True)


@pytest.fixture
def disk(tmp_path: Path) -> DiskCache:
    budget = MemoryBudget(64 << 20)
    return DiskCache(tmp_path, max_bytes=64 << 20, budget=budget, retry_seconds=0.0)


def test_where_the_writer_could_not_be_started_the_next_block_is_written(
    disk: DiskCache, refuse: Refuse
) -> None:
    refuse("s3zipfs-disk-writer")
    disk.offer(OID, 0, memoryview(b"refused"))
    assert (disk.counts.dropped, disk.counts.failed) == (1, 1)
    assert disk._budget.used == 0
    disk.offer(OID, 0, memoryview(b"written"))
    assert disk.flush(SECONDS)
    held = disk.look(OID, 0, 7)
    assert held is not None
    assert bytes(held.data) == b"written"
    disk.close()


def test_a_disk_whose_writer_could_not_be_started_is_closed(
    disk: DiskCache, refuse: Refuse
) -> None:
    refuse("s3zipfs-disk-writer")
    disk.discard(OID, 0, 7)
    disk.close()


def test_what_may_wait_for_the_disk_is_run_once_where_no_thread_can_be_started(
    disk: DiskCache, refuse: Refuse
) -> None:
    ran: list[str] = []
    refuse("s3zipfs-disk_")
    disk.run(lambda: ran.append("refused"))
    assert ran == ["refused"]
    disk.run(lambda: ran.append("next"))
    disk.close()
    assert ran == ["refused", "next"]
