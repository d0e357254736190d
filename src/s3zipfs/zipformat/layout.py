"""Order the rows of a central directory as a tree, in columns.

Nodes are numbered breadth first: 0 is the root, and the children of one directory are contiguous,
ordered by the bytes of their names. So one column, where each node's children begin, is the tree.
"""

from __future__ import annotations

import stat
from bisect import bisect_left
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from s3zipfs.zipformat.bytekeys import sort_slices, word_view
from s3zipfs.zipformat.directories import Directories
from s3zipfs.zipformat.names import numbered_name

Rows: TypeAlias = dict[str, NDArray[Any]]

_DIRECTORY_MODE = stat.S_IFDIR | 0o555


@dataclass(frozen=True, slots=True)
class Columns:
    """What a `MemberIndex` is made of; `arrays` by the names in `index.COLUMNS`."""

    arrays: dict[str, NDArray[Any]]
    member_count: int  # headers in the central directory
    hidden_count: int
    duplicate_count: int


@dataclass(slots=True)
class _Nodes:
    """Files, then directories, each with its parent's rank and its name in the blob."""

    file_rows: NDArray[np.int64]
    group: NDArray[np.int64]
    start: NDArray[np.int64]
    end: NDArray[np.int64]
    names: NDArray[np.uint8]


def narrow(values: NDArray[Any]) -> NDArray[Any]:
    """Non-negative integers as 4 bytes where all fit, else 8."""
    fits = len(values) == 0 or int(values.max()) <= 0xFFFFFFFF
    return values.astype(np.uint32 if fits else np.uint64)


def lay_out(rows: Rows, directories: Directories, names: NDArray[np.uint8]) -> Columns:
    """Sort, drop duplicates, number; `rows` is used up column by column.

    Args:
        rows: columns by name, one element per header in the directory's order.
        directories: all of them, their `row` in `rows`.
        names: the blob that names are slices of, `bytekeys.PADDING` bytes longer.
    """
    if not rows:
        rows = {name: np.zeros(0, dtype) for name, dtype in _EMPTY.items()}
    member_count = len(rows["hidden"])
    hidden = rows.pop("hidden")
    file_rows = np.flatnonzero(~(hidden | rows.pop("is_directory")))
    ranks = directories.ranks(word_view(names))
    nodes = _Nodes(
        file_rows,
        np.concatenate(
            [
                ranks[rows.pop("parent")[file_rows]],
                ranks[np.frombuffer(directories.parent, "q")[1:]],
            ]
        ),
        _join(rows.pop("name_start")[file_rows], directories.name_start),
        _join(rows.pop("name_end")[file_rows], directories.name_end),
        names,
    )
    order, equal = sort_slices(word_view(names), nodes.group, nodes.start, nodes.end)
    duplicates = 0
    if equal.any():
        before = len(order)
        order = _without_duplicates(nodes, order, equal)
        duplicates = before - len(order)
    arrays = _tree_columns(nodes, order, len(directories))
    arrays |= _attribute_columns(rows, nodes.file_rows, order, directories)
    return Columns(
        arrays=arrays,
        member_count=member_count,
        hidden_count=int(hidden.sum()),
        duplicate_count=duplicates + directories.repeated,
    )


_EMPTY = {
    "parent": "u4", "name_start": "u4", "name_end": "u4", "raw_start": "u4", "raw_lengths": "u2",
    "flags": "u2", "methods": "u2", "crc32s": "u4", "compressed_sizes": "u4", "sizes": "u4",
    "local_header_offsets": "u4", "mtimes": "f8", "modes": "u2", "damages": "u1",
    "is_directory": "?", "hidden": "?",
}  # fmt: skip


def _join(of_files: NDArray[Any], of_directories: Any) -> NDArray[np.int64]:
    """Files, then directories without the root."""
    values = np.frombuffer(of_directories, np.int64)[1:]
    return np.concatenate([of_files.astype(np.int64), values])


def _without_duplicates(
    nodes: _Nodes, order: NDArray[np.int64], equal: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """Of files of one name keep the last; a directory keeps its name, the file gets another.

    The sort is stable and directories come after files: each run of equals ends in what keeps
    the name.
    """
    last = np.append(~equal[1:], True)
    clash = np.flatnonzero(last & equal & (order >= len(nodes.file_rows)))
    last[clash - 1] = True
    clashing = order[clash - 1]
    order = order[last]
    if not len(clashing):
        return order
    _rename(nodes, order, clashing)
    order = np.sort(order)
    again, _ = sort_slices(
        word_view(nodes.names), nodes.group[order], nodes.start[order], nodes.end[order]
    )
    return order[again]


def _rename(nodes: _Nodes, order: NDArray[np.int64], clashing: NDArray[np.int64]) -> None:
    """Give each clashing file the first free name of `name (1)`, `name (2)` and so on."""
    group = nodes.group[order]
    blob = nodes.names.data
    made = bytearray()
    taken: set[tuple[int, bytes]] = set()
    padding = len(nodes.names)  # new names follow the old padding

    def name_at(position: int) -> bytes:
        node = order[position]
        return bytes(blob[int(nodes.start[node]) : int(nodes.end[node])])

    renamed: list[tuple[int, int, int]] = []
    for node in clashing.tolist():
        parent = int(nodes.group[node])
        name = bytes(blob[int(nodes.start[node]) : int(nodes.end[node])])
        low, high = (int(p) for p in np.searchsorted(group, [parent, parent + 1]))
        number = 1
        while True:
            new = numbered_name(name, number)
            at = bisect_left(range(high), new, lo=low, key=name_at)
            if (at == high or name_at(at) != new) and (parent, new) not in taken:
                break
            number += 1
        taken.add((parent, new))
        renamed.append((node, padding + len(made), padding + len(made) + len(new)))
        made += new
    for node, start, end in renamed:
        nodes.start[node], nodes.end[node] = start, end
    made += bytes(8)
    nodes.names = np.concatenate([nodes.names, np.frombuffer(bytes(made), np.uint8)])


def _tree_columns(
    nodes: _Nodes, order: NDArray[np.int64], directory_count: int
) -> dict[str, NDArray[Any]]:
    """`names`, `name_start`, `name_end` and `child_start` of the root and all nodes in order."""
    files = len(nodes.file_rows)
    directory_nodes = np.concatenate([[0], np.flatnonzero(order >= files) + 1])
    # Breadth first: directories are met in the order of their ranks.
    counts = np.zeros(len(order) + 1, np.int64)
    counts[directory_nodes] = np.bincount(nodes.group[order], minlength=directory_count)
    child_start = np.ones(len(order) + 2, np.uint32)
    child_start[1:] += np.cumsum(counts).astype(np.uint32)
    zero = np.zeros(1, np.int64)
    return {
        "names": nodes.names,
        "name_start": narrow(np.concatenate([zero, nodes.start[order]])),
        "name_end": narrow(np.concatenate([zero, nodes.end[order]])),
        "child_start": child_start,
    }


def _attribute_columns(
    rows: Rows, file_rows: NDArray[np.int64], order: NDArray[np.int64], directories: Directories
) -> dict[str, NDArray[Any]]:
    """All other columns: a file's own; a directory's only its mode, time and raw name."""
    files = len(file_rows)
    directory_rows = np.frombuffer(directories.row, np.int64)
    row = np.concatenate([file_rows, directory_rows[1:]])[order]
    row = np.concatenate([directory_rows[:1], row])
    is_directory = np.concatenate([[True], order >= files])
    implicit = row < 0
    row[implicit] = 0
    newest = float(rows["mtimes"].max()) if len(rows["mtimes"]) else 0.0
    arrays: dict[str, NDArray[Any]] = {}
    for name in list(rows):
        values = rows.pop(name)
        column = values[row] if len(values) else np.zeros(len(row), values.dtype)
        if name == "modes":
            column[implicit] = _DIRECTORY_MODE
        elif name == "mtimes":
            column[implicit] = newest
        elif name in ("raw_start", "raw_lengths"):
            column[implicit] = 0
        else:
            column[is_directory] = 0
        arrays[name] = column
    return arrays
