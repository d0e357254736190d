"""Twenty archives of a month each as one data set, by xarray: they are made and uploaded first.

Each worker thread reads chunks of any of them by ranges; nothing is unpacked or downloaded whole.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
import xarray
from pack import pack
from s3fs import S3FileSystem

MONTHS, DAYS = 20, 30
FOLDER = "demo/months"


def upload_month(fs: S3FileSystem, number: int) -> None:
    """Write one month as Zarr, pack it and put it into the bucket."""
    values = np.random.default_rng(number).normal(10, 5, (DAYS, 40, 60)).astype("f4")
    days = np.datetime64("2020-01-01", "ns") + np.arange(number * DAYS, (number + 1) * DAYS) * (
        np.timedelta64(1, "D")
    )
    month = xarray.Dataset({"temperature": (("time", "lat", "lon"), values)}, {"time": days})
    with tempfile.TemporaryDirectory() as folder:
        month.to_zarr(Path(folder, "tree"), zarr_format=3, consolidated=False)
        pack(Path(folder, "tree"), Path(folder, "month.zip"))
        fs.put_file(str(Path(folder, "month.zip")), f"{FOLDER}/{number:02}.zarr.zip")


def main() -> int:
    """Make, upload, open, and compare with what was made."""
    fs = S3FileSystem()  # AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY
    for number in range(MONTHS):
        upload_month(fs, number)

    urls = [f"s3zip://{FOLDER}/{number:02}.zarr.zip" for number in range(MONTHS)]
    months = xarray.open_mfdataset(urls, engine="zarr", parallel=True, consolidated=False)
    temperature = months["temperature"]
    print(f"{dict(temperature.sizes)}, {temperature.nbytes / 1e6:.1f} MB")
    print(f"mean {temperature.mean().values:.3f}")
    print(f"day 333 at one place {temperature[333, 20, 30].values:.3f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
