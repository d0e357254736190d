"""References as Parquet files, in the layout of fsspec's `LazyReferenceMapper`.

Source: fsspec/implementations/reference.py, 2026.9. A folder holds `.zmetadata`, a JSON object of
all metadata, and for each array tables of `RECORD` chunks each, in C order, a row for each. What
finds a chunk there knows Zarr 2's keys, `ARRAY/0.1`, and the shape in `.zarray`, so every array is
given both; one of Zarr 3 keeps its `zarr.json`, which says so. fsspec's own writer needs kerchunk.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from s3zipfs.errors import BadMember, SettingsError, UnsupportedMember
from s3zipfs.references.collecting import References
from s3zipfs.tree.zarrmetadata import ArrayMetadata, ChunkKeys, parse_v2_array, parse_v3

RECORD: Final = 10_000  # chunks of a file, as fsspec has it; a reader loads whole files

_FLAT: Final = {"name": "v2", "configuration": {"separator": "."}}
_POSITION: Final = re.compile(r"0|[1-9][0-9]{0,18}")


@dataclass(slots=True)
class _Array:
    """The chunks of an array that are there: their place in C order, and in the object."""

    keys: ChunkKeys
    grid: tuple[int, ...]
    places: array[int] = field(default_factory=lambda: array("q"))
    offsets: array[int] = field(default_factory=lambda: array("q"))
    lengths: array[int] = field(default_factory=lambda: array("q"))

    def place(self, key: str) -> int | None:
        """The place of a chunk by its key below the array; None: it is no chunk's."""
        parts = key.split(self.keys.separator)
        if self.keys.prefix:
            if parts.pop(0) != self.keys.prefix:
                return None
        elif not self.grid and parts == ["0"]:
            return 0
        if len(parts) != len(self.grid):
            return None
        place = 0
        for part, extent in zip(parts, self.grid, strict=True):
            if not _POSITION.fullmatch(part) or int(part) >= extent:
                return None
            place = place * extent + int(part)
        return place


def load_arrow() -> tuple[Any, Any]:
    """pyarrow, and its module for Parquet.

    Raises:
        SettingsError: it is not installed.
    """
    try:
        import pyarrow as pa  # noqa: PLC0415 - most installations have none
        from pyarrow import parquet  # noqa: PLC0415
    except ImportError:
        raise SettingsError(
            "--format parquet needs pyarrow and pandas: pip install 's3zipfs[refs]'"
        ) from None
    return pa, parquet


def write_parquet(references: References, target: Path) -> int:
    """Write a folder of that name, whole or not at all.

    Returns:
        How many members are left out, since they are no chunk and no metadata of Zarr.

    Raises:
        SettingsError: pyarrow is not installed.
        UnsupportedMember: an array can't be told in this form; says which.
        BadMember: metadata is broken.
        OSError: something of that name is there, unless it is an empty folder.
    """
    beside = target.with_name(f".{target.name}.{os.getpid()}")
    beside.mkdir()
    try:
        others = _write(references, beside)
        beside.rename(target)
    except BaseException:
        shutil.rmtree(beside)
        raise
    return others


def _write(references: References, folder: Path) -> int:
    arrow, parquet = load_arrow()
    metadata, arrays, others = _read_metadata(references)
    for each in references:
        found, key = _array_of(arrays, _text(each.path))
        place = None if found is None else found.place(key)
        if found is None or place is None:
            others += 1
            continue
        found.places.append(place)
        found.offsets.append(each.offset)
        found.lengths.append(each.length)
    for path, one in arrays.items():
        target = folder / path
        target.mkdir(parents=True)
        for record, rows in _records(one):
            columns = _columns(arrow, references.url, rows)
            parquet.write_table(columns, target / f"refs.{record}.parq", compression="zstd")
    document = {"metadata": metadata, "record_size": RECORD, "zarr_consolidated_format": 1}
    (folder / ".zmetadata").write_text(json.dumps(document), encoding="utf-8")
    return others


def _text(path: bytes) -> str:
    return path.decode("utf-8", "surrogateescape")


# Metadata


def _read_metadata(references: References) -> tuple[dict[str, Any], dict[str, _Array], int]:
    """All metadata by key, the arrays by path, and how many other members are inlined."""
    metadata: dict[str, Any] = {}
    arrays: dict[str, _Array] = {}
    others = 0
    for key, content in references.inlined.items():
        path, name = _text(key).rpartition("/")[::2]
        try:
            match name:
                case "zarr.json":
                    _add_v3(metadata, arrays, path, content)
                case ".zarray":
                    _add_v2(metadata, arrays, path, content)
                case ".zgroup" | ".zattrs":
                    metadata[_text(key)] = json.loads(content)
                case ".zmetadata":
                    pass  # it repeats the others; the reader's own has its place
                case _:
                    others += 1
        except (BadMember, ValueError) as error:
            raise BadMember(f"{references.url}: {_text(key)}: {error}") from error
    if not arrays:
        raise UnsupportedMember(f"{references.url}: no Zarr array in it; use --format json")
    return metadata, arrays, others


def _add_v2(metadata: dict[str, Any], arrays: dict[str, _Array], path: str, data: bytes) -> None:
    if path in arrays:  # Zarr 3's goes before, as zarr has it
        return
    found = json.loads(data)
    arrays[path] = _told(path, parse_v2_array(data, {}))
    metadata[f"{path}/.zarray"] = found | {"dimension_separator": "."}


def _add_v3(metadata: dict[str, Any], arrays: dict[str, _Array], path: str, data: bytes) -> None:
    parsed, found = parse_v3(data), _flat(json.loads(data))
    consolidated = found.get("consolidated_metadata")
    if isinstance(consolidated, dict) and isinstance(inner := consolidated.get("metadata"), dict):
        flat = {name: _flat(each) for name, each in inner.items()}
        found["consolidated_metadata"] = consolidated | {"metadata": flat}
    metadata[f"{path}/zarr.json" if path else "zarr.json"] = found
    if isinstance(parsed, ArrayMetadata):
        arrays[path] = _told(path, parsed)
        parts = parsed.shards or parsed.chunks or ()
        # No reader of Zarr 2 takes it for one of its arrays.
        sizes = {"zarr_format": 3, "shape": parsed.shape, "chunks": [part or 1 for part in parts]}
        metadata[f"{path}/.zarray"] = sizes


def _flat(node: dict[str, Any]) -> dict[str, Any]:
    """The metadata with the keys that its chunks have here."""
    return node | {"chunk_key_encoding": _FLAT} if node.get("node_type") == "array" else node


def _told(path: str, found: ArrayMetadata) -> _Array:
    if not path:
        raise BadMember("an array at the root has no place in this form; use --format json")
    if found.keys is None or found.grid is None:
        raise BadMember("its chunks are no regular grid, or have keys of another kind")
    return _Array(found.keys, found.grid)


def _array_of(arrays: dict[str, _Array], path: str) -> tuple[_Array | None, str]:
    """The array that a member is in, and its key there."""
    parts = path.split("/")
    for level in range(len(parts) - 1, 0, -1):
        if (found := arrays.get("/".join(parts[:level]))) is not None:
            return found, "/".join(parts[level:])
    return None, path


# Tables


@dataclass(frozen=True, slots=True)
class _Rows:
    """A table's chunks; an offset of 0 is that of a chunk that is missing."""

    offsets: np.ndarray[Any, np.dtype[np.int64]]
    lengths: np.ndarray[Any, np.dtype[np.int64]]


def _records(one: _Array) -> Iterator[tuple[int, _Rows]]:
    """The tables that hold anything, by their numbers. A table that is not there has no chunk."""
    places, offsets, lengths = (
        np.frombuffer(column, np.int64) for column in (one.places, one.offsets, one.lengths)
    )
    order = np.argsort(places)
    records = places[order] // RECORD
    for record in np.unique(records).tolist():
        chosen = order[records == record]
        rows = _Rows(np.zeros(RECORD, np.int64), np.zeros(RECORD, np.int64))
        rows.offsets[places[chosen] % RECORD] = offsets[chosen]
        rows.lengths[places[chosen] % RECORD] = lengths[chosen]
        yield record, rows


def _columns(arrow: Any, url: str, rows: _Rows) -> Any:
    is_there = rows.offsets != 0
    urls = arrow.array([url if each else None for each in is_there.tolist()], arrow.string())
    # pandas 3 reads a null of a string column as NaN, which fsspec takes for a URL; one of an
    # opaque column (arrow.opaque, which is a plain string to all others) as None: no such chunk.
    kind = arrow.opaque(arrow.string(), "url", "s3zipfs")
    columns = {"path": arrow.ExtensionArray.from_storage(kind, urls)}
    return arrow.table(columns | {"offset": rows.offsets, "size": rows.lengths})
