"""The metrics: one table of what each is called and means, and how it is told to Prometheus."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Final, Literal

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from s3zipfs.telemetry.durations import BOUNDS, Histogram
from s3zipfs.telemetry.figures import Figures

BREAKER_STATES: Final = ("closed", "half_open", "open")

Sample = tuple[tuple[str, ...], float | Histogram]
Read = Callable[[Figures], Iterable[Sample]]
Family = CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily


@dataclass(frozen=True, slots=True)
class Described:
    """One metric. No label is a name that users give: there are few values of each."""

    name: str
    type: Literal["counter", "gauge", "histogram"]
    labels: tuple[str, ...]
    meaning: str
    read: Read

    def family(self) -> Family:
        """Without its samples."""
        return _FAMILIES[self.type](self.name, self.meaning, labels=self.labels)


_FAMILIES: Final[Mapping[str, type[Family]]] = {
    "counter": CounterMetricFamily,
    "gauge": GaugeMetricFamily,
    "histogram": HistogramMetricFamily,
}


def _one(read: Callable[[Figures], float | None]) -> Read:
    """A metric without labels; None is left out."""

    def samples(figures: Figures) -> Iterator[Sample]:
        value = read(figures)
        if value is not None:
            yield (), value

    return samples


def _operation_errors(figures: Figures) -> Iterator[Sample]:
    for kind, operation in figures.door.operations.items():
        for errno, count in operation.errors.items():
            yield (kind, errno), count


def _requests(figures: Figures) -> Iterator[Sample]:
    for verb, outcomes in figures.tree.requests.outcomes.items():
        for outcome, count in outcomes.items():
            yield (verb, outcome), count


def _breakers(figures: Figures) -> Iterator[Sample]:
    for endpoint, now in figures.tree.breakers.items():
        for state in BREAKER_STATES:
            yield (endpoint, state), float(state == now)


METRICS: Final = (
    Described(
        "s3zipfs_operation_duration_seconds",
        "histogram",
        ("operation",),
        "Requests of the kernel, from their arrival to the answer.",
        lambda f: (((kind,), each.durations) for kind, each in f.door.operations.items()),
    ),
    Described(
        "s3zipfs_operation_errors_total",
        "counter",
        ("operation", "errno"),
        "Of these, answered by an error; a name that is not there is none.",
        _operation_errors,
    ),
    Described(
        "s3zipfs_operations_waited_total",
        "counter",
        ("operation",),
        "Of these, had to wait for what was neither in memory nor on disk, or not inflated yet.",
        lambda f: (((kind,), each.waited) for kind, each in f.door.operations.items()),
    ),
    Described(
        "s3zipfs_operations_under_way",
        "gauge",
        (),
        "Requests of the kernel that are not answered yet.",
        _one(lambda f: f.door.under_way),
    ),
    Described(
        "s3zipfs_open_directories",
        "gauge",
        (),
        "Directories that are open. Of open files the kernel does not tell.",
        _one(lambda f: f.door.open_directories),
    ),
    Described(
        "s3zipfs_inodes",
        "gauge",
        (),
        "Object versions and directories that the kernel knows.",
        _one(lambda f: f.door.inodes),
    ),
    Described(
        "s3zipfs_read_bytes_total",
        "counter",
        (),
        "Bytes of content that the kernel was given.",
        _one(lambda f: f.tree.bytes_read),
    ),
    Described(
        "s3zipfs_requests_total",
        "counter",
        ("verb", "outcome"),
        "Requests to the store that have ended, each attempt by itself.",
        _requests,
    ),
    Described(
        "s3zipfs_request_duration_seconds",
        "histogram",
        ("verb",),
        "The same, from the request to the last byte of the answer.",
        lambda f: (((verb,), each) for verb, each in f.tree.requests.durations.items()),
    ),
    Described(
        "s3zipfs_requests_under_way",
        "gauge",
        (),
        "Requests to the store that have not ended.",
        _one(lambda f: f.tree.requests.under_way),
    ),
    Described(
        "s3zipfs_request_retries_total",
        "counter",
        (),
        "Attempts that followed one that failed.",
        _one(lambda f: f.tree.retries),
    ),
    Described(
        "s3zipfs_fetched_bytes_total",
        "counter",
        (),
        "Bytes of objects that the store sent.",
        _one(lambda f: f.tree.requests.bytes_fetched),
    ),
    Described(
        "s3zipfs_breaker_state",
        "gauge",
        ("endpoint", "state"),
        "1 for the state that the endpoint is in: closed: all is asked; open: it is out of reach.",
        _breakers,
    ),
    Described(
        "s3zipfs_memory_found_bytes_total",
        "counter",
        (),
        "Bytes that were asked of the cache in memory and were there, of objects as they are "
        "stored and of members once they are inflated.",
        _one(lambda f: f.tree.memory.bytes_found),
    ),
    Described(
        "s3zipfs_read_ahead_bytes_total",
        "counter",
        (),
        "Bytes that were fetched or inflated before they were asked for.",
        _one(lambda f: f.tree.memory.bytes_ahead),
    ),
    Described(
        "s3zipfs_read_ahead_used_bytes_total",
        "counter",
        (),
        "Of these, asked for later.",
        _one(lambda f: f.tree.memory.bytes_ahead_used),
    ),
    Described(
        "s3zipfs_read_ahead_wasted_bytes_total",
        "counter",
        (),
        "Of these, dropped before they were asked for, or not to be had.",
        _one(lambda f: f.tree.memory.bytes_ahead_wasted),
    ),
    Described(
        "s3zipfs_memory_used_bytes",
        "gauge",
        (),
        "Memory for caches, indexes and transfers.",
        _one(lambda f: f.tree.memory.used_bytes),
    ),
    Described(
        "s3zipfs_memory_budget_bytes",
        "gauge",
        (),
        "Its bound, `--memory`.",
        _one(lambda f: f.tree.memory.budget_bytes),
    ),
    Described(
        "s3zipfs_disk_read_bytes_total",
        "counter",
        (),
        "Bytes of objects that came from the cache on disk.",
        _one(lambda f: f.tree.disk.bytes_read),
    ),
    Described(
        "s3zipfs_disk_written_bytes_total",
        "counter",
        (),
        "Bytes that were written there.",
        _one(lambda f: f.tree.disk.bytes_written),
    ),
    Described(
        "s3zipfs_disk_faults_total",
        "counter",
        (),
        "Faults of that disk; the store was asked instead.",
        _one(lambda f: f.tree.disk.faults),
    ),
    Described(
        "s3zipfs_disk_used_bytes",
        "gauge",
        (),
        "Bytes that the blocks of all processes take there; not told before this one has written.",
        _one(lambda f: f.tree.disk.used_bytes),
    ),
    Described(
        "s3zipfs_disk_limit_bytes",
        "gauge",
        (),
        "Its bound, `--cache-size`.",
        _one(lambda f: f.tree.disk.limit_bytes),
    ),
    Described(
        "s3zipfs_index_load_duration_seconds",
        "histogram",
        ("origin",),
        "Indexes of archives that were loaded, from the store or from the cache on disk.",
        lambda f: (((origin,), each) for origin, each in f.tree.loads.durations.items()),
    ),
    Described(
        "s3zipfs_index_load_failures_total",
        "counter",
        (),
        "Archives that could not be opened: no zip that can be trusted, or it could not be read.",
        _one(lambda f: f.tree.loads.failed),
    ),
    Described(
        "s3zipfs_archives_open",
        "gauge",
        (),
        "Archives whose index is at hand.",
        _one(lambda f: f.tree.archives_open),
    ),
)


class _Figures(Collector):
    def __init__(self, read: Callable[[], Figures], version: str) -> None:
        self._read = read
        self._version = version

    def describe(self) -> Iterator[Metric]:
        """The names alone: registering reads nothing."""
        return (metric.family() for metric in METRICS)

    def collect(self) -> Iterator[Metric]:
        """All of one moment."""
        figures = self._read()
        about = {"version": self._version}
        yield InfoMetricFamily("s3zipfs", "The version that runs.", value=about)
        for metric in METRICS:
            family = metric.family()
            for labels, value in metric.read(figures):
                if isinstance(family, HistogramMetricFamily):
                    assert isinstance(value, Histogram)  # noqa: S101 - a histogram's samples are
                    family.add_metric(labels, _buckets(value), value.seconds)
                else:
                    assert not isinstance(value, Histogram)  # noqa: S101 - likewise
                    family.add_metric(labels, value)
            yield family


def _buckets(histogram: Histogram) -> list[tuple[str, float]]:
    bounds = [*map(str, BOUNDS), "+Inf"]
    return list(zip(bounds, accumulate(histogram.counts), strict=True))


def registry_of(read: Callable[[], Figures], version: str) -> CollectorRegistry:
    """A registry of these figures, and of what is known of this process."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Figures(read, version))
    ProcessCollector(registry=registry)
    return registry
