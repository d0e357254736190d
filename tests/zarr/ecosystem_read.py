"""Reads the archives of ecosystem_write.py, each row by another program; see test_ecosystem.py.

`given` names the mount (`path`), its bucket by URL (`url`) with `options`, and for the cluster the
same behind a proxy that counts (`counted`), with a `cache_dir` that holds the archive's index.
What `s3zipfs refs` wrote is in `references`, and `remote` is where s3fs finds the objects.
"""

from __future__ import annotations

import importlib
import os
from typing import Any

import ecosystem_data as data
import numpy as np
from rowscript import Given, row, run

# By name: our own environment, in which types are checked, has none of them.
dask_array: Any = importlib.import_module("dask.array")
distributed: Any = importlib.import_module("distributed")
duckdb: Any = importlib.import_module("duckdb")
h5py: Any = importlib.import_module("h5py")
netcdf4: Any = importlib.import_module("netCDF4")
fsspec: Any = importlib.import_module("fsspec")
fsspec_reference: Any = importlib.import_module("fsspec.implementations.reference")
ome_zarr_io: Any = importlib.import_module("ome_zarr.io")
ome_zarr_reader: Any = importlib.import_module("ome_zarr.reader")
pandas: Any = importlib.import_module("pandas")
arrow_csv: Any = importlib.import_module("pyarrow.csv")
arrow_dataset: Any = importlib.import_module("pyarrow.dataset")
parquet: Any = importlib.import_module("pyarrow.parquet")
rasterio: Any = importlib.import_module("rasterio")
xarray: Any = importlib.import_module("xarray")
zarr: Any = importlib.import_module("zarr")

WORKERS = 4
TABLES = ("tables.zip", "tables-deflated.zip")


def path(given: Given, name: str) -> str:
    return f"{given['path']}/{name}"


def url(given: Given, name: str) -> str:
    return f"{given['url']}/{name}"


def check_climate(whole: Any) -> None:
    assert whole["temperature"].attrs["units"] == "degC"
    expected = data.year()
    np.testing.assert_array_equal(whole["temperature"].values, expected)
    day = whole["temperature"].sel(time="2020-02-03").isel(lat=slice(3, 9))
    np.testing.assert_array_equal(day.values.squeeze(), expected[33, 3:9])
    mean = float(whole["temperature"].mean().compute())
    assert abs(mean - expected.mean(dtype="f8")) < 1e-3


@row
def xarray_open_zarr(given: Given) -> None:
    check_climate(xarray.open_zarr(path(given, "climate3.zarr.zip"), consolidated=False))
    check_climate(xarray.open_zarr(path(given, "climate2.zarr.zip"), consolidated=True))


@row
def xarray_open_zarr_by_url(given: Given) -> None:
    for name, consolidated in (("climate3.zarr.zip", False), ("climate2.zarr.zip", True)):
        check_climate(
            xarray.open_zarr(
                url(given, name), consolidated=consolidated, storage_options=given["options"]
            )
        )


@row
def xarray_references(given: Given) -> None:
    options = {"remote_protocol": "s3", "remote_options": given["remote"] | {"asynchronous": True}}
    for name in ("climate2", "climate3"):
        start = f"{given['references']}/{name}"
        tables = fsspec_reference.LazyReferenceMapper(
            f"{start}.parquet", fsspec.filesystem("file"), engine="pyarrow"
        )
        for fo in (f"{start}.json", tables):
            whole = xarray.open_zarr(
                "reference://", storage_options=options | {"fo": fo}, consolidated=False
            )
            check_climate(whole)


@row
def xarray_open_mfdataset(given: Given) -> None:
    names = [path(given, f"months/{number:02}.zarr.zip") for number in range(data.MONTHS)]
    with xarray.open_mfdataset(
        names, engine="zarr", consolidated=False, parallel=True, combine="by_coords"
    ) as whole:
        check_climate(whole)


@row
def dask_from_zarr(given: Given) -> None:
    array = dask_array.from_zarr(path(given, "climate3.zarr.zip"), component="temperature")
    np.testing.assert_array_equal(array.compute(scheduler="threads"), data.year())
    total = array[100:200, ::3].sum(dtype="f8").compute(scheduler="threads")
    assert abs(total - data.year()[100:200, ::3].sum(dtype="f8")) < 1e-3


@row
def dask_from_zarr_by_url(given: Given) -> None:
    array = dask_array.from_zarr(
        url(given, "climate3.zarr.zip"), component="temperature", storage_options=given["options"]
    )
    np.testing.assert_array_equal(array.compute(scheduler="threads"), data.year())


@row
def h5py_file(given: Given) -> None:
    for name in TABLES:
        with h5py.File(path(given, f"{name}/data.h5"), "r") as file:
            assert file["a"].attrs["units"] == "degC"
            np.testing.assert_array_equal(file["a/temperature"][7, :, 11], data.month(3)[7, :, 11])
            np.testing.assert_array_equal(file["a/temperature"][:], data.month(3))


@row
def netcdf4_dataset(given: Given) -> None:
    for name in TABLES:
        with netcdf4.Dataset(path(given, f"{name}/data.nc")) as file:
            np.testing.assert_array_equal(file["temperature"][:], data.month(4))


def check_table(table: Any) -> None:
    for name, values in data.columns().items():
        np.testing.assert_array_equal(np.asarray(table[name]).astype(values.dtype), values)


@row
def pandas_csv(given: Given) -> None:
    for name in TABLES:
        check_table(pandas.read_csv(path(given, f"{name}/table.csv")))


@row
def pandas_parquet(given: Given) -> None:
    for name in TABLES:
        check_table(pandas.read_parquet(path(given, f"{name}/table.parquet")))


@row
def pyarrow_csv(given: Given) -> None:
    for name in TABLES:
        check_table(arrow_csv.read_csv(path(given, f"{name}/table.csv")))


@row
def pyarrow_parquet(given: Given) -> None:
    for name in TABLES:
        file = path(given, f"{name}/table.parquet")
        check_table(parquet.read_table(file))
        check_table(parquet.read_table(file, memory_map=True))
        group = parquet.ParquetFile(file).read_row_group(4, columns=["third"])
        np.testing.assert_array_equal(group["third"], data.columns()["third"][20_000:25_000])
        parts = arrow_dataset.dataset(path(given, f"{name}/parts"), partitioning="hive")
        check_table(parts.to_table().sort_by("number"))


def check_counts(source: str) -> None:
    asked = f"SELECT count(*), sum(number), count(DISTINCT word) FROM {source}"
    counted = duckdb.sql(asked).fetchall()
    assert counted == [(data.ROWS, data.ROWS * (data.ROWS - 1) // 2, 97)], counted


@row
def duckdb_csv(given: Given) -> None:
    for name in TABLES:
        check_counts(f"read_csv('{path(given, name)}/table.csv')")


@row
def duckdb_parquet(given: Given) -> None:
    for name in TABLES:
        check_counts(f"read_parquet('{path(given, name)}/table.parquet')")
        check_counts(f"read_parquet('{path(given, name)}/parts/*/*.parquet')")


@row
def ome_zarr(given: Given) -> None:
    location = ome_zarr_io.parse_url(path(given, "image.ozx"), mode="r")
    nodes = list(ome_zarr_reader.Reader(location)())
    np.testing.assert_array_equal(nodes[0].data[0].compute(), data.image())


@row
def rasterio_geotiff(given: Given) -> None:
    for name in TABLES:
        with rasterio.open(path(given, f"{name}/image.tif")) as file:
            np.testing.assert_array_equal(file.read(), data.image())
            window = rasterio.windows.Window(100, 200, 50, 60)
            np.testing.assert_array_equal(
                file.read(2, window=window), data.image()[1, 200:260, 100:150]
            )


def codec(given: Given, name: str, loss: float) -> None:
    expected = data.month(0)[0].astype("f8")
    options = {"storage_options": given["options"]}
    for group in (
        zarr.open_group(path(given, "codecs.zarr.zip"), mode="r"),
        zarr.open_group(url(given, "codecs.zarr.zip"), mode="r", **options),
    ):
        np.testing.assert_allclose(group[name][:], expected, rtol=0, atol=loss)


@row
def codec_pcodec(given: Given) -> None:
    codec(given, "pcodec", 0.0)


@row
def codec_zfpy(given: Given) -> None:
    codec(given, "zfpy", 0.01)


def read_part(array: Any, first: int) -> tuple[int, int, int]:
    """This process's id, and how many indexes it took from the disk, and did not find there."""
    from s3zipfs import S3ZipFileSystem

    np.testing.assert_array_equal(array[first : first + 160], data.many()[first : first + 160])
    counts = [each.tree._archives._indexes.counts for each in S3ZipFileSystem._cache.values()]
    return os.getpid(), sum(each.opened for each in counts), sum(each.missing for each in counts)


@row
def dask_distributed(given: Given) -> None:
    options = given["counted"]
    with (
        distributed.LocalCluster(
            n_workers=WORKERS, threads_per_worker=2, processes=True, dashboard_address=None,
            host="127.0.0.1",
        ) as cluster,
        distributed.Client(cluster) as client,
    ):  # fmt: skip
        client.wait_for_workers(WORKERS, timeout=60)
        array = zarr.open_array(url(given, "many.zarr.zip"), mode="r", storage_options=options)
        lazy = dask_array.from_array(array, chunks=16 * 50)
        np.testing.assert_array_equal(client.compute(lazy).result(timeout=90), data.many())
        told = client.run(read_part, array, 3200)
    processes = {process for process, _, _ in told.values()}
    assert len(processes) == WORKERS, told
    assert os.getpid() not in processes
    assert {(opened, missing) for _, opened, missing in told.values()} == {(1, 0)}, told


if __name__ == "__main__":
    run()
