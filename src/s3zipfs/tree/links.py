"""The way to the store, measured by a few small GETs."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from typing import Final

from s3zipfs.cache.reader import Fetcher
from s3zipfs.stores.base import ObjectInfo
from s3zipfs.waiting import Wait

PAGE: Final = 4 << 10  # bytes of a GET that tells the latency
PINGS: Final = 3  # of which the median counts, after one that makes the connection
SAMPLE: Final = 1 << 20  # bytes of the GET that tells the speed


@dataclass(frozen=True, slots=True)
class Link:
    """How long one GET takes."""

    latency_seconds: float
    bytes_per_second: float | None  # None: the object is too small to tell

    def seconds(self, size: int, *, trips: int) -> float:
        """About, for so many bytes by so many GETs that wait for each other."""
        flow = size / self.bytes_per_second if self.bytes_per_second else 0.0
        return trips * self.latency_seconds + flow


def measure_link(fetcher: Fetcher, info: ObjectInfo, wait: Wait) -> Link:
    """By GETs of an object's first bytes and of some in its middle, past all that is kept."""

    def seconds(start: int, end: int) -> float:
        begun = time.perf_counter()
        fetcher.get(info.id, start, end, wait)
        return time.perf_counter() - begun

    if not info.size:
        return Link(0.0, None)
    page = min(PAGE, info.size)
    seconds(0, page)
    latency = statistics.median(seconds(0, page) for _ in range(PINGS))
    if info.size < 2 * SAMPLE:
        return Link(latency, None)
    flow = seconds(info.size // 2, info.size // 2 + SAMPLE) - latency
    return Link(latency, SAMPLE / max(flow, latency / 10))
