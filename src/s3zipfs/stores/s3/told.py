"""What the headers of an answer say of its body, and whether that is what was asked for."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from s3zipfs.errors import BadResponse, ObjectChanged
from s3zipfs.stores.s3.translate import Asked

if TYPE_CHECKING:
    from obstore import GetResult

_CONTROL_CHARACTER = re.compile(r"[\x00-\x1f\x7f]")
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")


@dataclass(frozen=True, slots=True)
class Told:
    """What the headers of a GET's answer say of its body."""

    etag: str | None
    size: int  # of the whole object, bytes
    range: tuple[int, int]  # half-open


def normal_etag(etag: str | None) -> str | None:
    """An ETag as HTTP's strong form, in quotes; None where there is none.

    Proxies that compress weaken it (`W/"…"`), some stores leave out the quotes in LIST; a weak
    one in If-Match matches nothing (RFC 9110, 13.1.1). What the weakening would hide, another
    length or range, is compared by itself.
    """
    bare = (etag or "").strip().removeprefix("W/").strip('"')
    return f'"{bare}"' if bare else None


def told_by_obstore(answer: GetResult) -> Told:
    """What an answer to obstore tells."""
    meta = answer.meta
    return Told(meta["e_tag"], meta["size"], answer.range)


def told_by_client(asked: Asked, answer: dict[str, Any]) -> Told:
    """What an answer to the client that s3fs made tells.

    Raises:
        BadResponse: it does not say which bytes it holds.
    """
    told = _CONTENT_RANGE.fullmatch(answer.get("ContentRange", ""))
    if told is None:
        raise BadResponse(f"{asked.name}: the answer does not say which bytes it holds")
    first, last, size = (int(number) for number in told.groups())
    return Told(answer.get("ETag"), size, (first, last + 1))


def compare(asked: Asked, wanted: tuple[int, int], told: Told) -> None:
    """Raise `BadResponse` or `ObjectChanged` where an answer is not to what was asked."""
    found = normal_etag(told.etag)
    if asked.oid is None or found != normal_etag(asked.oid.etag):
        raise BadResponse(f"{asked.name}: the answer's ETag is {found}, of another version")
    if told.size < wanted[1]:
        raise ObjectChanged(f"{asked.name}: asked up to {wanted[1]}, has {told.size} bytes")
    if told.range != wanted:
        raise BadResponse(f"{asked.name}: asked for bytes {wanted}, the answer holds {told.range}")


def obstore_can_hold(key: str) -> bool:
    """Whether obstore asks for exactly this key (tried on 0.12.1 against MinIO).

    It drops a leading or trailing "/" silently and refuses `//`, `.`, `..` and control characters.
    """
    if _CONTROL_CHARACTER.search(key):
        return False
    return not any(segment in {"", ".", ".."} for segment in key.split("/"))
