"""s3fs → ZipFileSystem → FSMap, as users of fsspec have it; and ours, after one changed import."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import fsspec.implementations.zip
import numpy as np
import s3fs
import zarr
from data import CHUNK, SHAPE, Archive
from fsspec.mapping import FSMap
from mounts import Store
from readers import WrongBytes, together
from works import Outcome

import s3zipfs

CHAIN = "s3fs chain"
POINTS = 10
THREADS = 16
RANDOM_SECONDS = 10.0
LIMIT = 240.0  # seconds

OpenZip = Callable[..., Any]


def theirs(store: Store, archive: Archive, truth: Path, small: Archive) -> Outcome:
    """fsspec's own `ZipFileSystem`."""
    return _run(fsspec.implementations.zip.ZipFileSystem, store, archive, truth, small)


def ours(store: Store, archive: Archive, truth: Path, small: Archive) -> Outcome:
    """`s3zipfs.ZipFileSystem` in its place."""
    return _run(s3zipfs.ZipFileSystem, store, archive, truth, small)


def _run(opened: OpenZip, store: Store, archive: Archive, truth: Path, small: Archive) -> Outcome:
    def job(_number: int) -> dict[str, float]:
        remote = s3fs.S3FileSystem(
            key=store.access_key,
            secret=store.secret_key,
            endpoint_url=store.endpoint,
            skip_instance_cache=True,
        )
        remote.ls("")  # connected, as it is for all archives but the first

        def mapping(which: Archive) -> FSMap:
            return FSMap("", opened(fo=remote.open(f"{which.name}/{which.key}", "rb")))

        expected = np.load(truth, mmap_mode="r")
        figures = _first_value(mapping(archive), expected)
        figures |= _points(mapping(archive), expected)
        figures |= _whole(mapping(archive), expected)
        start = time.perf_counter()
        many = mapping(small)
        many[small.members[-1].name]
        figures["open of 20,000 members, s"] = time.perf_counter() - start
        return figures | _random_members(many, small)

    return Outcome(together(job, limit=LIMIT).answers[0], 2 * int(np.prod(SHAPE)) * 4)


def _first_value(store: FSMap, expected: Any) -> dict[str, float]:
    start = time.perf_counter()
    array = zarr.open_array(store, mode="r")
    _compare(array[0, 0, 0], expected[0, 0, 0])
    return {"open + 1 chunk, s": time.perf_counter() - start}


def _points(store: FSMap, expected: Any) -> dict[str, float]:
    """One value each, of chunks far from each other."""
    array, generator = zarr.open_array(store, mode="r"), random.Random(1)
    places = [tuple(generator.randrange(n) for n in SHAPE) for _ in range(POINTS)]
    start = time.perf_counter()
    for place in places:
        _compare(array[place], expected[place])
    return {"point, ms": (time.perf_counter() - start) / POINTS * 1000}


def _whole(store: FSMap, expected: Any) -> dict[str, float]:
    array: Any = zarr.open_array(store, mode="r")
    start = time.perf_counter()
    for at in range(0, SHAPE[0], CHUNK[0]):
        slab = array[at : at + CHUNK[0]]
        _compare(slab[at % 63, ::64, ::64], expected[at + at % 63, ::64, ::64])
    return {"whole, MB/s": expected.nbytes / 1e6 / (time.perf_counter() - start)}


def _random_members(store: FSMap, archive: Archive) -> dict[str, float]:
    """Members of 64 KiB in 16 threads, compared with the source, for some seconds."""
    start, source = time.perf_counter(), archive.source

    def read(number: int) -> int:
        generator, count = random.Random(number), 0
        with source.open("rb") as truth:
            while time.perf_counter() - start < RANDOM_SECONDS:
                member = generator.choice(archive.members)
                truth.seek(member.truth)
                if store[member.name] != truth.read(member.size):
                    raise WrongBytes(f"{member.name}: other bytes")
                count += 1
        return count

    with ThreadPoolExecutor(THREADS) as pool:
        count = sum(pool.map(read, range(THREADS)))
    return {"16 threads, files/s": count / (time.perf_counter() - start)}


def _compare(found: Any, expected: Any) -> None:
    if not np.array_equal(found, expected):
        raise WrongBytes("an array's values are not those of the source")
