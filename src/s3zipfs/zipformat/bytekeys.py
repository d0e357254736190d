"""Sort slices of one blob of bytes without making an object of each.

Names are compared 8 bytes at a time as big-endian integers; only those that tie are compared
further. The slices hold no NUL, so that padding with zeros keeps the order of the bytes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

PADDING = 8  # bytes that must follow the last slice in the blob

# Slices at a time: five temporaries of 8 bytes each stay in the cache, and off the peak of memory.
_BLOCK = 65_536


def word_view(blob: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """The blob as overlapping big-endian words, one at each byte."""
    return np.ndarray((len(blob) - 7,), ">u8", blob, strides=(1,))


def load_words(
    words: NDArray[np.uint64], start: NDArray[np.int64], end: NDArray[np.int64], index: int
) -> NDArray[np.uint64]:
    """Bytes `[8 * index, 8 * index + 8)` of each slice, padded with zeros at its end."""
    loaded = np.empty(len(start), np.uint64)
    for low in range(0, len(start), _BLOCK):
        block = slice(low, low + _BLOCK)
        loaded[block] = _load_block(words, start[block], end[block], index)
    return loaded


def _load_block(
    words: NDArray[np.uint64], start: NDArray[np.int64], end: NDArray[np.int64], index: int
) -> NDArray[np.uint64]:
    at = start + 8 * index
    left = np.clip(end - at, 0, 8)
    loaded = words[np.minimum(at, len(words) - 1)].astype(np.uint64)
    shift = ((8 - left) * 8).astype(np.uint64)
    # A shift by 64 is not defined: two of 32 at most.
    half = shift >> np.uint64(1)
    cleared: NDArray[np.uint64] = (loaded >> half >> half) << half << half
    return cleared


def same_as_previous(
    words: NDArray[np.uint64], start: NDArray[np.int64], end: NDArray[np.int64], *, limit: int
) -> NDArray[np.bool_]:
    """Whether each slice equals the one before it; slices over `limit` bytes count as new."""
    same = np.zeros(len(start), np.bool_)
    length = end - start
    same[1:] = (length[1:] == length[:-1]) & (length[1:] <= limit)
    rows = np.flatnonzero(same)
    index = 0
    while len(rows):
        here = load_words(words, start[rows], end[rows], index)
        before = load_words(words, start[rows - 1], end[rows - 1], index)
        equal = here == before
        same[rows[~equal]] = False
        index += 1
        rows = rows[equal & (length[rows] > 8 * index)]
    return same


def sort_slices(
    words: NDArray[np.uint64],
    group: NDArray[np.int64],
    start: NDArray[np.int64],
    end: NDArray[np.int64],
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Stable order by (group, bytes), and which ones equal their predecessor in that order.

    Cost: O(n log n) for each 8 bytes that are shared, of those alone that share them.
    """
    key = load_words(words, start, end, 0)
    order = _order(key, group)
    equal = np.zeros(len(order), np.bool_)
    key, group = key[order], group[order]
    equal[1:] = (key[1:] == key[:-1]) & (group[1:] == group[:-1])
    length = (end - start)[order]
    del key, group
    index = 1
    while len(at := _unresolved(equal, length, 8 * index)):
        first = ~equal[at]
        rows = order[at]
        key = load_words(words, start[rows], end[rows], index)
        ties = np.cumsum(first, dtype=np.int64)
        inner = _order(key, ties)
        order[at] = rows[inner]
        length[at] = length[at][inner]
        key = key[inner]
        equal[at[1:]] = ~first[1:] & (key[1:] == key[:-1])
        index += 1
    return order, equal


def _order(key: NDArray[np.uint64], group: NDArray[np.int64]) -> NDArray[np.int64]:
    """Stable order by (group, key); most archives are sorted already, and cost no sort."""
    later = group[1:] > group[:-1]
    if np.all(later | ((group[1:] == group[:-1]) & (key[1:] >= key[:-1]))):
        return np.arange(len(key), dtype=np.int64)
    return np.lexsort((key, group)).astype(np.int64, copy=False)


def _unresolved(
    equal: NDArray[np.bool_], length: NDArray[np.int64], compared: int
) -> NDArray[np.int64]:
    """Positions of the ties in which a slice is longer than what was compared."""
    tied = equal.copy()
    tied[:-1] |= equal[1:]
    at = np.flatnonzero(tied)
    if not len(at):
        return at
    first = np.flatnonzero(~equal[at])
    longest = np.maximum.reduceat(length[at], first)
    sizes = np.diff(np.append(first, len(at)))
    kept: NDArray[np.int64] = at[np.repeat(longest > compared, sizes)]
    return kept
