"""Extra fields of central directory headers (APPNOTE 4.5), of many headers at once.

Malformed and unknown extras are tolerated: they end the walk of that header, or are passed over.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from s3zipfs.zipformat.times import filetimes

ZIP64: Final = 0x0001  # 4.5.3
NTFS: Final = 0x000A  # 4.5.5
EXTENDED_TIMESTAMP: Final = 0x5455  # Info-ZIP, "UT"
UNICODE_PATH: Final = 0x7075  # 4.6.9, Info-ZIP

# No writer is known to add more than 8 to one header; a header of 64 KiB can hold 16,383 empty
# ones, and each turn of the walk costs some 100 us however few headers are left.
MAX_EXTRAS: Final = 64

_Positions = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Extras:
    """What was found, one element per header; positions are in the bytes that were walked."""

    zip64_at: _Positions  # data of the Zip64 extra, -1: none
    zip64_size: _Positions
    zip64_twice: NDArray[np.bool_]
    modified: NDArray[np.float64]  # NaN: no extra says so
    unicode_path_at: _Positions  # data of the Unicode path extra, -1: none
    unicode_path_size: _Positions


def view(data: NDArray[np.uint8], dtype: str) -> NDArray[np.generic]:
    """The bytes as overlapping integers, one at each byte."""
    size = np.dtype(dtype).itemsize
    return np.ndarray((max(0, len(data) - size + 1),), dtype, data, strides=(1,))


def walk_extras(data: NDArray[np.uint8], start: _Positions, end: _Positions) -> Extras:
    """Walk the extras `[start, end)` of all headers side by side, field by field."""
    count = len(start)
    extras = Extras(
        zip64_at=np.full(count, -1, np.int64),
        zip64_size=np.zeros(count, np.int64),
        zip64_twice=np.zeros(count, np.bool_),
        modified=np.full(count, np.nan),
        unicode_path_at=np.full(count, -1, np.int64),
        unicode_path_size=np.zeros(count, np.int64),
    )
    u16 = view(data, "<u2")
    rows = np.flatnonzero(end - start >= 4)
    at = start[rows]
    for _ in range(MAX_EXTRAS):
        if not len(rows):
            break
        identifier = u16[at]
        size = u16[at + 2].astype(np.int64)
        after = at + 4 + size
        whole = after <= end[rows]
        _note(
            extras,
            data,
            rows=rows[whole],
            identifier=identifier[whole],
            at=at[whole] + 4,
            size=size[whole],
        )
        more = whole & (after + 4 <= end[rows])
        rows, at = rows[more], after[more]
    return extras


def _note(
    extras: Extras,
    data: NDArray[np.uint8],
    *,
    rows: _Positions,
    identifier: NDArray[np.generic],
    at: _Positions,
    size: _Positions,
) -> None:
    """Keep what is known of one field of each row; where a field comes twice, the first."""
    chosen = identifier == ZIP64
    if chosen.any():
        which, again = rows[chosen], extras.zip64_at[rows[chosen]] >= 0
        extras.zip64_twice[which[again]] = True
        extras.zip64_at[which[~again]] = at[chosen][~again]
        extras.zip64_size[which[~again]] = size[chosen][~again]
    chosen = identifier == UNICODE_PATH
    if chosen.any():
        # 7-Zip takes the first of two, Info-ZIP the last, libarchive now this, now that.
        chosen[chosen] = extras.unicode_path_at[rows[chosen]] < 0
        extras.unicode_path_at[rows[chosen]] = at[chosen]
        extras.unicode_path_size[rows[chosen]] = size[chosen]
    chosen = (identifier == EXTENDED_TIMESTAMP) & (size >= 5)
    if chosen.any():
        chosen[chosen] = data[at[chosen]] & 1 != 0  # bit 0: the time of modification is there
        # NTFS knows 100 ns, this one seconds: it does not overwrite.
        chosen[chosen] = np.isnan(extras.modified[rows[chosen]])
        extras.modified[rows[chosen]] = view(data, "<i4")[at[chosen] + 1]
    chosen = (identifier == NTFS) & (size >= 4 + 4 + 8)
    if chosen.any():
        u16 = view(data, "<u2")
        # 4 reserved bytes, then tag 1 of 24 bytes: modified, accessed, created.
        chosen[chosen] = (u16[at[chosen] + 4] == 1) & (u16[at[chosen] + 6] >= 8)
        ticks = view(data, "<u8")[at[chosen] + 8].astype(np.uint64)
        known = ticks != 0
        extras.modified[rows[chosen][known]] = filetimes(ticks[known])
