"""What an s3fs filesystem was told, as settings of ours; which version a file of it has open."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import s3fs

from s3zipfs.stores.s3.told import normal_etag

# Of botocore's configuration: how long, how often and by how many connections, which are ours.
_OWN_WAYS = {
    "connect_timeout", "max_pool_connections", "parameter_validation", "read_timeout", "retries",
    "tcp_keepalive", "user_agent", "user_agent_extra",
}  # fmt: skip

# Settings that s3fs has nothing like; variables of ours would else set them.
_OUR_OWN = (
    "access_key_file", "secret_key_file", "session_token_file", "credential_command", "mc_alias",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class OpenedObject:
    """An object, and which version of it; None where it has not been asked for."""

    bucket: str
    key: str
    etag: str | None = None
    size: int = 0  # bytes
    modified: float = 0.0  # seconds since the epoch, UTC


def is_s3fs(filesystem: object) -> bool:
    """Whether it is s3fs's own class: what a subclass does is not known."""
    return type(filesystem) is s3fs.S3FileSystem


def connection_of(filesystem: Any) -> dict[str, Any] | None:
    """The settings by which the same objects are reached, None standing for "by default".

    None instead of all: it has an option that no setting of ours stands for, as a session of its
    own, or customer keys.
    """
    client = dict(filesystem.client_kwargs)
    config = {name: value for name, value in filesystem.config_kwargs.items() if value is not None}
    session = {name: value for name, value in filesystem.kwargs.items() if value is not None}
    endpoint = filesystem.endpoint_url or client.pop("endpoint_url", None)
    client.pop("endpoint_url", None)
    secure = client.pop("use_ssl", filesystem.use_ssl)
    verify = client.pop("verify", None)
    certificate = config.pop("client_cert", None)
    shown = certificate if isinstance(certificate, tuple) else (certificate, None)
    found = {
        "endpoint_url": endpoint
        or os.environ.get("AWS_ENDPOINT_URL_S3")
        or os.environ.get("AWS_ENDPOINT_URL"),
        "region": client.pop("region_name", None) or config.pop("region_name", None),
        "access_key": filesystem.key or client.pop("aws_access_key_id", None),
        "secret_key": filesystem.secret or client.pop("aws_secret_access_key", None),
        "session_token": filesystem.token or client.pop("aws_session_token", None),
        "profile": session.pop("profile", None),
        "ca_bundle": verify if isinstance(verify, str | os.PathLike) else None,
        "verify_tls": verify is not False,
        "client_certificate": shown[0],
        "client_key": shown[1],
        "anonymous": bool(filesystem.anon),
        **dict.fromkeys(_OUR_OWN),
    }
    for name in ("aws_access_key_id", "aws_secret_access_key", "aws_session_token"):
        client.pop(name, None)
    is_other = (
        any(value is not None for value in client.values())
        or bool(session)
        or any(not _is_ours(*each) for each in config.items())
        or (not secure and found["endpoint_url"] is None)
        or not filesystem._session_is_owned  # noqa: SLF001 - it tells of an injected session
        or filesystem.version_aware
        or filesystem.requester_pays
        or bool(filesystem.s3_additional_kwargs)
    )
    return None if is_other else found


def _is_ours(name: str, value: Any) -> bool:
    if name == "s3":  # path style is what endpoints of one's own get here
        return set(value) <= {"addressing_style"} and value.get("addressing_style") != "virtual"
    return name in _OWN_WAYS or (name, value) == ("signature_version", "s3v4")


def object_at(filesystem: Any, path: str) -> OpenedObject | None:
    """The object of a path, of no version in particular; None where the path names one."""
    bucket, key, version = filesystem.split_path(path)
    if not key or version is not None or "?versionId=" in path:
        return None
    return OpenedObject(bucket, key)


def object_of(file: Any) -> OpenedObject | None:
    """The version that an `S3File` has open; None where it does not tell."""
    if type(file) is not s3fs.core.S3File or file.mode != "rb" or file.version_id is not None:
        return None
    told = file.details
    etag, modified = normal_etag(told.get("ETag")), told.get("LastModified")
    if etag is None or modified is None:
        return None
    when = float(int(modified.timestamp()))
    return OpenedObject(file.bucket, file.key, etag, int(told["size"]), when)
