"""What is told of one mount, in all its forms."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from typing import Any

from prometheus_client import generate_latest

from s3zipfs.telemetry.figures import Figures
from s3zipfs.telemetry.prometheus import registry_of
from s3zipfs.telemetry.status import About, status_of


class Monitor:
    """Reads the figures each time it is asked; waits for no network and no disk."""

    def __init__(self, about: About, read: Callable[[], Figures]) -> None:
        self._about = about
        self._began = time.monotonic()
        self._read = read
        self.registry = registry_of(read, about.version)

    def status(self) -> dict[str, Any]:
        """See `status_of`."""
        return status_of(self._about, self._read(), uptime=time.monotonic() - self._began)

    def status_json(self) -> bytes:
        """The status as a line of ASCII: names may hold anything."""
        return f"{json.dumps(self.status())}\n".encode("ascii")

    def metrics(self) -> bytes:
        """Prometheus' text format."""
        return generate_latest(self.registry)

    def files(self) -> Mapping[str, Callable[[], bytes]]:
        """By name, for `.s3zipfs` in a mount."""
        return {"status.json": self.status_json, "metrics": self.metrics}
