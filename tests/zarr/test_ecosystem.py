"""Programs that read beside zarr itself: each through the mount, and dask's workers by `s3zip://`.

Their Python starts twice: to write the archives (ecosystem_write.py), and to read them
(ecosystem_read.py).
"""

from __future__ import annotations

import subprocess
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from commands import keys_of, s3zipfs
from environments import Environment, Results, Served, find_program, rows_of, skip_without
from faults.px import Proxy, gets, lists
from hierarchies import Place
from mounting import wait_until

from s3zipfs import S3ZipFileSystem

HERE = Path(__file__).parent
ECOSYSTEM = Environment("ecosystem")
SECTION, CODECS, CLUSTERS = "Ecosystem", "zarr 3, codecs", "Clusters"
MANY = "many.zarr.zip"  # its index is worth a file
CALLS = 2 * 10  # threads of a worker, and zarr's `async.concurrency`: who asks at once looks up

pytestmark = [pytest.mark.environment("ecosystem"), pytest.mark.timeout(600)]


@dataclass(frozen=True)
class Read:
    """What became of the rows, and what dask's processes asked of the store."""

    results: Results
    lists: int
    gets: list[tuple[int, int]]  # byte ranges of MANY


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ecosystem")
    given = {"folder": str(folder)}
    ECOSYSTEM.run(HERE / "ecosystem_write.py", given, folder=folder, seconds=200).check_all()
    return folder / "served"


@pytest.fixture(scope="module")
def read(
    written: Path, serve: Callable[[Path], Served], tmp_path_factory: pytest.TempPathFactory
) -> Read:
    folder = tmp_path_factory.mktemp("read")
    at = serve(written)
    place = Place.of(at.path, at.bucket, at.server, "")
    with Proxy(at.server) as px:
        counted = {
            **place.options,
            "endpoint_url": px.endpoint,
            "cache_dir": str(folder / "cache"),
            "ttl": 3600,  # each look-up is counted once, however slow the machine is
        }
        keep_index(counted, f"{at.bucket}/{MANY}", folder / "cache")
        px.honest()
        write_references(at, folder)
        given = {
            "references": str(folder),
            "remote": {
                "endpoint_url": at.server.endpoint,
                "key": at.server.access_key,
                "secret": at.server.secret_key,
            },
            "path": str(at.path),
            "url": place.url.rstrip("/"),
            "options": place.options,
            "counted": counted,
        }
        results = ECOSYSTEM.run(HERE / "ecosystem_read.py", given, folder=folder, seconds=300)
        ranges = [request.range for request in px.requests if gets(MANY)(request)]
        return Read(results, px.count(lists()), ranges)


def keep_index(options: dict[str, Any], archive: str, cache: Path) -> None:
    """Visit the archive, so that its index is on disk."""
    filesystem = S3ZipFileSystem(**options, skip_instance_cache=True)
    assert filesystem.ls(archive)
    wait_until(lambda: list(cache.glob("indexes/*")), seconds=60, what="the index is kept")
    filesystem.close()


def write_references(at: Served, folder: Path) -> None:
    """Of both climates, as a document and as tables."""
    for name in ("climate2", "climate3"):
        for form in ("json", "parquet"):
            where, file = f"s3://{at.bucket}/{name}.zarr.zip", str(folder / f"{name}.{form}")
            endpoint = ("--endpoint-url", at.server.endpoint)
            keys = keys_of(at.server)
            done = s3zipfs("refs", where, "-o", file, "--format", form, *endpoint, environment=keys)
            assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "row",
    rows_of(
        SECTION,
        {
            "xarray_open_zarr": "`xarray.open_zarr`",
            "xarray_open_zarr_by_url": '`xarray.open_zarr("s3zip://…")`',
            "xarray_open_mfdataset": "`xarray.open_mfdataset` of 20 archives",
            "xarray_references": "xarray by `s3zipfs refs`, straight from the store: JSON, Parquet",
            "dask_from_zarr": "`dask.array.from_zarr`",
            "dask_from_zarr_by_url": '`dask.array.from_zarr("s3zip://…")`',
            "h5py_file": "`h5py` on an HDF5 member",
            "netcdf4_dataset": "`netCDF4` on a NetCDF member",
            "pandas_csv": "pandas: a CSV member",
            "pandas_parquet": "pandas: a Parquet member",
            "pyarrow_csv": "pyarrow: a CSV member",
            "pyarrow_parquet": "pyarrow: Parquet members, by `memory_map` too",
            "duckdb_csv": "DuckDB: a CSV member",
            "duckdb_parquet": "DuckDB: Parquet members",
            "ome_zarr": "`ome-zarr-py` on an `.ozx`",
            "rasterio_geotiff": "GDAL, by rasterio: a GeoTIFF member",
        },
    ),
)
def test_a_program_reads_members(read: Read, row: str) -> None:
    read.results.check(row)


@pytest.mark.row(SECTION, "`gdalinfo -checksum` on a GeoTIFF member")
def test_gdalinfo_finds_what_it_finds_in_a_local_file(
    written: Path, serve: Callable[[Path], Served], tmp_path: Path
) -> None:
    gdalinfo = find_program("gdalinfo")
    if gdalinfo is None:
        skip_without("no gdalinfo: apt install gdal-bin")
    with zipfile.ZipFile(written / "tables.zip") as archive:
        archive.extract("image.tif", tmp_path)

    def told(folder: Path) -> str:
        command = [gdalinfo, "-checksum", "image.tif"]
        return subprocess.check_output(command, cwd=folder, text=True, timeout=120)

    expected = told(tmp_path)
    assert expected.count("Checksum=") == 3
    mounted = serve(written).path
    assert told(mounted / "tables.zip") == told(mounted / "tables-deflated.zip") == expected


@pytest.mark.parametrize(
    "row",
    rows_of(CODECS, {"codec_pcodec": "`numcodecs.pcodec`", "codec_zfpy": "`numcodecs.zfpy`"}),
)
def test_a_codec_that_zarr_does_not_bring_is_read(read: Read, row: str) -> None:
    read.results.check(row)


@pytest.mark.row(CLUSTERS, "`dask.distributed`, 4 processes by `s3zip://` without a mount")
def test_dask_workers_read_an_archive_with_one_index_each(read: Read) -> None:
    read.results.check("dask_distributed")


@pytest.mark.row(CLUSTERS, "the index is read once per process, from the disk, by no request")
def test_workers_ask_the_store_for_no_index(read: Read, written: Path) -> None:
    read.results.check("dask_distributed")
    size = (written / MANY).stat().st_size
    assert read.gets
    assert max(end for _, end in read.gets) < size  # nobody has read the end records
    assert sum(end - start for start, end in read.gets) <= 5 * size  # so many processes
    assert read.lists <= 5 * CALLS
