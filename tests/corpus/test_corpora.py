"""Each file of the corpora is what `expectations.toml` says, in a process of its own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from corpus.expectations import PINNED, agrees, files, fingerprint, load, read_by_zipfile
from corpus.isolated import Isolated, Report

PEAK_RSS = 300 << 20  # bytes, Python and all imports included

FILES = files()
TABLE = load()


@pytest.fixture(scope="module")
def isolated() -> Iterator[Isolated]:
    with Isolated() as helper:
        yield helper


@pytest.fixture(scope="module")
def reports() -> dict[str, Report]:
    """What was read already: a file is read once."""
    return {}


def _read(isolated: Isolated, reports: dict[str, Report], name: str) -> Report:
    if name not in reports:
        reports[name] = isolated.read(FILES[name])
    return reports[name]


@pytest.mark.parametrize("name", TABLE)
def test_corpus_file_is_what_the_table_says(
    name: str, isolated: Isolated, reports: dict[str, Report]
) -> None:
    if name not in FILES:
        corpus = name.partition("/")[0]
        if corpus in PINNED and any(f.startswith(f"{corpus}/") for f in FILES):
            pytest.fail(f"{corpus} has no such file: fetch it anew")
        pytest.skip("not here: 'make corpora' says why")
    expected = TABLE[name]
    if fingerprint(FILES[name]) != expected.sha256:
        pytest.skip("another version of this file than the table's")
    report = _read(isolated, reports, name)
    assert expected.differs(report) is None
    assert report.peak_rss <= PEAK_RSS
    if expected.zipfile is None:
        assert agrees(report, read_by_zipfile(FILES[name]))


def test_unknown_files_do_no_harm(isolated: Isolated, reports: dict[str, Report]) -> None:
    """Of another version of Go or Python; `python -m corpus.expectations` writes their rows."""
    for name in set(FILES) - set(TABLE):
        report = _read(isolated, reports, name)
        assert report.fault is None, name
        assert report.peak_rss <= PEAK_RSS, name


def test_nothing_broken_is_listed_as_empty(isolated: Isolated, reports: dict[str, Report]) -> None:
    for name in FILES:
        report = _read(isolated, reports, name)
        if not report.members and not report.refused:
            assert _is_empty_archive(FILES[name]), name


def _is_empty_archive(path: Path) -> bool:
    """An end of central directory record that counts nothing (APPNOTE 4.3.16), and its comment."""
    data = path.read_bytes()
    comment = int.from_bytes(data[20:22], "little")
    return data[:20] == b"PK\x05\x06" + bytes(16) and len(data) == 22 + comment


def test_corpora_are_here() -> None:
    """What was skipped is said by `make corpora`, and by this one in the report of the tests."""
    missing = {name.partition("/")[0] for name in TABLE} - {f.partition("/")[0] for f in FILES}
    if missing and os.environ.get("S3ZIPFS_REQUIRE_MINIO") != "1":
        pytest.skip(f"no corpora of {', '.join(sorted(missing))}: 'make corpora' says why")
    assert not missing
