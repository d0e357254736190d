"""What a mount tells of its settings is enough to reach what it does, and holds no secret."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from s3zipfs.settings import Settings, settings_told, told_of

SECRET = "never-told"


def told(settings: Settings) -> dict[str, Any]:
    text = json.dumps(told_of(settings))
    assert SECRET not in text
    found = json.loads(text)
    assert isinstance(found, dict)
    return found


def test_all_that_tells_how_to_read_comes_back(tmp_path: Path) -> None:
    given: dict[str, Any] = {
        "endpoint_url": "http://127.0.0.1:9000",
        "profile": "lab",
        "encoding": "cp932",
        "archive": ["*.cbr"],
        "cache_dir": tmp_path,
        "single_root": "unwrap",
        "sources": [{"url": "s3://a", "endpoint_url": "http://127.0.0.1:9001"}, "s3://b/c"],
    }
    settings = Settings(**given)
    found = settings_told(told(settings), Settings())
    for name in given:
        assert getattr(found, name) == getattr(settings, name)
    assert found.block_cache_size == settings.block_cache_size > 0


def test_without_a_cache_of_blocks_there_is_none_afterwards() -> None:
    settings = Settings()
    assert settings_told(told(settings), Settings()).block_cache_size == 0
    assert settings_told(told(settings), Settings()).cache_dir == settings.cache_dir


@pytest.mark.parametrize("name", ["access_key", "secret_key", "session_token"])
def test_no_secret_is_told(name: str) -> None:
    source = {"url": "s3://a", name: SECRET}
    found = told(Settings(**{name: SECRET, "sources": [source]}))  # type: ignore[arg-type]
    assert name not in found
    assert name not in found["sources"][0]
    command = Settings(credential_command=f"give {SECRET}")
    assert "credential_command" not in told(command)


def test_own_credentials_take_the_place_of_all_that_were_told() -> None:
    of_mount = told(Settings(profile="lab", endpoint_url="http://127.0.0.1:9000"))
    own = Settings(access_key="a", secret_key="b")  # type: ignore[arg-type]
    found = settings_told(of_mount, own)
    assert found.profile is None
    assert found.secret_key == own.secret_key
    assert found.endpoint_url == "http://127.0.0.1:9000"
