"""The Zarr hierarchy below a directory: its groups and arrays, and what is stored of each array."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from s3zipfs.errors import BadMember, UnsupportedMember
from s3zipfs.tree.directories import Directory, Entry
from s3zipfs.tree.zarrmetadata import (
    ArrayMetadata,
    ChunkKeys,
    Metadata,
    parse_attributes,
    parse_v2_array,
    parse_v2_group,
    parse_v3,
)

T = TypeVar("T")
Path = tuple[bytes, ...]  # names, from where the walk began; empty: there


@dataclass(frozen=True, slots=True)
class Stored:
    """The objects of one array that there are: chunks, or shards."""

    count: int
    size: int  # bytes, as a reader of the store sees them


@dataclass(frozen=True, slots=True)
class HierarchyNode:
    """A group or an array, or what could not be read of one."""

    path: Path
    metadata: Metadata | None  # None: `fault` says why
    stored: Stored | None = None  # of an array whose keys are known
    fault: str | None = None


def walk_hierarchy(directory: Directory, *, depth: int | None = None) -> Iterator[HierarchyNode]:
    """All groups and arrays at most `depth` levels below a directory, parents before children.

    Reads metadata, and of all else the names only. Directories that are neither a group nor in an
    array are gone through, but not given.
    """
    ahead: list[tuple[Path, Directory]] = [((), directory)]
    while ahead:
        path, here = ahead.pop()
        try:
            metadata = _read_metadata(here)
        except (BadMember, UnsupportedMember) as error:
            yield HierarchyNode(path, None, fault=str(error))
            metadata = None
        if isinstance(metadata, ArrayMetadata):
            yield HierarchyNode(path, metadata, _count(here, metadata))
            continue
        if metadata is not None:
            yield HierarchyNode(path, metadata)
        if depth is None or len(path) < depth:
            below = [each.name for each in here.entries() if each.size is None]
            ahead += [((*path, name), here.enter(name)) for name in reversed(below)]


def walk_files(
    directory: Directory, *, depth: int | None = None
) -> Iterator[tuple[Path, int | None]]:
    """Everything at most `depth` levels below a directory, with the bytes of files."""
    ahead: list[tuple[Path, Iterator[Entry], Directory]] = [((), directory.entries(), directory)]
    while ahead:
        path, entries, here = ahead[-1]
        entry = next(entries, None)
        if entry is None or (depth is not None and len(path) >= depth):
            ahead.pop()
            continue
        below = (*path, entry.name)
        yield below, entry.size
        if entry.size is None:
            entered = here.enter(entry.name)
            ahead.append((below, entered.entries(), entered))


def _read_metadata(directory: Directory) -> Metadata | None:
    """Of a group or an array; None: it is neither. Zarr 3 goes before 2, as zarr has it."""
    if (data := directory.read(b"zarr.json")) is not None:
        return _naming("zarr.json", lambda: parse_v3(data))
    if (array := directory.read(b".zarray")) is not None:
        attributes = _read_attributes(directory)
        return _naming(".zarray", lambda: parse_v2_array(array, attributes))
    if (group := directory.read(b".zgroup")) is not None:
        _read_attributes(directory)
        return _naming(".zgroup", lambda: parse_v2_group(group))
    return None


def _read_attributes(directory: Directory) -> dict[str, Any]:
    data = directory.read(b".zattrs")
    return _naming(".zattrs", lambda: parse_attributes(data or b"{}"))


def _naming(name: str, parse: Callable[[], T]) -> T:
    try:
        return parse()
    except BadMember as error:
        raise BadMember(f"{name}: {error}") from error


def _count(directory: Directory, array: ArrayMetadata) -> Stored | None:
    """The objects that stand where the array's chunks do."""
    if array.keys is None or array.grid is None:
        return None
    count = size = 0
    for found in _chunk_sizes(directory, array.keys, array.grid):
        count += 1
        size += found
    return Stored(count, size)


def _chunk_sizes(directory: Directory, keys: ChunkKeys, grid: tuple[int, ...]) -> Iterator[int]:
    if keys.separator == "." or not grid:
        yield from _flat(directory, keys, grid)
        return
    ahead = [(directory, 0)]
    if keys.prefix:
        prefix = keys.prefix.encode()
        below = [e.name for e in directory.entries() if e.name == prefix and e.size is None]
        ahead = [(directory.enter(name), 0) for name in below]
    while ahead:
        here, dimension = ahead.pop()
        is_last = dimension + 1 == len(grid)
        for entry in here.entries():
            if not _is_position(entry.name, grid[dimension]):
                continue
            if is_last and entry.size is not None:
                yield entry.size
            elif not is_last and entry.size is None:
                ahead.append((here.enter(entry.name), dimension + 1))


def _flat(directory: Directory, keys: ChunkKeys, grid: tuple[int, ...]) -> Iterator[int]:
    """Keys like `c.0.1` or `0.1`; that of an array without dimensions is `c` or `0`."""
    prefix = [keys.prefix.encode()] if keys.prefix else []
    extents = grid if grid or prefix else (1,)
    for entry in directory.entries():
        if entry.size is None:
            continue
        parts = entry.name.split(b".")
        if parts[: len(prefix)] != prefix or len(parts) != len(prefix) + len(extents):
            continue
        if all(map(_is_position, parts[len(prefix) :], extents)):
            yield entry.size


def _is_position(name: bytes, extent: int) -> bool:
    """Whether it is a number from 0 up to `extent`, as zarr writes it."""
    if not name.isdigit() or (name[0] == 0x30 and len(name) > 1) or len(name) > 20:
        return False
    return int(name) < extent
