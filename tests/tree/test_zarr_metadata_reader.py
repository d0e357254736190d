"""Our reader of Zarr's metadata beside zarr's own, and what it says of metadata that is broken."""

from __future__ import annotations

import contextlib
import json
import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from trees import WAIT, MakeTree, zipped
from zarr.codecs import BloscCodec
from zarr.storage import LocalStore
from zarr.storage import MemoryStore as ZarrStore
from zarrs import members_of

from s3zipfs.errors import BadMember
from s3zipfs.stores.memory import MemoryStore
from s3zipfs.tree.directories import ArchiveDirectory, PathDirectory
from s3zipfs.tree.hierarchy import HierarchyNode, walk_hierarchy
from s3zipfs.tree.nodes import Member
from s3zipfs.tree.zarrmetadata import (
    ArrayMetadata,
    GroupMetadata,
    parse_v2_array,
    parse_v2_group,
    parse_v3,
)

SIZED = [
    "bool", "i1", "u1", "<i2", ">i2", "<u4", "i8", "u8", "f2", ">f4", "f8", "c8", "c16",
    "M8[s]", "m8[10us]", "S7", "U5", "V3",
]  # fmt: skip
OF_OBJECTS = [str, "T"]


def written(zarr_format: Any, dtype: Any) -> tuple[ArrayMetadata, Any]:
    """An array as we read its metadata, and as zarr does."""
    store = ZarrStore()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # types without a specification
        array = zarr.create_array(
            store, shape=(5, 4), chunks=(2, 4), dtype=dtype, zarr_format=zarr_format
        )
    members = members_of(store)
    if zarr_format == 3:
        found = parse_v3(members["zarr.json"])
    else:
        found = parse_v2_array(members[".zarray"], json.loads(members[".zattrs"]))
    assert isinstance(found, ArrayMetadata)
    return found, array


@pytest.mark.parametrize("dtype", SIZED)
def test_a_zarr_2_type_is_numpys(dtype: str) -> None:
    ours, array = written(2, dtype)
    assert np.dtype(ours.data_type) == array.dtype
    assert ours.item_size == array.dtype.itemsize
    assert ours.size == array.nbytes


def test_a_structured_type_of_zarr_2_is_numpys() -> None:
    kind = np.dtype([("a", "<i4"), ("b", [("c", ">f8"), ("d", "S3")], (2, 3))])
    fields = [["a", "<i4"], ["b", [["c", ">f8"], ["d", "|S3"]], [2, 3]]]
    metadata = {"zarr_format": 2, "shape": [7], "chunks": [7], "dtype": fields}
    found = parse_v2_array(json.dumps(metadata).encode(), {})
    assert (found.data_type, found.item_size) == (str(kind), kind.itemsize)


@pytest.mark.parametrize("dtype", [each for each in SIZED if each != "V3"])
def test_a_zarr_3_type_has_its_size(dtype: str) -> None:
    ours, array = written(3, dtype)
    assert ours.item_size == array.dtype.itemsize
    assert ours.size == array.nbytes
    if np.dtype(dtype).kind in "biufc":
        assert ours.data_type == np.dtype(dtype).newbyteorder("=").name


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("dtype", OF_OBJECTS)
def test_values_of_any_length_have_no_size(zarr_format: int, dtype: Any) -> None:
    ours, _ = written(zarr_format, dtype)
    assert ours.item_size is None
    assert ours.size is None


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_shape_chunks_shards_fill_and_codecs_are_those_that_zarr_has(zarr_format: Any) -> None:
    store = ZarrStore()
    compressor: Any = BloscCodec(cname="zstd", clevel=7)
    if zarr_format == 2:
        import numcodecs

        compressor = numcodecs.Blosc(cname="zstd", clevel=7)
    array = zarr.create_array(
        store, shape=(50, 40), chunks=(5, 8), shards=(10, 40) if zarr_format == 3 else None,
        dtype="f4", fill_value=2.5, compressors=compressor, zarr_format=zarr_format,
    )  # fmt: skip
    members = members_of(store)
    ours = (
        parse_v3(members["zarr.json"])
        if zarr_format == 3
        else parse_v2_array(members[".zarray"], {"_ARRAY_DIMENSIONS": ["y", "x"]})
    )
    assert isinstance(ours, ArrayMetadata)
    assert (ours.shape, ours.chunks, ours.shards) == (array.shape, array.chunks, array.shards)
    assert ours.fill_value == array.fill_value
    assert str(ours.codecs[-1]) == "blosc:zstd:7"
    assert ours.possible == (5 if zarr_format == 3 else 50)
    assert ours.dimension_names == (("y", "x") if zarr_format == 2 else None)


KEYS = [
    (2, {"name": "v2", "separator": "."}), (2, {"name": "v2", "separator": "/"}),
    (3, {"name": "default", "separator": "/"}), (3, {"name": "default", "separator": "."}),
    (3, {"name": "v2", "separator": "."}), (3, {"name": "v2", "separator": "/"}),
]  # fmt: skip


@pytest.mark.parametrize(("zarr_format", "keys"), KEYS)
@pytest.mark.parametrize("shape", [(), (25,), (25, 120), (5, 3, 4)])
def test_as_many_chunks_are_counted_as_zarr_counts(
    memory: MemoryStore,
    make_tree: MakeTree,
    tmp_path: Path,
    zarr_format: Any,
    keys: Any,
    shape: tuple[int, ...],
) -> None:
    store = LocalStore(tmp_path / "x")
    array = zarr.create_array(
        store, name="a", shape=shape, chunks=(2,) * len(shape), dtype="u1", fill_value=9,
        chunk_key_encoding=keys, compressors=None, zarr_format=zarr_format,
    )  # fmt: skip
    array[tuple(slice(0, (n + 1) // 2) for n in shape)] = 1
    folder = tmp_path / "x" / "a"
    chunks = [path for path in folder.rglob("*") if path.is_file() and path.name[0] not in ".z"]
    # What is no chunk of it: beyond the grid, not as zarr writes numbers, or of another name.
    (folder / "99.99.99").write_bytes(b"none")
    (folder / "00").write_bytes(b"none")
    (folder / "notes.txt").write_bytes(b"none")
    expected = array.nchunks_initialized
    assert len(chunks) == expected > 0
    size = sum(path.stat().st_size for path in chunks)

    root = tmp_path / "x"
    every = {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}
    memory.put("lab", "x.zip", zipped(every))
    tree = make_tree("s3://lab")
    node = tree.resolve(b"x.zip", WAIT)
    assert isinstance(node, Member)
    for directory in (ArchiveDirectory(tree, node, WAIT), PathDirectory(bytes(root))):
        (found,) = [each for each in walk_hierarchy(directory) if each.path == (b"a",)]
        assert found.stored is not None
        assert (found.stored.count, found.stored.size) == (expected, size)
        assert isinstance(found.metadata, ArrayMetadata)
        assert found.metadata.possible == array.nchunks


def test_an_encoding_that_is_not_known_is_not_counted(
    memory: MemoryStore, make_tree: MakeTree
) -> None:
    store = ZarrStore()
    zarr.create_array(store, shape=(4,), chunks=(2,), dtype="u1")
    found = json.loads(members_of(store)["zarr.json"])
    found["chunk_key_encoding"] = {"name": "hashed"}
    memory.put("lab", "x.zip", zipped({"zarr.json": json.dumps(found).encode()}))
    tree = make_tree("s3://lab")
    node = tree.resolve(b"x.zip", WAIT)
    assert isinstance(node, Member)
    (only,) = walk_hierarchy(ArchiveDirectory(tree, node, WAIT))
    assert isinstance(only, HierarchyNode)
    assert only.stored is None
    assert only.fault is None


def test_groups_are_groups() -> None:
    assert parse_v3(b'{"zarr_format": 3, "node_type": "group"}') == GroupMetadata(3)
    assert parse_v2_group(b'{"zarr_format": 2}') == GroupMetadata(2)


V3 = {
    "zarr_format": 3, "node_type": "array", "shape": [4, 6], "data_type": "int16",
    "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [2, 3]}},
    "chunk_key_encoding": {"name": "default"}, "fill_value": 0,
    "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}],
}  # fmt: skip
V2 = {
    "zarr_format": 2, "shape": [4, 6], "chunks": [2, 3], "dtype": "<i2", "compressor": None,
    "fill_value": 0, "order": "C", "filters": None,
}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"zarr_format": 2}, "zarr_format: expected 3, found 2"),
        ({"node_type": "table"}, "node_type: expected 'array' or 'group', found 'table'"),
        ({"shape": [4, True]}, "shape: expected numbers from 0 on"),
        ({"shape": [4]}, "chunk_shape: expected 1 numbers, found 2"),
        ({"chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [0, 3]}}}, "fills"),
        ({"chunk_grid": 7}, "chunk_grid: expected a name"),
        ({"codecs": {}}, "codecs: expected a list"),
        ({"data_type": 5}, "data_type: expected a name"),
        (
            {"data_type": {"name": "raw_bytes", "configuration": {"length_bytes": -1}}},
            "length_bytes: expected a number from 0 on, found -1",
        ),
    ],
)
def test_what_is_wrong_is_said_by_its_name(change: dict[str, Any], said: str) -> None:
    with pytest.raises(BadMember) as told:
        parse_v3(json.dumps({**V3, **change}).encode())
    assert said in str(told.value)


@pytest.mark.parametrize(
    "dtype",
    [None, 4, {"names": 1}, "zz", [["a"]], [["a", "i4", -1]], [["a", "i4", 10**30]], [[1, 2]]],
)
def test_a_type_that_numpy_has_not_is_said(dtype: Any) -> None:
    with pytest.raises(BadMember, match=r"^dtype: "):
        parse_v2_array(json.dumps({**V2, "dtype": dtype}).encode(), {})


@pytest.mark.parametrize(("name", "size"), [("r16", 2), ("r²", None), ("r" + "9" * 9000, None)])
def test_only_raw_bits_of_a_number_have_a_size(name: str, size: int | None) -> None:
    found = parse_v3(json.dumps({**V3, "data_type": name}).encode())
    assert isinstance(found, ArrayMetadata)
    assert found.item_size == size


@pytest.mark.parametrize("missing", [name for name in V3 if name != "node_type"])
def test_what_is_missing_is_said(missing: str) -> None:
    with pytest.raises(BadMember, match=f"{missing} is missing"):
        parse_v3(json.dumps({name: V3[name] for name in V3 if name != missing}).encode())


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda each: (
        st.lists(each, max_size=4)
        | st.dictionaries(
            st.sampled_from(["name", "configuration", "chunk_shape", "codecs", "id"]), each
        )
    ),
    max_leaves=8,
)


@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.sampled_from(sorted({*V3, *V2})), anything), st.booleans())
def test_no_metadata_at_all_fails_otherwise(changes: dict[str, Any], is_v3: bool) -> None:
    text = json.dumps({**(V3 if is_v3 else V2), **changes}).encode()
    found: object = None
    with contextlib.suppress(BadMember):
        found = parse_v3(text) if is_v3 else parse_v2_array(text, {})
    if isinstance(found, ArrayMetadata):
        assert found.grid is None or found.possible == math.prod(found.grid)
        assert found.size is None or found.size >= 0
        assert all(isinstance(str(codec), str) for codec in found.codecs)


@pytest.mark.parametrize("text", [b"", b"\xff", b"[", b"[" * 100_000, b'"text"', b"9" * 10_000])
def test_what_is_no_object_is_said(text: bytes) -> None:
    with pytest.raises(BadMember, match=r"not JSON|expected a JSON object"):
        parse_v3(text)
