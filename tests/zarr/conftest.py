"""The matrix: tests that carry rows of docs/compatibility.md, and what they share.

    @pytest.mark.row("zarr 2.18", "`DirectoryStore`")
    @pytest.mark.environment("zarr2")

A row may carry a `reason` why it can't work for a cause outside of us, which its test then shows,
or a `note`. What needs an environment of its own is slow, and runs in `make test-zarr` only; all
else is a part of `make test` too.
"""

from __future__ import annotations

import uuid
from collections.abc import Generator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from compatibility import Found, Outcome, Row, record
from environments import Environment, Serve, Served, skip_without
from mounting import Mount
from s3clients import temporary_bucket
from s3server import S3Server

_rows: dict[str, dict[tuple[str, str], Row]] = {}  # of each module
_versions: dict[str, dict[str, set[str]]] = {}  # of each module: for each section


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--compatibility", action="store_true", help="write rows down for docs/compatibility.md"
    )


def pytest_runtest_setup(item: pytest.Item) -> None:
    for mark in item.iter_markers("environment"):
        if not Environment(mark.args[0]).python.exists():
            skip_without(f"no environment {mark.args[0]}: make test-zarr")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.when == "call" or report.outcome != "passed":
        for mark in item.iter_markers("row"):
            _note(item, _row(*mark.args, outcome=report.outcome, **mark.kwargs))
    return report


def _row(section: str, name: str, *, outcome: Outcome, reason: str = "", note: str = "") -> Row:
    return Row(section, name, outcome, reason, note)


def _note(item: pytest.Item, row: Row) -> None:
    module = item.path.stem
    rows = _rows.setdefault(module, {})
    place = row.section, row.name
    rows[place] = rows[place].merged(row) if place in rows else row
    names = [mark.args[0] for mark in item.iter_markers("environment")] or ["main"]
    lines = _versions.setdefault(module, {}).setdefault(row.section, set())
    lines.update(Environment(name).versions() for name in names)


def pytest_sessionfinish(session: pytest.Session) -> None:
    # Not known to a run of all tests, which finds this file late.
    if not session.config.getoption("--compatibility", default=False):
        return
    for module, rows in _rows.items():
        versions = {name: frozenset(lines) for name, lines in _versions[module].items()}
        record(module, Found(tuple(rows.values()), versions))


@pytest.fixture(scope="module")
def serve(
    s3server: S3Server, s3client: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Serve]:
    """Buckets and mounts until the module's tests have run."""
    with ExitStack() as stack:

        def upload_and_mount(folder: Path, *options: str) -> Served:
            bucket = f"zarr-{uuid.uuid4().hex[:16]}"
            stack.enter_context(temporary_bucket(s3client, bucket))
            for file in sorted(path for path in folder.rglob("*") if path.is_file()):
                s3client.upload_file(str(file), bucket, file.relative_to(folder).as_posix())
            path = tmp_path_factory.mktemp("zarr") / "mnt"
            stack.enter_context(Mount(path, s3server, [f"s3://{bucket}"], *options))
            return Served(bucket, path, s3server)

        yield upload_and_mount
