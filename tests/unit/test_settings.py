"""Settings whose values depend on others."""

from __future__ import annotations

from pathlib import Path

import pytest

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
