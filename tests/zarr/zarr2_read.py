"""Every store of zarr 2.18 that reads, over the mount and by fsspec; see test_zarr2.py.

`given` names the mount (`path`), the same bucket (`bucket`, `endpoint`, `key`, `secret`), the array
that is expected (`values`), a `folder` to copy into, and the sockets of `redis` and `mongodb` where
they run.
"""

from __future__ import annotations

import errno
import importlib
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import fsspec
import numpy as np
import s3fs
from fsspec.mapping import FSMap
from rowscript import Given, row, run

import s3zipfs

# By name: mypy knows the classes of zarr 3 only.
zarr: Any = importlib.import_module("zarr")
n5: Any = importlib.import_module("zarr.n5")


def path(given: Given, name: str = "v2.zarr.zip") -> str:
    return f"{given['path']}/{name}"


def check(given: Given, store: Any, **options: Any) -> Any:
    """Open it, read all of it, and find what was written."""
    root = zarr.open(store, mode="r", **options)
    check_group(given, root)
    return root


def check_group(given: Given, root: Any) -> None:
    assert root.attrs.asdict() == {"title": "test"}, root.attrs.asdict()
    assert sorted(root.group_keys()) == ["deep"]
    assert sorted(root["deep"].array_keys()) == ["empty", "values"]
    np.testing.assert_array_equal(root["deep/values"][:], np.load(given["values"]))
    assert root["deep/values"].nchunks_initialized == root["deep/values"].nchunks
    np.testing.assert_array_equal(root["deep/empty"][:], np.zeros(8))


def fails(error: type[Exception], attempt: Any) -> Exception:
    try:
        attempt()
    except error as raised:
        return raised
    raise AssertionError(f"no {error.__name__}")


def s3zip(given: Given) -> s3zipfs.S3ZipFileSystem:
    return s3zipfs.S3ZipFileSystem(
        endpoint_url=given["endpoint"], key=given["key"], secret=given["secret"]
    )


def zip_filesystem(given: Given, name: str = "v2.zarr.zip") -> Any:
    """As users of s3fs and fsspec's ZipFileSystem have it, with another import."""
    options = {"endpoint_url": given["endpoint"]}
    fs = s3fs.S3FileSystem(key=given["key"], secret=given["secret"], client_kwargs=options)
    return s3zipfs.ZipFileSystem(fo=fs.open(f"{given['bucket']}/{name}", "rb"))


@row
def opens_the_path_without_its_suffix(given: Given) -> None:
    root = check(given, path(given, "v2.zarr"))
    assert type(root.store).__name__ == "DirectoryStore"


@row
def opens_the_path_with_its_suffix(given: Given) -> None:
    fails(IsADirectoryError, lambda: zarr.open(path(given), mode="r"))


@row
def directory_store(given: Given) -> None:
    check(given, zarr.DirectoryStore(path(given)))


@row
def nested_directory_store(given: Given) -> None:
    check(given, zarr.NestedDirectoryStore(path(given, "nested.zarr.zip")))


@row
def fsstore_of_a_file_url(given: Given) -> None:
    check(given, zarr.storage.FSStore(f"file://{path(given)}", mode="r"))


@row
def fsstore_of_an_s3zip_url(given: Given) -> None:
    store = zarr.storage.FSStore(
        f"s3zip://{given['bucket']}/v2.zarr.zip",
        mode="r",
        endpoint_url=given["endpoint"],
        key=given["key"],
        secret=given["secret"],
    )
    check(given, store)


@row
def fsstore_of_s3zipfilesystem(given: Given) -> None:
    check(given, zarr.storage.FSStore(f"{given['bucket']}/v2.zarr.zip", fs=s3zip(given), mode="r"))


@row
def fsstore_of_zipfilesystem(given: Given) -> None:
    check(given, zarr.storage.FSStore(url="", fs=zip_filesystem(given)))


@row
def fsmap_of_the_mount(given: Given) -> None:
    check(given, fsspec.get_mapper(f"file://{path(given)}"))


@row
def fsmap_of_s3zipfilesystem(given: Given) -> None:
    check(given, FSMap(root=f"{given['bucket']}/v2.zarr.zip", fs=s3zip(given)))


@row
def fsmap_of_zipfilesystem(given: Given) -> None:
    check(given, FSMap(root="", fs=zip_filesystem(given)))


@row
def fsmap_of_a_subdirectory(given: Given) -> None:
    zip_fs = zip_filesystem(given, "below.zarr.zip")
    check(given, FSMap(root="subdirectory/path", fs=zip_fs))


@row
def lru_store_cache(given: Given) -> None:
    store = zarr.LRUStoreCache(zarr.DirectoryStore(path(given)), max_size=1 << 24)
    check(given, store)
    misses, hits = store.misses, store.hits
    check(given, store)
    assert store.misses == misses
    assert store.hits > hits


@row
def consolidated_metadata_store(given: Given) -> None:
    chunks = zarr.DirectoryStore(path(given, "consolidated.zarr.zip"))
    metadata = zarr.storage.ConsolidatedMetadataStore(chunks)
    root = zarr.open(metadata, mode="r", chunk_store=chunks)
    check_group(given, root)


@row
def open_consolidated(given: Given) -> None:
    store = zarr.DirectoryStore(path(given, "consolidated.zarr.zip"))
    check_group(given, zarr.open_consolidated(store, mode="r"))


@row
def n5_store(given: Given) -> None:
    check(given, n5.N5Store(path(given, "data.n5.zip")))


@row
def n5_fsstore(given: Given) -> None:
    check(given, n5.N5FSStore(f"file://{path(given, 'data.n5.zip')}", mode="r"))


def check_copy(given: Given, target: Any) -> None:
    """Copy all of the archive out of the mount; every key and byte is there, and Zarr reads it."""
    source = zarr.DirectoryStore(path(given))
    keys = sorted(source)
    copied, skipped, _ = zarr.copy_store(source, target)
    assert (copied, skipped) == (len(keys), 0)
    assert sorted(target) == keys
    for key in keys:
        assert bytes(target[key]) == source[key], key
    check(given, target)


def target(given: Given, name: str) -> str:
    return str(Path(given["folder"]) / f"copy-{name}")


@row
def copies_into_memory_store(given: Given) -> None:
    check_copy(given, zarr.MemoryStore())


@row
def copies_into_directory_stores(given: Given) -> None:
    check_copy(given, zarr.DirectoryStore(target(given, "directory")))
    check_copy(given, zarr.TempStore())


@row
def copies_into_zip_store(given: Given) -> None:
    with zarr.ZipStore(target(given, "zip"), mode="w") as store:
        check_copy(given, store)


@row
def copies_into_dbm_store(given: Given) -> None:
    with zarr.DBMStore(target(given, "dbm")) as store:
        check_copy(given, store)


@row
def copies_into_lmdb_store(given: Given) -> None:
    with zarr.LMDBStore(target(given, "lmdb"), buffers=False) as store:
        check_copy(given, store)


@row
def copies_into_sqlite_store(given: Given) -> None:
    with zarr.SQLiteStore(target(given, "sqlite")) as store:
        check_copy(given, store)


@row
def copies_into_redis_store(given: Given) -> None:
    check_copy(given, zarr.RedisStore(prefix="v2", unix_socket_path=given["redis"]))


@row
def copies_into_mongodb_store(given: Given) -> None:
    host = f"mongodb://{quote_plus(given['mongodb'])}"
    with zarr.MongoDBStore(collection="v2", host=host) as store:
        check_copy(given, store)


@row
def copies_of_groups(given: Given) -> None:
    zarr.copy_all(zarr.open(path(given, "v2.zarr"), mode="r"), copy := zarr.group())
    np.testing.assert_array_equal(copy["deep/values"][:], np.load(given["values"]))


@row
def writing_is_refused(given: Given) -> None:
    root = zarr.open(path(given, "v2.zarr"), mode="a")
    error = fails(KeyError, lambda: root.create_dataset("new", shape=1)).__cause__
    assert isinstance(error, OSError)
    assert error.errno == errno.EROFS


@row
def directory_store_tells_of_a_damaged_chunk(given: Given) -> None:
    store = zarr.DirectoryStore(path(given, "damaged.zarr.zip"))
    array = zarr.open(store, mode="r")["deep/values"]
    fails(OSError, lambda: array[:])


@row
def fsstore_takes_a_damaged_chunk_for_an_empty_one(given: Given) -> None:
    url = f"file://{path(given, 'damaged.zarr.zip')}"
    array = zarr.open(zarr.storage.FSStore(url, mode="r"), mode="r")["deep/values"]
    assert (array[:30, :20] == array.fill_value).all()
    told = zarr.storage.FSStore(url, mode="r", exceptions=(KeyError, FileNotFoundError))
    fails(OSError, lambda: zarr.open(told, mode="r")["deep/values"][:])


@row
def archives_of_zip_store(given: Given) -> None:
    check(given, zarr.DirectoryStore(path(given, "v2-stored.zarr.zip")))


@row
def deflated_archives_of_zip_store(given: Given) -> None:
    check(given, zarr.DirectoryStore(path(given, "v2-deflated.zarr.zip")))


@row
def overwritten_archives_of_zip_store(given: Given) -> None:
    check(given, zarr.DirectoryStore(path(given, "v2-overwritten.zarr.zip")))


if __name__ == "__main__":
    run()
