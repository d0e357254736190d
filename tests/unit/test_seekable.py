"""Checkpoints of deflate data: taken anywhere, resumed there, kept as bytes; and the passes."""

from __future__ import annotations

import random
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from isal import isal_zlib
from mounting import wait_until

from s3zipfs.archive import checkpoints as checkpoints_module
from s3zipfs.archive import indexing, libz
from s3zipfs.archive.checkpointing import CheckpointingDeflate
from s3zipfs.archive.checkpoints import (
    Checkpoint,
    Checkpoints,
    ResumedDeflate,
    compressed_window,
    from_bytes,
)
from s3zipfs.archive.decoders import Decoder
from s3zipfs.archive.indexing import Indexer, IndexingPass
from s3zipfs.archive.inflate import RawRead
from s3zipfs.errors import (
    BadMember,
    DeadlineExceeded,
    Interrupted,
    OutOfResources,
    StoreUnavailable,
)
from s3zipfs.waiting import Transfer, Wait
from s3zipfs.zipformat.member import Member
from s3zipfs.zipformat.methods import DEFLATED

WAIT = Wait(60)
SPACING = 20_000

_RANDOM = random.Random(7)
TEXT = b"".join(b"value %d,%d\n" % (_RANDOM.getrandbits(40), n) for n in range(20_000))
MIXED = TEXT[:200_000] + _RANDOM.randbytes(150_000) + bytes(300_000) + TEXT[200_000:]


def zlib_data(level: int, strategy: int = 0, memory: int = 8) -> bytes:
    packer = zlib.compressobj(level, zlib.DEFLATED, -15, memory, strategy)
    return packer.compress(MIXED) + packer.flush()


def one_fixed_block() -> bytes:
    """Literals, then matches of 258 bytes at distance 1 (RFC 1951, 3.2.6)."""
    literals = [f"{0x30 + v:08b}" if v < 144 else f"{0x190 + v - 144:09b}" for v in MIXED]
    bits = "".join(["1", "10", *literals, *["11000101" + "00000"] * 1000, "0000000"])
    return int(bits[::-1], 2).to_bytes(-(-len(bits) // 8), "little")


MADE: dict[str, Callable[[], bytes]] = {
    **{f"zlib {level}": lambda level=level: zlib_data(level) for level in range(10)},  # type: ignore[misc]
    "zlib, fixed codes": lambda: zlib_data(6, zlib.Z_FIXED),
    "zlib, no matches": lambda: zlib_data(6, zlib.Z_HUFFMAN_ONLY),
    "zlib, runs": lambda: zlib_data(6, zlib.Z_RLE),
    "zlib, small blocks": lambda: zlib_data(9, memory=1),
    "zlib, large blocks": lambda: zlib_data(9, memory=9),
    "isal, one block": lambda: isal_zlib.compress(MIXED, 0, wbits=-15),
    "isal": lambda: isal_zlib.compress(MIXED, 2, wbits=-15),
    "one fixed block": one_fixed_block,
}

every_writer = pytest.mark.parametrize("name", MADE)


def produce(decoder: Decoder, data: bytes, at: int, size: int, feed: int, limit: int) -> bytes:
    """At least `size` bytes of what the decoder makes of `data` from `at` on, or all it can."""
    made = bytearray()
    while len(made) < size and not decoder.complete:
        piece = b""
        if decoder.needs_input:
            piece = data[at : at + feed]
            at += len(piece)
            if not piece:
                break
        made += decoder.decode(piece, limit)
    return bytes(made)


def taken(data: bytes, feed: int = 4000, limit: int = 10_000) -> tuple[bytes, Checkpoints]:
    """What a pass over the data makes, and leaves."""
    left = Checkpoints(spacing=SPACING)
    return produce(CheckpointingDeflate(left), data, 0, 1 << 40, feed, limit), left


def all_of(held: Checkpoints) -> list[Checkpoint]:
    found = []
    following = held.after(0)
    while following is not None:
        found.append(following)
        following = held.after(following.position + 1)
    return found


def resumed(at: Checkpoint, data: bytes) -> ResumedDeflate:
    end = -(-(at.header + at.header_bits) // 8)
    return ResumedDeflate(at, data[at.header // 8 : end])


@every_writer
@pytest.mark.parametrize(("feed", "limit"), [(700, 3000), (131_072, 1 << 19)])
def test_inflating_resumes_at_every_checkpoint(name: str, feed: int, limit: int) -> None:
    data = MADE[name]()
    content = zlib.decompress(data, -15)
    made, left = taken(data, feed, min(limit, SPACING))
    assert made == content
    found = all_of(left)
    assert len(found) > len(content) // (4 * SPACING)
    for each in found:
        for size in (1, 50_000, len(content)):
            part = produce(resumed(each, data), data, each.start, size, feed, limit)
            assert part == content[each.position : each.position + len(part)]
            assert len(part) >= min(size, len(content) - each.position)


@every_writer
def test_checkpoints_are_near_every_byte(name: str) -> None:
    _, left = taken(MADE[name]())
    positions = [0, *(each.position for each in all_of(left))]
    # Twice the spacing, a stored block at most, and what is made at once.
    most = 2 * SPACING + 65_536 + 10_000
    assert max(b - a for a, b in pairwise(positions)) <= most


def test_within_one_block_the_header_is_kept_and_between_blocks_not() -> None:
    _, left = taken(MADE["isal, one block"]())
    assert all(each.header_bits > 0 for each in all_of(left))
    _, left = taken(MADE["zlib, small blocks"]())
    assert not any(each.header_bits for each in all_of(left))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_random_parts_of_random_data_are_true(drawn: st.DataObject) -> None:
    order = drawn.draw(st.randoms(use_true_random=False))
    parts = []
    for _ in range(order.randrange(1, 6)):
        kind = order.randrange(3)
        size = order.randrange(1, 60_000)
        at = order.randrange(len(TEXT) // 2)
        parts.append((TEXT[at : at + size], order.randbytes(size), bytes(size))[kind])
    content = b"".join(parts)
    packer = zlib.compressobj(
        order.randrange(10), zlib.DEFLATED, -15, order.randrange(1, 10), order.randrange(5)
    )
    data = packer.compress(content) + packer.flush()
    held = Checkpoints(spacing=order.randrange(1, 30_000))
    feed, limit = order.randrange(1, 5000) + 50, order.randrange(1, 30_000) + 100
    made = produce(CheckpointingDeflate(held), data, 0, 1 << 40, feed, limit)
    assert made == content
    for _ in range(8):
        start = order.randrange(len(content))
        found = held.before(start)
        if found is None:
            continue
        assert found.position <= start
        part = produce(resumed(found, data), data, found.start, 40_000, feed, limit)
        assert part == content[found.position : found.position + len(part)]


def test_all_eight_places_in_a_byte_are_met() -> None:
    """The bits before a checkpoint's are filled with empty blocks, even and odd ones."""
    met = {
        (e.bit % 8, bool(e.header_bits)) for name in MADE for e in all_of(taken(MADE[name]())[1])
    }
    assert met == {(bit, within) for bit in range(8) for within in (False, True)}


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(["zlib 6", "zlib 0", "isal, one block"]), st.randoms(use_true_random=False))
def test_damaged_data_is_an_error_or_other_bytes_but_never_a_crash(
    name: str, order: random.Random
) -> None:
    data = bytearray(DATA[name])
    for _ in range(order.randrange(1, 5)):
        data[order.randrange(len(data))] ^= 1 << order.randrange(8)
    held = Checkpoints(spacing=SPACING)
    with suppress(BadMember):
        produce(CheckpointingDeflate(held), bytes(data), 0, 1 << 40, 5000, 10_000)
    for each in all_of(held):
        with suppress(BadMember):
            produce(resumed(each, bytes(data)), bytes(data), each.start, 30_000, 5000, 10_000)


DATA = {name: MADE[name]() for name in ("zlib 6", "zlib 0", "isal, one block")}


def test_data_behind_the_end_is_refused() -> None:
    data = DATA["zlib 6"]
    for after in (data + b"x", data + data):
        with pytest.raises(BadMember, match="goes on after its end"):
            taken(after, feed=len(after), limit=1 << 20)


# Kept


def test_checkpoints_are_the_same_after_a_way_through_bytes() -> None:
    _, left = taken(DATA["isal, one block"])
    data = left.to_bytes()
    found = from_bytes(
        memoryview(data), compressed_size=len(DATA["isal, one block"]), uncompressed_size=len(MIXED)
    )
    assert all_of(found) == all_of(left)
    assert found.nbytes == left.nbytes


def test_bytes_that_are_not_checkpoints_are_refused() -> None:
    _, left = taken(DATA["zlib 6"])
    data = left.to_bytes()
    sizes = {"compressed_size": len(DATA["zlib 6"]), "uncompressed_size": len(MIXED)}
    too_many = (1 << 40).to_bytes(8, "little") + data[8:]
    for wrong in (b"", data[:20], data[:-1], data + b"x", too_many):
        with pytest.raises(ValueError, match=r"short|checkpoints in|windows"):
            from_bytes(memoryview(wrong), **sizes)
    for smaller in ("compressed_size", "uncompressed_size"):
        with pytest.raises(ValueError, match="outside of the member"):
            from_bytes(memoryview(data), **{**sizes, smaller: 1000})


def test_there_are_never_more_than_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints_module, "MOST", 16)
    window = compressed_window(b"x")
    held = Checkpoints(spacing=1)
    for position in range(1, 2000):
        if position - held.last >= held.spacing:
            held.add(Checkpoint(position, 8 * position, 0, 0, window))
        assert len(held) <= 16
        before = held.before(position)
        assert position < held.spacing * 2 or (
            before and position - before.position < 3 * held.spacing
        )


# Passes


def member(
    content: bytes, data: bytes, *, crc32: int | None = None, size: int | None = None
) -> Member:
    return Member(
        number=1,
        raw_name=b"m",
        local_header_offset=0,
        compressed_size=len(data),
        uncompressed_size=len(content) if size is None else size,
        crc32=zlib.crc32(content) if crc32 is None else crc32,
        method=DEFLATED,
        flags=0,
        mode=0o100444,
        modified=0.0,
    )


class Source:
    """Compressed bytes that can be held back or refused, and are counted."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.read = 0
        self.free = threading.Event()
        self.free.set()
        self.fault: Exception | None = None

    def __call__(self, start: int, end: int, wait: Wait) -> memoryview:
        while not self.free.wait(0.01):
            wait.check()
        if self.fault is not None:
            raise self.fault
        self.read += end - start
        return memoryview(self._data)[start:end]


class Passed:
    """A pass over one member, as a table makes it."""

    def __init__(self, of: Member, data: bytes) -> None:
        self.source = Source(data)
        self.completed = threading.Event()
        self.job = IndexingPass(
            of, Checkpoints(spacing=SPACING), turned=lambda: None, completed=self.completed.set
        )


@pytest.fixture
def indexer() -> Iterator[Indexer]:
    running = Indexer()
    yield running
    running.close()
    assert running._thread is None


BIG = TEXT * 12  # 5 MB
PACKED = zlib.compress(BIG, 6, wbits=-15)


def passed(*, crc32: int | None = None, size: int | None = None) -> Passed:
    return Passed(member(BIG, PACKED, crc32=crc32, size=size), PACKED)


def test_all_who_wait_share_one_pass(indexer: Indexer) -> None:
    of = passed()
    of.source.free.clear()
    places = [1, 10_000, len(BIG) // 2, len(BIG), of.job.verdict] * 4
    threads = [
        threading.Thread(target=indexer.wait, args=(of.job, place, of.source, WAIT))
        for place in places
    ]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(of.job.waiting) == len(places), seconds=60, what="all wait")
    of.source.free.set()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    assert of.source.read == len(PACKED)
    assert of.completed.wait(60)
    assert of.job.reached == of.job.verdict


def test_a_place_near_the_start_does_not_wait_for_the_rest(indexer: Indexer) -> None:
    of = passed()
    feeding = threading.Semaphore(1)

    def slowly(start: int, end: int, wait: Wait) -> memoryview:
        while not feeding.acquire(timeout=0.01):
            wait.check()
        return of.source(start, end, wait)

    indexer.wait(of.job, 1000, slowly, WAIT)
    assert 1000 <= of.job.reached < len(BIG) // 2


@pytest.mark.parametrize("lies", [{"crc32": 1}, {"size": len(BIG) - 1}, {"size": len(BIG) + 1}])
def test_a_member_that_is_not_what_it_says_has_no_verdict(
    indexer: Indexer, lies: dict[str, int]
) -> None:
    of = passed(**lies)
    for _ in range(2):
        with pytest.raises(BadMember):
            indexer.wait(of.job, of.job.verdict, of.source, WAIT)
    assert not of.completed.is_set()
    assert isinstance(of.job.error, BadMember)


def test_a_store_that_fails_costs_no_more_than_what_was_under_way(indexer: Indexer) -> None:
    of = passed()
    indexer.wait(of.job, 1, of.source, WAIT)
    of.source.fault = StoreUnavailable("down")
    with pytest.raises(StoreUnavailable):
        indexer.wait(of.job, of.job.verdict, of.source, WAIT)
    of.source.fault = None
    indexer.wait(of.job, of.job.verdict, of.source, WAIT)
    assert of.source.read == len(PACKED)


def test_who_is_interrupted_goes_at_once_and_the_pass_goes_on(indexer: Indexer) -> None:
    of = passed()
    of.source.free.clear()
    gone = threading.Event()
    raised: list[type[BaseException]] = []

    def read() -> None:
        try:
            indexer.wait(of.job, of.job.verdict, of.source, Wait(600, gone.is_set))
        except Interrupted as error:
            raised.append(type(error))

    reader = threading.Thread(target=read)
    reader.start()
    wait_until(lambda: len(of.job.waiting) == 1, seconds=60, what="it waits")
    gone.set()
    reader.join(60)
    assert raised == [Interrupted]
    of.source.free.set()
    assert of.completed.wait(60)


def test_what_nobody_wants_any_more_stops_and_goes_on_for_the_next(
    indexer: Indexer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indexing, "LINGER_SECONDS", 0.05)
    of = passed()
    of.source.free.clear()
    with pytest.raises(Interrupted):
        indexer.wait(of.job, len(BIG), of.source, Wait(600, lambda: True))
    wait_until(lambda: not of.job.is_running, seconds=60, what="the pass stands by")
    wait_until(lambda: indexer._thread is None, seconds=60, what="the thread has ended")
    of.source.free.set()
    indexer.wait(of.job, of.job.verdict, of.source, WAIT)
    assert of.source.read == len(PACKED)


def test_a_pass_without_progress_fails_its_readers(indexer: Indexer) -> None:
    of = passed()
    silent = threading.Event()

    def stalled(_start: int, _end: int, wait: Wait) -> memoryview:
        give_up = time.monotonic() + wait.timeout
        while not silent.wait(0.01):  # as `Wait.result` does for a store that is silent
            wait.check()
            if time.monotonic() > give_up:
                raise DeadlineExceeded("silent")
        raise AssertionError("never")

    with pytest.raises(DeadlineExceeded):
        indexer.wait(of.job, 1, stalled, Wait(0.2))


def test_the_deadline_of_those_before_is_not_that_of_who_comes_later(indexer: Indexer) -> None:
    of = passed()
    failures = iter([DeadlineExceeded("asked for long ago")] * 2)

    def late(start: int, end: int, wait: Wait) -> memoryview:
        for failure in failures:
            raise failure
        return of.source(start, end, wait)

    indexer.wait(of.job, of.job.verdict, late, WAIT)
    assert next(failures, None) is None


def test_a_reader_may_wait_longer_than_the_deadline_while_bytes_come(indexer: Indexer) -> None:
    of = passed()
    begun = time.monotonic()
    timeout = 0.5

    def slowly(start: int, end: int, wait: Wait) -> memoryview:
        if time.monotonic() - begun < 4 * (timeout + 0.5):  # well beyond the deadline and its grace
            until = time.monotonic() + timeout / 2
            while time.monotonic() < until:
                wait.check()
                threading.Event().wait(0.02)
            end = min(end, start + 1000)
        return of.source(start, end, wait)

    indexer.wait(of.job, of.job.verdict, slowly, Wait(timeout))
    assert time.monotonic() - begun > timeout + 0.5


def test_several_members_take_turns(indexer: Indexer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indexing, "TURN", 1 << 19)
    first, second = passed(), passed()
    first.source.free.clear()
    second_done = threading.Event()
    raised: list[BaseException] = []

    def until_the_second_is_done(start: int, end: int, wait: Wait) -> memoryview:
        if start > len(PACKED) // 2 and not second_done.wait(60):
            raise AssertionError("the second member never had a turn")
        return first.source(start, end, wait)

    def read_first() -> None:
        try:
            indexer.wait(first.job, first.job.verdict, until_the_second_is_done, WAIT)
        except BaseException as error:  # noqa: BLE001 - the test tells of it
            raised.append(error)

    def read_second() -> None:
        indexer.wait(second.job, 1000, second.source, WAIT)
        second_done.set()

    threads = [threading.Thread(target=read_first), threading.Thread(target=read_second)]
    for thread, of in zip(threads, (first, second), strict=True):
        thread.start()
        wait_until(lambda of=of: len(of.job.waiting) == 1, seconds=60, what="it waits")  # type: ignore[misc]
    first.source.free.set()
    for thread in threads:
        thread.join(90)
    assert not raised
    assert second_done.is_set()


class Silent:
    """A store that says nothing, and counts who asks; `arrived` is what was asked for."""

    def __init__(self) -> None:
        self.asked = 0
        self.asking = threading.Event()
        self.arrived: Transfer[memoryview] = Transfer()

    def __call__(self, _start: int, _end: int, wait: Wait) -> memoryview:
        self.asked += 1
        self.asking.set()
        return wait.result(self.arrived)


def reading(
    indexer: Indexer, of: Passed, read_raw: RawRead, wait: Wait
) -> tuple[threading.Thread, list[type[BaseException]]]:
    """A thread that waits for the whole pass, and what that raises."""
    raised: list[type[BaseException]] = []

    def read() -> None:
        try:
            indexer.wait(of.job, of.job.verdict, read_raw, wait)
        except (DeadlineExceeded, StoreUnavailable) as error:
            raised.append(type(error))

    reader = threading.Thread(target=read)
    reader.start()
    wait_until(lambda: of.job.waiting, seconds=60, what="it waits")
    return reader, raised


def test_a_silent_store_keeps_no_other_member_waiting(indexer: Indexer) -> None:
    stores = [Silent(), Silent()]
    begun = time.monotonic()
    stalled = [reading(indexer, passed(), store, Wait(5)) for store in stores]
    assert stores[0].asking.wait(60)
    healthy = passed()
    indexer.wait(healthy.job, healthy.job.verdict, healthy.source, WAIT)
    assert healthy.source.read == len(PACKED)
    assert all(reader.is_alive() for reader, _ in stalled)  # it is done before their deadline
    for reader, raised in stalled:
        reader.join(60)
        assert raised == [DeadlineExceeded]
    assert time.monotonic() - begun >= 5
    # In turn, and neither more often than they are found to be silent.
    took = time.monotonic() - begun
    assert all(2 <= store.asked <= took / indexing.SILENT_SECONDS for store in stores)


def test_bytes_that_arrive_keep_a_member_that_is_not_in_turn(indexer: Indexer) -> None:
    """The deadline goes on over the turns, and counts from the last part that arrived."""
    slow, silent = Silent(), Silent()
    of = passed()
    timeout = 1.0
    reader, raised = reading(indexer, of, slow, Wait(timeout))
    other, failed = reading(indexer, passed(), silent, Wait(timeout))
    begun, over = time.monotonic(), threading.Event()
    while time.monotonic() - begun < 3 * (timeout + 0.5):  # well beyond the deadline and its grace
        slow.arrived.progress()
        over.wait(0.05)
    assert failed == [DeadlineExceeded]
    assert reader.is_alive()
    reader.join(60)
    other.join(60)
    assert raised == [DeadlineExceeded]


def test_where_no_thread_may_be_started_the_next_who_comes_tries_again(
    indexer: Indexer, monkeypatch: pytest.MonkeyPatch
) -> None:
    start, refusals = threading.Thread.start, ["s3zipfs-indexing"]

    def refusing(self: threading.Thread) -> None:
        if self.name in refusals:
            refusals.remove(self.name)
            raise RuntimeError("can't start new thread")
        start(self)

    monkeypatch.setattr(threading.Thread, "start", refusing)
    of = passed()
    with pytest.raises(OutOfResources, match="no thread"):
        indexer.wait(of.job, 1, of.source, Wait(5))
    assert not refusals
    assert not of.job.waiting
    assert not of.job.is_running
    indexer.wait(of.job, of.job.verdict, of.source, Wait(5))
    assert of.source.read == len(PACKED)


def test_closing_after_a_refused_thread_is_as_any(monkeypatch: pytest.MonkeyPatch) -> None:
    indexer, of = Indexer(), passed()

    def refuse(_self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        with pytest.raises(OutOfResources):
            indexer.wait(of.job, 1, of.source, Wait(5))
    indexer.close()


def test_closing_ends_who_waits() -> None:
    indexer = Indexer()
    of = passed()
    of.source.free.clear()
    raised: list[type[BaseException]] = []

    def read() -> None:
        try:
            indexer.wait(of.job, 1, of.source, WAIT)
        except Interrupted as error:
            raised.append(type(error))

    reader = threading.Thread(target=read)
    reader.start()
    wait_until(lambda: len(of.job.waiting) == 1, seconds=60, what="it waits")
    indexer.close()
    reader.join(60)
    assert raised == [Interrupted]
    with pytest.raises(Interrupted):
        indexer.wait(of.job, 1, of.source, WAIT)


def test_without_the_library_there_are_no_seeks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libz, "LIBRARY", "libnothing.so.1")
    libz._library.cache_clear()
    try:
        assert not libz.is_available()
    finally:
        libz._library.cache_clear()
