"""The matrix itself: no failure of a row is lost on its way to docs/compatibility.md."""

from __future__ import annotations

from pathlib import Path

import compatibility
import pytest
from compatibility import Found, Outcome, Row, record, render
from environments import Environment, Results, skip_without

SCRIPT = """
import os
from rowscript import row, run

@row
def works(given):
    assert given == {"word": "here"}

@row
def fails(given):
    assert given["word"] == "there", "not there"

@row
def dies(given):
    print("a last word", flush=True)
    os._exit(3)

@row
def comes_after(given): ...

run()
"""


@pytest.fixture
def results(tmp_path: Path) -> Results:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    return Environment("main").run(script, {"word": "here"}, folder=tmp_path)


def test_a_row_that_works_is_told_though_a_later_one_kills_the_script(results: Results) -> None:
    results.check("works")


@pytest.mark.parametrize(
    ("row", "told"),
    [("fails", "not there"), ("dies", "a last word"), ("comes_after", "did not come to its end")],
)
def test_a_row_that_fails_or_never_ran_fails_its_test(
    results: Results, row: str, told: str
) -> None:
    with pytest.raises(pytest.fail.Exception, match=told):
        results.check(row)


def test_what_is_missing_is_a_skip_here_and_a_failure_where_all_must_be_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("S3ZIPFS_REQUIRE_MINIO", raising=False)
    with pytest.raises(pytest.skip.Exception, match="no environment"):
        skip_without("no environment")
    monkeypatch.setenv("S3ZIPFS_REQUIRE_MINIO", "1")
    with pytest.raises(pytest.fail.Exception, match="no environment"):
        skip_without("no environment")


def page(*rows: Row) -> str:
    return render([Found(rows, {"zarr 3": frozenset({"zarr 3.1"})})])


@pytest.mark.parametrize(
    ("row", "cell"),
    [
        (Row("zarr 3", "x", "passed"), "✓"),
        (Row("zarr 3", "x", "failed"), "✗"),
        (Row("zarr 3", "x", "skipped"), "not run"),
        (Row("zarr 3", "x", "passed", reason="no door"), "not possible: no door"),
        (Row("zarr 3", "x", "failed", reason="no door"), "✗"),
        (Row("zarr 3", "x", "passed", note="(by a proxy)"), "✓ (by a proxy)"),
    ],
)
def test_a_row_is_a_line_of_the_page(row: Row, cell: str) -> None:
    assert f"| x | {cell} |" in page(row).splitlines()


@pytest.mark.parametrize(
    ("outcomes", "cell"),
    [
        (("passed", "failed"), "✗"),
        (("failed", "passed", "skipped"), "✗"),
        (("skipped", "passed"), "✓"),
        (("skipped", "skipped"), "not run"),
    ],
)
def test_a_row_of_several_tests_fails_with_any_of_them(
    outcomes: tuple[Outcome, ...], cell: str
) -> None:
    lines = page(*(Row("zarr 3", "x", outcome) for outcome in outcomes)).splitlines()
    assert [line for line in lines if line.startswith("| x ")] == [f"| x | {cell} |"]


def test_rows_that_did_not_run_this_time_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compatibility, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(compatibility, "REPOSITORY", tmp_path)
    monkeypatch.setattr(compatibility, "PAGE", tmp_path / "page.md")
    monkeypatch.setenv("S3ZIPFS_TEST_ENDPOINT", "http://127.0.0.1:1")
    versions = {"zarr 3": frozenset({"zarr 3.1"})}
    record("a", Found((Row("zarr 3", "x", "passed"), Row("zarr 3", "y", "passed")), versions))
    record("a", Found((Row("zarr 3", "y", "failed"),), versions))
    assert compatibility.main() == 0
    written = (tmp_path / "page.md").read_text()
    assert "| x | ✓ |\n| y | ✗ |\n" in written
    assert "With zarr 3.1." in written
    before = (tmp_path / "page.md").stat().st_mtime_ns
    assert compatibility.main() == 0
    assert (tmp_path / "page.md").stat().st_mtime_ns == before
