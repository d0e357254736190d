"""`s3zipfs refs`: what it writes is read by fsspec and zarr, straight from the real server."""

from __future__ import annotations

import json
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from commands import assert_one_line, keys_of, s3zipfs
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.reference import LazyReferenceMapper, ReferenceFileSystem
from hierarchies import ARRAYS, array_of, write_hierarchy, zip_folder
from mounting import Mount
from s3fs import S3FileSystem
from s3server import S3Server
from trees import zipped
from zarr.storage import FsspecStore

FAILED, USAGE = 1, 2


def run(server: S3Server, *arguments: str) -> subprocess.CompletedProcess[str]:
    return s3zipfs(
        "refs", *arguments, "--endpoint-url", server.endpoint, environment=keys_of(server)
    )


@pytest.fixture(scope="module", params=[2, 3], ids=["zarr2", "zarr3"])
def archive(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nested groups, a scalar, missing chunks; a sharded array where there are shards."""
    folder = tmp_path_factory.mktemp("hierarchy")
    write_hierarchy(folder / "tree", request.param)
    group = zarr.open_group(folder / "tree", mode="r+")
    if request.param == 3:
        shards = group.create_array(
            "shards", shape=(64, 64), shards=(32, 32), chunks=(8, 16), dtype="u2"
        )
        shards[:, :32] = SHARDED
    zip_folder(folder / "tree", folder / "x.zarr.zip")
    return folder / "x.zarr.zip"


SHARDED = np.arange(64 * 32, dtype="u2").reshape(64, 32)


@pytest.fixture
def remote(s3server: S3Server) -> S3FileSystem:
    """A filesystem that knows nothing of us."""
    return S3FileSystem(
        key=s3server.access_key,
        secret=s3server.secret_key,
        endpoint_url=s3server.endpoint,
        asynchronous=True,
        skip_instance_cache=True,
    )


def read_and_compare(filesystem: ReferenceFileSystem) -> None:
    group = zarr.open_group(FsspecStore(filesystem, read_only=True), mode="r")
    for name, values in ARRAYS.items():
        array = array_of(group, name)
        assert array.attrs["of"] == name
        np.testing.assert_array_equal(array[...], values)
    if group.metadata.zarr_format == 3:
        np.testing.assert_array_equal(array_of(group, "shards")[:, :32], SHARDED)
        assert not np.any(array_of(group, "shards")[:, 32:])


def test_a_document_is_read_by_zarr_straight_from_the_store(
    s3server: S3Server,
    s3client: Any,
    bucket: str,
    archive: Path,
    remote: S3FileSystem,
    tmp_path: Path,
) -> None:
    s3client.upload_file(str(archive), bucket, "a/x.zarr.zip")
    file = tmp_path / "x.json"
    file.write_text("an older one")
    done = run(s3server, f"s3://{bucket}/a/x.zarr.zip", "-o", str(file))
    assert (done.returncode, done.stderr) == (0, "")
    assert "references" in done.stdout
    refs = json.loads(file.read_text())["refs"]
    with zipfile.ZipFile(archive) as members:
        assert refs.keys() == set(members.namelist())
    assert run(s3server, f"s3://{bucket}/a/x.zarr.zip").stdout == file.read_text()
    read_and_compare(ReferenceFileSystem(str(file), fs=remote, asynchronous=True))
    assert list(tmp_path.iterdir()) == [file]


def test_tables_are_read_by_zarr_straight_from_the_store(
    s3server: S3Server,
    s3client: Any,
    bucket: str,
    archive: Path,
    remote: S3FileSystem,
    tmp_path: Path,
) -> None:
    s3client.upload_file(str(archive), bucket, "x.zarr.zip")
    where, folder = f"s3://{bucket}/x.zarr.zip", tmp_path / "x.parquet"
    done = run(s3server, where, "-o", str(folder), "--format", "parquet")
    assert (done.returncode, done.stderr) == (0, "")
    mapper = LazyReferenceMapper(str(folder), LocalFileSystem(), engine="pyarrow")
    read_and_compare(ReferenceFileSystem(mapper, fs=remote, asynchronous=True))
    assert list(tmp_path.iterdir()) == [folder]
    again = run(s3server, where, "-o", str(folder), "--format", "parquet")
    assert_one_line(again, str(folder), "File exists", code=FAILED)


def test_tables_hold_arrays_of_more_chunks_than_one_table(
    s3server: S3Server, s3client: Any, bucket: str, remote: S3FileSystem, tmp_path: Path
) -> None:
    # 30,000 possible chunks, of which some of the first and third table are there.
    group = zarr.open_group(tmp_path / "tree", mode="w", zarr_format=2)
    array = group.create_array("long", shape=(300, 100), chunks=(1, 1), dtype="i4", fill_value=-1)
    array[3, 40:60] = np.arange(20)
    array[299, 90:] = np.arange(10)
    zip_folder(tmp_path / "tree", tmp_path / "x.zip")
    s3client.upload_file(str(tmp_path / "x.zip"), bucket, "x.zip")
    folder = tmp_path / "x.parquet"
    run(s3server, f"s3://{bucket}/x.zip", "-o", str(folder), "--format", "parquet")
    assert {path.name for path in (folder / "long").iterdir()} == {"refs.0.parq", "refs.2.parq"}
    mapper = LazyReferenceMapper(str(folder), LocalFileSystem(), engine="pyarrow")
    filesystem = ReferenceFileSystem(mapper, fs=remote, asynchronous=True)
    found = zarr.open_group(FsspecStore(filesystem, read_only=True), mode="r")
    for rows in (slice(2, 5), slice(150, 152), slice(298, 300)):
        np.testing.assert_array_equal(array_of(found, "long")[rows], array[rows])


def test_what_can_not_be_told_fails_or_is_left_out_with_a_warning(
    s3server: S3Server, s3client: Any, bucket: str, tmp_path: Path
) -> None:
    members = {"zarr.json": b'{"zarr_format": 3, "node_type": "group"}', "c/0": b"1" * 100}
    body = zipped(members, zipfile.ZIP_DEFLATED)
    s3client.put_object(Bucket=bucket, Key="x.zip", Body=body)
    where, file = f"s3://{bucket}/x.zip", tmp_path / "x.json"
    assert_one_line(run(s3server, where, "-o", str(file)), "1 deflated", "missing", code=FAILED)
    assert not file.exists()
    done = run(s3server, where, "-o", str(file), "--skip")
    assert done.returncode == 0
    assert done.stderr.startswith("s3zipfs: warning: left out")
    assert "1 deflated" in done.stderr
    assert json.loads(file.read_text())["refs"].keys() == {"zarr.json"}


def test_what_has_no_place_in_tables_is_told(
    s3server: S3Server, s3client: Any, bucket: str, tmp_path: Path
) -> None:
    zarr.create_array(tmp_path / "root", shape=(4,), chunks=(2,), dtype="i2")[:] = 1
    zip_folder(tmp_path / "root", tmp_path / "root.zip")
    s3client.upload_file(str(tmp_path / "root.zip"), bucket, "root.zip")
    s3client.put_object(Bucket=bucket, Key="plain.zip", Body=zipped({"a.txt": b"1"}))
    group = zarr.open_group(tmp_path / "tree", mode="w")
    group.create_array("a", shape=(4,), chunks=(2,), dtype="i2")[:] = 1
    (tmp_path / "tree" / "README").write_text("read me")
    zip_folder(tmp_path / "tree", tmp_path / "tree.zip")
    s3client.upload_file(str(tmp_path / "tree.zip"), bucket, "tree.zip")
    tables = ["-o", str(tmp_path / "out.parquet"), "--format", "parquet"]
    for key, words in (("root.zip", "at the root"), ("plain.zip", "no Zarr array")):
        done = run(s3server, f"s3://{bucket}/{key}", *tables)
        assert_one_line(done, key, words, "--format json", code=FAILED)
        assert not list(tmp_path.glob("*out.parquet*"))
    done = run(s3server, f"s3://{bucket}/tree.zip", *tables)
    assert done.returncode == 0
    assert "1 that are not Zarr's" in done.stderr


def test_what_is_no_archive_by_url_is_one_line(
    s3server: S3Server, filled: str, mountpoint: Path, tmp_path: Path
) -> None:
    where = f"s3://{filled}"
    assert_one_line(run(s3server, f"{where}/plain.txt"), "not an archive", code=USAGE)
    assert_one_line(run(s3server, f"{where}/x.zip/a.txt"), "a file", code=USAGE)
    assert_one_line(run(s3server, f"{where}/none.zip"), "none.zip", code=FAILED)
    with Mount(mountpoint, s3server, [where]):
        done = run(s3server, str(mountpoint / "x.zip"))
    assert_one_line(done, "name an object", "s3://BUCKET/KEY.zip", code=USAGE)
    parquet = ["--format", "parquet"]
    assert_one_line(run(s3server, f"{where}/x.zip", *parquet), "-o", code=USAGE)
    named = run(s3server, f"{where}/x.zip", *parquet, "-o", str(tmp_path / "x.json"))
    assert_one_line(named, ".json", code=USAGE)
    lost = run(s3server, f"{where}/x.zip", "--skip", "-o", str(tmp_path / "no" / "x.json"))
    assert_one_line(lost, "No such file", code=FAILED)
