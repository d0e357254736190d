"""The examples on the demo's bucket, run as their README says; others are in tests/zarr."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from demobucket import EXAMPLES, DemoBucket, demo_bucket
from mounting import mounted_type

TESTS = EXAMPLES.parent / "tests"


@pytest.fixture(scope="module")
def bucket_of_demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DemoBucket]:
    with demo_bucket(tmp_path_factory.mktemp("demo")) as bucket:
        yield bucket


@pytest.mark.parametrize("name", ["before.py", "after.py"])
def test_one_changed_import_reads_the_same(bucket_of_demo: DemoBucket, name: str) -> None:
    assert bucket_of_demo.run(name) == f"(32, 60000) int16 {bucket_of_demo.eeg}\n"


def test_between_before_and_after_there_is_one_import() -> None:
    before, after = (_code(EXAMPLES / name) for name in ("before.py", "after.py"))
    assert before - after == {"from fsspec.implementations.zip import ZipFileSystem"}
    assert after - before == {"from s3zipfs import ZipFileSystem"}


def _code(path: Path) -> set[str]:
    return set(path.read_text().split('"""')[2].splitlines()) - {""}


def test_programs_that_know_only_paths_read_a_zip_of_the_bucket(
    bucket_of_demo: DemoBucket, tmp_path: Path
) -> None:
    mountpoint = tmp_path / "mnt"
    mountpoint.mkdir()
    try:
        printed = bucket_of_demo.run("legacy_tool.sh", str(mountpoint))
        assert mounted_type(mountpoint) is None
    finally:
        if mounted_type(mountpoint) is not None:
            subprocess.run(["fusermount3", "-uz", str(mountpoint)], check=False)
    days, storms, longest, digest = printed.splitlines()
    assert (days, storms) == ("days: 365", f"storms: {bucket_of_demo.storms}")
    assert longest == "longest: 29 characters"  # hour 01: storm, calm sea or light wind
    assert re.fullmatch("[0-9a-f]{16}", digest)


def test_each_example_is_told_of_and_run_by_a_test() -> None:
    readme = (EXAMPLES / "README.md").read_text()
    tests = "".join(path.read_text() for path in TESTS.rglob("test_*.py"))
    for path in EXAMPLES.glob("*.*"):
        if path.name != "README.md":
            assert f"[`{path.name}`]({path.name})" in readme
            assert f'"{path.name}"' in tests
