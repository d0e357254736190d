"""The environment, and files of `NAME=value` lines that are read into it."""

from __future__ import annotations

import difflib
import os
import threading
from dataclasses import dataclass
from pathlib import Path

from dotenv import dotenv_values
from pydantic import AliasChoices

from s3zipfs.errors import SettingsError
from s3zipfs.settings.given import Given, unknown
from s3zipfs.settings.model import SECRETS, Settings
from s3zipfs.settings.private import readers

PREFIX = "S3ZIPFS_"
# Of difflib: a name as near as this to a setting's is a slip, else it is another's, as
# S3ZIPFS_VERSION is an image's and S3ZIPFS_PORT of a service that Kubernetes tells of.
_SLIP = 0.8
_AWS_SECRETS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")


@dataclass(frozen=True, slots=True)
class _FromFile:
    value: str
    path: Path


# Guards _from_files, and os.environ from ourselves: SIGHUP and the store's own look for new keys
# may read it at once.
_lock = threading.Lock()
_from_files: dict[str, _FromFile] = {}  # what env files have put into this process's environment


def variables_of(name: str) -> tuple[str, ...]:
    """The variables that give a setting; the first that is not empty counts."""
    alias = Settings.model_fields[name].validation_alias
    if isinstance(alias, AliasChoices):
        return tuple(str(choice) for choice in alias.choices)
    return (PREFIX + name.upper(),)


def read_environment() -> dict[str, Given]:
    """The settings in the environment, by name.

    Raises:
        SettingsError: a variable is called almost as one of ours. Others that begin with
            `S3ZIPFS_` may be another program's.
    """
    with _lock:
        present = {name.upper(): _given(name) for name, value in os.environ.items() if value}
    given = {}
    ours: set[str] = set()
    for name in Settings.model_fields:
        names = variables_of(name)
        ours.update(names)
        found = next((present[variable] for variable in names if variable in present), None)
        if found is not None:
            given[name] = found
    for variable in sorted(present.keys() - ours):
        name = variable.removeprefix(PREFIX).lower()
        if variable.startswith(PREFIX) and difflib.get_close_matches(
            name, Settings.model_fields, n=1, cutoff=_SLIP
        ):
            raise unknown(variable, ours)
    return given


def _given(variable: str) -> Given:
    value = os.environ[variable]
    read = _from_files.get(variable)
    where = f" ({read.path})" if read is not None and read.value == value else ""
    return Given(value, f"{variable}{where}")


def read_env_file(path: Path) -> str | None:
    """Into the environment, not into Settings: AWS_… names in it are botocore's to read.

    A variable that was set otherwise stays. One that the file set before follows the file.
    Returns a warning where others can read its secrets: no error, since the files that scripts
    use are as a rule made so.

    Raises:
        SettingsError: it can't be read, or has what no environment can hold.
    """
    try:
        with path.open(encoding="utf-8") as lines:
            status = os.fstat(lines.fileno())
            found = dotenv_values(stream=lines)
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"env file {path}: {error}") from error
    for name, value in found.items():
        if "=" in name or "\0" in f"{name}{value}":
            raise SettingsError(f"env file {path}: {name!r}: no environment can hold this line")
    with _lock:
        ours = {name for name, read in _from_files.items() if os.environ.get(name) == read.value}
        taken = {
            name: value
            for name, value in found.items()
            if value is not None and (name in ours or name not in os.environ)
        }
        # What stays is never away in between: botocore may look for keys at this moment.
        for name in ours - taken.keys():
            del os.environ[name]
        os.environ.update(taken)
        _from_files.clear()
        _from_files.update({name: _FromFile(value, path) for name, value in taken.items()})
    secrets = {variable for name in SECRETS for variable in variables_of(name)}
    if (who := readers(status)) is not None and found.keys() & {*secrets, *_AWS_SECRETS}:
        return f"env file {path}: {who} can read the secrets in it; chmod 600 {path}"
    return None


def env_file_of_systemd() -> Path | None:
    """What `LoadCredential=s3zipfs.env:FILE` has for a unit; None without it.

    https://www.freedesktop.org/software/systemd/man/systemd.exec.html#Credentials
    """
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    path = Path(folder) / "s3zipfs.env" if folder else None
    return path if path is not None and path.exists() else None


def environment_without_files() -> dict[str, str]:
    """The environment as it would be without env files: for a process that reads them itself."""
    with _lock:
        return {
            name: value
            for name, value in os.environ.items()
            if name not in _from_files or _from_files[name].value != value
        }
