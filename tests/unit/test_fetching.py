"""What an object's reader has fetched: all of it once, and nothing is left that nobody brings."""

from __future__ import annotations

from s3zipfs.budget import MemoryBudget
from s3zipfs.cache.extents import ExtentCache
from s3zipfs.cache.planned import PlannedGets
from s3zipfs.cache.reader import ObjectReader
from s3zipfs.stores.base import ObjectId, ObjectInfo
from s3zipfs.waiting import Wait

MIB = 1 << 20
READ = 64 << 10
WAIT = Wait(5.0)
INFO = ObjectInfo(ObjectId("http://here", "lab", "a.zip", '"1"'), 96 * MIB, 0.0)


def test_what_was_asked_for_together_is_not_dropped_before_it_is_read() -> None:
    """96 MiB, of which a quarter of the memory may be kept once it is read."""
    cache = ExtentCache(MemoryBudget(256 * MIB), most_read=64 * MIB)
    gets = PlannedGets(cache, window=8 * MIB, disk=None, known=[])
    reader = ObjectReader(INFO, gets)
    reader.start(0, INFO.size)
    for start in range(0, INFO.size, READ):
        reader.read(start, start + READ, WAIT)
    assert (len(gets.gets), gets.bytes) == (12, INFO.size)


def test_what_is_fetched_for_reads_to_come_was_found_by_none() -> None:
    cache = ExtentCache(MemoryBudget(64 * MIB))
    reader = ObjectReader(INFO, PlannedGets(cache, window=MIB, disk=None, known=[]))
    reader.start(0, MIB)
    reader.start(0, MIB)
    assert cache.counts.found == 0
    reader.read(0, MIB, WAIT)
    assert cache.counts.found == MIB
