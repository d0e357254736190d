"""Readers that are killed leave behind what others share, and that ends by itself."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from faults.cases import next_case
from faults.px import Proxy, gets, silent
from faults.reading import SOON
from mounting import wait_until

from s3zipfs.budget import MemoryBudget
from s3zipfs.cache.disk import DiskCache
from s3zipfs.cache.extents import ExtentCache
from s3zipfs.cache.reader import Fetcher, ObjectReader
from s3zipfs.errors import Interrupted
from s3zipfs.settings import load_settings
from s3zipfs.stores.base import ObjectInfo
from s3zipfs.stores.network import Network
from s3zipfs.stores.retrying import RetryingStore
from s3zipfs.stores.s3 import S3Store
from s3zipfs.waiting import Wait

READERS = 64
TIMEOUT = 5.0


@pytest.fixture
def budget() -> MemoryBudget:
    return MemoryBudget(256 << 20)


@pytest.fixture
def store(px: Proxy) -> RetryingStore:
    settings = load_settings(
        endpoint_url=px.endpoint,
        access_key=px.server.access_key,
        secret_key=px.server.secret_key,
        timeout=TIMEOUT,
    )
    return RetryingStore(S3Store(settings), TIMEOUT)


@pytest.fixture
def fetcher(store: RetryingStore, budget: MemoryBudget) -> Iterator[Fetcher]:
    disk = DiskCache(None, max_bytes=0, budget=budget)
    running = Fetcher(store, Network(), ExtentCache(budget), disk, in_threads=16, on_loop=16)
    with contextlib.closing(running):
        yield running


@pytest.fixture
def info(
    fetcher: Fetcher, store: RetryingStore, faults_bucket: str, numbers: Iterator[int]
) -> ObjectInfo:
    key = next_case(Path(), numbers).key
    return fetcher.network.submit(store.head(faults_bucket, key)).result(SOON)


def tasks(fetcher: Fetcher) -> int:
    """Coroutines under way on the network's loop."""

    async def count() -> int:
        return len(asyncio.all_tasks()) - 1

    return fetcher.network.submit(count()).result(SOON)


def kill_readers(px: Proxy, fetcher: Fetcher, info: ObjectInfo) -> None:
    """64 readers of as many ranges; all are killed once the first request is met with silence."""
    killed = threading.Event()
    reader = ObjectReader(info, fetcher)
    step = info.size // READERS

    def read(number: int) -> None:
        with pytest.raises(Interrupted):
            reader.read(number * step, number * step + 4096, Wait(60.0, killed.is_set))

    with ThreadPoolExecutor(READERS) as pool:
        reading = [pool.submit(read, number) for number in range(READERS)]
        assert px.silent.wait(SOON)
        killed.set()
        for each in reading:
            each.result(SOON)


def test_killed_readers_share_their_requests_and_leave_none(
    px: Proxy, fetcher: Fetcher, info: ObjectInfo, budget: MemoryBudget
) -> None:
    idle, used = tasks(fetcher), budget.used
    px.tell(silent, gets(info.id.key))
    for _ in range(4):
        kill_readers(px, fetcher, info)
        assert tasks(fetcher) <= idle + 3 * READERS  # not more each time
    wait_until(lambda: tasks(fetcher) <= idle, seconds=SOON, what="all requests have ended")
    assert budget.used == used
    asked = len(px.requests)
    px.honest()
    data = ObjectReader(info, fetcher).read(0, 4096, Wait(SOON))
    assert sum(map(len, data)) == 4096
    assert asked > 0
