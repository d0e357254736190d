"""Zarr's metadata, versions 2 and 3, as far as it tells what an array is and where its chunks are.

Own, and small: zarr is not needed at run time, and opens nothing that has a codec it lacks.
Sources: the Zarr core specification, version 3 (zarr-specs.readthedocs.io), and version 2.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NoReturn, TypeGuard

import numpy as np

from s3zipfs.errors import BadMember

_V3_SIZES: Final = {
    "bool": 1, "complex64": 8, "complex128": 16, "numpy.datetime64": 8, "numpy.timedelta64": 8,
    **{f"{kind}{bits}": bits // 8 for kind in ("int", "uint") for bits in (8, 16, 32, 64)},
    **{f"float{bits}": bits // 8 for bits in (16, 32, 64)},
}  # fmt: skip
_RAW_BITS: Final = re.compile(r"r([0-9]{1,9})")
_LEVELS: Final = ("endian", "cname", "level", "clevel")  # what of a codec's configuration is told


@dataclass(frozen=True, slots=True)
class Codec:
    """One step of the way from values to a chunk's bytes."""

    name: str
    configuration: Mapping[str, Any]

    def __str__(self) -> str:
        told = [self.configuration[key] for key in _LEVELS if key in self.configuration]
        return ":".join(map(str, [self.name, *told]))


@dataclass(frozen=True, slots=True)
class ChunkKeys:
    """How the keys of chunks are made of their positions in the grid."""

    prefix: str  # a part of its own: "c" or none
    separator: str  # "/" or "."


@dataclass(frozen=True, slots=True)
class GroupMetadata:
    """A group. Its attributes are not looked at."""

    zarr_format: int


@dataclass(frozen=True, slots=True)
class ArrayMetadata:
    """An array."""

    zarr_format: int
    shape: tuple[int, ...]
    data_type: str  # numpy's name where it has one, else that of the metadata
    item_size: int | None  # bytes of a value; None: they differ, or the type is not known here
    chunks: tuple[int, ...] | None  # what is encoded by itself; None: not a regular grid
    shards: tuple[int, ...] | None  # what an object holds, where that is several chunks
    codecs: tuple[Codec, ...]  # of a chunk
    fill_value: Any  # as in the JSON
    dimension_names: tuple[str | None, ...] | None
    keys: ChunkKeys | None  # None: an encoding that is not known here

    @property
    def size(self) -> int | None:
        """Bytes of all values."""
        return None if self.item_size is None else self.item_size * _product(self.shape)

    @property
    def grid(self) -> tuple[int, ...] | None:
        """How many objects there may be along each dimension: shards, or else chunks."""
        parts = self.shards or self.chunks
        if parts is None:
            return None
        # A part of no extent is only found where the dimension has none either.
        return tuple(-(-n // (part or 1)) for n, part in zip(self.shape, parts, strict=True))

    @property
    def possible(self) -> int | None:
        """How many objects there may be."""
        return None if self.grid is None else _product(self.grid)


Metadata = GroupMetadata | ArrayMetadata


def parse_v3(data: bytes) -> Metadata:
    """What a `zarr.json` says.

    Raises:
        BadMember: it is not that of a group or an array.
    """
    found = _Fields(_parse(data))
    if found.integer("zarr_format") != 3:
        raise BadMember(f"zarr_format: expected 3, found {found.integer('zarr_format')}")
    kind = found.text("node_type")
    if kind == "group":
        return GroupMetadata(3)
    if kind != "array":
        raise BadMember(f"node_type: expected 'array' or 'group', found {kind!r}")
    shape = found.extents("shape")
    codecs = tuple(_codec(each) for each in found.list("codecs"))
    chunks, shards = _v3_chunks(found, shape), None
    # As zarr has it: with any other codec beside it a shard is taken for a chunk.
    if chunks is not None and len(codecs) == 1 and codecs[0].name == "sharding_indexed":
        sharding = _Fields(codecs[0].configuration)
        chunks, shards = _parts(sharding, "chunk_shape", shape), chunks
        codecs = tuple(_codec(each) for each in sharding.list("codecs"))
    name, size = _v3_type(found.any("data_type"))
    names = found.get("dimension_names")
    return ArrayMetadata(
        zarr_format=3,
        shape=shape,
        data_type=name,
        item_size=size,
        chunks=chunks,
        shards=shards,
        codecs=codecs,
        fill_value=found.any("fill_value"),
        dimension_names=tuple(names) if isinstance(names, list) else None,
        keys=_v3_keys(found.any("chunk_key_encoding")),
    )


def parse_v2_group(data: bytes) -> GroupMetadata:
    """What a `.zgroup` says.

    Raises:
        BadMember: it is not that of a group.
    """
    _check_v2(_Fields(_parse(data)))
    return GroupMetadata(2)


def parse_v2_array(data: bytes, attributes: Mapping[str, Any]) -> ArrayMetadata:
    """What a `.zarray` says, and its `.zattrs` of the dimensions' names (a convention of xarray's).

    Raises:
        BadMember: it is not that of an array.
    """
    found = _Fields(_parse(data))
    _check_v2(found)
    shape = found.extents("shape")
    codecs = found.list("filters") if found.get("filters") is not None else []
    if (compressor := found.get("compressor")) is not None:
        codecs = [*codecs, compressor]
    name, size = _v2_type(found.any("dtype"))
    names = attributes.get("_ARRAY_DIMENSIONS")
    separator = found.get("dimension_separator") or "."
    return ArrayMetadata(
        zarr_format=2,
        shape=shape,
        data_type=name,
        item_size=size,
        chunks=_parts(found, "chunks", shape),
        shards=None,
        codecs=tuple(map(_v2_codec, codecs)),
        fill_value=found.get("fill_value"),
        dimension_names=tuple(names) if isinstance(names, list) else None,
        keys=ChunkKeys("", separator) if separator in ("/", ".") else None,
    )


def parse_attributes(data: bytes) -> dict[str, Any]:
    """What a `.zattrs` says.

    Raises:
        BadMember: it is not a JSON object.
    """
    return _parse(data)


# JSON


def _parse(data: bytes) -> dict[str, Any]:
    try:
        # Neither NaN nor Infinity is JSON; the old writers that used them meant these words.
        found = json.loads(data, parse_constant=str)
    except (ValueError, RecursionError) as error:
        raise BadMember(f"not JSON: {error}") from error
    if not isinstance(found, dict):
        raise BadMember(f"expected a JSON object, found {_shown(found)}")
    return found


class _Fields:
    """The fields of an object; what is missing, or not of its kind, is told by name."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = values

    def get(self, name: str) -> Any:
        return self._values.get(name)

    def any(self, name: str) -> Any:
        if name not in self._values:
            raise BadMember(f"{name} is missing")
        return self._values[name]

    def integer(self, name: str) -> int:
        value = self.any(name)
        if not _is_integer(value):
            _refuse(name, "a number", value)
        return value

    def text(self, name: str) -> str:
        value = self.any(name)
        if not isinstance(value, str):
            _refuse(name, "a string", value)
        return value

    def list(self, name: str) -> list[Any]:
        value = self.any(name)
        if not isinstance(value, list):
            _refuse(name, "a list", value)
        return value

    def extents(self, name: str) -> tuple[int, ...]:
        values = self.list(name)
        if not all(_is_integer(value) and value >= 0 for value in values):
            _refuse(name, "numbers from 0 on", values)
        return tuple(values)


def _refuse(name: str, expected: str, found: object) -> NoReturn:
    raise BadMember(f"{name}: expected {expected}, found {_shown(found)}")


def _shown(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:40]}…"


def _is_integer(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _named(value: Any, what: str) -> tuple[str, dict[str, Any]]:
    """`"name"`, or `{"name": …, "configuration": {…}}`."""
    if isinstance(value, str):
        return value, {}
    if isinstance(value, dict) and isinstance(value.get("name"), str):
        configuration = value.get("configuration", {})
        if isinstance(configuration, dict):
            return value["name"], configuration
    _refuse(what, "a name, or an object that has one", value)


# Chunks


def _parts(found: _Fields, name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    parts = found.extents(name)
    if len(parts) != len(shape):
        raise BadMember(f"{name}: expected {len(shape)} numbers, found {len(parts)}")
    if any(part == 0 < n for part, n in zip(parts, shape, strict=True)):
        raise BadMember(f"{name}: {list(parts)} never fills {list(shape)}")
    return parts


def _v3_chunks(found: _Fields, shape: tuple[int, ...]) -> tuple[int, ...] | None:
    name, configuration = _named(found.any("chunk_grid"), "chunk_grid")
    return _parts(_Fields(configuration), "chunk_shape", shape) if name == "regular" else None


def _v3_keys(value: Any) -> ChunkKeys | None:
    name, configuration = _named(value, "chunk_key_encoding")
    ways = {"default": ("c", "/"), "v2": ("", ".")}
    if name not in ways:
        return None
    prefix, usual = ways[name]
    separator = configuration.get("separator", usual)
    return ChunkKeys(prefix, separator) if separator in ("/", ".") else None


def _product(extents: tuple[int, ...]) -> int:
    product = 1
    for extent in extents:
        product *= extent
    return product


# Data types and codecs


def _v3_type(value: Any) -> tuple[str, int | None]:
    name, configuration = _named(value, "data_type")
    if "length_bytes" in configuration:  # fixed_length_utf32, null_terminated_bytes, raw_bytes
        length = _Fields(configuration).integer("length_bytes")
        if length < 0:
            _refuse("length_bytes", "a number from 0 on", length)
        return f"{name}({length})", length
    if bits := _RAW_BITS.fullmatch(name):
        return name, int(bits[1]) // 8
    return name, _V3_SIZES.get(name)


def _v2_type(value: Any) -> tuple[str, int | None]:
    if not isinstance(value, str | list):  # numpy takes None for float64
        _refuse("dtype", "a string or a list of fields", value)
    try:
        found = np.dtype(list(map(_field, value)) if isinstance(value, list) else value)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise BadMember(f"dtype: {_shown(value)}: {error}") from error
    return str(found), None if found.hasobject else found.itemsize


def _field(value: Any) -> Any:
    """A field of a structured type: `[name, type]` or `[name, type, shape]`."""
    if not isinstance(value, list) or len(value) not in (2, 3):
        _refuse("dtype", "fields of a name and a type", value)
    name, kind, *shape = value
    kind = list(map(_field, kind)) if isinstance(kind, list) else kind
    return (name, kind, *(tuple(each) if isinstance(each, list) else each for each in shape))


def _codec(value: Any) -> Codec:
    return Codec(*_named(value, "codecs"))


def _v2_codec(value: Any) -> Codec:
    if not isinstance(value, dict) or not isinstance(value.get("id"), str):
        _refuse("compressor or filters", "an object with an id", value)
    return Codec(value["id"], {key: each for key, each in value.items() if key != "id"})


def _check_v2(found: _Fields) -> None:
    if found.integer("zarr_format") != 2:
        raise BadMember(f"zarr_format: expected 2, found {found.integer('zarr_format')}")
