"""The compact index of one archive: columns of numbers and one blob of names.

`build_index` makes it of a whole directory; `IndexBuilder` takes the directory in pieces, and
`MemberIndex(builder.finish())` is the same.
"""

from __future__ import annotations

import stat
from bisect import bisect_left
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from s3zipfs.errors import IsADirectory
from s3zipfs.zipformat.builder import Bytes, IndexBuilder
from s3zipfs.zipformat.layout import Columns
from s3zipfs.zipformat.member import Member
from s3zipfs.zipformat.plan import DirectoryLocation
from s3zipfs.zipformat.scan import DAMAGES

__all__ = ["COLUMNS", "ROOT", "Columns", "IndexBuilder", "Member", "MemberIndex", "build_index"]

ROOT: Final = 0

COLUMNS: Final = (
    "names", "name_start", "name_end", "child_start", "sizes", "modes", "mtimes",
    "compressed_sizes", "local_header_offsets", "crc32s", "methods", "flags", "raw_start",
    "raw_lengths", "damages",
)  # fmt: skip


def build_index(
    directory: Bytes, location: DirectoryLocation, *, encoding: str | None = None
) -> MemberIndex:
    """Parse, verify and sort a whole central directory.

    Args:
        directory: the bytes `[location.start, location.end)` of the object.
        location: of `plan.locate_directory`.
        encoding: of names that do not declare theirs (`names`).

    Raises:
        BadArchive: the headers do not form a chain from start to end, or their count differs.
        SettingsError: `encoding` is unknown.
    """
    builder = IndexBuilder(location, encoding=encoding)
    builder.feed(directory)
    return MemberIndex(builder.finish())


class MemberIndex:
    """The tree of one archive's members; immutable, safe for any number of threads.

    Nodes have numbers: 0 is the root, numbers are breadth first, and the children of a directory
    are contiguous and ordered by the bytes of their names. A name is always one valid path
    component of 1 to 255 bytes (the root's is empty). Numbers are stable for one version of an
    archive and one `encoding`.

    `top` is the directory that stands for the root: what it holds is what the root holds, and it
    is in no path (`unwrapped`).

    Columns, one element per node unless said otherwise (`columns` holds them all by name):
        names: uint8 blob; node i's name is names[name_start[i]:name_end[i]].
        name_start, name_end: uint32 or uint64.
        child_start: uint32, one more than nodes; i's children are
            child_start[i] to child_start[i + 1].
        sizes: uint32 or uint64, bytes uncompressed; 0 of a directory.
        modes: uint16, st_mode.
        mtimes: float64, seconds since the epoch, UTC.
        compressed_sizes, local_header_offsets (absolute): uint32 or uint64.
        crc32s: uint32. methods, flags: uint16.
        raw_start: uint32 or uint64, raw_lengths: uint16: the name in the central directory, in
            `names`.
        damages: uint8, index into `scan.DAMAGES`.
    """

    __slots__ = (
        "_child_start",
        "_modes",
        "_mtimes",
        "_name_end",
        "_name_start",
        "_names",
        "_sizes",
        "_top",
        "columns",
        "duplicate_count",
        "hidden_count",
        "member_count",
        "modes",
        "mtimes",
        "name_end",
        "name_start",
        "names",
        "sizes",
    )

    def __init__(self, columns: Columns, *, top: int = ROOT) -> None:
        self._top = top
        self.columns: Mapping[str, NDArray[Any]] = columns.arrays
        self.member_count = columns.member_count  # headers in the central directory
        self.hidden_count = columns.hidden_count  # of them not shown: names, devices
        self.duplicate_count = columns.duplicate_count  # of them replaced by a later one
        for column in columns.arrays.values():
            column.flags.writeable = False
        self.names: NDArray[np.uint8] = columns.arrays["names"]
        self.name_start: NDArray[np.unsignedinteger[Any]] = columns.arrays["name_start"]
        self.name_end: NDArray[np.unsignedinteger[Any]] = columns.arrays["name_end"]
        self.sizes: NDArray[np.unsignedinteger[Any]] = columns.arrays["sizes"]
        self.modes: NDArray[np.uint16] = columns.arrays["modes"]
        self.mtimes: NDArray[np.float64] = columns.arrays["mtimes"]
        # One element of a memoryview takes a third of the time of a numpy array's.
        self._names = self.names.data
        self._name_start = self.name_start.data
        self._name_end = self.name_end.data
        self._child_start = columns.arrays["child_start"].data
        self._sizes = self.sizes.data
        self._modes = self.modes.data
        self._mtimes = self.mtimes.data

    def __repr__(self) -> str:
        return f"<MemberIndex of {self.member_count} members, {self.node_count} nodes>"

    def unwrapped(self) -> MemberIndex:
        """This index without its top-level directory, where that is all the root holds.

        Numbers and columns are the same. One directory is left out, however deep such ones go.
        """
        only = self.children(ROOT)
        if len(only) != 1 or not self.is_directory(only.start):
            return self
        columns = Columns(
            dict(self.columns), self.member_count, self.hidden_count, self.duplicate_count
        )
        return MemberIndex(columns, top=only.start)

    @property
    def node_count(self) -> int:
        """Files, symlinks and directories, implicit ones and the root included."""
        return len(self._modes)

    @property
    def nbytes(self) -> int:
        """Bytes of memory that the columns hold."""
        return sum(column.nbytes for column in self.columns.values())

    def children(self, directory: int) -> range:
        """The numbers of what a directory holds; of a file: none. O(1)."""
        if directory == ROOT:
            directory = self._top
        return range(self._child_start[directory], self._child_start[directory + 1])

    def lookup(self, directory: int, name: bytes) -> int | None:
        """The number of the child of that name, or None. O(log n) of the children."""
        if directory == ROOT:
            directory = self._top
        low, high = self._child_start[directory], self._child_start[directory + 1]
        number = bisect_left(range(high), name, lo=low, key=self.name)
        return number if number < high and self.name(number) == name else None

    def find(self, path: bytes) -> int | None:
        """The number of a path like `b"x/12/34.dat"`, or None; `b""` is the root."""
        number = ROOT
        for name in path.split(b"/") if path else ():
            child = self.lookup(number, name)
            if child is None:
                return None
            number = child
        return number

    def parent(self, number: int) -> int:
        """The directory that holds the node; the root's is itself. O(log n) of all nodes."""
        if number == ROOT:
            return ROOT
        column = self.columns["child_start"]
        # Of the column's own type: numpy would convert the whole column to that of an int.
        parent = int(np.searchsorted(column, column.dtype.type(number), "right")) - 1
        return ROOT if parent == self._top else parent

    def name(self, number: int) -> bytes:
        """The node's own name, without its directory; the root's is empty."""
        return bytes(self._names[self._name_start[number] : self._name_end[number]])

    def path(self, number: int) -> bytes:
        """The names from the root to the node, joined by slashes; the root's is empty."""
        names = []
        while number != ROOT:
            names.append(self.name(number))
            number = self.parent(number)
        return b"/".join(reversed(names))

    def is_directory(self, number: int) -> bool:
        """Whether the node is a directory, explicit or implicit."""
        return stat.S_ISDIR(self._modes[number])

    def is_symlink(self, number: int) -> bool:
        """Whether the node is a symlink; its data is the target."""
        return stat.S_ISLNK(self._modes[number])

    def size(self, number: int) -> int:
        """Uncompressed bytes as declared (4.4.9); 0 of a directory."""
        size: int = self._sizes[number]
        return size

    def mode(self, number: int) -> int:
        """st_mode: type and permissions, without any write or setuid bit."""
        mode: int = self._modes[number]
        return mode

    def modified(self, number: int) -> float:
        """Seconds since the epoch, UTC; of implicit directories the newest of the archive."""
        modified: float = self._mtimes[number]
        return modified

    def raw_name(self, number: int) -> bytes:
        """The whole name as in the central directory; empty of an implicit directory."""
        start = int(self.columns["raw_start"][number])
        return bytes(self._names[start : start + int(self.columns["raw_lengths"][number])])

    def damaged(self, number: int) -> str | None:
        """Why the member cannot be read, as far as the central directory tells; else None."""
        return DAMAGES[int(self.columns["damages"][number])]

    def member(self, number: int) -> Member:
        """All that is known of a file or symlink.

        Raises:
            IsADirectory: the node has no data.
        """
        if self.is_directory(number):
            raise IsADirectory(f"{self.path(number)!r} is a directory")
        columns = self.columns
        return Member(
            number=number,
            raw_name=self.raw_name(number),
            local_header_offset=int(columns["local_header_offsets"][number]),
            compressed_size=int(columns["compressed_sizes"][number]),
            uncompressed_size=self.size(number),
            crc32=int(columns["crc32s"][number]),
            method=int(columns["methods"][number]),
            flags=int(columns["flags"][number]),
            mode=self.mode(number),
            modified=self.modified(number),
            damaged=self.damaged(number),
        )
