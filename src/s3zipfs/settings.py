"""The settings, their names and their only defaults."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from dotenv import dotenv_values
from pydantic import (
    AfterValidator,
    AliasChoices,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from s3zipfs.errors import SettingsError

DEFAULT_ARCHIVES = (
    "*.zip",  # .zarr.zip, .ome.zarr.zip and the rest
    "*.ozx",  # OME-Zarr in one file, RFC-9
    "*.rkns",  # EEG recordings: a Zarr v2 tree in a zip
    "*.cbz",  # comic books: page images
    "*.epub",  # EPUB OCF 3.3, 4.2: a zip by definition
    "*.npz",  # numpy.savez: each array a stored .npy
    "*.kmz",  # OGC KML 2.3, 6: a zip by definition
)
"""Names whose objects are zips by definition and whose members are of use as files.

Office documents, `.jar`, `.whl` and `.apk` are zips as well, but the programs that people use them
with want the file; `--archive` adds them.
"""


def _words(value: Any) -> Any:
    return tuple(value.split()) if isinstance(value, str) else value


_SIZE = re.compile(r"(\d+)\s*([kmgt]?)(?:i?b)?", re.IGNORECASE | re.ASCII)
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}


def parse_size(text: str) -> int:
    """Bytes of a whole number with a binary unit, or none: 256M, 1GiB, 4096.

    Raises:
        ValueError: it is none; says what a size looks like.
    """
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text!r} is not a size; give bytes or a unit, as in 256M or 1GiB")
    return int(found.group(1)) << (10 * _POWERS[found.group(2).lower()])


def _bytes_of(value: Any) -> Any:
    return parse_size(value) if isinstance(value, str) else value


def default_cache_dir() -> Path | None:
    """`$XDG_CACHE_HOME/s3zipfs`; else `/var/cache/s3zipfs` for root, `~/.cache/s3zipfs` for others.

    None where a user has no home.
    """
    given = os.environ.get("XDG_CACHE_HOME", "")
    if given.startswith("/"):  # XDG Base Directory Specification: relative ones are ignored
        return Path(given) / "s3zipfs"
    if os.geteuid() == 0:
        return Path("/var/cache/s3zipfs")
    try:
        return Path.home() / ".cache" / "s3zipfs"
    except RuntimeError:
        return None


def _folder_or_none(value: Any) -> Any:
    if isinstance(value, str | Path):
        # Absolute at once: a mount leaves the directory it was started in.
        return None if str(value) == "none" else Path(value).expanduser().absolute()
    return value


def _file(value: Any) -> Any:
    # Absolute at once: a mount leaves the directory it was started in.
    return Path(value).expanduser().absolute() if isinstance(value, str | Path) else value


# Fewer bytes are few segments, of which one goes at a time (`cache.blockwriter`).
SMALLEST_CACHE = 64 << 20


def _nothing_or_enough(value: int | None) -> int | None:
    if value is not None and 0 < value < SMALLEST_CACHE:
        raise ValueError(f"{value} bytes are too few; give 0, or at least {SMALLEST_CACHE >> 20}M")
    return value


DEFAULT_CACHE_SIZE = 10 << 30

_File = Annotated[Path | None, BeforeValidator(_file)]
_Folder = Annotated[Path | None, BeforeValidator(_folder_or_none)]
_Size = Annotated[int, BeforeValidator(_bytes_of)]
_Patterns = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_words)]


class Settings(BaseSettings):
    """What a mount or a filesystem is told. Frozen; durations in seconds, sizes in bytes.

    Read from keywords first, then `S3ZIPFS_…` and, where they exist, the usual `AWS_…` variables
    and the names `STORAGE_ACCESS_KEY`, `STORAGE_SECRET_KEY` and `ENDPOINT_FULL`, all of which may
    also stand in a file given as `env_file`. Patterns in the environment are separated by blanks;
    sizes may have a binary unit, as `256M`.
    """

    model_config = SettingsConfigDict(
        env_prefix="S3ZIPFS_",
        frozen=True,
        extra="forbid",
        populate_by_name=True,
        env_ignore_empty=True,
        hide_input_in_errors=True,  # which may be the secret key
    )

    # The store
    endpoint_url: str | None = Field(
        default=None,
        description="URL of the S3 endpoint; none means AWS",
        validation_alias=AliasChoices(
            "S3ZIPFS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "ENDPOINT_FULL"
        ),
    )
    region: str | None = Field(
        default=None,
        description="region to sign for; else the profile's, else us-east-1",
        validation_alias=AliasChoices("S3ZIPFS_REGION", "AWS_REGION", "AWS_DEFAULT_REGION"),
    )
    profile: str | None = Field(
        default=None,
        description="profile of the AWS configuration files",
        validation_alias=AliasChoices("S3ZIPFS_PROFILE", "AWS_PROFILE"),
    )
    ca_bundle: Path | None = Field(
        default=None,
        description="PEM file with the certificate authorities to trust for the endpoint",
        validation_alias=AliasChoices("S3ZIPFS_CA_BUNDLE", "AWS_CA_BUNDLE"),
    )
    client_certificate: _File = Field(
        default=None,
        description="PEM file with the certificate to show to the endpoint, and its chain",
    )
    client_key: _File = Field(
        default=None,
        description="PEM file with the client certificate's key; else it is in the same file",
    )
    verify_tls: bool = Field(
        default=True,
        description="refuse an endpoint whose certificate is not trusted; without it anybody on "
        "the way can read and change what is sent",
    )
    access_key_file: _File = Field(default=None, description="file with the access key")
    secret_key_file: _File = Field(default=None, description="file with the secret key")
    session_token_file: _File = Field(
        default=None, description="file with the session token of a temporary key pair"
    )
    credential_command: str | None = Field(
        default=None,
        description="command that prints credentials as JSON, as credential_process of the AWS "
        "configuration; run without a shell",
    )
    access_key: SecretStr | None = Field(
        default=None,
        description="access key; environment only",
        validation_alias=AliasChoices("S3ZIPFS_ACCESS_KEY", "STORAGE_ACCESS_KEY"),
    )
    secret_key: SecretStr | None = Field(
        default=None,
        description="secret key; environment only",
        validation_alias=AliasChoices("S3ZIPFS_SECRET_KEY", "STORAGE_SECRET_KEY"),
    )
    session_token: SecretStr | None = Field(
        default=None,
        description="session token of a temporary key pair; environment only",
        validation_alias=AliasChoices("S3ZIPFS_SESSION_TOKEN"),
    )
    anonymous: bool = Field(default=False, description="send unsigned requests")

    # What is an archive
    archive: _Patterns = Field(
        default=(), description="further name patterns that are archives, case-insensitive"
    )
    exclude: _Patterns = Field(
        default=(), description="name patterns that are plain files even if they match"
    )
    encoding: str | None = Field(
        default=None,
        description="encoding of member names that do not declare theirs, as cp932; else UTF-8 "
        "of Unix hosts, or cp437",
    )
    strip_suffix: bool = Field(
        default=False, description="list x.zarr.zip as x.zarr, where no such key exists"
    )
    single_root: Literal["keep", "unwrap"] = Field(
        default="keep",
        description="where an archive holds one directory and nothing beside it: keep that "
        "directory (default), or unwrap it, which shows its content at once",
    )

    # Time
    timeout: float = Field(
        default=60.0, gt=0, description="seconds without progress after which an operation fails"
    )
    retry: float = Field(
        default=0.0,
        ge=0,
        description="seconds for which a mount goes on asking at its start, while the endpoint is "
        "out of reach",
    )
    ttl: float = Field(
        default=30.0, ge=0, description="seconds for which a listing or a missing name is believed"
    )
    immutable: bool = Field(
        default=False,
        description="archives are never replaced: believe their names for ever. One that is "
        "replaced after all is an error to its readers",
    )

    # Bounds
    memory: _Size = Field(
        default=256 << 20, ge=32 << 20, description="bytes of memory for caches and transfers"
    )
    max_requests: int = Field(default=32, ge=1, le=512, description="requests under way at once")
    max_directory_bytes: _Size = Field(
        default=2 << 30, ge=1 << 16, description="largest central directory that is read"
    )

    # The disk
    cache_dir: _Folder = Field(
        default_factory=default_cache_dir,
        description="directory for what outlives the process; none keeps nothing "
        "(default $XDG_CACHE_HOME/s3zipfs or ~/.cache/s3zipfs, of root /var/cache/s3zipfs)",
    )
    cache_size: Annotated[
        int | None, BeforeValidator(_bytes_of), AfterValidator(_nothing_or_enough)
    ] = Field(
        default=None,
        ge=0,
        description="bytes of disk for what was fetched, at least 64M, or 0 for none "
        "(default 10G where a cache directory is given, else none)",
    )
    index_cache_size: _Size = Field(
        default=2 << 30,
        ge=0,
        description="bytes of disk for the indexes of large archives and large deflated members",
    )

    # The log
    verbose: bool = Field(default=False, description="log more")

    @property
    def archive_patterns(self) -> tuple[str, ...]:
        """The defaults and what was added to them."""
        return DEFAULT_ARCHIVES + self.archive

    @property
    def requests_in_threads(self) -> int:
        """Of `max_requests`, those that are blocking calls of threads."""
        return self.max_requests // 2

    @property
    def requests_on_loop(self) -> int:
        """Of `max_requests`, those that are coroutines of the network's loop."""
        return self.max_requests - self.requests_in_threads

    @property
    def block_cache_size(self) -> int:
        """Bytes of disk for what was fetched.

        Without being asked, a mount writes no gigabytes of data into somebody's home; and a first
        read of 1 GiB takes 1 to 2 s of CPU more where it is written down as well.
        """
        if self.cache_size is not None:
            return self.cache_size
        return DEFAULT_CACHE_SIZE if "cache_dir" in self.model_fields_set else 0


_from_files: dict[str, str] = {}  # what env files have put into the environment of this process


def _read_env_file(path: Path) -> None:
    """Into the environment, not into Settings: AWS_… names in it are botocore's to read.

    A variable that was set otherwise stays. One that the file set before follows the file.
    """
    try:
        with path.open(encoding="utf-8") as lines:
            found = dotenv_values(stream=lines)
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"env file {path}: {error}") from error
    for name, value in _from_files.items():
        if os.environ.get(name) == value:
            del os.environ[name]
    _from_files.clear()
    for name, given in found.items():
        if given is not None and name not in os.environ:
            os.environ[name] = _from_files[name] = given


def environment_without_files() -> dict[str, str]:
    """The environment as it would be without env files: for a process that reads them itself."""
    return {name: value for name, value in os.environ.items() if _from_files.get(name) != value}


def load_settings(
    env_file: Path | None = None, *, exactly: Mapping[str, Any] | None = None, **given: Any
) -> Settings:
    """Settings from keywords (None means not given), the environment and a `.env` file.

    `exactly` are keywords for which None means None: the environment is not asked for them.

    Raises:
        SettingsError: a value is not of its kind; names the option and says what it takes.
    """
    given = {name: value for name, value in given.items() if value is not None}
    if unknown := sorted(set(given) - set(Settings.model_fields)):
        raise SettingsError(f"{unknown[0]}: no such setting")
    if env_file is not None:
        _read_env_file(env_file)
    try:
        return Settings(**given, **(exactly or {}))
    except ValidationError as error:
        first = error.errors()[0]
        name = "_".join(str(part) for part in first["loc"]) or "settings"
        text = first["msg"].removeprefix("Value error, ")  # pydantic's words for our ValueError
        raise SettingsError(f"{name.removeprefix('S3ZIPFS_').lower()}: {text}") from error
