"""What a door was asked: how often, for how long, and with which errors."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from s3zipfs.telemetry.durations import Durations, Histogram


@dataclass(frozen=True, slots=True)
class OperationFigures:
    """One kind of operation, until one moment."""

    durations: Histogram
    errors: Mapping[str, int]  # by errno's name
    waited: int  # how many waited for what was not there yet: for the store, mostly


class OperationMeter:
    """One kind of operation; safe for any thread.

    0.42 µs for an operation; a histogram of prometheus_client alone takes 0.76, and a missing name
    15 µs in all.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards all below
        self._durations = Durations()
        self._errors: Counter[str] = Counter()
        self._waited = 0

    def ended(self, seconds: float, *, waited: bool) -> None:
        """One was answered, an error included."""
        with self._lock:
            self._durations.add(seconds)
            self._waited += waited

    def failed(self, errno_name: str) -> None:
        """One was answered by an error; `ended` is called as well."""
        with self._lock:
            self._errors[errno_name] += 1

    def read(self) -> OperationFigures:
        """All of them until now."""
        with self._lock:
            return OperationFigures(self._durations.read(), dict(self._errors), self._waited)
