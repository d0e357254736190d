"""The examples that need libraries of another environment, on the demo's bucket."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from demobucket import DemoBucket, demo_bucket

pytestmark = pytest.mark.timeout(400)


@pytest.fixture(scope="module")
def bucket_of_demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DemoBucket]:
    with demo_bucket(tmp_path_factory.mktemp("demo")) as bucket:
        yield bucket


@pytest.mark.environment("zarr2")
@pytest.mark.parametrize("name", ["before.py", "after.py"])
def test_one_changed_import_reads_the_same_by_zarr_2(bucket_of_demo: DemoBucket, name: str) -> None:
    printed = bucket_of_demo.run(name, environment="zarr2")
    assert printed == f"(32, 60000) int16 {bucket_of_demo.eeg}\n"


@pytest.mark.environment("ecosystem")
def test_xarray_opens_twenty_archives_as_one(bucket_of_demo: DemoBucket) -> None:
    months = [np.random.default_rng(n).normal(10, 5, (30, 40, 60)).astype("f4") for n in range(20)]
    values = np.concatenate(months)
    sizes, mean, place = bucket_of_demo.run(
        "twenty_archives.py", environment="ecosystem"
    ).splitlines()
    assert sizes == "{'time': 600, 'lat': 40, 'lon': 60}, 5.8 MB"
    assert abs(float(mean.removeprefix("mean ")) - values.mean(dtype="f8")) < 0.002
    assert place == f"day 333 at one place {values[333, 20, 30]:.3f}"


@pytest.mark.environment("ecosystem")
def test_processes_of_dask_read_the_climate(bucket_of_demo: DemoBucket) -> None:
    printed = bucket_of_demo.run("dask_cluster.py", environment="ecosystem")
    shape, days = printed.splitlines()
    assert shape == "(365, 91, 180) 2 processes"
    assert days.startswith("warmest day ")
