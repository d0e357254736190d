"""zarr 2.18 and its experimental v3: every store that reads, over the mount and by fsspec.

Its Python starts three times in all: to write (zarr2_write.py), and to read as v2 and as v3
(zarr2_read.py, zarr2_read_v3.py).
"""

from __future__ import annotations

import errno
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from databases import mongodb, redis
from environments import Environment, Results, Serve, Served, find_program, rows_of, skip_without
from hierarchies import zip_folder

HERE = Path(__file__).parent
ZARR2 = Environment("zarr2")
V2, V3, WRITTEN = "zarr 2.18", "zarr 2.18, experimental v3", "Archives as written"
EXPERIMENTAL = {"ZARR_V3_EXPERIMENTAL_API": "1", "ZARR_V3_SHARDING": "1"}

# The first test of a kind waits for a whole script.
pytestmark = [pytest.mark.environment("zarr2"), pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With `values.npy`, and `archives` as zarr 2.18 wrote them, or as zips of what it wrote."""
    folder = tmp_path_factory.mktemp("zarr2")
    values = np.random.default_rng(5).normal(size=(90, 60, 40)).astype("f4")
    np.save(folder / "values.npy", values)
    given = {"folder": str(folder), "values": str(folder / "values.npy")}
    ZARR2.run(HERE / "zarr2_write.py", given, folder=folder, variables=EXPERIMENTAL).check_all()
    for tree in (folder / "trees").iterdir():
        zip_folder(tree, folder / "archives" / f"{tree.name}.zip")
    damage(folder / "archives/v2.zarr.zip", folder / "archives/damaged.zarr.zip")
    return folder


def damage(source: Path, target: Path) -> None:
    """A copy in which one bit of the first chunk is another."""
    content = bytearray(source.read_bytes())
    with zipfile.ZipFile(source) as archive:
        chunk = archive.getinfo("deep/values/0.0.0")
        assert chunk.compress_type == zipfile.ZIP_STORED
    content[chunk.header_offset + 30 + len(chunk.filename) + chunk.file_size // 2] ^= 1
    target.write_bytes(content)


@pytest.fixture(scope="module")
def served(folder: Path, serve: Serve) -> Served:
    return serve(folder / "archives")


@pytest.fixture(scope="module")
def given(folder: Path, served: Served) -> Iterator[dict[str, Any]]:
    with redis() as redis_socket, mongodb() as mongodb_socket:
        yield {
            "path": str(served.path),
            "bucket": served.bucket,
            "endpoint": served.server.endpoint,
            "key": served.server.access_key,
            "secret": served.server.secret_key,
            "values": str(folder / "values.npy"),
            "folder": str(folder),
            "redis": redis_socket,
            "mongodb": mongodb_socket,
        }


@pytest.fixture(scope="module")
def v2(given: dict[str, Any], folder: Path) -> Results:
    return ZARR2.run(HERE / "zarr2_read.py", given, folder=folder)


NO_ZIP_SUFFIX = "zarr 2 takes a path that ends in `.zip` for a file of its `ZipStore`; leave the "
NO_ZIP_SUFFIX += "suffix out"
FERRETDB = "(of FerretDB, over SQLite)"
ANY_OSERROR = "zarr 2's `FSStore` takes every `OSError` for an empty chunk; give it "
ANY_OSERROR += "`exceptions=(KeyError, FileNotFoundError)`"


V2_ROWS = rows_of(
    V2,
    {
        "opens_the_path_without_its_suffix": '`zarr.open("/mnt/x.zarr")`',
        "opens_the_path_with_its_suffix": pytest.mark.row(
            V2, '`zarr.open("/mnt/x.zarr.zip")`', reason=NO_ZIP_SUFFIX
        ),
        "directory_store": "`DirectoryStore`",
        "nested_directory_store": "`NestedDirectoryStore`",
        "fsstore_of_a_file_url": '`FSStore("file://…")`',
        "fsstore_of_an_s3zip_url": '`FSStore("s3zip://…")`',
        "fsstore_of_s3zipfilesystem": "`FSStore(…, fs=S3ZipFileSystem(…))`",
        "fsstore_of_zipfilesystem": "`FSStore(url='', fs=ZipFileSystem(fo=…))`",
        "fsmap_of_the_mount": '`fsspec.get_mapper("file://…")`',
        "fsmap_of_s3zipfilesystem": "`FSMap(root=…, fs=S3ZipFileSystem(…))`",
        "fsmap_of_zipfilesystem": "`FSMap(root='', fs=ZipFileSystem(fo=…))`",
        "fsmap_of_a_subdirectory": "`FSMap(root='subdirectory/path', fs=ZipFileSystem(fo=…))`",
        "lru_store_cache": "`LRUStoreCache`",
        "consolidated_metadata_store": "`ConsolidatedMetadataStore`",
        "open_consolidated": "`open_consolidated`",
        "n5_store": "`N5Store`",
        "n5_fsstore": "`N5FSStore`",
        "copies_into_memory_store": "`copy_store` into `MemoryStore`",
        "copies_into_directory_stores": "`copy_store` into `DirectoryStore` and `TempStore`",
        "copies_into_zip_store": "`copy_store` into `ZipStore`",
        "copies_into_dbm_store": "`copy_store` into `DBMStore`",
        "copies_into_lmdb_store": "`copy_store` into `LMDBStore`",
        "copies_into_sqlite_store": "`copy_store` into `SQLiteStore`",
        "copies_of_groups": "`copy_all`",
        "writing_is_refused": "Writing is refused",
        "directory_store_tells_of_a_damaged_chunk": "A damaged chunk is an error",
        "fsstore_takes_a_damaged_chunk_for_an_empty_one": pytest.mark.row(
            V2, "A damaged chunk is an error by `FSStore`", reason=ANY_OSERROR
        ),
    },
)
V2_ROWS += rows_of(
    WRITTEN,
    {
        "archives_of_zip_store": "`ZipStore` of zarr 2.18",
        "deflated_archives_of_zip_store": "`ZipStore` of zarr 2.18, deflated",
        "overwritten_archives_of_zip_store": "`ZipStore` of zarr 2.18, chunks written again",
    },
)


@pytest.mark.parametrize("row", V2_ROWS)
def test_zarr_2(v2: Results, row: str) -> None:
    v2.check(row)


@pytest.fixture(scope="module")
def v3(given: dict[str, Any], folder: Path) -> Results:
    return ZARR2.run(HERE / "zarr2_read_v3.py", given, folder=folder, variables=EXPERIMENTAL)


V3_ROWS = rows_of(
    V3,
    {
        "opens_the_path": '`zarr.open("/mnt/x.zarr", zarr_version=3, path=…)`',
        "directory_store_v3": "`DirectoryStoreV3`",
        "fsstore_v3_of_a_file_url": '`FSStoreV3("file://…")`',
        "fsstore_v3_of_s3zipfilesystem": "`FSStoreV3(…, fs=S3ZipFileSystem(…))`",
        "kvstore_v3_over_a_mapper": '`KVStoreV3(fsspec.get_mapper("file://…"))`',
        "kvstore_v3_over_a_mapper_of_s3zipfilesystem": (
            "`KVStoreV3(FSMap(root=…, fs=S3ZipFileSystem(…)))`"
        ),
        "lru_store_cache_v3": "`LRUStoreCacheV3`",
        "consolidated_metadata_store_v3": "`ConsolidatedMetadataStoreV3`",
        "open_consolidated_v3": "`open_consolidated`",
        "sharding": "`ShardingStorageTransformer`",
        "sharding_by_ranges": "`ShardingStorageTransformer`, by ranges",
        "copies_into_memory_store_v3": "`copy_store` into `MemoryStoreV3`",
        "copies_into_lmdb_store_v3": "`copy_store` into `LMDBStoreV3`",
        "copies_into_sqlite_store_v3": "`copy_store` into `SQLiteStoreV3`",
        "copies_into_dbm_store_v3": "`copy_store` into `DBMStoreV3`",
    },
)
V3_ROWS += rows_of(
    WRITTEN,
    {
        "archives_of_zip_store_v3": "`ZipStoreV3` of zarr 2.18",
        "deflated_archives_of_zip_store_v3": "`ZipStoreV3` of zarr 2.18, deflated",
    },
)


@pytest.mark.parametrize("row", V3_ROWS)
def test_the_experimental_v3(v3: Results, row: str) -> None:
    v3.check(row)


@pytest.mark.row(V2, "`copy_store` into `RedisStore`")
@pytest.mark.row(V3, "`copy_store` into `RedisStoreV3`")
def test_archives_are_copied_into_redis(v2: Results, v3: Results) -> None:
    if find_program("redis-server") is None:
        skip_without("no redis-server: make test-zarr")
    v2.check("copies_into_redis_store")
    v3.check("copies_into_redis_store_v3")


@pytest.mark.row(V2, "`copy_store` into `MongoDBStore`", note=FERRETDB)
@pytest.mark.row(V3, "`copy_store` into `MongoDBStoreV3`", note=FERRETDB)
def test_archives_are_copied_into_mongodb(v2: Results, v3: Results) -> None:
    if find_program("ferretdb") is None:
        pytest.skip("FerretDB could not be built")
    v2.check("copies_into_mongodb_store")
    v3.check("copies_into_mongodb_store_v3")


@pytest.mark.row(WRITTEN, "`ZipStore` that was never closed", reason="no central directory: `EIO`")
def test_an_archive_that_zarr_2_never_closed_is_an_error(served: Served) -> None:
    path = served.path / "v2-unclosed.zarr.zip"
    assert path.is_dir()
    for attempt in (path.iterdir, (path / ".zgroup").read_bytes):
        with pytest.raises(OSError, match="Input/output error") as raised:
            list(attempt())
        assert raised.value.errno == errno.EIO


def test_no_row_of_the_scripts_is_left_out(v2: Results, v3: Results) -> None:
    databases = {f"copies_into_{name}_store" for name in ("redis", "mongodb")}
    assert set(v2.failures) == {row.id for row in V2_ROWS} | databases
    assert set(v3.failures) == {row.id for row in V3_ROWS} | {f"{name}_v3" for name in databases}
