"""The machine as its files tell of it, and who asks."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

_CAP_SYS_ADMIN = 21  # linux/capability.h
UNLIMITED = 1 << 63


@dataclass(frozen=True, slots=True)
class Host:
    """Files below `root`, which is another one in tests; variables; the effective user."""

    root: Path = Path("/")
    environment: Mapping[str, str] = field(default_factory=lambda: os.environ)
    uid: int = field(default_factory=os.geteuid)

    def path(self, absolute: str) -> Path:
        """The file that is called so on this machine."""
        return self.root / absolute.lstrip("/")

    def text(self, absolute: str) -> str | None:
        """What a file says; None where it can't be read."""
        try:
            return self.path(absolute).read_text(errors="replace")
        except OSError:
            return None

    @property
    def may_mount(self) -> bool:
        """Whether mount(2) is permitted (proc(5), CapEff)."""
        for line in (self.text("/proc/self/status") or "").splitlines():
            if line.startswith("CapEff:"):
                return bool(int(line.split()[1], 16) >> _CAP_SYS_ADMIN & 1)
        return self.uid == 0

    def limit(self, name: str) -> int | None:
        """A soft limit by its name in /proc/self/limits, `UNLIMITED` at most; None: not told."""
        for line in (self.text("/proc/self/limits") or "").splitlines():
            if line.startswith(name):
                value = line[len(name) :].split()[0]
                return UNLIMITED if value == "unlimited" else int(value)
        return None
