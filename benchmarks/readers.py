"""Readers as programs are: processes that open, read 1 MiB at a time without buffering, and close.

Processes and not threads, so that no system waits for its reader's interpreter lock. A run ends
after `LIMIT` seconds, done or not; rates are over what was read. A few bytes of every read are
compared with the source, which costs a microsecond; `check_whole` compares all, untimed.
"""

from __future__ import annotations

import mmap
import multiprocessing
import os
import queue
import time
import traceback
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

BLOCK = 1 << 20
LIMIT = 20.0  # seconds of one run
HANG = 60.0  # seconds over the limit after which a reader is killed
SAMPLE = 16  # bytes compared in each block
_FORK = multiprocessing.get_context("fork")  # what was imported is there, and no seconds go to it


class WrongBytes(Exception):
    """A system returned other bytes, or another number of them, than the source has."""


@dataclass(frozen=True)
class Part:
    """Bytes `[start, start + size)` of a file, which are those from `truth` on in the source."""

    path: str
    truth: int
    size: int
    start: int = 0


@dataclass
class Read:
    """What readers did: files, bytes, seconds; `cut` if the limit ended it."""

    files: int = 0
    size: int = 0
    seconds: float = 0.0
    cut: bool = False
    answers: list[Any] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """MB/s."""
        return self.size / 1e6 / self.seconds

    @property
    def pace(self) -> float:
        """Files per second."""
        return self.files / self.seconds


def together(job: Callable[[int], Any], readers: int = 1, limit: float = LIMIT) -> Read:
    """Run `job(number)` in that many processes at once; their `answers` and the time they took.

    A job ends by itself after `limit` seconds; it is killed `HANG` seconds later.

    Raises:
        WrongBytes: a reader failed; `str()` has its traceback.
        TimeoutError: a reader hung; all were killed.
    """
    barrier, results = _FORK.Barrier(readers), _FORK.Queue()

    def reader(number: int) -> None:
        try:
            barrier.wait(HANG)
            start = time.perf_counter()
            answer = job(number)
            results.put((start, time.perf_counter(), answer, ""))
        except BaseException:  # noqa: BLE001 - raised again by the parent
            results.put((0.0, 0.0, None, traceback.format_exc()))

    processes = [_FORK.Process(target=reader, args=(n,), daemon=True) for n in range(readers)]
    for process in processes:
        process.start()
    try:
        done = [results.get(timeout=limit + HANG) for _ in processes]
    except queue.Empty:
        raise TimeoutError(f"a reader did not end in {limit + HANG:g} s") from None
    finally:
        for process in processes:
            process.join(1)
            process.kill()
    if failed := [text for *_, text in done if text]:
        raise WrongBytes(failed[0])
    seconds = max(end for _, end, *_ in done) - min(start for start, *_ in done)
    return Read(seconds=seconds, answers=[answer for _, _, answer, _ in done])


def read_parts(source: Path, parts: Sequence[Part], readers: int = 1, limit: float = LIMIT) -> Read:
    """Each reader takes the next part in order, and reads it whole.

    Raises:
        WrongBytes: a byte or a size is not the source's.
    """
    following = _FORK.Value("q", 0)

    def take() -> Iterator[Part]:
        while True:
            with following.get_lock():
                number = following.value
                following.value += 1
            if number >= len(parts):
                return
            yield parts[number]

    def job(_number: int) -> tuple[int, int, bool]:
        end, files, size = time.perf_counter() + limit, 0, 0
        buffer = memoryview(bytearray(BLOCK))
        with (
            source.open("rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as truth,
        ):
            for part in take():
                size += _read(part, truth, buffer, end)
                files += 1
                if time.perf_counter() > end:
                    return files, size, True
        return files, size, False

    read = together(job, readers, limit)
    for files, size, cut in read.answers:
        read.files += files
        read.size += size
        read.cut |= cut
    return read


def _read(part: Part, truth: mmap.mmap, buffer: memoryview, give_up: float) -> int:
    """The bytes that were read of a part: all of it, unless the time ended."""
    done = 0
    for at, data in _blocks(part, buffer):
        sample = (part.start + at >> 16) * 7919 % max(1, len(data) - SAMPLE)  # differs by block
        begin, found = part.truth + at + sample, data[sample : sample + SAMPLE]
        if found != truth[begin : begin + len(found)]:
            raise WrongBytes(f"{part.path}, byte {part.start + at + sample}: not the source's")
        done += len(data)
        if time.perf_counter() > give_up:
            break
    return done


def _blocks(part: Part, buffer: memoryview) -> Iterator[tuple[int, memoryview]]:
    """A part's bytes in the buffer, as each read returns them, and where in the part they begin."""
    file = os.open(part.path, os.O_RDONLY)
    try:
        at = 0
        while at < part.size:
            got = os.preadv(file, [buffer[: min(BLOCK, part.size - at)]], part.start + at)
            if not got:
                raise WrongBytes(f"{part.path} ends at {part.start + at}")
            yield at, buffer[:got]
            at += got
    finally:
        os.close(file)


def check_whole(source: Path, parts: Sequence[Part]) -> None:
    """Compare the CRC of all bytes of the parts with the source's.

    Raises:
        WrongBytes: they differ.
    """

    def job(_number: int) -> None:
        end, buffer = time.perf_counter() + LIMIT, memoryview(bytearray(BLOCK))
        with (
            source.open("rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as truth,
        ):
            for part in parts:
                for at, data in _blocks(part, buffer):
                    begin = part.truth + at
                    if zlib.crc32(data) != zlib.crc32(truth[begin : begin + len(data)]):
                        raise WrongBytes(f"{part.path}: other bytes from {part.start + at} on")
                if time.perf_counter() > end:
                    return

    together(job)


def stat_missing(folder: str, numbers: range) -> Read:
    """`stat` of a name that is not there, for each number."""

    def job(_number: int) -> tuple[int, bool]:
        end = time.perf_counter() + LIMIT
        for done, number in enumerate(numbers, 1):
            try:
                os.stat(f"{folder}/nothing{number}")
            except FileNotFoundError:
                pass
            else:
                raise WrongBytes(f"{folder}/nothing{number} is there")
            if not done % 100 and time.perf_counter() > end:
                return done, True
        return len(numbers), False

    read = together(job)
    ((read.files, read.cut),) = read.answers
    return read
