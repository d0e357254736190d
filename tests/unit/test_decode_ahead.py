"""Streams that go on while what they made is read."""

from __future__ import annotations

import random
import threading
import time
import zlib
from collections.abc import Callable, Hashable, Iterator

import packed
import pytest
from mounting import wait_until

from s3zipfs.archive import decodeahead
from s3zipfs.archive.decodeahead import DecodeAhead
from s3zipfs.archive.inflate import PIECE
from s3zipfs.archive.streaming import StreamReader
from s3zipfs.archive.streampool import Stream, StreamPool
from s3zipfs.budget import MemoryBudget
from s3zipfs.cache.extents import ExtentCache
from s3zipfs.errors import BadMember, DeadlineExceeded
from s3zipfs.waiting import Transfer, Wait
from s3zipfs.zipformat.member import Member
from s3zipfs.zipformat.methods import DEFLATED

WAIT = Wait(30)
PART = 1 << 20
_NUMBERS = random.Random(1)
_TEXT = b"".join(b"value %d\n" % _NUMBERS.getrandbits(40) for _ in range(100_000))
CONTENT = (_TEXT * 20)[: 32 << 20]
DATA = packed.deflate(CONTENT)


class Watched(ExtentCache):
    """Tells how far what nobody had asked for is kept."""

    kept_ahead = 0  # where the furthest such piece ended

    def keep(self, content: Hashable, start: int, data: memoryview, *, asked: int | None) -> bool:
        kept = super().keep(content, start, data, asked=asked)
        if kept and asked is None:
            self.kept_ahead = start + len(data)
        return kept


class Reading:
    """One member with cache, pool and threads of its own; `before` is called for each raw read."""

    def __init__(self, limit: int = 128 << 20, data: bytes = DATA) -> None:
        self.cache = Watched(MemoryBudget(limit))
        self.pool = StreamPool(MemoryBudget(limit))
        self.ahead = DecodeAhead(self.pool)
        self.data = data
        self.before: Callable[[int, Wait], None] = lambda _start, _wait: None
        self.begun = 0
        self.member = Member(
            number=1,
            raw_name=b"m",
            local_header_offset=0,
            compressed_size=len(data),
            uncompressed_size=len(CONTENT),
            crc32=zlib.crc32(CONTENT),
            method=DEFLATED,
            flags=0,
            mode=0o100444,
            modified=0.0,
        )
        self.source = StreamReader(
            self.member, "x", self.cache, self.pool, self._read_raw, ahead=self.ahead
        )

    @property
    def kept_ahead(self) -> int:
        return self.cache.kept_ahead

    def _read_raw(self, start: int, end: int, wait: Wait) -> memoryview:
        self.before(start, wait)
        self.begun += start == 0 and end > PIECE // 8
        return memoryview(self.data)[start:end]

    def read(self, start: int, length: int = PART, wait: Wait = WAIT) -> bytes:
        end = min(start + length, len(CONTENT))
        return b"".join(self.source.read(start, end, wait))

    def read_all(self, start: int, wait: Wait) -> None:
        for at in range(start, len(CONTENT), PART):
            self.read(at, wait=wait)

    def is_idle(self) -> bool:
        stream = self.pool.nearest("x", 0, len(CONTENT))
        return stream is None or not stream.is_followed


@pytest.fixture
def reading() -> Iterator[Reading]:
    made = Reading()
    yield made
    made.ahead.close()


def test_who_reads_in_order_finds_it_decoded(reading: Reading) -> None:
    # Two reads, so that it begins at the second: a third one finds half as much ahead enough.
    assert reading.read(0) == CONTENT[:PART]
    assert reading.read(PART, 3 * PART) == CONTENT[PART : 4 * PART]
    wait_until(lambda: reading.kept_ahead >= 8 << 20, seconds=30, what="nothing was decoded ahead")
    wait_until(reading.is_idle, seconds=30, what="it is still at work")
    assert reading.kept_ahead < (8 << 20) + 2 * PIECE, "as much ahead as was read, and no more"
    assert reading.cache.counts.ahead_used == 0, "going on is no use of what was decoded"

    def refuse(_start: int, _wait: Wait) -> None:
        raise AssertionError("it is in memory")

    reading.before = refuse
    assert reading.read(4 << 20, 3 << 20) == CONTENT[4 << 20 : 7 << 20]


def test_what_was_given_back_while_its_follower_left_is_gone_on_with(
    reading: Reading, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That one met it in use, and counted as following when the last reader looked."""
    may_leave, taken = threading.Event(), iter([False])
    take_idle, left = reading.pool.take_idle, reading.ahead._left
    monkeypatch.setattr(
        reading.pool, "take_idle", lambda stream: next(taken, True) and take_idle(stream)
    )

    def leave(stream: Stream) -> None:
        may_leave.wait(30)
        left(stream)

    monkeypatch.setattr(reading.ahead, "_left", leave)
    for at in range(0, 4 << 20, PART):
        reading.read(at)
    assert reading.kept_ahead == 0
    may_leave.set()
    wait_until(lambda: reading.kept_ahead >= 8 << 20, seconds=30, what="nobody went on")


def test_all_of_it_is_right_and_decoded_once(reading: Reading) -> None:
    assert b"".join(reading.read(at) for at in range(0, len(CONTENT), PART)) == CONTENT
    assert reading.kept_ahead > 0
    assert reading.begun == 1


def test_readers_of_one_window_side_by_side_are_followed_too(reading: Reading) -> None:
    wrong: list[int] = []

    def read_every_fourth(first: int) -> None:
        wrong.extend(
            at
            for at in range(first * PART, len(CONTENT), 4 * PART)
            if reading.read(at) != CONTENT[at : at + PART]
        )

    threads = [threading.Thread(target=read_every_fourth, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_random_reads_are_not_followed(reading: Reading) -> None:
    order = random.Random(2)
    for _ in range(20):
        at = order.randrange(len(CONTENT) - 65536)
        assert reading.read(at, 65536) == CONTENT[at : at + 65536]
    assert reading.kept_ahead == 0


def test_where_there_is_no_memory_nothing_is_lost() -> None:
    reading = Reading(limit=4 << 20)
    assert b"".join(reading.read(at) for at in range(0, len(CONTENT), PART)) == CONTENT
    assert reading.begun == 1, "it began anew"
    reading.ahead.close()


def test_a_store_that_stalls_is_left_to_who_waits(reading: Reading) -> None:
    """The reader's own deadline counts, not one after another."""
    stalled: Transfer[memoryview] = Transfer()
    waiting = threading.Event()
    for at in range(0, 4 << 20, PART):
        reading.read(at)
    wait_until(reading.is_idle, seconds=30, what="it is still at work")

    def stall(_start: int, wait: Wait) -> None:
        waiting.set()
        wait.result(stalled)

    reading.before = stall
    begun = time.monotonic()
    with pytest.raises(DeadlineExceeded):
        reading.read_all(4 << 20, wait=Wait(2))
    assert waiting.is_set()
    assert time.monotonic() - begun < 2 + 2, "a deadline passes by 2 s at most"
    reading.before = lambda _start, _wait: None
    assert reading.read(20 << 20) == CONTENT[20 << 20 : 21 << 20]
    assert reading.begun == 1


def test_damage_that_is_met_ahead_is_told_to_who_reads_it() -> None:
    data = bytearray(DATA)
    data[len(data) // 2 :] = bytes(len(data) - len(data) // 2)
    reading = Reading(data=bytes(data))
    with pytest.raises(BadMember):
        reading.read_all(0, wait=WAIT)
    assert reading.kept_ahead > 0
    reading.ahead.close()


def test_closing_ends_it(reading: Reading) -> None:
    for at in range(0, 4 << 20, PART):
        reading.read(at)
    reading.ahead.close()
    assert reading.is_idle()
    kept = reading.kept_ahead
    for at in range(4 << 20, 8 << 20, PART):
        assert reading.read(at) == CONTENT[at : at + PART]
    assert reading.kept_ahead == kept


def test_the_last_piece_is_left_to_who_reads_it(reading: Reading) -> None:
    for at in range(0, len(CONTENT) - PART, PART):
        reading.read(at)
    wait_until(reading.is_idle, seconds=30, what="it is still at work")
    assert len(CONTENT) - 2 * decodeahead.TURN <= reading.kept_ahead <= len(CONTENT) - 1
