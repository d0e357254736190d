"""Writes the archives of test_ecosystem.py into `given["folder"]`, each row some of them."""

from __future__ import annotations

import importlib
import shutil
import zipfile
from pathlib import Path
from typing import Any

import ecosystem_data as data
import numpy as np
from rowscript import Given, row, run

# By name: our own environment, in which types are checked, has none of them.
h5py: Any = importlib.import_module("h5py")
netcdf4: Any = importlib.import_module("netCDF4")
numcodecs: Any = importlib.import_module("zarr.codecs.numcodecs")
ome_zarr_writer: Any = importlib.import_module("ome_zarr.writer")
pandas: Any = importlib.import_module("pandas")
rasterio: Any = importlib.import_module("rasterio")
xarray: Any = importlib.import_module("xarray")
zarr: Any = importlib.import_module("zarr")


def zip_folder(tree: Path, target: Path, method: int = zipfile.ZIP_STORED) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(target, "w", method) as archive:
        for path in sorted(tree.rglob("*")):
            if path.is_file():
                archive.write(path, path.relative_to(tree))


def served(given: Given, name: str) -> Path:
    return Path(given["folder"]) / "served" / name


def tree(given: Given, name: str) -> Path:
    folder = Path(given["folder"]) / "trees" / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def dataset(values: Any, first_day: int) -> Any:
    coordinates = {
        "time": np.datetime64("2020-01-01", "ns")
        + np.arange(first_day, first_day + len(values)).astype("timedelta64[D]"),
        "lat": np.linspace(-80, 80, data.GRID[0]),
        "lon": np.linspace(0, 354, data.GRID[1]),
    }
    variable = ("time", "lat", "lon"), values, {"units": "degC"}
    return xarray.Dataset({"temperature": variable}, coordinates)


@row
def climate(given: Given) -> None:
    for zarr_format in (2, 3):
        folder = tree(given, f"climate{zarr_format}")
        whole = dataset(data.year(), 0).chunk({"time": 60, "lat": 20, "lon": 60})
        whole.to_zarr(folder, mode="w", zarr_format=zarr_format, consolidated=zarr_format == 2)
        zip_folder(folder, served(given, f"climate{zarr_format}.zarr.zip"))


@row
def months(given: Given) -> None:
    for number in range(data.MONTHS):
        folder = tree(given, "month")
        one = dataset(data.month(number), number * data.DAYS)
        one.to_zarr(folder, mode="w", zarr_format=3, consolidated=False)
        zip_folder(folder, served(given, f"months/{number:02}.zarr.zip"))


@row
def many_chunks(given: Given) -> None:
    folder = tree(given, "many")
    array = zarr.create_array(folder, shape=(data.MANY * 16,), chunks=(16,), dtype="i4")
    array[:] = data.many()
    zip_folder(folder, served(given, "many.zarr.zip"))


@row
def codecs(given: Given) -> None:
    folder = tree(given, "codecs")
    group = zarr.open_group(folder, mode="w")
    values = data.month(0)[0].astype("f8")
    for name, codec in {
        "pcodec": numcodecs.PCodec(level=8),
        "zfpy": numcodecs.ZFPY(mode=4, tolerance=0.01),
    }.items():
        array = group.create_array(
            name,
            shape=values.shape,
            chunks=(20, 30),
            dtype="f8",
            serializer=codec,
            compressors=None,
        )
        array[:] = values
    zip_folder(folder, served(given, "codecs.zarr.zip"))


@row
def tables(given: Given) -> None:
    """`tables.zip` stored and `tables-deflated.zip`: what else than Zarr is in archives."""
    folder = tree(given, "tables")
    table = pandas.DataFrame(data.columns())
    table.to_csv(folder / "table.csv", index=False)
    table.to_parquet(folder / "table.parquet", row_group_size=5000)
    size = data.ROWS // data.PARTS
    for part in range(data.PARTS):
        below = folder / f"parts/part={part}"
        below.mkdir(parents=True)
        table[part * size : (part + 1) * size].to_parquet(below / "0.parquet")
    with h5py.File(folder / "data.h5", "w") as file:
        file.create_dataset(
            "a/temperature", data=data.month(3), chunks=(5, 20, 20), compression="gzip"
        )
        file["a"].attrs["units"] = "degC"
    with netcdf4.Dataset(folder / "data.nc", "w") as file:
        for name, length in zip(("time", "lat", "lon"), (data.DAYS, *data.GRID), strict=True):
            file.createDimension(name, length)
        variable = file.createVariable("temperature", "f4", ("time", "lat", "lon"), zlib=True)
        variable[:] = data.month(4)
    image = data.image()
    profile = {"driver": "GTiff", "count": 3, "height": 512, "width": 512, "dtype": "uint16"}
    with rasterio.open(
        folder / "image.tif", "w", **profile, tiled=True, blockxsize=128, blockysize=128
    ) as file:
        file.write(image)
    zip_folder(folder, served(given, "tables.zip"))
    zip_folder(folder, served(given, "tables-deflated.zip"), zipfile.ZIP_DEFLATED)


@row
def ome(given: Given) -> None:
    folder = tree(given, "ome")
    group = zarr.open_group(folder, mode="w", zarr_format=3)
    ome_zarr_writer.write_image(image=data.image(), group=group, axes="cyx")
    zip_folder(folder, served(given, "image.ozx"))


if __name__ == "__main__":
    run()
