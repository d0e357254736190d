"""One way to run a row: all systems in turn, each on a fresh mount, and the medians of it."""

from __future__ import annotations

import mmap
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from statistics import median
from typing import Any

import numpy as np
import works
from data import NOTHING, Archive, Data
from links import CountingProxy, Counts, delayed
from mounts import OURS, Mount, Store, is_installed
from rows import Reference, Row
from works import Outcome

WARMED = 3 << 29  # bytes: the largest member, and half of it again


@dataclass
class Runs:
    """What one system's runs of a row gave. Memory in MB, CPU seconds for each GB read."""

    figures: dict[str, list[float]] = field(default_factory=dict)
    peak: int = 0
    cpu: list[float] = field(default_factory=list)
    cut: bool = False  # a run took as long as it may: there was no other
    failed: str = ""

    def add(self, outcome: Outcome) -> None:
        """One more run."""
        for name, value in outcome.figures.items():
            self.figures.setdefault(name, []).append(value)
        self.cut |= outcome.cut


@dataclass(frozen=True)
class Costs:
    """What one run of ours asked the store for. None where nothing was read."""

    requests: dict[str, int]
    fetched: float | None  # bytes for each of the archive's that was needed
    gets: float | None  # for each MiB that was read


@dataclass(frozen=True)
class Result:
    """One row's medians, for the report; `asdict` of it is what the JSON holds."""

    name: str
    figures: dict[str, dict[str, float]]  # of each system
    peaks: dict[str, int]
    cpu: dict[str, float]
    cut: list[str]
    failed: dict[str, str]
    costs: Costs | None
    seconds: float

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def run_row(row: Row, data: Data, server: Store) -> Result:
    """All systems, one after another, `repeats` times, and once more ours to count its requests.

    A peer that fails is told of, and is not run again; if ours does, so does the row.

    Raises:
        WrongBytes, OSError, RuntimeError, TimeoutError: ours, or a reference, failed.
    """
    start = time.monotonic()
    archive = NOTHING
    if row.data:
        data.upload(row.data, server)
        archive = data.archive(row.data)
    with delayed(server, row.delay) as store:
        tasks: dict[str, Callable[[Runs], Outcome]] = {}
        if row.work is not None:
            for system in filter(is_installed, (OURS, *row.peers)):
                mounted = row.ours if system == OURS else system
                tasks[system] = partial(_on_mount, row, mounted, store, archive)
        for name, reference in row.references.items():
            tasks[name] = partial(_alone, reference, store, archive)
        runs = _interleaved(row, tasks)
        costs = _counted(row, store, archive) if row.is_counted else None
    return Result(
        row.name,
        {s: {n: median(values) for n, values in run.figures.items()} for s, run in runs.items()},
        {system: run.peak for system, run in runs.items() if run.peak},
        {system: median(run.cpu) for system, run in runs.items() if run.cpu},
        [system for system, run in runs.items() if run.cut],
        {system: run.failed for system, run in runs.items() if run.failed},
        costs,
        time.monotonic() - start,
    )


def _interleaved(row: Row, tasks: dict[str, Callable[[Runs], Outcome]]) -> dict[str, Runs]:
    runs = {system: Runs() for system in tasks}
    for _ in range(row.repeats):
        for system, task in tasks.items():
            run = runs[system]
            if run.cut or run.failed:
                continue
            _warm_memory()
            try:
                run.add(task(run))
            except Exception as error:
                if system not in row.peers:
                    raise
                run.failed = str(error).strip().splitlines()[-1]
                print(f"  {system} failed: {run.failed}", flush=True)
    return runs


def _warm_memory() -> None:
    """Touch what a run may need, and give it back.

    A virtual machine's page that nobody used for some time is the host's: its first touch takes
    1 to 3 µs, and whoever runs first would pay for all. It was seen to halve a system's rate.
    """
    with mmap.mmap(-1, WARMED) as memory:
        np.frombuffer(memory, np.uint8)[:: mmap.PAGESIZE] = 1


def _alone(reference: Reference, store: Store, archive: Archive, _runs: Runs) -> Outcome:
    return reference(store, archive)


def _on_mount(row: Row, system: str, store: Store, archive: Archive, runs: Runs) -> Outcome:
    assert row.work is not None
    with Mount(system, store, archive.name) as mount:
        outcome = row.work(mount, archive)
    runs.peak = max(runs.peak, mount.peak)
    if outcome.size:
        runs.cpu.append(mount.cpu / (outcome.size / 1e9))
    return outcome


def _counted(row: Row, store: Store, archive: Archive) -> Costs:
    """Not timed: a proxy in Python is slower than the server. Bytes are checked by their CRC."""
    assert row.work is not None
    with CountingProxy(store) as proxy:
        before = Counts.none()

        def mark() -> None:
            nonlocal before
            before = proxy.counts

        with Mount(row.ours, proxy.store, archive.name, mark) as mount:
            outcome = row.work(mount, archive)
            counts = proxy.counts - before
            works.check(mount, archive)
    if not outcome.size:
        return Costs(dict(counts.requests), None, None)
    gets = counts.requests["GET"] / (outcome.size / (1 << 20))
    fetched = counts.size / outcome.needed if outcome.needed else None
    return Costs(dict(counts.requests), fetched, gets)
