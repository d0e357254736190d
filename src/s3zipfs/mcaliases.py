"""The aliases of mc, MinIO's client: `ALIAS/BUCKET/KEY` names an endpoint with its keys.

From `MC_HOST_<alias>` in the environment, else from `config.json` in `$MC_CONFIG_DIR` or `~/.mc`,
as mc has them: https://docs.min.io/community/minio-object-store/reference/minio-mc.html
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from s3zipfs.errors import SettingsError
from s3zipfs.secretfiles import refuse_if_others_can_read
from s3zipfs.settings import checked_endpoint

_HOST = re.compile(r"(https?://)(?:(.*)@)?([^@]*)")
_NAME = re.compile(r"[a-zA-Z][a-zA-Z0-9_-]*")
_AWS = "s3.amazonaws.com"


@dataclass(frozen=True)
class Alias:
    """What mc knows of one; no keys mean unsigned requests, no endpoint AWS."""

    name: str
    endpoint_url: str | None
    access_key: str = field(default="", repr=False)
    secret_key: str = field(default="", repr=False)
    session_token: str = field(default="", repr=False)


def split_alias(where: str) -> tuple[str | None, str]:
    """The alias that `ALIAS/BUCKET/KEY` begins with and the rest; None where there is no such one.

    A URL is none, nor is a path that begins with `/` or `.`.

    Raises:
        SettingsError: mc's configuration can't be read.
    """
    name, _, rest = where.partition("/")
    if "://" in where or _NAME.fullmatch(name) is None:
        return None, where
    is_known = f"MC_HOST_{name}" in os.environ or name in _configured()
    return (name, rest) if is_known else (None, where)


def find_alias(name: str) -> Alias:
    """The alias of that name.

    Raises:
        SettingsError: there is none, or it is not what mc would write.
    """
    given = os.environ.get(f"MC_HOST_{name}")
    if given is not None:
        return _of_variable(name, given)
    found = _configured().get(name)
    if found is None:
        raise SettingsError(f"mc_alias: {name}: no such alias in {_file()}, nor MC_HOST_{name}")
    refuse_if_others_can_read(_file(), "mc_alias")
    if str(found.get("api", "")).lower() == "s3v2":
        raise SettingsError(f"mc_alias: {name}: signature version 2 is not spoken here")
    keys = [str(found.get(key) or "") for key in ("accessKey", "secretKey", "sessionToken")]
    return Alias(name, _endpoint(name, str(found.get("url") or "")), *keys)


def _of_variable(name: str, given: str) -> Alias:
    """`https://ACCESS_KEY:SECRET_KEY[:SESSION_TOKEN]@HOST`, or without keys.

    As in mc nothing is decoded: keys may hold what a URL can't. No error quotes them.
    """
    parts = _HOST.fullmatch(given)
    keys = parts[2].split(":", 2) if parts is not None and parts[2] is not None else []
    if parts is None or len(keys) == 1:
        raise SettingsError(f"MC_HOST_{name}: is not https://ACCESS_KEY:SECRET_KEY@HOST")
    return Alias(name, _endpoint(name, parts[1] + parts[3]), *keys)


def _endpoint(name: str, url: str) -> str | None:
    try:
        found = checked_endpoint(url)
    except ValueError:
        wanted = "https://minio.example.org:9000"
        raise SettingsError(f"mc_alias: {name}: has no URL like {wanted}") from None
    return None if urlsplit(found).hostname == _AWS else found


def _file() -> Path:
    folder = os.environ.get("MC_CONFIG_DIR")
    return (Path(folder) if folder else Path("~/.mc").expanduser()) / "config.json"


def _configured() -> dict[str, Any]:
    try:
        told = json.loads(_file().read_bytes())
    except (FileNotFoundError, NotADirectoryError, RuntimeError):  # of mc, or of a home
        return {}
    except OSError as error:
        raise SettingsError(f"mc_alias: {_file()}: {error.strerror}") from None
    except ValueError:
        raise SettingsError(f"mc_alias: {_file()}: is no JSON") from None
    found = told.get("aliases") if isinstance(told, dict) else None
    if not isinstance(found, dict):
        return {}
    return {name: alias for name, alias in found.items() if isinstance(alias, dict)}
