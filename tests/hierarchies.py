"""Zarr hierarchies for tests, as zarr 3 writes them, and the archives that are made of them."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import zarr
from numpy.typing import NDArray
from s3server import S3Server
from zarr.core.group import GroupMetadata

from s3zipfs import S3ZipFileSystem

_RANDOM = np.random.default_rng(11)

ARRAYS: Mapping[str, NDArray[Any]] = {
    "values": _RANDOM.normal(size=(60, 50, 40)).astype("f4"),
    "deep/er/counts": _RANDOM.integers(-(10**9), 10**9, 1000),
    "deep/scalar": np.array(42, "u2"),
    "sparse": np.full((100, 100), 7, "i2"),  # of its 100 chunks one is stored
}
CHUNKS = {"values": (20, 25, 40), "deep/er/counts": (100,), "deep/scalar": (), "sparse": (10, 10)}
ARRAYS["sparse"][30:40, 50:60] = 8
STORED = {"values": 6, "deep/er/counts": 10, "deep/scalar": 1, "sparse": 1}  # chunks
GROUPS = {"deep", "deep/er", "empty"}
ATTRIBUTES = {"title": "test", "numbers": [1, 2.5, None]}


@dataclass(frozen=True)
class Place:
    """One archive, by both doors."""

    path: str  # on a mount
    url: str  # s3zip://
    options: dict[str, Any]  # of s3zip://

    @classmethod
    def of(cls, mounted: Path, bucket: str, server: S3Server, key: str) -> Place:
        """An object's, in a bucket that may be new; `mounted` is where that is."""
        for filesystem in list(S3ZipFileSystem._cache.values()):
            filesystem.close()  # it believes for its TTL which buckets there are
        options = {
            "endpoint_url": server.endpoint,
            "key": server.access_key,
            "secret": server.secret_key,
        }
        return cls(str(mounted / key), f"s3zip://{bucket}/{key}", options)


def write_hierarchy(folder: Path, zarr_format: Literal[2, 3]) -> None:
    """Groups by `create_hierarchy`, and `ARRAYS` in them."""
    store = zarr.storage.LocalStore(folder)
    groups: dict[str, Any] = {
        name: GroupMetadata(attributes=ATTRIBUTES if not name else {}, zarr_format=zarr_format)
        for name in ("", "deep/er", "empty")  # `deep` is implied
    }
    made = dict(zarr.create_hierarchy(store=store, nodes=groups))
    assert set(made) == {"", *GROUPS}
    group = zarr.open_group(store, mode="r+")
    for name, values in ARRAYS.items():
        array = group.create_array(
            name,
            shape=values.shape,
            chunks=CHUNKS[name],
            dtype=values.dtype,
            fill_value=7,
            attributes={"of": name},
        )
        array[...] = values


def zip_folder(
    folder: Path,
    target: Path,
    *,
    top: str = "",
    comment: bytes = b"",
    key: Callable[[str], Any] = str,
) -> None:
    """Its files, stored, in the order of `key`; below `top/` where one is given."""
    names = [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()]
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(names, key=key):
            archive.write(folder / name, f"{top}/{name}" if top else name)
        archive.comment = comment


def array_of(group: zarr.Group, name: str) -> zarr.Array[Any]:
    """An array that is there."""
    found = group[name]
    assert isinstance(found, zarr.Array)
    return found


def assert_whole(group: zarr.Group) -> None:
    """All of `write_hierarchy` is there, and nothing else."""
    assert dict(group.attrs) == ATTRIBUTES
    found = dict(group.members(max_depth=None))
    assert set(found) == GROUPS | set(ARRAYS)
    for name, values in ARRAYS.items():
        array = array_of(group, name)
        assert array.attrs["of"] == name
        assert array.dtype == values.dtype
        np.testing.assert_array_equal(array[...], values)
        assert array.nchunks_initialized == STORED[name]
