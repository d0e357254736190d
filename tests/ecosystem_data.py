"""What the archives of tests/zarr/test_ecosystem.py hold, by formula: both its scripts know it."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

MONTHS: Final = 20
DAYS: Final = 30
GRID: Final = (40, 60)
ROWS: Final = 50_000
PARTS: Final = 4
MANY: Final = 3000  # chunks of the array whose index is worth a file

Floats = NDArray[np.float32]


def month(number: int) -> Floats:
    """Temperatures of one month: day, latitude, longitude."""
    values = np.random.default_rng(number).normal(10, 5, (DAYS, *GRID))
    return values.astype("f4")


def year() -> Floats:
    """All months."""
    return np.concatenate([month(number) for number in range(MONTHS)])


def columns() -> dict[str, NDArray[Any]]:
    """A table."""
    number = np.arange(ROWS)
    return {
        "number": number,
        "third": number / 3,
        "word": np.array([f"row {n % 97}, of all" for n in number]),
    }


def image() -> NDArray[np.uint16]:
    """One plane in three channels."""
    return np.random.default_rng(1).integers(0, 4096, (3, 512, 512), dtype="u2")


def many() -> NDArray[np.int32]:
    """An array of many chunks of 16 numbers."""
    return np.arange(MANY * 16, dtype="i4")
