"""The directories of an archive while its index is built, implicit ones included."""

from __future__ import annotations

from array import array
from typing import Final

import numpy as np
from numpy.typing import NDArray

from s3zipfs.errors import BadArchive
from s3zipfs.zipformat.bytekeys import sort_slices

ROOT: Final = 0

# A name of 65,535 bytes can imply 256 directories. Real trees imply one or two for each member;
# the spare lets a few members be deep.
IMPLICIT_PER_MEMBER: Final = 4
IMPLICIT_SPARE: Final = 65_536

# Whole paths are only a short cut to an id: forgotten when there are more.
_PATHS_REMEMBERED: Final = 65_536


class Directories:
    """Ids of directories by path, in the order in which they are first met; 0 is the root.

    Keys are (parent id, component), so that memory is linear in the bytes of the names however
    deep they are.
    """

    def __init__(self) -> None:
        self.parent = array("q", [ROOT])
        self.level = array("q", [0])
        self.name_start = array("q", [0])  # in the names blob
        self.name_end = array("q", [0])
        self.row = array("q", [-1])  # of the last header that describes it; -1: implicit
        self.repeated = 0  # headers that describe a directory once more
        self._by_component: dict[tuple[int, bytes], int] = {}
        self._by_path: dict[bytes, int] = {b"": ROOT}

    def __len__(self) -> int:
        return len(self.parent)

    def identify(self, path: bytes, blob_start: int, *, allowed: int) -> int:
        """The id of a clean path whose bytes stand in the blob at `blob_start`.

        Args:
            path: components joined by single slashes; empty for the root.
            blob_start: where the path stands in the names blob.
            allowed: how many directories there may be, see `allowed_directories`.

        Raises:
            BadArchive: there would be more.
        """
        known = self._by_path.get(path)
        if known is not None:
            return known
        number = ROOT
        at = blob_start
        for component in path.split(b"/"):
            key = (number, component)
            child = self._by_component.get(key)
            end = at + len(component)
            if child is None:
                child = self._by_component[key] = len(self.parent)
                if child > allowed:
                    raise BadArchive(
                        f"Central directory: expected at most {allowed} directories in the names "
                        "of its members, found more"
                    )
                self.parent.append(number)
                self.level.append(self.level[number] + 1)
                self.name_start.append(at)
                self.name_end.append(end)
                self.row.append(-1)
            number = child
            at = end + 1
        if len(self._by_path) >= _PATHS_REMEMBERED:
            self._by_path.clear()
            self._by_path[b""] = ROOT
        self._by_path[path] = number
        return number

    def describe(self, number: int, row: int) -> None:
        """Note that header `row` describes the directory; the last one wins."""
        if self.row[number] >= 0:
            self.repeated += 1
        self.row[number] = row

    def forget_names(self) -> None:
        """Free what only `identify` needs."""
        self._by_component.clear()
        self._by_path.clear()

    def ranks(self, words: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Each directory's place when all are ordered by level, parent's place, name."""
        parent = np.frombuffer(self.parent, np.int64)
        level = np.frombuffer(self.level, np.int64)
        start = np.frombuffer(self.name_start, np.int64)
        end = np.frombuffer(self.name_end, np.int64)
        ranks = np.zeros(len(parent), np.int64)
        by_level = np.argsort(level, kind="stable")
        ends = np.cumsum(np.bincount(level))
        for begin, stop in zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True):
            ids = by_level[begin:stop]
            order, _ = sort_slices(words, ranks[parent[ids]], start[ids], end[ids])
            ranks[ids[order]] = np.arange(begin, stop)
        return ranks


def allowed_directories(member_count: int) -> int:
    """How many directories the names of so many members may imply."""
    return IMPLICIT_PER_MEMBER * member_count + IMPLICIT_SPARE
