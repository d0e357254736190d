"""The experimental v3 of zarr 2.18, over the mount and by fsspec; see test_zarr2.py.

`given` is that of zarr2_read.py.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import fsspec
import numpy as np
from fsspec.mapping import FSMap
from rowscript import Given, row, run

import s3zipfs

# By name: mypy knows the classes of zarr 3 only.
zarr: Any = importlib.import_module("zarr")
v3: Any = importlib.import_module("zarr._storage.v3")

ROOT = "tree"


def path(given: Given, name: str = "v3x.zarr.zip") -> str:
    return f"{given['path']}/{name}"


def directory(given: Given, name: str = "v3x.zarr.zip") -> Any:
    return v3.DirectoryStoreV3(path(given, name))


def s3zip(given: Given) -> s3zipfs.S3ZipFileSystem:
    return s3zipfs.S3ZipFileSystem(
        endpoint_url=given["endpoint"], key=given["key"], secret=given["secret"]
    )


def check(given: Given, store: Any, **options: Any) -> None:
    """Open it, read all of it, and find what was written."""
    check_group(given, zarr.open_group(store, path=ROOT, mode="r", **options))


def check_group(given: Given, root: Any) -> None:
    assert root.attrs.asdict() == {"title": "test"}, root.attrs.asdict()
    values = np.load(given["values"])
    array = root["deep/values"]
    assert array._version == 3
    np.testing.assert_array_equal(array[:], values)
    np.testing.assert_array_equal(array[31:33, 5:50, 7], values[31:33, 5:50, 7])
    np.testing.assert_array_equal(root["deep/empty"][:], np.zeros(8))


def check_copy(given: Given, target: Any) -> None:
    """Copy all of the archive out of the mount; every key and byte is there, and Zarr reads it."""
    source = directory(given)
    copied, skipped, _ = zarr.copy_store(source, target)
    assert (copied, skipped) == (len(source), 0)
    assert sorted(target) == sorted(source)
    for key in source:
        assert bytes(target[key]) == bytes(source[key]), key
    check(given, target)


@row
def opens_the_path(given: Given) -> None:
    root = zarr.open(path(given, "v3x.zarr"), mode="r", zarr_version=3, path=ROOT)
    assert type(root.store).__name__ == "DirectoryStoreV3"
    check_group(given, root)


@row
def directory_store_v3(given: Given) -> None:
    check(given, directory(given))


@row
def fsstore_v3_of_a_file_url(given: Given) -> None:
    check(given, v3.FSStoreV3(f"file://{path(given)}", mode="r"))


@row
def fsstore_v3_of_s3zipfilesystem(given: Given) -> None:
    check(given, v3.FSStoreV3(f"{given['bucket']}/v3x.zarr.zip", fs=s3zip(given), mode="r"))


@row
def kvstore_v3_over_a_mapper(given: Given) -> None:
    check(given, v3.KVStoreV3(fsspec.get_mapper(f"file://{path(given)}")))


@row
def kvstore_v3_over_a_mapper_of_s3zipfilesystem(given: Given) -> None:
    check(given, v3.KVStoreV3(FSMap(root=f"{given['bucket']}/v3x.zarr.zip", fs=s3zip(given))))


@row
def lru_store_cache_v3(given: Given) -> None:
    store = v3.LRUStoreCacheV3(directory(given), max_size=1 << 24)
    check(given, store)
    hits = store.hits
    check(given, store)
    assert store.hits > hits


@row
def consolidated_metadata_store_v3(given: Given) -> None:
    chunks = directory(given, "consolidated-v3x.zarr.zip")
    check(given, v3.ConsolidatedMetadataStoreV3(chunks), chunk_store=chunks)


@row
def open_consolidated_v3(given: Given) -> None:
    store = directory(given, "consolidated-v3x.zarr.zip")
    check_group(given, zarr.open_consolidated(store, mode="r", path=ROOT))


@row
def sharding(given: Given) -> None:
    check(given, directory(given, "sharded-v3x.zarr.zip"))


@row
def sharding_by_ranges(given: Given) -> None:
    store = v3.FSStoreV3(f"file://{path(given, 'sharded-v3x.zarr.zip')}", mode="r")
    assert store.supports_efficient_get_partial_values
    check(given, store)


@row
def archives_of_zip_store_v3(given: Given) -> None:
    check(given, directory(given, "v3x-stored.zarr.zip"))


@row
def deflated_archives_of_zip_store_v3(given: Given) -> None:
    check(given, directory(given, "v3x-deflated.zarr.zip"))


@row
def copies_into_memory_store_v3(given: Given) -> None:
    check_copy(given, v3.MemoryStoreV3())


@row
def copies_into_lmdb_store_v3(given: Given) -> None:
    check_copy(given, target := v3.LMDBStoreV3(str(Path(given["folder"]) / "copy.lmdb")))
    target.close()


@row
def copies_into_sqlite_store_v3(given: Given) -> None:
    check_copy(given, target := v3.SQLiteStoreV3(str(Path(given["folder"]) / "copy.sqlite")))
    target.close()


@row
def copies_into_dbm_store_v3(given: Given) -> None:
    check_copy(given, target := v3.DBMStoreV3(str(Path(given["folder"]) / "copy.dbm")))
    target.close()


@row
def copies_into_redis_store_v3(given: Given) -> None:
    check_copy(given, v3.RedisStoreV3(unix_socket_path=given["redis"]))


@row
def copies_into_mongodb_store_v3(given: Given) -> None:
    check_copy(given, target := v3.MongoDBStoreV3(host=f"mongodb://{quote_plus(given['mongodb'])}"))
    target.close()


if __name__ == "__main__":
    run()
