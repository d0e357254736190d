"""Times of the zip format as seconds since the epoch, UTC; arrays in, arrays out."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

EARLIEST = -62135596800.0  # 0001-01-01, the first that Python's datetime holds
LATEST = 253402300799.0  # 9999-12-31T23:59:59


def dos_times(date: NDArray[np.uint16], time: NDArray[np.uint16]) -> NDArray[np.float64]:
    """MS-DOS date and time (APPNOTE 4.4.6), taken as UTC; impossible fields are clamped."""
    d = date.astype(np.int64)
    t = time.astype(np.int64)
    month = np.clip((d >> 5) & 0xF, 1, 12)
    months = ((d >> 9) + 10) * 12 + month - 1  # since 1970-01
    first = months.astype("M8[M]").astype("M8[D]").astype(np.int64)
    length = (months + 1).astype("M8[M]").astype("M8[D]").astype(np.int64) - first
    day = np.clip(d & 0x1F, 1, length)
    hour = np.minimum(t >> 11, 23)
    minute = np.minimum((t >> 5) & 0x3F, 59)
    second = np.minimum((t & 0x1F) * 2, 59)
    days = first + day - 1
    seconds: NDArray[np.float64] = (((days * 24 + hour) * 60 + minute) * 60 + second).astype(
        np.float64
    )
    return seconds


def filetimes(ticks: NDArray[np.uint64]) -> NDArray[np.float64]:
    """NTFS times (APPNOTE 4.5.5): 100 ns since 1601-01-01; clamped to year 9999."""
    seconds: NDArray[np.float64] = ticks.astype(np.float64) / 1e7 - 11644473600.0
    return np.clip(seconds, EARLIEST, LATEST)
