"""`s3zipfs.ZipFileSystem` in place of fsspec's, below every store of zarr 2 that takes one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import s3fs
import zarr
from environments import Environment
from hierarchies import zip_folder
from numpy.typing import NDArray
from s3server import S3Server

ZARR2 = Environment("zarr2")

SCRIPT = """\
import sys

import numpy, s3fs, zarr
from fsspec.mapping import FSMap
from s3zipfs import ZipFileSystem

assert zarr.__version__.startswith("2.18."), zarr.__version__
endpoint, key, expected = sys.argv[1:4]
fs = s3fs.S3FileSystem(client_kwargs={"endpoint_url": endpoint})
zip_fs = ZipFileSystem(fo=fs.open(key, "rb"))
expected = numpy.load(expected)
for store in (
    FSMap(root="", fs=zip_fs),
    zip_fs.get_mapper(),
    zarr.storage.FSStore(url="", fs=zip_fs),
    zarr.storage.LRUStoreCache(FSMap(root="", fs=zip_fs), max_size=1 << 20),
):
    root = zarr.open(store, mode="r")
    assert root.attrs["title"] == "test"
    assert "values" in str(root.tree())
    assert numpy.array_equal(root["sub/values"][:], expected)
below = zarr.open(FSMap(root="sub/values", fs=zip_fs), mode="r")
assert numpy.array_equal(below[:], expected)
below = zarr.open(zarr.storage.FSStore(url="sub/values", fs=zip_fs), mode="r")
assert numpy.array_equal(below[:], expected)

# What can't be read any more must not read as zeros.
zip_fs = ZipFileSystem(fo=fs.open(key + "-large", "rb"))
fresh = zarr.open(zarr.storage.FSStore(url="sub/values", fs=zip_fs), mode="r")
fs.pipe(key + "-large", b"replaced" * 1000)
try:
    fresh[:]
except Exception as error:
    assert "overwritten" in str(error), error
else:
    raise AssertionError("a version that is gone read as an empty chunk")
"""


def write_zip(file: Path, values: NDArray[np.generic]) -> bytes:
    """A group of format 2 with an array below `sub`, zipped."""
    folder = file.with_suffix("")
    group = zarr.open_group(folder, mode="w", zarr_format=2)
    group.attrs["title"] = "test"
    chunks = (values.shape[0] // 3, values.shape[1] // 3)
    array = group.create_array("sub/values", shape=values.shape, chunks=chunks, dtype=values.dtype)
    array[:] = values
    zip_folder(folder, file)
    return file.read_bytes()


@pytest.mark.environment("zarr2")
@pytest.mark.timeout(600)
@pytest.mark.row(
    "zarr 2.18",
    "`s3zipfs.ZipFileSystem` over an s3fs file, below `FSMap`, `FSStore`, `LRUStoreCache`",
)
def test_zarr_2_reads_by_every_store_of_its_guide(
    tmp_path: Path, s3server: S3Server, bucket: str
) -> None:
    remote = s3fs.S3FileSystem(
        key=s3server.access_key,
        secret=s3server.secret_key,
        client_kwargs={"endpoint_url": s3server.endpoint},
        skip_instance_cache=True,
    )
    random = np.random.default_rng(7)
    values = random.normal(size=(60, 60)).astype("f4")
    key = f"{bucket}/data/x.rec"
    remote.pipe(key, write_zip(tmp_path / "small.zip", values))
    remote.pipe(f"{key}-large", write_zip(tmp_path / "large.zip", random.normal(size=(60, 20_000))))
    np.save(tmp_path / "values.npy", values)
    (tmp_path / "script.py").write_text(SCRIPT)
    process = ZARR2.start(
        tmp_path / "script.py",
        *(s3server.endpoint, key, str(tmp_path / "values.npy")),
        folder=tmp_path,
        variables={
            "AWS_ACCESS_KEY_ID": s3server.access_key,
            "AWS_SECRET_ACCESS_KEY": s3server.secret_key,
        },
    )
    try:
        printed, _ = process.communicate(timeout=300)
    finally:
        process.kill()
    assert process.returncode == 0, printed
