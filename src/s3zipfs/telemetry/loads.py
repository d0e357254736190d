"""How long it took to open archives: to fetch and parse an index, or to take it from disk."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from s3zipfs.telemetry.durations import Durations, Histogram

Origin = Literal["store", "disk"]
ORIGINS: Final[tuple[Origin, ...]] = ("store", "disk")


@dataclass(frozen=True, slots=True)
class LoadFigures:
    """All indexes that were loaded until one moment."""

    durations: Mapping[Origin, Histogram]
    failed: int  # no zip that can be trusted, or it could not be fetched


class LoadMeter:
    """Counts loads; safe for any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards all below
        self._durations = {origin: Durations() for origin in ORIGINS}
        self._failed = 0

    def ended(self, origin: Origin | None, seconds: float) -> None:
        """One was loaded from there; None: it could not be had."""
        with self._lock:
            if origin is None:
                self._failed += 1
            else:
                self._durations[origin].add(seconds)

    def read(self) -> LoadFigures:
        """All of them until now."""
        with self._lock:
            durations = {origin: each.read() for origin, each in self._durations.items()}
            return LoadFigures(durations, self._failed)
