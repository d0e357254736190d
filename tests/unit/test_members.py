"""CRC ledgers, decoders of every method, and streams."""

from __future__ import annotations

import base64
import contextlib
import random
import subprocess
import sys
import threading
import time
import tracemalloc
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import inflate64
import packed
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from packed import zstd

from s3zipfs.archive import inflate, streampool
from s3zipfs.archive.decoders import HEAD, open_decoder
from s3zipfs.archive.inflate import (
    Decoding,
    decode_whole,
    start_decoder,
)
from s3zipfs.archive.ledger import MOST_RUNS, CrcLedger
from s3zipfs.archive.streaming import StreamReader
from s3zipfs.archive.streampool import Stream, StreamPool
from s3zipfs.archive.windows import MAX_WINDOW, xz_window, zstd_window
from s3zipfs.budget import MemoryBudget
from s3zipfs.cache.extents import ExtentCache
from s3zipfs.errors import (
    BadMember,
    DeadlineExceeded,
    Interrupted,
    TooManyWaiting,
    UnsupportedMember,
)
from s3zipfs.waiting import Wait
from s3zipfs.zipformat import methods
from s3zipfs.zipformat.member import Member
from s3zipfs.zipformat.methods import (
    BZIP2,
    DEFLATE64,
    DEFLATED,
    LZMA,
    XZ,
    ZSTANDARD,
    method_name,
)

WAIT = Wait(10)


@given(st.binary(max_size=2000), st.randoms())
def test_a_ledger_adds_up_parts_in_any_order(content: bytes, order: random.Random) -> None:
    ledger = CrcLedger(len(content))
    parts = [(at, at + order.randrange(50, 200)) for at in range(0, len(content), 50)]
    order.shuffle(parts)
    for start, end in parts:
        ledger.add(start, memoryview(content)[start:end])
    if content:
        assert ledger.whole == zlib.crc32(content)


def test_a_ledger_knows_nothing_before_all_was_seen() -> None:
    ledger = CrcLedger(100)
    ledger.add(0, memoryview(bytes(99)))
    assert ledger.whole is None


@pytest.mark.parametrize("part", [1, 100, 1000])
def test_a_ledger_adds_up_what_is_read_in_order_after_and_between_many_single_reads(
    part: int,
) -> None:
    """Parts of any size; who reads in order is not forgotten for those who do not."""
    places = random.Random(part)
    content = places.randbytes(200_000)
    ledger = CrcLedger(len(content))

    def single_reads(count: int) -> None:
        for at in places.choices(range(0, len(content) - part, 2 * part + 1), k=count):
            ledger.add(at, memoryview(content)[at : at + part])

    single_reads(3 * MOST_RUNS)
    for at in range(0, len(content), 500):
        assert ledger.whole is None
        ledger.add(at, memoryview(content)[at : at + 500])
        single_reads(MOST_RUNS // 4)
    assert ledger.whole == zlib.crc32(content)


def member(
    content: bytes,
    data: bytes,
    method: int,
    *,
    size: int | None = None,
    crc32: int = 0,
    flags: int | None = None,
) -> Member:
    return Member(
        number=1,
        raw_name=b"m",
        local_header_offset=0,
        compressed_size=len(data),
        uncompressed_size=len(content) if size is None else size,
        crc32=crc32 or zlib.crc32(content),
        method=method,
        flags=packed.flags(method) if flags is None else flags,
        mode=0o100444,
        modified=0.0,
    )


SECONDS = 20.0
_NUMBERS = random.Random(0)
TEXT = b"".join(b"value %d\n" % _NUMBERS.getrandbits(40) for _ in range(150_000))  # 2.8 MB
DATA = {method: packed.PACK[method](TEXT) for method in packed.COMPRESSED}

every_method = pytest.mark.parametrize("method", packed.COMPRESSED, ids=method_name)


def whole(of: Member, data: bytes) -> bytes:
    return bytes(decode_whole(of, memoryview(data), WAIT))


def no_cache() -> ExtentCache:
    """One that keeps nothing: the streams must do without it."""
    return ExtentCache(MemoryBudget(0))


def pool(limit: int = 1 << 26) -> StreamPool:
    return StreamPool(MemoryBudget(limit))


def streams(of: Member, data: bytes, reads: list[int] | None = None) -> StreamReader:
    def read_raw(start: int, end: int, _wait: Wait) -> memoryview:
        if reads is not None and end > HEAD:
            reads.append(start)
        return memoryview(data)[start:end]

    return StreamReader(of, "x", no_cache(), pool(), read_raw)


def take(source: StreamReader, start: int, end: int) -> bytes:
    return b"".join(source.read(start, end, WAIT))


def take_all(source: StreamReader, size: int) -> bytes:
    return b"".join(take(source, at, min(at + 100_000, size)) for at in range(0, size, 100_000))


# Members


@every_method
@pytest.mark.parametrize("size", [0, 1, 100_000])
def test_members_of_every_method_and_size_are_read(method: int, size: int) -> None:
    content = TEXT[:size]
    data = packed.PACK[method](content)
    of = member(content, data, method)
    assert whole(of, data) == content
    assert take_all(streams(of, data), size) == content


@every_method
def test_whole_members_are_verified(method: int) -> None:
    data = DATA[method]
    assert whole(member(TEXT, data, method), data) == TEXT
    for wrong in (
        member(TEXT, data, method, crc32=1),
        member(TEXT, data, method, size=len(TEXT) - 1),
        member(TEXT, data, method, size=len(TEXT) + 1),
        member(TEXT, data, method, size=0),
    ):
        with pytest.raises(BadMember):
            whole(wrong, data)


FAULTS = ["crc", "short", "long", "cut", "cut in half", "goes on", "goes on with zeros"]


def damaged(method: int, fault: str) -> tuple[Member, bytes]:
    data, size, crc32 = DATA[method], len(TEXT), 0
    match fault:
        case "crc":
            crc32 = 1
        case "short":
            size += 1
        case "long":
            size -= 1
        case "cut":
            data = data[:-1]
        case "cut in half":
            data = data[: len(data) // 2]
        case "goes on":
            data += b"more than there is"
        case _:
            data += bytes(5)
    return member(TEXT, data, method, size=size, crc32=crc32), data


@every_method
@pytest.mark.parametrize("fault", FAULTS)
def test_a_damaged_member_is_refused_whole_and_errs_at_its_last_read_streamed(
    method: int, fault: str
) -> None:
    of, data = damaged(method, fault)
    with pytest.raises(BadMember, match=r"^member m: ."):
        whole(of, data)
    source = streams(of, data)
    assert take(source, 0, 1000) == TEXT[:1000]
    for _ in range(2):
        with pytest.raises(BadMember):
            take(source, of.uncompressed_size - 1000, of.uncompressed_size)


@every_method
@settings(max_examples=60, deadline=None)
@given(numbers=st.randoms())
def test_one_wrong_byte_is_an_error_or_harmless(method: int, numbers: random.Random) -> None:
    content = TEXT[:20_000]
    data = bytearray(packed.PACK[method](content))
    # Headers and ends are where formats differ: half of all hits are there.
    at = numbers.choice([numbers.randrange(30), -1 - numbers.randrange(30)])
    at = numbers.choice([at % len(data), numbers.randrange(len(data))])
    data[at] ^= numbers.randrange(1, 256)
    of = member(content, bytes(data), method)
    for read in (whole, lambda of, data: take_all(streams(of, data), len(content))):
        with contextlib.suppress(BadMember, UnsupportedMember):
            assert read(of, bytes(data)) == content


@every_method
def test_every_place_of_a_small_member_may_be_wrong(method: int) -> None:
    content = b"a small member, a small member" * 4
    data = packed.PACK[method](content)
    for at in range(len(data)):
        wrong = data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :]
        of = member(content, wrong, method)
        with contextlib.suppress(BadMember, UnsupportedMember):
            assert whole(of, wrong) == content


@every_method
def test_garbage_is_refused(method: int) -> None:
    numbers = random.Random(7)
    for size in (1, 8, 100, 10_000):
        data = numbers.randbytes(size)
        with pytest.raises((BadMember, UnsupportedMember)):
            whole(member(TEXT, data, method), data)


@pytest.mark.parametrize("method", [BZIP2, XZ, ZSTANDARD], ids=method_name)
def test_frames_one_after_another_are_one_member(method: int) -> None:
    pack = packed.PACK[method]
    data = pack(TEXT[:100_000]) + pack(b"") + pack(TEXT[100_000:])
    of = member(TEXT, data, method)
    assert whole(of, data) == TEXT
    assert take_all(streams(of, data), len(TEXT)) == TEXT


@pytest.mark.parametrize("method", [DEFLATED, DEFLATE64, LZMA], ids=method_name)
def test_other_methods_end_once(method: int) -> None:
    data = packed.PACK[method](TEXT) + packed.PACK[method](b"")
    with pytest.raises(BadMember, match=r"goes on after its end|ends before"):
        whole(member(TEXT, data, method), data)


def test_xz_streams_are_padded_by_fours() -> None:
    first, second = packed.xz(TEXT[:1000]), packed.xz(TEXT[1000:2000])
    for zeros in range(9):
        for data in (first + bytes(zeros) + second, first + second + bytes(zeros)):
            of = member(TEXT[:2000], data, XZ)
            if zeros % 4:
                with pytest.raises(BadMember):
                    whole(of, data)
            else:
                assert whole(of, data) == TEXT[:2000]


def test_skippable_zstd_frames_are_skipped() -> None:
    skippable = b"\x5a\x2a\x4d\x18\x04\x00\x00\x00note"
    data = skippable + packed.zstandard(TEXT) + skippable
    assert whole(member(TEXT, data, ZSTANDARD), data) == TEXT


def test_ten_thousand_empty_frames_are_quick() -> None:
    data = packed.zstandard(b"") * 100_000 + packed.zstandard(b"end")
    started = time.process_time()  # the machine may be busy otherwise
    assert whole(member(b"end", data, ZSTANDARD), data) == b"end"
    assert time.process_time() - started < 5


def test_lzma_without_an_end_marker() -> None:
    # By 7-Zip 26 with -meos=off: flag bit 1 is not set.
    data = base64.b64decode(SEVEN_ZIP_LZMA)
    of = member(SEVEN_ZIP_TEXT, data, LZMA, flags=0)
    assert whole(of, data) == SEVEN_ZIP_TEXT
    for wrong in (data[:-1], data + b"\0", data + b"x" * 10):
        with pytest.raises(BadMember):
            whole(member(SEVEN_ZIP_TEXT, wrong, LZMA, flags=0), wrong)


def test_deflate64_of_another_writer() -> None:
    data = base64.b64decode(SEVEN_ZIP_DEFLATE64)
    assert whole(member(SEVEN_ZIP_TEXT, data, DEFLATE64), data) == SEVEN_ZIP_TEXT


SEVEN_ZIP_TEXT = b"".join(b"line %d of a text\n" % (n * n) for n in range(100))
SEVEN_ZIP_LZMA = """
GgIFAF0AEAAAADYaSh8IoCYDTQad7+2MoT/IKg/y/+Yuk4lfWhUov6BJjuttvLs7CjLjHbDfrHngBLNzK3Do97JTsB5GzP8O
JZUTuBFAN3d6tpQ80MYoEDA9mFGhIDFYof4Cr67JjAIhd/gWJ+LSbxe9gPczG2jCaR8jmney3DL2ChWILgUeLk9zaYhzs283
E5rvxkfctiD9k7jGJc3sQsAsj1qEDi/xbwD4S/sl/x6xiry/jx9dOEEle6pm0RrwHzdOpFcZ4RjbFYkyC3gl/gx2U5aergM8
l75Q+SP6Z3NjtTpAchSYOXzgKsTV2G70UrV56b7Fw7lKMZM9z6RJLdkPnHJ6p6yNvXehflDkpsDDYtsTnkAA
"""
SEVEN_ZIP_DEFLATE64 = """
bZU9TgUxEIN7TrFHSDKT+TkOBUhICJpXcHwimif2c2t5Pc7E3nx+fL1d4/p+v16vx9vP4+UPmHfA70Djk7gja98RA8ehExhV
E7MGHS+y3GmSvpvGn86fZyGroGXLeWTuku7dySpo7dWAEr6C7oOspFZyYtFX032HuKHlxIrbn1zsPPsn1uSZuE0Xl75FNkJE
KETSMqhXLlJkDMgQOZpTxG00MBsOzMdkLnmOFYKXQq/E3KY/E+ews3yRfjbCuD9z7tnEfVgu8sqp19HsGPPiIldumzwv6gXz
7Cm6LeqxB1u0p6i3iX6fIcBEw3cKXlMvBueeo01g4icVO8jLRb3i/nJwzynuI63J20G9ZA6ymZcST0WtIs/FuxPMcxVz36If
xwp5J5T8dbKXXf/6+ws=
"""


# Windows


@pytest.mark.parametrize("log", range(12, 31))
def test_the_window_of_xz_data_is_known_before_it_is_decoded(log: int) -> None:
    if log < 27:  # more memory than a test needs
        head = memoryview(packed.xz(b"x", dict_size=1 << log))
        assert xz_window(head) == 1 << log
    for method in (XZ, ZSTANDARD, LZMA):
        if 1 << log > MAX_WINDOW:
            with pytest.raises(UnsupportedMember, match=r"needs a window of .* MiB"):
                open_decoder(member(b"", b"", method, size=1 << 40), asking(method, log))
        else:
            decoder = open_decoder(member(b"", b"", method, size=1 << 40), asking(method, log))
            assert 1 << log <= decoder.memory <= (1 << log) + (1 << 20)
            of = member(b"", b"", method, size=50_000)
            assert open_decoder(of, asking(method, log)).memory <= 50_000 + (1 << 20)


def asking(method: int, log: int) -> memoryview:
    """The head of data that asks for a window of `1 << log` bytes."""
    if method == XZ:
        size = bytes([(log - 12) * 2])
        return memoryview(b"\xfd7zXZ\0\0\1xxxx" + b"\x02\0\x21\1" + size + bytes(20))
    if method == LZMA:
        return memoryview(b"\x09\x04\x05\0\x5d" + (1 << log).to_bytes(4, "little"))
    return memoryview(b"\x28\xb5\x2f\xfd\0" + bytes([(log - 10) << 3]) + bytes(20))


@pytest.mark.parametrize("log", [10, 17, 20, 27])
def test_the_window_of_zstd_data_is_known_before_it_is_decoded(log: int) -> None:
    packer = zstd.ZstdCompressor(options={zstd.CompressionParameter.window_log: log})
    data = packer.compress(TEXT[:5000]) + packer.flush()
    assert zstd_window(memoryview(data)) == 1 << log
    for size in (0, 1, 255, 256, 70_000):
        assert zstd_window(memoryview(packed.zstandard(TEXT[:size]))) == size


def test_a_later_frame_may_ask_for_no_more_than_the_first_or_a_common_window() -> None:
    def frame(log: int, content: bytes) -> bytes:
        packer = zstd.ZstdCompressor(options={zstd.CompressionParameter.window_log: log})
        return packer.compress(content) + packer.flush()

    for log, fits in ((23, True), (25, False)):
        data = frame(12, TEXT[:1000]) + frame(log, TEXT[1000:2000])
        of = member(TEXT[:2000], data, ZSTANDARD)
        if fits:
            assert whole(of, data) == TEXT[:2000]
        else:
            with pytest.raises(BadMember, match="too much memory"):
                whole(of, data)


BOMB = """
import sys, zlib, resource
sys.path[:0] = {paths!r}
import packed, test_members as t
from s3zipfs.errors import BadMember
method, size = map(int, sys.argv[1:])
data = t.bomb(method, size)
assert len(data) < 2 << 20, len(data)
crc32 = 0
for _ in range(size >> 20):
    crc32 = zlib.crc32(bytes(1 << 20), crc32)
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
before = peak()
source = t.streams(t.member(b"", data, method, size=size, crc32=crc32), data)
assert t.take(source, 0, 1000) == bytes(1000)
assert t.take(source, size - 1000, size) == bytes(1000)
for declared in (100, 1 << 20):
    try:
        t.whole(t.member(b"", data, method, size=declared), data)
    except BadMember as error:
        assert "found more" in str(error), error
    else:
        raise SystemExit("read")
print(before, peak())
"""


def bomb(method: int, size: int) -> bytes:
    """That many zero bytes, compressed; what is made quickly of a part is repeated."""
    part = bytes(size // 16)
    match method:
        case methods.DEFLATED:
            packer = zlib.compressobj(9, zlib.DEFLATED, -15)
            flushed = packer.compress(part) + packer.flush(zlib.Z_FULL_FLUSH)
            return flushed * 15 + packer.compress(part) + packer.flush()
        case methods.DEFLATE64:
            return _deflate64_of_zeros(size)
        case methods.LZMA:
            return packed.lzma1(bytes(size), mode=1, mf=3, nice_len=273)
        case _:
            return packed.PACK[method](part) * 16


def _deflate64_of_zeros(size: int) -> bytes:
    packer = inflate64.Deflater()
    out = b"".join(packer.deflate(bytes(1 << 20)) for _ in range(size >> 20))
    return bytes(out + packer.flush())


GIB = 1 << 30


@pytest.mark.parametrize(
    ("method", "size"),
    # The slow packers make less of it.
    [
        (DEFLATED, GIB),
        (ZSTANDARD, GIB),
        (XZ, GIB),
        (BZIP2, GIB // 4),
        (DEFLATE64, GIB // 4),
        (LZMA, GIB // 4),
    ],
)
def test_a_bomb_is_read_in_bounded_memory(method: int, size: int) -> None:
    here = Path(__file__).parent
    script = BOMB.format(paths=[str(here), str(here.parent)])
    done = subprocess.run(
        [sys.executable, "-c", script, str(method), str(size)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    before, peak = map(int, done.stdout.split())
    assert peak - before < 40, f"{before} MiB before, {peak} MiB after"


def test_deflate64_data_is_let_go_of() -> None:
    # inflate64 1.0.4 keeps a reference to every buffer that it is given.
    content = random.Random(1).randbytes(1 << 20)
    data = packed.deflate64(content)
    of = member(content, data, DEFLATE64)
    whole(of, data)
    tracemalloc.start()
    try:
        for _ in range(3):
            assert whole(of, data) == content
        assert tracemalloc.get_traced_memory()[0] < 200_000
    finally:
        tracemalloc.stop()


# Streams


@every_method
def test_streams_read_anywhere(method: int) -> None:
    data = DATA[method]
    source = streams(member(TEXT, data, method), data)
    generator = random.Random(3)
    for _ in range(6):
        start = generator.randrange(len(TEXT))
        end = min(start + 100_000, len(TEXT))
        assert take(source, start, end) == TEXT[start:end]


@every_method
def test_reading_in_order_feeds_each_compressed_byte_once(method: int) -> None:
    data, reads = DATA[method], list[int]()
    source = streams(member(TEXT, data, method), data, reads)
    assert take_all(source, len(TEXT)) == TEXT
    assert reads == sorted(set(reads))


def test_parallel_readers_of_one_member_agree() -> None:
    data = DATA[DEFLATED]
    source = streams(member(TEXT, data, DEFLATED), data)
    starts = [random.Random(n).randrange(len(TEXT)) for n in range(40)]
    with ThreadPoolExecutor(8) as threads:
        for start, found in zip(
            starts, threads.map(lambda s: take(source, s, s + 5000), starts), strict=True
        ):
            assert found == TEXT[start : start + 5000]


def test_bytes_that_a_decoder_took_ahead_still_come_out() -> None:
    # The last 8 bytes of input may hold more than a piece has room for.
    for over in (0, 1, 100, 5000):
        content = bytes(inflate.PIECE + over)
        for method in packed.COMPRESSED:
            data = packed.PACK[method](content)
            source = streams(member(content, data, method), data)
            assert take(source, 0, len(content)) == content


@every_method
def test_an_interrupted_read_loses_nothing(method: int) -> None:
    data, reads = DATA[method] + b"", list[int]()
    interrupts = set(range(1, 1000, 2))
    calls = iter(range(10_000))

    def read_raw(start: int, end: int, _wait: Wait) -> memoryview:
        if next(calls) in interrupts:
            raise Interrupted("killed")
        if end > HEAD:
            reads.append(start)
        return memoryview(data)[start:end]

    source = StreamReader(member(TEXT, data, method), "x", no_cache(), pool(), read_raw)

    def last() -> bytes:
        while True:
            try:
                return take(source, len(TEXT) - 10, len(TEXT))
            except Interrupted:
                pass

    assert last() == TEXT[-10:]
    assert reads == sorted(set(reads))
    assert len(reads) > 3


@pytest.mark.parametrize("fault", ["none", "crc", "goes on"])
def test_an_interrupt_between_last_byte_and_check_does_not_skip_the_check(fault: str) -> None:
    # An empty frame behind the content, out of the first feed: one more read before the check.
    content = random.Random(5).randbytes(inflate.FEED + 5000)
    data = packed.zstandard(content)
    data += b"\x50\x2a\x4d\x18" + (inflate.FEED).to_bytes(4, "little") + bytes(inflate.FEED)
    data += b"no frame" if fault == "goes on" else b""
    of = member(content, data, ZSTANDARD, crc32=1 if fault == "crc" else 0)
    interrupted = False

    def read_raw(start: int, end: int, _wait: Wait) -> memoryview:
        nonlocal interrupted
        if start >= 2 * inflate.FEED and not interrupted:
            interrupted = True
            raise Interrupted("killed")
        return memoryview(data)[start:end]

    source = StreamReader(of, "x", no_cache(), pool(), read_raw)
    with pytest.raises(Interrupted):
        take(source, len(content) - 10, len(content))
    if fault == "none":
        assert take(source, len(content) - 10, len(content)) == content[-10:]
    else:
        with pytest.raises(BadMember):
            take(source, len(content) - 10, len(content))


def test_an_endless_tail_without_content_can_be_interrupted() -> None:
    skippable = b"\x50\x2a\x4d\x18" + (1 << 20).to_bytes(4, "little") + bytes(1 << 20)
    data = packed.zstandard(b"x") + skippable
    of = member(b"x", data, ZSTANDARD)
    calls = iter(range(100))
    with pytest.raises(Interrupted):
        decode_whole(of, memoryview(data), Wait(10, lambda: next(calls) > 3))


@pytest.mark.parametrize("is_forgotten", [False, True])
def test_a_read_that_a_stream_is_just_passing_waits_for_it(*, is_forgotten: bool) -> None:
    """The kernel's reads of one window come side by side, and the later one may be first.

    `is_forgotten`: what was found before the wait has had to make room meanwhile.
    """
    data = DATA[DEFLATED]
    cache = ExtentCache(MemoryBudget(16 << 20))
    begun: list[int] = []
    on_its_way, waiting, go_on = (threading.Event() for _ in range(3))

    def read_raw(start: int, end: int, _wait: Wait) -> memoryview:
        if start == 0 and end > HEAD:
            begun.append(start)
        elif start >= 3 * inflate.FEED:
            on_its_way.set()
            assert go_on.wait(SECONDS)
        return memoryview(data)[start:end]

    def interrupted() -> bool:
        waiting.set()
        return False

    source = StreamReader(member(TEXT, data, DEFLATED), "x", cache, pool(), read_raw)
    later = threading.Thread(target=take, args=(source, 2_600_000, 2_700_000))
    later.start()
    assert on_its_way.wait(SECONDS)
    passed = cache.peek_from("x", 0, len(TEXT))[1] - 1000
    found: list[bytes] = []

    def read_earlier() -> None:
        parts = source.read(passed, 2_500_000, Wait(SECONDS, interrupted))
        found.append(b"".join(parts))

    earlier = threading.Thread(target=read_earlier)
    earlier.start()
    assert waiting.wait(SECONDS), "it did not wait"
    if is_forgotten:
        cache.discard("x")
    go_on.set()
    earlier.join(SECONDS)
    later.join(SECONDS)
    assert found == [TEXT[passed:2_500_000]]
    assert begun == [0], "it began anew"


@pytest.mark.parametrize("is_ahead", [False, True])
def test_who_waits_for_a_stream_waits_as_long_as_it_goes_on(*, is_ahead: bool) -> None:
    """`is_ahead`: nobody reads with it, it is decoded ahead."""
    data, held, cache = DATA[DEFLATED], pool(), ExtentCache(MemoryBudget(16 << 20))
    on_its_way, waiting = threading.Event(), threading.Event()

    def read_raw(start: int, end: int, wait: Wait) -> memoryview:
        if start >= 3 * inflate.FEED and not on_its_way.is_set():
            on_its_way.set()
            wait.pause(2.0)  # as for bytes that come slowly
        return memoryview(data)[start:end]

    def interrupted() -> bool:
        waiting.set()
        return False

    source = StreamReader(member(TEXT, data, DEFLATED), "x", cache, held, read_raw)

    def drive() -> None:
        take(source, 0, 1000 if is_ahead else len(TEXT))
        if is_ahead:
            taken = held.take("x", 1000)
            assert isinstance(taken, Stream)
            try:
                assert source._decode_ahead(taken.decoding, len(TEXT) - 1000, WAIT)
            finally:
                held.give_back(taken)

    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(drive)
        assert on_its_way.wait(SECONDS)
        second = source.read(2_400_000, 2_500_000, Wait(0.5, interrupted))
        assert b"".join(second) == TEXT[2_400_000:2_500_000]
        assert waiting.is_set(), "it did not wait"
        first.result(SECONDS)


# The pool


def stream(name: str, window: int, *, position: int, wanted: int = 0) -> Stream:
    of = member(TEXT, DATA[DEFLATED], DEFLATED, size=1 << 40)
    decoding = Decoding(of, start_decoder(of, memoryview(b"")))
    decoding.position = position
    decoding.decoder.memory = window
    return Stream(name, decoding, wanted)


def test_streams_are_charged_with_their_windows_and_released_with_them() -> None:
    budget = MemoryBudget(100 << 20)
    held = StreamPool(budget)
    for number in range(10):
        new = stream(str(number), 20 << 20, position=0)
        held.add(new, WAIT)
        held.give_back(new)
        assert budget.used <= 50 << 20
    assert budget.used > 40 << 20
    for number in (8, 9):
        kept = held.take(str(number), 0)
        assert isinstance(kept, Stream)
        kept.decoding.usable = False
        held.give_back(kept)
    assert budget.used == 0


def test_one_stream_larger_than_the_share_is_admitted_alone() -> None:
    held = pool(64 << 20)
    first = stream("a", 200 << 20, position=0)
    held.add(first, WAIT)
    with pytest.raises(DeadlineExceeded):
        held.add(stream("b", 1 << 10, position=0), Wait(0.1))
    held.give_back(first)
    held.add(stream("b", 1 << 10, position=0), Wait(0.1))


class Places:
    """Where that many may wait."""

    def __init__(self, free: int) -> None:
        self.free = free
        self.taken = 0

    def acquire(self) -> bool:
        if not self.free:
            return False
        self.free -= 1
        self.taken += 1
        return True

    def release(self) -> None:
        self.free += 1


@pytest.mark.parametrize("free", [0, 1])
def test_who_waits_for_a_free_decoder_takes_a_place_to_wait_in(free: int) -> None:
    held, places = pool(64 << 20), Places(free)
    held.add(stream("a", 200 << 20, position=0), WAIT)
    with pytest.raises(DeadlineExceeded if free else TooManyWaiting):
        held.add(stream("b", 1 << 10, position=0), Wait(0.1, places=places))
    assert (places.taken > 0) == (free > 0)
    assert places.free == free, "all were given back"


def test_a_stream_that_is_dear_to_make_again_does_not_give_way_at_once() -> None:
    held = pool(64 << 20)
    dear = stream("a", 30 << 20, position=100 << 20)
    held.add(dear, WAIT)
    held.give_back(dear)
    with pytest.raises(DeadlineExceeded):
        held.add(stream("b", 30 << 20, position=0), Wait(0.2))
    dear.used -= streampool.IDLE_SECONDS
    held.add(stream("b", 30 << 20, position=0), Wait(0.2))


def test_a_stream_that_had_its_share_gives_way() -> None:
    held = pool(64 << 20)
    for name, wanted in (("a", 0), ("b", 50 << 20)):
        fed = stream(name, 30 << 20, position=wanted + streampool.QUANTUM, wanted=wanted)
        held.add(fed, Wait(0.2))
        held.give_back(fed)


def test_two_readers_for_one_place_both_get_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streampool, "IDLE_SECONDS", 0.2)
    held = pool(3 << 20)
    data = DATA[DEFLATED]
    done: list[bytes] = []

    def read(name: str) -> None:
        source = StreamReader(
            member(TEXT, data, DEFLATED),
            name,
            no_cache(),
            held,
            lambda s, e, _w: memoryview(data)[s:e],
        )
        done.append(take_all(source, len(TEXT)))

    threads = [threading.Thread(target=read, args=(str(n),)) for n in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert done == [TEXT] * 5


def test_streams_of_a_discarded_content_go_at_once_or_with_their_turn() -> None:
    budget = MemoryBudget(100 << 20)
    held = StreamPool(budget)
    idle, busy, other = (stream(name, 1 << 20, position=5) for name in ("a", "a", "b"))
    for each in (idle, busy, other):
        held.add(each, WAIT)
    held.give_back(idle)
    held.discard("a")
    assert budget.used == busy.cost + other.cost
    assert held.is_doomed(busy.decoding)
    assert not held.is_doomed(other.decoding)
    held.give_back(busy)
    held.give_back(other)
    assert budget.used == other.cost
    assert held.take("a", 5) is None
    assert held.take("b", 5) is other


def test_what_is_decoded_after_its_content_was_discarded_is_not_kept() -> None:
    data, held, cache = DATA[DEFLATED], pool(), ExtentCache(MemoryBudget(16 << 20))

    def read_raw(start: int, end: int, _wait: Wait) -> memoryview:
        if start >= 3 * inflate.FEED:
            held.discard("x")
            cache.discard("x")
        return memoryview(data)[start:end]

    source = StreamReader(member(TEXT, data, DEFLATED), "x", cache, held, read_raw)
    assert take(source, 0, 2_500_000) == TEXT[:2_500_000]
    assert cache.peek_from("x", 0, len(TEXT)) == ([], 0)
    assert not cache.holds("x", 2_499_000, 2_500_000)
