"""Mutated zips for FUZZ_SECONDS: only our errors, no wrong byte, no hang, no empty lie.

Not guided by coverage: seeds that hold every quirk known here, and mutations that know where the
fields are, reach more in the same time than an instrumented build of pure Python does.
"""

from __future__ import annotations

import hashlib
import os
import random
import re
import struct
import time
from collections.abc import Callable
from pathlib import Path

from corpus.expectations import CORPORA, files
from corpus.isolated import read_archive
from corpus.odd_zips import ACCEPTED, DAMAGED
from corpus.raw_zip import Entry, write_zip
from corpus.zipdiff import cases
from packed import PACK

SECONDS = float(os.environ.get("FUZZ_SECONDS", "20"))
FOUND = CORPORA.parent / "fuzz"
LARGEST_SEED = 4096  # bytes; all quirks fit, and many fit into a second
SLOW = 10.0  # seconds for one archive of a few KiB

SIGNATURES = (b"PK\1\2", b"PK\3\4", b"PK\5\6", b"PK\6\6", b"PK\6\7", b"PK\7\x08")
# Offsets of the fields in the record, with their sizes (APPNOTE 4.3.7, 4.3.12, 4.3.14-16).
FIELDS = {
    SIGNATURES[0]: (
        *((4, 2), (6, 2), (8, 2), (10, 2), (16, 4), (20, 4), (24, 4)),
        *((28, 2), (30, 2), (32, 2), (34, 2), (38, 4), (42, 4)),
    ),
    SIGNATURES[1]: ((6, 2), (8, 2), (14, 4), (18, 4), (22, 4), (26, 2), (28, 2)),
    SIGNATURES[2]: ((4, 2), (6, 2), (8, 2), (10, 2), (12, 4), (16, 4), (20, 2)),
    SIGNATURES[3]: ((4, 8), (16, 4), (20, 4), (24, 8), (32, 8), (40, 8), (48, 8)),
    SIGNATURES[4]: ((4, 4), (8, 8), (16, 4)),
    SIGNATURES[5]: ((4, 4), (8, 4), (12, 4)),
}
VALUES = (
    *(0, 1, 2, 7, 8, 22, 46, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFE, 0xFFFF, 1 << 16, 1 << 31),
    *((1 << 32) - 2, (1 << 32) - 1, 1 << 32, 1 << 62, (1 << 63) - 1, (1 << 64) - 1),
)


def _seeds() -> list[bytes]:
    made = [maker() for maker in (*ACCEPTED, *DAMAGED) if maker.__name__ != "entry_count_wrapped"]
    made += [data for data, _ in cases().values()]
    content = b"fuzz " * 40
    for method, pack in PACK.items():
        made.append(write_zip([Entry(b"m", content, method=method, body=pack(content))]))
    made += [path.read_bytes() for path in files().values()]
    return sorted({data for data in made if len(data) <= LARGEST_SEED})


def _set_field(data: bytearray, numbers: random.Random, _other: bytes) -> None:
    """A field of a record gets a value that is a limit of something, or nearly its own."""
    signature = numbers.choice(SIGNATURES)
    at = [m.start() for m in re.finditer(re.escape(signature), data)]
    if not at:
        return
    offset, size = numbers.choice(FIELDS[signature])
    start = numbers.choice(at) + offset
    if start + size > len(data):
        return
    value = int.from_bytes(data[start : start + size], "little")
    value = numbers.choice([numbers.choice(VALUES), value + 1, value - 1, value ^ 1, len(data)])
    data[start : start + size] = (value % (1 << 8 * size)).to_bytes(size, "little")


def _set_byte(data: bytearray, numbers: random.Random, _other: bytes) -> None:
    data[numbers.randrange(len(data))] = numbers.randrange(256)


def _flip_bit(data: bytearray, numbers: random.Random, _other: bytes) -> None:
    data[numbers.randrange(len(data))] ^= 1 << numbers.randrange(8)


def _drop(data: bytearray, numbers: random.Random, _other: bytes) -> None:
    start = numbers.randrange(len(data))
    del data[start : start + numbers.choice([1, 2, 4, 22, 30, 46, 100])]


def _repeat(data: bytearray, numbers: random.Random, _other: bytes) -> None:
    start = numbers.randrange(len(data))
    piece = data[start : start + numbers.choice([1, 4, 22, 46, 200])]
    at = numbers.randrange(len(data) + 1)
    data[at:at] = piece


def _splice(data: bytearray, numbers: random.Random, other: bytes) -> None:
    at = numbers.randrange(len(data) + 1)
    start = numbers.randrange(len(other))
    data[at:at] = other[start : start + numbers.choice([4, 30, 46, 100, 1000])]


def _append(data: bytearray, _numbers: random.Random, other: bytes) -> None:
    data += other


def _mend(data: bytearray, _numbers: random.Random, _other: bytes) -> None:
    """The end record tells the truth again of where the directory is and how many headers."""
    end = data.rfind(b"PK\5\6")
    starts = [m.start() for m in re.finditer(rb"PK\x01\x02", data[: max(end, 0)])]
    if starts and end + 22 <= len(data):
        counts = struct.pack("<2H2L", len(starts), len(starts), end - starts[0], starts[0])
        data[end + 8 : end + 20] = counts


Mutation = Callable[[bytearray, random.Random, bytes], None]
MUTATIONS: tuple[Mutation, ...] = (
    *(_set_field,) * 6,
    *(_set_byte, _flip_bit, _drop, _repeat, _splice, _append),
    *(_mend,) * 2,
)


def _mutate(seeds: list[bytes], numbers: random.Random) -> bytes:
    data = bytearray(numbers.choice(seeds))
    for _ in range(numbers.choice([1, 1, 2, 3, 5])):
        if data:
            numbers.choice(MUTATIONS)(data, numbers, numbers.choice(seeds))
    return bytes(data)


def _check(data: bytes) -> None:
    started = time.monotonic()
    refused, members = read_archive(data)
    assert time.monotonic() - started < SLOW, "slow"
    if refused is not None:
        assert refused.startswith("BadArchive: "), refused
        assert "\n" not in refused
        return
    for name, found in members.items():
        if re.match(r"\d", found):
            # Its CRC-32 stands in a header, or nothing has said what it should be.
            crc32 = int(found.partition(" ")[2], 16).to_bytes(4, "little")
            assert crc32 in data, f"{name!r}: {found} is in no header"
        else:
            kind = found.partition(":")[0].partition(" ")[0]
            assert kind in {"BadMember", "UnsupportedMember", "ForbiddenLink", "directory", "->"}
            assert kind == "->" or "\n" not in found  # a link's target may hold any byte


def _keep(data: bytes) -> Path:
    FOUND.mkdir(parents=True, exist_ok=True)
    path = FOUND / f"{hashlib.sha256(data).hexdigest()[:16]}.zip"
    path.write_bytes(data)
    return path


def test_mutated_zips_are_read_right_or_refused() -> None:
    seeds = _seeds()
    # `make fuzz` looks for what is new; `make test` must not depend on chance.
    seed = int(os.environ.get("FUZZ_SEED", time.time_ns() if "FUZZ_SECONDS" in os.environ else 1))
    numbers = random.Random(seed)
    count = 0
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        data = _mutate(seeds, numbers)
        count += 1
        try:
            _check(data)
        except BaseException as error:
            error.add_note(f"FUZZ_SEED={seed}, archive {count}: {_keep(data)}")
            raise
    print(f"\n{count} archives of {len(seeds)} seeds in {SECONDS:g} s, FUZZ_SEED={seed}")
    assert count > SECONDS


def test_what_was_found_once_is_read_right_or_refused() -> None:
    """The archives in .tools/fuzz, until they are cases of their own."""
    for path in sorted(FOUND.glob("*.zip")):
        _check(path.read_bytes())
