"""Settings whose values depend on others, and sizes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from s3zipfs.errors import SettingsError
from s3zipfs.settings import DEFAULT_CACHE_SIZE, load_settings


def test_blocks_are_kept_on_disk_where_a_directory_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert load_settings().block_cache_size == 0
    assert load_settings(cache_size=1 << 30).block_cache_size == 1 << 30
    assert load_settings(cache_dir=tmp_path).block_cache_size == DEFAULT_CACHE_SIZE
    assert load_settings(cache_dir=tmp_path, cache_size=0).block_cache_size == 0
    monkeypatch.setenv("S3ZIPFS_CACHE_DIR", str(tmp_path))
    assert load_settings().block_cache_size == DEFAULT_CACHE_SIZE


SIZES = ("memory", "cache_size", "index_cache_size", "max_directory_bytes")


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize(
    ("text", "size"),
    [("268435456", 256 << 20), ("256M", 256 << 20), ("1GiB", 1 << 30), ("99999 kb", 99_999 << 10)],
)
def test_a_size_may_have_a_binary_unit(
    monkeypatch: pytest.MonkeyPatch, name: str, text: str, size: int
) -> None:
    given: dict[str, Any] = {name: text}
    assert getattr(load_settings(**given), name) == size
    monkeypatch.setenv(f"S3ZIPFS_{name.upper()}", text)
    assert getattr(load_settings(), name) == size


@pytest.mark.parametrize("text", ["much", "256 apples", "-1", "1.5G", ""])
def test_what_is_no_size_is_refused_by_its_name(text: str) -> None:
    with pytest.raises(SettingsError, match=r"memory: .* is not a size; give bytes or a unit"):
        load_settings(memory=text)
