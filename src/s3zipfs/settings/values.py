"""Kinds of values: what a size, a folder or a list of patterns may look like."""

from __future__ import annotations

import grp
import os
import pwd
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator

from s3zipfs.settings.urls import checked_endpoint, checked_source

NOWHERE = "none"  # in place of a folder


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


def bytes_of(value: Any) -> Any:
    """A text's `parse_size`; what else there is, as it is."""
    return parse_size(value) if isinstance(value, str) else value


def default_cache_dir() -> Path | None:
    """`$XDG_CACHE_HOME/s3zipfs`; else `/var/cache/s3zipfs` for root, `~/.cache/s3zipfs` for others.

    None where a user has no home.
    """
    if os.geteuid() == 0 and not os.environ.get("XDG_CACHE_HOME", "").startswith("/"):
        return Path("/var/cache/s3zipfs")
    return xdg_folder("XDG_CACHE_HOME", ".cache")


def xdg_folder(variable: str, below_home: str) -> Path | None:
    """Our folder in the one that the variable names, else in that one below the user's home.

    None where a user has no home.
    """
    given = os.environ.get(variable, "")
    if given.startswith("/"):  # XDG Base Directory Specification: relative ones are ignored
        return Path(given) / "s3zipfs"
    try:
        return Path.home() / below_home / "s3zipfs"
    except RuntimeError:
        return None


def absolute(value: Any) -> Any:
    """A path that means the same in every directory: a mount leaves the one it was started in.

    One below a home that does not exist (`~nobody/x`) stays as it is.
    """
    if not isinstance(value, str | Path):
        return value
    try:
        return Path(value).expanduser().absolute()
    except RuntimeError:
        return Path(value)


def _path(value: Any) -> Any:
    if value == "":
        raise ValueError("is empty; give a path")
    found = absolute(value)
    if isinstance(found, Path) and not found.is_absolute():
        raise ValueError(f"{str(found)!r}: there is no such home")
    return found


def _folder_or_none(value: Any) -> Any:
    return None if str(value) == NOWHERE else _path(value)


# Fewer bytes are few segments, of which one goes at a time (`cache.blockwriter`).
SMALLEST_CACHE = 64 << 20


def _nothing_or_enough(value: int | None) -> int | None:
    if value is not None and 0 < value < SMALLEST_CACHE:
        raise ValueError(f"{value} bytes are too few; give 0, or at least {SMALLEST_CACHE >> 20}M")
    return value


def _one_name(value: str) -> str:
    if value in {"", ".", ".."} or "/" in value or "\0" in value or len(value.encode()) > 255:
        raise ValueError(f"{value!r} is no name of a directory")
    return value


def uid_of(value: Any) -> Any:
    """A user's number; what is no text, as it is."""
    return _account(value, lambda name: pwd.getpwnam(name).pw_uid, "user")


def gid_of(value: Any) -> Any:
    """A group's number; what is no text, as it is."""
    return _account(value, lambda name: grp.getgrnam(name).gr_gid, "group")


def _account(value: Any, find: Callable[[str], int], what: str) -> Any:
    if not isinstance(value, str) or value.isdecimal():
        return value
    try:
        return find(value)
    except KeyError:
        raise ValueError(f"{value!r} is no {what} of this machine, nor a number") from None


def bits_of(value: Any) -> Any:
    """The bits of a mode that is written as an octal number."""
    if value is None:
        return None
    # A number of TOML would be decimal.
    if not isinstance(value, str) or re.fullmatch("0?[0-7]{1,3}", value) is None:
        raise ValueError('should be octal, up to 777, and in quotes in a file: "022"')
    return int(value, 8)


def host_and_port(address: str) -> tuple[str, int]:
    """The two parts of an address at which to listen: `127.0.0.1:9100`, `[::1]:9100`.

    Raises:
        ValueError: it is none; says what one looks like.
    """
    host, _, port = address.rpartition(":")
    is_bracketed = host.startswith("[") and host.endswith("]")
    bare = host[1:-1] if is_bracketed else host
    is_port = port.isascii() and port.isdecimal() and int(port) < 1 << 16
    if not is_port or not bare or ((":" in bare) != is_bracketed):
        raise ValueError(
            f"{address!r} is no address to listen at; give HOST:PORT, as 127.0.0.1:9100"
        )
    return bare, int(port)


def _address(value: str) -> str:
    host_and_port(value)
    return value


DEFAULT_CACHE_SIZE = 10 << 30

File = Annotated[Path | None, BeforeValidator(_path)]
Folder = Annotated[Path | None, BeforeValidator(_folder_or_none)]
Size = Annotated[int, BeforeValidator(bytes_of)]
BlockCacheSize = Annotated[
    int | None, BeforeValidator(bytes_of), AfterValidator(_nothing_or_enough)
]
SourceUrl = Annotated[str, AfterValidator(checked_source)]
EndpointUrl = Annotated[str, AfterValidator(checked_endpoint)]
Address = Annotated[str, AfterValidator(_address)]
Uid = Annotated[int | None, BeforeValidator(uid_of)]
Gid = Annotated[int | None, BeforeValidator(gid_of)]
Mode = Annotated[int | None, BeforeValidator(bits_of)]
DirectoryName = Annotated[str, AfterValidator(_one_name)]
Patterns = Annotated[tuple[str, ...], BeforeValidator(_words)]
