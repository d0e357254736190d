"""The environments that tests of tests/zarr run scripts in: what can't stand beside our own.

`make test-zarr` makes `.tools/env-NAME` from `requirements/NAME.txt`. A test that needs one carries
`@pytest.mark.environment(NAME)`; a test for each row of a script is made by `rows_of`.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path
from typing import Any, NoReturn, Protocol

import pytest
from s3server import S3Server

TESTS = Path(__file__).resolve().parent
TOOLS = TESTS.parent / ".tools"

# Packages whose versions matter to a reader of docs/compatibility.md, where they are installed.
TOLD = (
    *("zarr", "numcodecs", "numpy", "fsspec", "s3fs", "obstore", "redis", "lmdb", "pymongo"),
    *("xarray", "dask", "distributed", "h5py", "netcdf4", "pandas", "pyarrow", "duckdb"),
    *("ome-zarr", "rasterio"),
)


def skip_without(what: str) -> NoReturn:
    """Skip the test for lack of something, or fail it where everything has to be there."""
    if os.environ.get("S3ZIPFS_REQUIRE_MINIO") == "1":
        pytest.fail(f"{what}, and S3ZIPFS_REQUIRE_MINIO=1", pytrace=False)
    pytest.skip(what)


def find_program(name: str) -> str | None:
    """A program of `.tools/bin`, or else of PATH."""
    return shutil.which(name, path=f"{TOOLS / 'bin'}{os.pathsep}{os.environ['PATH']}")


@dataclass(frozen=True)
class Served:
    """A folder's files in a bucket of their own, and where that bucket is mounted."""

    bucket: str
    path: Path
    server: S3Server


class Serve(Protocol):
    """The fixture `serve`: upload a folder, keys relative to it, and mount it so."""

    def __call__(self, folder: Path, *options: str) -> Served: ...


@dataclass(frozen=True)
class Results:
    """What the rows of a script came to: None is success. `log` is what the script printed."""

    failures: Mapping[str, str | None]
    log: str

    def check(self, row: str) -> None:
        """Fail the test with that row's failure."""
        if row not in self.failures:
            pytest.fail(f"{row} did not come to its end:\n{self.log}", pytrace=False)
        failure = self.failures[row]
        if failure is not None:
            pytest.fail(failure, pytrace=False)

    def check_all(self) -> None:
        """Fail the test with the first failure."""
        assert self.failures, self.log
        for row in self.failures:
            self.check(row)


class Environment:
    """`.tools/env-NAME`; the name `main` is the environment that the tests run in."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.folder = Path(sys.prefix) if name == "main" else TOOLS / f"env-{name}"
        self.python = self.folder / "bin" / "python"

    def versions(self) -> str:
        """The packages that matter and their versions, as `zarr 2.18.7, numpy 2.4.6`."""
        folders = [str(path) for path in self.folder.glob("lib/python*/site-packages")]
        found = {each.name.lower(): each.version for each in distributions(path=folders)}
        return ", ".join(f"{name} {found[name]}" for name in TOLD if name in found)

    def start(
        self,
        script: Path,
        *arguments: str,
        folder: Path,
        variables: Mapping[str, str] | None = None,
    ) -> subprocess.Popen[str]:
        """Start a script in that folder; what it prints goes to its stdout."""
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
        return subprocess.Popen(
            [str(self.python), "-W", "ignore", str(script), *arguments],
            cwd=folder,
            env={**inherited, "PYTHONPATH": str(TESTS), **(variables or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(
        self,
        script: Path,
        given: Mapping[str, Any],
        *,
        folder: Path,
        seconds: float = 240.0,
        variables: Mapping[str, str] | None = None,
    ) -> Results:
        """Run a script of rows (`rowscript`), with `given` for each; killed after that time."""
        request, answer = folder / f"{script.stem}.given", folder / f"{script.stem}.results"
        request.write_text(json.dumps(given))
        process = self.start(script, str(request), str(answer), folder=folder, variables=variables)
        try:
            log, _ = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            log, _ = process.communicate()
            log += f"\nkilled after {seconds:g} s"
        lines = answer.read_text().splitlines() if answer.exists() else []
        told = [json.loads(line) for line in lines]
        return Results({each["row"]: each["failure"] for each in told}, log)


def rows_of(section: str, names: Mapping[str, str | pytest.MarkDecorator]) -> list[Any]:
    """Parameters for a test of each row of a script: its function, and its name on the page.

    Where a name alone does not do, a mark `pytest.mark.row(…)` stands for it.
    """
    return [
        pytest.param(
            function,
            id=function,
            marks=pytest.mark.row(section, name) if isinstance(name, str) else name,
        )
        for function, name in names.items()
    ]
