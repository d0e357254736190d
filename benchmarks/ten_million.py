"""A generated directory of ten million members, served by the memory store: time and memory."""

from __future__ import annotations

import resource
import struct
import time

import numpy as np
from readers import together
from works import Outcome

from s3zipfs.build import build_tree
from s3zipfs.settings import load_settings
from s3zipfs.stores.memory import Computed, MemoryStore
from s3zipfs.waiting import Wait

MEMBERS = 10_000_000
NAME = b"x/000/000/00000000.dat"  # digits are filled in
LOCAL = 30 + len(NAME)  # bytes of each member: a local header, no data
CENTRAL = 46 + len(NAME)


def _digits(values: np.ndarray, width: int) -> np.ndarray:
    powers = 10 ** np.arange(width - 1, -1, -1)
    return (values[:, None] // powers % 10 + ord("0")).astype(np.uint8)


def _headers(first: int, last: int) -> bytes:
    """Central directory headers (APPNOTE 4.3.12) of members `[first, last)`."""
    numbers = np.arange(first, last, dtype=np.int64)
    fixed = struct.pack("<I6H3I5H2I", 0x02014B50, 20, 20, 0, 0, 0, 33, 0, 0, 0, len(NAME), *[0] * 6)
    rows = np.tile(np.frombuffer(fixed + NAME, np.uint8), (len(numbers), 1))
    rows[:, 42:46] = (numbers * LOCAL).astype("<u4").view(np.uint8).reshape(-1, 4)
    rows[:, 46 + 2 : 46 + 5] = _digits(numbers // 100_000, 3)
    rows[:, 46 + 6 : 46 + 9] = _digits(numbers // 100 % 1000, 3)
    rows[:, 46 + 10 : 46 + 18] = _digits(numbers, 8)
    return rows.tobytes()


def _object() -> Computed:
    start, size = MEMBERS * LOCAL, MEMBERS * CENTRAL
    end = start + size
    tail = struct.pack("<IQHHIIQQQQ", 0x06064B50, 44, 45, 45, 0, 0, MEMBERS, MEMBERS, size, start)
    tail += struct.pack("<IIQI", 0x07064B50, 0, end, 1)
    tail += struct.pack("<I4H2IH", 0x06054B50, 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)

    def content(first: int, last: int) -> bytes:
        assert first >= start, "only the directory is read"
        rows = (first - start) // CENTRAL, -(-(min(last, end) - start) // CENTRAL)
        made = _headers(*rows) if rows[1] > rows[0] else b""
        offset = start + rows[0] * CENTRAL
        whole = made + (tail if last > end else b"")
        offset = min(offset, end) if made else end
        return whole[first - offset : last - offset]

    return Computed(end + len(tail), content)


def run() -> Outcome:
    """Seconds to open and to look up, megabytes at the peak."""
    return Outcome(together(_measure, limit=100).answers[0])


def _measure(_number: int) -> dict[str, float]:
    store, wait = MemoryStore(), Wait(600)
    store.put("lab", "ten.zip", _object())
    settings = load_settings(cache_dir="none")
    tree = build_tree(settings, ["s3://lab"], store=store)
    start = time.perf_counter()
    count = sum(1 for _ in tree.entries(tree.resolve(b"ten.zip/x", wait), wait))
    opened = time.perf_counter() - start
    assert count == 100
    start = time.perf_counter()
    for number in range(0, MEMBERS, MEMBERS // 10_000):
        path = b"ten.zip/x/%03d/%03d/%08d.dat" % (number // 100_000, number // 100 % 1000, number)
        tree.resolve(path, wait)
    looked = 10_000 / (time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    tree.close()
    return {
        "open and list, s": opened,
        "look-ups of whole paths/s": looked,
        "peak RSS, MB": peak,
    }
