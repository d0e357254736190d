"""Trees and archives as zarr 2.18 writes them, its experimental v3 included; see test_zarr2*.py.

`given["folder"]` gets `trees/NAME`, which are zipped by whoever asked, and `archives/NAME`.
"""

from __future__ import annotations

import importlib
import shutil
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from rowscript import Given, row, run

# By name: mypy knows the classes of zarr 3 only.
zarr: Any = importlib.import_module("zarr")
n5: Any = importlib.import_module("zarr.n5")
numcodecs: Any = importlib.import_module("numcodecs")
v3: Any = importlib.import_module("zarr._storage.v3")
transformers: Any = importlib.import_module("zarr._storage.v3_storage_transformers")

CHUNKS = (30, 20, 40)
V3_ROOT = "tree"  # a group of the experimental v3 has to have a path


def tree(given: Given, name: str) -> str:
    return str(Path(given["folder"]) / "trees" / name)


def archive(given: Given, name: str) -> str:
    folder = Path(given["folder"]) / "archives"
    folder.mkdir(parents=True, exist_ok=True)
    return str(folder / name)


def fill(given: Given, store: Any, path: str | None = None, **options: Any) -> Any:
    """A group with attributes, an array with all its chunks, and one without any."""
    root = zarr.group(store=store, path=path, overwrite=True)
    root.attrs["title"] = "test"
    root.create_dataset("deep/values", data=np.load(given["values"]), chunks=CHUNKS, **options)
    root.create_dataset("deep/empty", shape=(8,), chunks=(4,), dtype="i2", fill_value=0)
    return root


@row
def directory_store(given: Given) -> None:
    fill(given, zarr.DirectoryStore(tree(given, "v2.zarr")))


@row
def directory_store_below_a_path(given: Given) -> None:
    fill(given, zarr.DirectoryStore(tree(given, "below.zarr") + "/subdirectory/path"))


@row
def nested_directory_store(given: Given) -> None:
    fill(given, zarr.NestedDirectoryStore(tree(given, "nested.zarr")))


@row
def consolidated(given: Given) -> None:
    store = zarr.DirectoryStore(tree(given, "consolidated.zarr"))
    fill(given, store)
    zarr.consolidate_metadata(store)


@row
def n5_store(given: Given) -> None:
    fill(given, n5.N5Store(tree(given, "data.n5")), compressor=numcodecs.Zlib())


@row
def zip_store_stored(given: Given) -> None:
    with zarr.ZipStore(archive(given, "v2-stored.zarr.zip"), mode="w") as store:
        fill(given, store)


@row
def zip_store_deflated(given: Given) -> None:
    name = archive(given, "v2-deflated.zarr.zip")
    with zarr.ZipStore(name, mode="w", compression=zipfile.ZIP_DEFLATED) as store:
        fill(given, store)


@row
def zip_store_overwritten(given: Given) -> None:
    name = archive(given, "v2-overwritten.zarr.zip")
    with warnings.catch_warnings(action="ignore"), zarr.ZipStore(name, mode="w") as store:
        values = np.load(given["values"])
        array = fill(given, store)["deep/values"]
        array[:] = -1
        array[:] = values
    with zipfile.ZipFile(name) as written:
        assert written.namelist().count("deep/values/0.0.0") == 3


@row
def zip_store_unclosed(given: Given) -> None:
    name = archive(given, "v2-unclosed.zarr.zip")
    with zarr.ZipStore(name + ".part", mode="w") as store:
        fill(given, store)
        store.zf.fp.flush()
        shutil.copyfile(name + ".part", name)
    Path(name + ".part").unlink()


def fill_v3(given: Given, store: Any, **options: Any) -> None:
    fill(given, store, V3_ROOT, **options)


@row
def directory_store_v3(given: Given) -> None:
    fill_v3(given, v3.DirectoryStoreV3(tree(given, "v3x.zarr")))


@row
def consolidated_v3(given: Given) -> None:
    store = v3.DirectoryStoreV3(tree(given, "consolidated-v3x.zarr"))
    fill_v3(given, store)
    zarr.consolidate_metadata(store, path=V3_ROOT)


@row
def sharded_v3(given: Given) -> None:
    sharding = transformers.ShardingStorageTransformer("indexed", chunks_per_shard=(3, 3, 1))
    fill_v3(
        given,
        v3.DirectoryStoreV3(tree(given, "sharded-v3x.zarr")),
        storage_transformers=[sharding],
    )


@row
def zip_store_v3(given: Given) -> None:
    with v3.ZipStoreV3(archive(given, "v3x-stored.zarr.zip"), mode="w") as store:
        fill_v3(given, store)


@row
def zip_store_v3_deflated(given: Given) -> None:
    name = archive(given, "v3x-deflated.zarr.zip")
    with v3.ZipStoreV3(name, mode="w", compression=zipfile.ZIP_DEFLATED) as store:
        fill_v3(given, store)


if __name__ == "__main__":
    run()
