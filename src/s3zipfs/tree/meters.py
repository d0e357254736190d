"""What was counted below a tree, gathered from where it is counted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from s3zipfs.archive.registry import Archives
from s3zipfs.budget import MemoryBudget
from s3zipfs.cache.disk import DiskCache
from s3zipfs.cache.extents import ExtentCache
from s3zipfs.stores.retrying import RetryingStore
from s3zipfs.telemetry.figures import BreakerState, DiskFigures, MemoryFigures, TreeFigures
from s3zipfs.telemetry.objects import ObjectMeter
from s3zipfs.telemetry.requests import RequestMeter

HOTTEST: Final = 10  # objects

_WORST: Final[tuple[BreakerState, ...]] = ("closed", "half_open", "open")


class Meters:
    """The counters of one tree. Reading them waits for no network and no disk.

    Args:
        asked: the stores of S3, one for each endpoint and its credentials; of others nothing is
            counted but the bytes.
        cache_limit: bytes of blocks on disk.
    """

    def __init__(
        self,
        *,
        asked: Sequence[RetryingStore],
        requests: RequestMeter,
        objects: ObjectMeter,
        budget: MemoryBudget,
        cache: ExtentCache,
        disk: DiskCache,
        archives: Archives,
        cache_dir: Path | None,
        cache_limit: int,
    ) -> None:
        self.objects = objects
        self._asked = asked
        self._requests = requests
        self._budget = budget
        self._cache = cache
        self._disk = disk
        self._archives = archives
        self._cache_dir = cache_dir
        self._cache_limit = cache_limit

    def read(self) -> TreeFigures:
        """All that was counted until now."""
        return TreeFigures(
            requests=self._requests.read(),
            retries=sum(store.retries for store in self._asked),
            breakers=self._breakers(),
            memory=self._memory(),
            disk=self._blocks(),
            loads=self._archives.loads.read(),
            archives_open=self._archives.open_count,
            bytes_read=self.objects.bytes_read,
            hottest=self.objects.hottest(HOTTEST),
        )

    def _breakers(self) -> dict[str, BreakerState]:
        """By endpoint; the worst where one is reached in several ways."""
        states: dict[str, BreakerState] = {}
        for store in self._asked:
            before = states.get(store.endpoint, "closed")
            states[store.endpoint] = max(before, store.breaker.state, key=_WORST.index)
        return states

    def _memory(self) -> MemoryFigures:
        counts = self._cache.counts
        return MemoryFigures(
            budget_bytes=self._budget.limit,
            used_bytes=self._budget.used,
            bytes_found=counts.found,
            bytes_ahead=counts.ahead,
            bytes_ahead_used=counts.ahead_used,
            bytes_ahead_wasted=counts.ahead_wasted,
        )

    def _blocks(self) -> DiskFigures:
        counts = self._disk.counts
        return DiskFigures(
            directory=None if self._cache_dir is None else str(self._cache_dir),
            limit_bytes=self._cache_limit,
            used_bytes=counts.used_bytes,
            bytes_read=counts.read_bytes,
            bytes_written=counts.written_bytes,
            faults=counts.failed,
        )
