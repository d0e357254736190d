"""Between keys and path components: pure, and reversible for every key that S3 allows.

Almost every component of a key is its own name. What no path can hold is written with the mark
`%_`, which no ordinary key contains:

| in the key                        | as a name                                    |
|-----------------------------------|----------------------------------------------|
| an empty component (`a//b`)       | `%_`                                         |
| `.` and `..`                      | `%_2E`, `%_2E%_2E`                           |
| `.s3zipfs`, the mount's own name  | `%_2Es3zipfs`                                |
| the byte NUL                      | `%_00`                                       |
| the mark `%_` itself              | `%_25_`                                      |
| an object that is also a prefix   | the prefix keeps `name`; it is `name%_object`|
| more than 255 bytes               | the first bytes, `%_~`, 16 digits of SHA-256 |
"""

from __future__ import annotations

import hashlib
import re

MARK = b"%_"
CONTROL = b".s3zipfs"  # at the root of a mount; no key is called so, anywhere
OBJECT_SUFFIX = b"%_object"
LONG_MARK = b"%_~"
NAME_MAX = 255  # bytes; NAME_MAX of Linux

_DIGEST = 16
_LONG = re.compile(rb"(.*)%_~[0-9a-f]{16}\Z", re.DOTALL)
_HALF_ESCAPE = re.compile(rb"%_[0-9A-F]?\Z")
_ESCAPE = re.compile(rb"%_(?:([0-9A-F]{2}))?")


def encode_component(component: str, *, shadowed: bool = False) -> bytes:
    """The name of one component of a key; `shadowed`: an object whose name a prefix has."""
    raw = component.encode()
    if raw == b"":
        name = MARK
    elif raw in (b".", b"..", CONTROL):
        name = raw.replace(b".", b"%_2E")
    else:
        name = raw.replace(MARK, b"%_25_").replace(b"\0", b"%_00")
    if shadowed:
        name += OBJECT_SUFFIX
    if len(name) <= NAME_MAX:
        return name
    digest = hashlib.sha256(raw).hexdigest()[:_DIGEST].encode()
    tail = LONG_MARK + digest + (OBJECT_SUFFIX if shadowed else b"")
    return _cut(name, NAME_MAX - len(tail)) + tail


def decode_component(name: bytes) -> tuple[str, bool, bool] | None:
    """`(component, shadowed, partial)` of a name, or None where no key has that name.

    `partial`: the component only begins like that; its full name must be compared.
    """
    shadowed = name.endswith(OBJECT_SUFFIX)
    body = name.removesuffix(OBJECT_SUFFIX)
    long = _LONG.match(body)
    if long is not None:
        body = long.group(1)
    if body == MARK:
        return "", shadowed, False
    try:
        component = _ESCAPE.sub(_unescape, body).decode()
    except (UnicodeDecodeError, ValueError):
        return None
    if long is not None:
        return component, shadowed, True
    exact = encode_component(component, shadowed=shadowed) == name
    return (component, shadowed, False) if exact else None


def _unescape(escape: re.Match[bytes]) -> bytes:
    if escape.group(1) is None:
        raise ValueError("not an escape")
    return bytes.fromhex(escape.group(1).decode()) if escape.group(1) != b"25" else b"%"


def _cut(name: bytes, length: int) -> bytes:
    """At most `length` bytes that end neither inside a character nor inside an escape."""
    return _HALF_ESCAPE.sub(b"", name[:length].decode(errors="ignore").encode())
