"""What is done on a mount, or on a reference in its place, and the figures that come out of it."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from data import CHUNK, MILLION, SHAPE, Archive, million_name
from mounts import Mount
from readers import LIMIT, Part, Read, WrongBytes, check_whole, read_parts, stat_missing, together

PIECE = 64 << 10
RANDOM_READS = 100
MISSING = 10_000
LOOK_UPS = 10_000


@dataclass(frozen=True)
class Outcome:
    """Figures by name, the bytes that were read, and whether the limit of time ended it.

    `needed` are the archive's bytes that the answers are made of, each once: compressed ones.
    """

    figures: dict[str, float]
    size: int = 0
    cut: bool = False
    needed: int = 0


Work = Callable[[Mount, Archive], Outcome]


def rate(read: Read, name: str = "MB/s") -> Outcome:
    """The outcome of bytes that were read in order."""
    return Outcome({name: read.rate}, read.size, read.cut)


def pace(read: Read, name: str = "files/s") -> Outcome:
    """The outcome of files that were read."""
    return Outcome({name: read.pace}, read.size, read.cut)


def each(read: Read) -> Outcome:
    """The outcome of single reads."""
    return Outcome({"ms each": read.seconds / read.files * 1000}, read.size, read.cut)


def look_inside(mount: Mount, archive: Archive) -> float:
    """Seconds until the archive is listed: its index is there from now on."""
    start = time.perf_counter()
    if not os.listdir(mount.path / archive.key):
        raise WrongBytes(f"{mount.system}: nothing in {archive.key}")
    return time.perf_counter() - start


def packed(archive: Archive, numbers: Iterable[int]) -> int:
    """Bytes of these members in the archive."""
    return sum(archive.members[number].packed for number in numbers)


def whole(readers: int = 1) -> Work:
    """The first member, in as many equal pieces as there are readers."""

    def work(mount: Mount, archive: Archive) -> Outcome:
        look_inside(mount, archive)
        outcome = rate(read_parts(archive.source, pieces(mount.path, archive, readers), readers))
        return replace(outcome, needed=packed(archive, range(1)))

    return work


def pieces(root: Path, archive: Archive, count: int = 1) -> list[Part]:
    """The first member in equal pieces."""
    (part,) = archive.parts(root, range(1))
    size = part.size // count
    return [Part(part.path, at, size, at - part.truth) for at in _starts(part, size, count)]


def _starts(part: Part, size: int, count: int) -> range:
    return range(part.truth, part.truth + size * count, size)


def whole_again(mount: Mount, archive: Archive) -> Outcome:
    """The first member a second time: from the kernel's page cache."""
    look_inside(mount, archive)
    parts = pieces(mount.path, archive)
    read_parts(archive.source, parts)
    mount.mark()
    return rate(read_parts(archive.source, parts))


def whole_after_restart(mount: Mount, archive: Archive) -> Outcome:
    """The first member cold, and again after a restart, by what the disk kept."""
    look_inside(mount, archive)
    parts = pieces(mount.path, archive)
    cold = read_parts(archive.source, parts)
    mount.remount()
    mount.mark()
    look_inside(mount, archive)
    again = read_parts(archive.source, parts)
    figures = {"after a restart, MB/s": again.rate, "gain over cold": again.rate / cold.rate}
    return Outcome(figures, again.size, cold.cut or again.cut)


def random_pieces(root: Path, archive: Archive, seed: int) -> list[Part]:
    """64 KiB at random places of the first member."""
    (part,) = archive.parts(root, range(1))
    generator = random.Random(seed)
    places = [generator.randrange(part.size - PIECE) for _ in range(RANDOM_READS)]
    return [Part(part.path, part.truth + place, PIECE, place) for place in places]


def random_reads(mount: Mount, archive: Archive) -> Outcome:
    """64 KiB at random places of a member that nobody has read; all of it is needed for them."""
    look_inside(mount, archive)
    outcome = each(read_parts(archive.source, random_pieces(mount.path, archive, 1)))
    return replace(outcome, needed=packed(archive, range(1)))


def random_reads_after_restart(mount: Mount, archive: Archive) -> Outcome:
    """The same, after a first visit that came to the member's end, and a restart."""
    look_inside(mount, archive)
    read_parts(archive.source, random_pieces(mount.path, archive, 1))
    read_parts(archive.source, pieces(mount.path, archive, RANDOM_READS)[-1:])
    mount.remount()
    mount.mark()
    look_inside(mount, archive)
    return each(read_parts(archive.source, random_pieces(mount.path, archive, 2)))


def small_in_order(count: int, readers: int) -> Work:
    """So many members in archive order."""

    def work(mount: Mount, archive: Archive) -> Outcome:
        opened = look_inside(mount, archive)
        outcome = pace(read_parts(archive.source, archive.parts(mount.path, range(count)), readers))
        outcome.figures["open + ls, s"] = opened
        return replace(outcome, needed=packed(archive, range(count)))

    return work


def random_numbers(archive: Archive, count: int) -> list[int]:
    """Different members in a random order."""
    return random.Random(1).sample(range(len(archive.members)), count)


def small_random(count: int, readers: int) -> Work:
    """So many members in random order."""

    def work(mount: Mount, archive: Archive) -> Outcome:
        look_inside(mount, archive)
        numbers = random_numbers(archive, count)
        parts = archive.parts(mount.path, iter(numbers))
        outcome = pace(read_parts(archive.source, parts, readers))
        return replace(outcome, needed=packed(archive, numbers))

    return work


def small_again(count: int, readers: int) -> Work:
    """So many members in archive order a second time."""

    def work(mount: Mount, archive: Archive) -> Outcome:
        look_inside(mount, archive)
        parts = archive.parts(mount.path, range(count))
        read_parts(archive.source, parts, readers)
        mount.mark()
        return pace(read_parts(archive.source, parts, readers))

    return work


def missing(mount: Mount, archive: Archive) -> Outcome:
    """`stat` of names that are not there: new ones, and the same again."""
    look_inside(mount, archive)
    folder = f"{mount.path}/{archive.key}/a/c/0"
    first = stat_missing(folder, range(MISSING))
    again = stat_missing(folder, range(MISSING))
    figures = {"first, stat/s": first.pace, "again, stat/s": again.pace}
    return Outcome(figures, 0, first.cut or again.cut)


def many_readers(readers: int, seconds: float) -> Work:
    """Members in random order for so long; the daemon's memory at half time and at the end."""

    def work(mount: Mount, archive: Archive) -> Outcome:
        look_inside(mount, archive)
        generator, members = random.Random(1), range(len(archive.members))
        numbers = generator.choices(members, k=int(seconds) * 10_000)
        parts = archive.parts(mount.path, iter(numbers))
        early = read_parts(archive.source, parts, readers, seconds / 2)
        held = mount.resident()
        late = read_parts(archive.source, parts[::-1], readers, seconds / 2)
        growth = {"growth, MB": float(mount.resident() - held)}
        return Outcome(growth | {"files/s": late.pace}, early.size + late.size)

    return work


def check(mount: Mount, archive: Archive) -> None:
    """All bytes of some members, at the beginning, in the middle and at the end, by CRC."""
    count = len(archive.members)
    numbers = sorted({*range(min(count, 50)), *range(count // 2, count, max(1, count // 100))})
    check_whole(archive.source, archive.parts(mount.path, iter(numbers)))


Opener = Callable[[], Any]
ZarrJob = Callable[[Opener, Path], Outcome]


def on_mount(job: ZarrJob, truth: Callable[[], Path]) -> Work:
    """A Zarr work on the archive's directory, opened by path."""

    def work(mount: Mount, archive: Archive) -> Outcome:
        path = mount.path / archive.key
        outcome = job(lambda: zarr.open_array(path, mode="r"), truth())
        every = packed(archive, range(len(archive.members)))
        share = min(1.0, outcome.size / (np.prod(SHAPE) * 4))  # a second pass needs nothing more
        return replace(outcome, needed=int(every * share))

    return work


def zarr_whole(opener: Opener, truth: Path) -> Outcome:
    """The whole array by slabs of a chunk's thickness, twice."""

    def job(_number: int) -> dict[str, float]:
        expected = np.load(truth, mmap_mode="r")
        array, opened = _open(opener, expected)
        figures = {"open + 1 chunk, s": opened}
        for name in ("whole, MB/s", "second pass, MB/s"):
            start = time.perf_counter()
            for at in range(0, SHAPE[0], CHUNK[0]):
                slab = array[at : at + CHUNK[0]]
                _compare(slab[at % 63, ::64, ::64], expected[at + at % 63, ::64, ::64])
            figures[name] = expected.nbytes / 1e6 / (time.perf_counter() - start)
        return figures

    return Outcome(together(job).answers[0], 2 * int(np.prod(SHAPE)) * 4)


def zarr_points(opener: Opener, truth: Path) -> Outcome:
    """One value at random places, and a column, each of chunks that nobody has read."""

    def job(_number: int) -> tuple[dict[str, float], int]:
        expected = np.load(truth, mmap_mode="r")
        array, opened = _open(opener, expected)
        generator, count = random.Random(1), 30
        places = [tuple(generator.randrange(n) for n in SHAPE) for _ in range(count)]
        start = time.perf_counter()
        for place in places:
            _compare(array[place], expected[place])
        points = (time.perf_counter() - start) / count
        start = time.perf_counter()
        _compare(array[300, 200, :], expected[300, 200, :])
        column = time.perf_counter() - start
        figures = {"open + 1 chunk, s": opened, "point, ms": points * 1000}
        return figures | {"column, ms": column * 1000}, count + 1 + SHAPE[2] // CHUNK[2]

    ((figures, chunks),) = together(job).answers
    return Outcome(figures, chunks * int(np.prod(CHUNK)) * 4)


def _open(opener: Opener, expected: Any) -> tuple[Any, float]:
    start = time.perf_counter()
    array = opener()
    _compare(array[0, 0, 0], expected[0, 0, 0])
    return array, time.perf_counter() - start


def _compare(found: Any, expected: Any) -> None:
    if not np.array_equal(found, expected):
        raise WrongBytes("an array's values are not those of the source")


def million(mount: Mount, archive: Archive) -> Outcome:
    """A first look, look-ups, walks, and `stat` of everything."""
    figures = {"first ls, s": look_inside(mount, archive)}
    base, generator = f"{mount.path}/{archive.key}/", random.Random(1)
    some = [base + million_name(generator.randrange(MILLION)) for _ in range(LOOK_UPS)]
    figures["random look-ups/s"] = _stat(some)
    figures["walk, entries/s"] = _walk(base)
    figures["second walk, entries/s"] = _walk(base)
    figures["stat of everything, /s"] = _stat([base + million_name(n) for n in range(MILLION)])
    return Outcome(figures)


def million_after_restart(mount: Mount, archive: Archive) -> Outcome:
    """The same with the index that the first look left on the disk."""
    look_inside(mount, archive)
    mount.remount()
    mount.mark()
    return million(mount, archive)


def _walk(base: str) -> float:
    start, count = time.perf_counter(), 0
    for _, folders, files in os.walk(base):
        count += len(folders) + len(files)
    if count != MILLION + 101 * 100 + 1:
        raise WrongBytes(f"{count} entries in {base}")
    return count / (time.perf_counter() - start)


def _stat(names: list[str]) -> float:
    start = time.perf_counter()
    for done, name in enumerate(names, 1):
        os.stat(name)
        if not done % 100 and time.perf_counter() - start > LIMIT:
            break
    return done / (time.perf_counter() - start)
