"""All that is known of a mount at one moment, as values. Everything told is made from these."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from s3zipfs.telemetry.loads import LoadFigures
from s3zipfs.telemetry.objects import ObjectFigures
from s3zipfs.telemetry.operations import OperationFigures
from s3zipfs.telemetry.requests import RequestFigures

BreakerState = Literal["closed", "open", "half_open"]


@dataclass(frozen=True, slots=True)
class MemoryFigures:
    """The budget, and the bytes that were found in memory."""

    budget_bytes: int
    used_bytes: int
    bytes_found: int  # asked for, and there by then: of objects, and of members once inflated
    bytes_ahead: int  # fetched or inflated before they were asked for
    bytes_ahead_used: int
    bytes_ahead_wasted: int


@dataclass(frozen=True, slots=True)
class DiskFigures:
    """What is kept on disk."""

    directory: str | None  # None: nothing is kept
    limit_bytes: int  # of blocks; 0: none are kept
    used_bytes: int | None  # None: not known before this process has written
    bytes_read: int
    bytes_written: int
    faults: int


@dataclass(frozen=True, slots=True)
class TreeFigures:
    """What the tree and all below it have counted."""

    requests: RequestFigures
    retries: int
    breakers: Mapping[str, BreakerState]  # by endpoint
    memory: MemoryFigures
    disk: DiskFigures
    loads: LoadFigures
    archives_open: int
    bytes_read: int  # of content, by readers
    hottest: Sequence[ObjectFigures]


@dataclass(frozen=True, slots=True)
class DoorFigures:
    """What the FUSE door has counted."""

    operations: Mapping[str, OperationFigures]  # by kind, as FUSE has it: "lookup", "read"
    under_way: int
    open_directories: int
    inodes: int  # versions of objects and directories that the kernel knows


@dataclass(frozen=True, slots=True)
class ProcessFigures:
    """What one process has caused. What the kernel answers from its caches is in no figure."""

    name: str
    pid: int  # 0: the kernel's own requests, and those of other pid namespaces
    operations: int  # look-ups, listings, reads and the like
    bytes_read: int
    archives_opened: int  # for which an index had to be loaded
    requests: int  # to the store, begun while it was answered: also what is read ahead of it
    state: Literal["free", "slowed", "refused"]  # how it is let into further archives


@dataclass(frozen=True, slots=True)
class Figures:
    """All of it."""

    tree: TreeFigures
    door: DoorFigures
    processes: Sequence[ProcessFigures]  # the busiest first
