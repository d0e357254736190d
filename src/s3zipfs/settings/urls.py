"""URLs of sources and of endpoints."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import urlsplit

SCHEMES = ("s3", "s3zip")


class Place(NamedTuple):
    """What a source's URL names."""

    bucket: str
    prefix: str  # empty, or ending in "/"


def parse_source(url: str) -> Place:
    """The bucket and prefix of `s3://bucket[/prefix]` or `bucket[/prefix]`.

    Raises:
        ValueError: it is another URL, or names no bucket; says what a source is. Keys in it are
            not quoted.
    """
    scheme, found, rest = url.partition("://")
    bucket, _, prefix = (rest if found else url).partition("/")
    if "@" in bucket:
        raise ValueError("holds a user name or password; keys have own settings")
    if found and scheme not in SCHEMES:
        raise ValueError(f"{url}: a source is s3://bucket or s3://bucket/prefix")
    if not bucket:
        raise ValueError(f"{url}: no bucket in it; a source is s3://bucket/prefix")
    prefix = prefix.rstrip("/")
    return Place(bucket, f"{prefix}/" if prefix else "")


def checked_source(url: str) -> str:
    """The same URL. Raises `ValueError` as `parse_source`."""
    parse_source(url)
    return url


def checked_endpoint(url: str) -> str:
    """The URL without a slash at its end, its host in lower case.

    Clients send the host so, and one that is signed as it was typed is refused.

    Raises:
        ValueError: it is none of HTTP, or holds a user name or password, which are not quoted.
    """
    try:
        parts = urlsplit(url)
        valid = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        valid = False
    if "@" in (parts.netloc if valid else url):
        raise ValueError("holds a user name or password; keys have own settings")
    if not valid or parts.query or parts.fragment:
        raise ValueError(f"{url!r} is no URL like https://minio.example.org:9000")
    return parts._replace(netloc=parts.netloc.lower()).geturl().rstrip("/")
