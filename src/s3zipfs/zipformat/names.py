"""Names of members as paths of a file system: decoding and hygiene, one name at a time.

`scan` finds by numpy the few names that need any of this; all others are taken as they stand.

Decoding, always in this order:
1. bit 11 of the flags: the bytes are UTF-8 (APPNOTE appendix D); invalid bytes are kept.
2. the Unicode path extra 0x7075, where its CRC-32 fits the name (APPNOTE 4.6.9).
3. ASCII: as it is.
4. `encoding`, where the user gave one and it decodes; else the bytes as they are.
5. valid UTF-8 from a Unix or macOS host: Info-ZIP and Archive Utility do not set bit 11.
6. IBM code page 437 (APPNOTE appendix D).
"""

from __future__ import annotations

import hashlib
from typing import Final

from s3zipfs.errors import SettingsError
from s3zipfs.zipformat.member import FLAG_UTF8

MAX_COMPONENT_BYTES: Final = 255  # NAME_MAX of Linux
MAX_DEPTH: Final = 256  # components; a path of more is hidden

# APPNOTE 4.4.2.2; Info-ZIP and Go take 11 for NTFS where the specification says 10.
UNIX_HOSTS: Final = frozenset({3, 19})
DOS_HOSTS: Final = frozenset({0, 10, 11, 14})


def check_encoding(encoding: str | None) -> None:
    """Refuse a name that Python knows no text encoding by.

    Raises:
        SettingsError: with the name.
    """
    if encoding is None:
        return
    try:
        b"text".decode(encoding, "replace")  # of empty bytes Python does not look
    except (LookupError, ValueError) as unknown:
        raise SettingsError(f"encoding: expected a text encoding, found {encoding!r}") from unknown


def decode_name(
    raw: bytes, *, flags: int, host: int, unicode_path: bytes | None, encoding: str | None
) -> bytes:
    """The name as UTF-8 (or as bytes that no encoding explains), by the order above.

    Args:
        raw: the name in the central directory.
        flags: general purpose bit flag (4.4.4).
        host: upper byte of version made by (4.4.2).
        unicode_path: name of the extra 0x7075, its CRC already compared; else None.
        encoding: of names that do not declare theirs.
    """
    if flags & FLAG_UTF8:
        return raw
    if unicode_path is not None and is_utf8(unicode_path):
        return unicode_path
    if raw.isascii():
        return raw
    if encoding is not None:
        try:
            return raw.decode(encoding).encode()
        except UnicodeError:
            return raw
    if host in UNIX_HOSTS and is_utf8(raw):
        return raw
    return raw.decode("cp437").encode()


def is_utf8(name: bytes) -> bool:
    """Whether the bytes are valid UTF-8."""
    try:
        name.decode()
    except UnicodeDecodeError:
        return False
    return True


def clean_path(name: bytes, *, host: int) -> tuple[bytes, bool] | None:
    """A decoded name as a relative path, and whether it names a directory; None: hidden.

    The path has components of 1 to 255 bytes joined by single slashes, none `.` or `..`; it is
    empty for the root. Leading `/`, `./` and `../` are stripped, an inner `..` hides.
    """
    if not name or b"\0" in name:
        return None
    if host in DOS_HOSTS:
        name = name.replace(b"\\", b"/")  # no name on those systems holds one
    parts = name.split(b"/")
    is_directory = parts[-1] in (b"", b".", b"..")
    kept: list[bytes] = []
    for part in parts:
        if part in (b"", b"."):
            continue
        if part == b"..":
            if kept:
                return None
            continue
        kept.append(shorten_component(part))
    if len(kept) > MAX_DEPTH or (not kept and not is_directory):
        return None
    return b"/".join(kept), is_directory


def shorten_component(component: bytes) -> bytes:
    """At most 255 bytes: cut at a UTF-8 boundary, with a hash of the whole appended."""
    if len(component) <= MAX_COMPONENT_BYTES:
        return component
    mark = b"~" + hashlib.blake2b(component, digest_size=8).hexdigest().encode()
    cut = MAX_COMPONENT_BYTES - len(mark)
    while cut > MAX_COMPONENT_BYTES - len(mark) - 4 and component[cut] & 0xC0 == 0x80:
        cut -= 1
    return component[:cut] + mark


def numbered_name(name: bytes, number: int) -> bytes:
    """The name of a file whose own is a directory's: `name (1)`."""
    return shorten_component(b"%b (%d)" % (name, number))
