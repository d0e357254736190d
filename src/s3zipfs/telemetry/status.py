"""A mount's status as one JSON object: what `.s3zipfs/status.json` and the status page show."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from s3zipfs.telemetry.figures import DoorFigures, Figures, TreeFigures

_PAGE = os.sysconf("SC_PAGESIZE")


@dataclass(frozen=True, slots=True)
class About:
    """What does not change while a mount lives."""

    version: str
    mountpoint: str
    sources: tuple[str, ...]  # URLs; none: all buckets
    metrics: str | None  # the URL of the status page
    started: datetime  # with its time zone


def status_of(about: About, figures: Figures, *, uptime: float) -> dict[str, Any]:
    """The status, of values that JSON has; `uptime` in seconds."""
    tree, door = figures.tree, figures.door
    return {
        "version": about.version,
        "pid": os.getpid(),
        "mountpoint": about.mountpoint,
        "sources": list(about.sources),
        "metrics": about.metrics,
        "endpoints": {url: {"breaker": state} for url, state in tree.breakers.items()},
        "started": about.started.isoformat(timespec="seconds"),
        "uptime_seconds": round(uptime, 3),
        "operations": _operations(door),
        "requests": {verb: dict(counts) for verb, counts in tree.requests.outcomes.items()},
        "requests_under_way": tree.requests.under_way,
        "retries": tree.retries,
        "bytes": _bytes(tree),
        "indexes": _indexes(tree),
        "memory": {
            "budget_bytes": tree.memory.budget_bytes,
            "used_bytes": tree.memory.used_bytes,
            "rss_bytes": resident_bytes(),
        },
        "cache": {
            "directory": tree.disk.directory,
            "bytes": tree.disk.used_bytes,
            "limit_bytes": tree.disk.limit_bytes,
        },
        "open_handles": door.open_directories,
        "inodes": door.inodes,
        "under_way": door.under_way,
        "archives": [asdict(each) for each in tree.hottest],
        "processes": [asdict(each) for each in figures.processes],
    }


def resident_bytes() -> int:
    """Memory that this process has in use, as `ps` shows it (statm of proc(5))."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE


def _operations(door: DoorFigures) -> Mapping[str, Any]:
    return {
        kind: {
            "count": each.durations.count,
            "errors": sum(each.errors.values()),
            "waited": each.waited,
            "seconds": round(each.durations.seconds, 6),
        }
        for kind, each in door.operations.items()
    }


def _bytes(tree: TreeFigures) -> Mapping[str, int]:
    return {
        "fetched": tree.requests.bytes_fetched,
        "read": tree.bytes_read,
        "from_memory": tree.memory.bytes_found,
        "from_disk": tree.disk.bytes_read,
        "read_ahead": tree.memory.bytes_ahead,
        "read_ahead_used": tree.memory.bytes_ahead_used,
        "read_ahead_wasted": tree.memory.bytes_ahead_wasted,
    }


def _indexes(tree: TreeFigures) -> Mapping[str, Any]:
    durations = tree.loads.durations
    return {
        "loaded": sum(each.count for each in durations.values()),
        "from_disk": durations["disk"].count,
        "failed": tree.loads.failed,
        "seconds": round(sum(each.seconds for each in durations.values()), 6),
        "open": tree.archives_open,
    }
