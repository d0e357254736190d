"""Processes of a Dask cluster read one archive by `s3zip://`: no mount, nothing unpacked.

What travels with the tasks is the URL. Each process opens connections of its own and loads the
archive's index once.
"""

import dask.array
from dask.distributed import Client

if __name__ == "__main__":
    # Of a real cluster: Client("tcp://scheduler:8786"), and the same AWS_… variables there.
    with Client(n_workers=2, threads_per_worker=2, dashboard_address=None) as client:
        array = dask.array.from_zarr("s3zip://demo/climate.zarr.zip", component="temperature")
        by_day = array.mean(axis=(1, 2)).compute()
        print(array.shape, len(client.scheduler_info()["workers"]), "processes")
        print(f"warmest day {by_day.argmax()}, coldest {by_day.argmin()}")
