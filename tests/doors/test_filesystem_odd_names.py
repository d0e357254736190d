"""Names that fsspec takes for patterns: of variables with `[`, `*` or `?` in them."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
from trees import zipped

from s3zipfs import ZipFileSystem

MEMBERS = {
    "temp[K]/.zarray": b"{}",
    "temp[K]/0.0": b"kelvin",
    "tempK/0.0": b"another",
    "why?/0": b"because",
    "a*b/0": b"star",
    "ab/0": b"none",
}


@pytest.fixture
def opened(tmp_path: Path) -> ZipFileSystem:
    path = tmp_path / "x.zip"
    path.write_bytes(zipped(MEMBERS, zipfile.ZIP_DEFLATED))
    return ZipFileSystem(path)


def test_keys_of_a_mapping_are_no_patterns(opened: ZipFileSystem) -> None:
    mapping = opened.get_mapper("")
    assert {name: mapping[name] for name in MEMBERS} == MEMBERS
    assert mapping.getitems(list(MEMBERS)) == MEMBERS
    assert opened.get_mapper("temp[K]").getitems(["0.0"], on_error="omit") == {"0.0": b"kelvin"}


def test_a_pattern_is_a_missing_key(opened: ZipFileSystem) -> None:
    mapping = opened.get_mapper("")
    for key in ("temp[J]/0.0", "temp*/0.0", "a?/0"):
        assert key not in mapping
        with pytest.raises(KeyError):
            mapping[key]
        with pytest.raises(KeyError):
            mapping.getitems(["ab/0", key])
        assert mapping.getitems(["ab/0", key], on_error="omit") == {"ab/0": b"none"}
        returned = mapping.getitems([key], on_error="return")
        assert isinstance(returned[key], KeyError)
        assert mapping.get(key, b"filled") == b"filled"


def test_a_path_that_exists_as_it_stands_is_no_pattern(opened: ZipFileSystem) -> None:
    assert opened.cat("temp[K]/0.0") == b"kelvin"
    assert opened.cat(["temp[K]/0.0", "ab/0"]) == {"temp[K]/0.0": b"kelvin", "ab/0": b"none"}
    assert opened.cat("why?", recursive=True) == {"why?/0": b"because"}
    assert opened.cat("a*b/0") == b"star"


def test_patterns_are_still_expanded(opened: ZipFileSystem) -> None:
    assert opened.cat("a*/0") == {"a*b/0": b"star", "ab/0": b"none"}
    assert opened.cat(["temp[JK]/0.0", "why?/0"]) == {
        "tempK/0.0": b"another",
        "why?/0": b"because",
    }
    assert opened.cat("temp?/*") == {"tempK/0.0": b"another"}
    assert opened.cat(["ab/0", "no*"]) == {"ab/0": b"none"}
    with pytest.raises(FileNotFoundError):
        opened.cat("no*")
