"""Plain `zarr.open(path)` over the mount: zarr 3 here, zarr 2.18 in its own environment."""

from __future__ import annotations

import hashlib
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from mounting import Mount
from s3server import S3Server

ZARR2 = Path(__file__).resolve().parents[2] / ".tools/env-zarr2/bin/python"
VALUES = np.random.default_rng(5).normal(size=(90, 60, 40)).astype("f4")


def zip_tree(folder: Path, target: Path) -> None:
    """Zip a store's files, stored, names relative to its root."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                archive.write(path, path.relative_to(folder))


@pytest.fixture(scope="module", params=[2, 3])
def archive(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A group with an array, zipped, of Zarr format 2 or 3."""
    folder = tmp_path_factory.mktemp(f"zarr{request.param}")
    group = zarr.open_group(folder / "tree", mode="w", zarr_format=request.param)
    group.attrs["title"] = "test"
    array = group.create_array("deep/values", shape=VALUES.shape, chunks=(30, 20, 40), dtype="f4")
    array[:] = VALUES
    target = folder / f"v{request.param}.zarr.zip"
    zip_tree(folder / "tree", target)
    return target


@pytest.fixture
def mounted(
    tmp_path: Path, archive: Path, s3server: S3Server, s3client: Any, bucket: str
) -> Iterator[Path]:
    s3client.upload_file(str(archive), bucket, f"data/{archive.name}")
    with Mount(tmp_path / "mnt", s3server, [f"s3://{bucket}"]) as mount:
        yield mount.path / "data" / archive.name


@pytest.mark.row("zarr 3", "`zarr.open(path)`")
def test_zarr_3_opens_the_path(mounted: Path) -> None:
    group = zarr.open(str(mounted), mode="r")
    assert isinstance(group, zarr.Group)
    assert group.attrs["title"] == "test"
    np.testing.assert_array_equal(group["deep/values"][:], VALUES)  # type: ignore[index]


OPEN = """
import hashlib, sys, numpy, zarr
assert zarr.__version__.startswith("2.18."), zarr.__version__
group = zarr.open(sys.argv[1], mode="r")
assert group.attrs["title"] == "test"
assert type(group.store).__name__ == "DirectoryStore", group.store
print(hashlib.sha256(numpy.ascontiguousarray(group["deep/values"][:]).tobytes()).hexdigest())
"""


@pytest.mark.environment("zarr2")
@pytest.mark.parametrize("archive", [2], indirect=True)
def test_zarr_2_opens_the_path_without_its_suffix(mounted: Path) -> None:
    path = mounted.with_suffix("")  # zarr 2 takes a path that ends in .zip for its ZipStore
    assert path.suffix == ".zarr"
    done = subprocess.run(
        [str(ZARR2), "-W", "ignore", "-c", OPEN, str(path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == hashlib.sha256(VALUES.tobytes()).hexdigest()
