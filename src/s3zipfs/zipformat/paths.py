"""Names of a window of headers as clean paths: by numpy where nothing is odd, one by one else."""

from __future__ import annotations

import stat
import zlib
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from s3zipfs.zipformat.member import FLAG_UTF8
from s3zipfs.zipformat.names import (
    DOS_HOSTS,
    MAX_COMPONENT_BYTES,
    MAX_DEPTH,
    UNIX_HOSTS,
    clean_path,
    decode_name,
)
from s3zipfs.zipformat.records import CENTRAL_DIRECTORY_HEADER_SIZE
from s3zipfs.zipformat.scan import Headers

_SLASH: Final = 0x2F
_DOT: Final = 0x2E
_BACKSLASH: Final = 0x5C
_MSDOS_DIRECTORY: Final = 0x10  # external attributes, 4.4.15

_Positions = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Paths:
    """The names of one window. Positions are in `blob`; a path has no slash at its ends."""

    blob: NDArray[np.uint8]  # each raw name after a slash; then the paths that had to be made
    raw_start: _Positions
    raw_length: NDArray[np.uint16]
    start: _Positions  # of the whole path
    name_start: _Positions  # of its last component
    end: _Positions
    is_directory: NDArray[np.bool_]
    hidden: NDArray[np.bool_]
    mode: NDArray[np.uint16]


def take_paths(window: NDArray[np.uint8], headers: Headers, *, encoding: str | None) -> Paths:
    """Gather the names, split them at their last slash, and clean those that need it."""
    lengths = headers.fixed["name_length"]
    blob = _gather(window, headers.offset + CENTRAL_DIRECTORY_HEADER_SIZE - 1, lengths)
    begins = np.zeros(len(lengths), np.int64)  # of each row in the blob, at its slash
    np.cumsum(lengths[:-1].astype(np.int64) + 1, out=begins[1:])
    blob[begins] = _SLASH
    slashes = np.flatnonzero(blob == _SLASH)
    first = np.searchsorted(slashes, begins)  # each row's first slash
    after = np.append(first[1:], len(slashes))
    odd = _odd_rows(blob, headers, begins=begins, slashes=slashes, first=first, after=after)

    end = begins + 1 + lengths
    trailing = (slashes[after - 1] == end - 1) & (lengths > 0)
    last = slashes[after - 1 - (trailing & (after - first > 1))]
    paths = Paths(
        blob=blob,
        raw_start=begins + 1,
        raw_length=lengths.copy(),
        start=begins + 1,
        name_start=last + 1,
        end=end - trailing,
        is_directory=trailing,
        hidden=np.zeros(len(lengths), np.bool_),
        mode=np.zeros(len(lengths), np.uint16),
    )
    made = _clean_odd_rows(window, headers, paths, np.flatnonzero(odd), encoding)
    _set_modes(headers, paths)
    if not made:
        return paths
    return Paths(
        np.concatenate([blob, np.frombuffer(bytes(made), np.uint8)]),
        paths.raw_start, paths.raw_length, paths.start, paths.name_start, paths.end,
        paths.is_directory, paths.hidden, paths.mode,
    )  # fmt: skip


def _gather(
    window: NDArray[np.uint8], start: _Positions, lengths: NDArray[np.uint16]
) -> NDArray[np.uint8]:
    """Each name with the byte before it, one after the other."""
    size = lengths.astype(np.int64) + 1
    shift = start - (np.cumsum(size) - size)
    at = np.repeat(shift, size)
    at += np.arange(len(at))
    gathered: NDArray[np.uint8] = window[at]
    return gathered


def _odd_rows(
    blob: NDArray[np.uint8],
    headers: Headers,
    *,
    begins: _Positions,
    slashes: _Positions,
    first: _Positions,
    after: _Positions,
) -> NDArray[np.bool_]:
    """Rows whose name is not yet a clean path, or not in UTF-8."""
    flags = headers.fixed["flags"]
    odd: NDArray[np.bool_] = headers.fixed["name_length"] == 0
    odd |= after - first > MAX_DEPTH
    undeclared = flags & FLAG_UTF8 == 0
    odd |= undeclared & (headers.extras.unicode_path_at >= 0)
    highest = np.maximum.reduceat(blob, begins)
    odd |= undeclared & (highest >= 0x80)
    if not blob.all():
        odd |= np.minimum.reduceat(blob, begins) == 0
    backslashes = np.flatnonzero(blob == _BACKSLASH)
    if len(backslashes):
        rows = np.searchsorted(begins, backslashes, "right") - 1
        odd[rows[np.isin(headers.host[rows], list(DOS_HOSTS))]] = True

    length = np.diff(np.append(slashes, len(blob))) - 1  # of each component
    final = np.zeros(len(slashes), np.bool_)
    final[after - 1] = True
    bad = length > MAX_COMPONENT_BYTES
    bad |= (length == 0) & ~final
    short = np.flatnonzero((length == 1) | (length == 2))
    at = slashes[short] + 1
    dots = (blob[at] == _DOT) & ((length[short] == 1) | (blob[at + length[short] - 1] == _DOT))
    bad[short[dots]] = True
    odd[np.searchsorted(first, np.flatnonzero(bad), "right") - 1] = True
    return odd


def _clean_odd_rows(
    window: NDArray[np.uint8],
    headers: Headers,
    paths: Paths,
    rows: _Positions,
    encoding: str | None,
) -> bytearray:
    """Decode and clean the rows one by one; the paths made, to be appended to the blob."""
    made = bytearray()
    base = len(paths.blob)
    blob = paths.blob.data
    flags = headers.fixed["flags"]
    for row, host in zip(rows.tolist(), headers.host[rows].tolist(), strict=True):
        start = int(paths.raw_start[row])
        raw = bytes(blob[start : start + int(paths.raw_length[row])])
        name = decode_name(
            raw,
            flags=int(flags[row]),
            host=host,
            unicode_path=_unicode_path(window, headers, row, raw),
            encoding=encoding,
        )
        cleaned = clean_path(name, host=host)
        if cleaned is None:
            paths.hidden[row] = True
            paths.start[row] = paths.name_start[row] = paths.end[row] = start
            continue
        path, paths.is_directory[row] = cleaned
        made += b"/"
        paths.start[row] = base + len(made)
        paths.name_start[row] = base + len(made) + path.rfind(b"/") + 1
        made += path
        paths.end[row] = base + len(made)
    return made


def _unicode_path(
    window: NDArray[np.uint8], headers: Headers, row: int, raw: bytes
) -> bytes | None:
    """The name in the extra 0x7075: version 1, CRC-32 of the raw name, UTF-8 (APPNOTE 4.6.9)."""
    at, size = int(headers.extras.unicode_path_at[row]), int(headers.extras.unicode_path_size[row])
    if at < 0 or size < 6 or window[at] != 1:
        return None
    crc = int.from_bytes(window[at + 1 : at + 5].tobytes(), "little")
    return window[at + 5 : at + size].tobytes() if crc == zlib.crc32(raw) else None


def _set_modes(headers: Headers, paths: Paths) -> None:
    """st_mode of each row (4.4.15: upper half from Unix hosts, lower byte MS-DOS attributes).

    Without any write or setuid bit; the owner can always read. Devices, FIFOs and sockets
    without data are hidden. A directory is what ends in a slash, or is declared one without data.
    """
    external = headers.fixed["external_attributes"]
    unix = np.isin(headers.host, list(UNIX_HOSTS))
    declared = np.where(unix, external >> np.uint32(16), 0).astype(np.uint16)
    kind = declared & np.uint16(0o170000)
    dos = np.isin(headers.host, list(DOS_HOSTS))
    declared_directory = (kind == stat.S_IFDIR) | (dos & (external & _MSDOS_DIRECTORY != 0))
    paths.is_directory[:] |= declared_directory & (headers.uncompressed_size == 0)
    special = np.isin(kind, [stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK])
    # `zip -` records its standard input as a FIFO, and its data: with data it is a file.
    special &= headers.uncompressed_size == 0
    paths.hidden[special & ~paths.is_directory] = True
    link = (kind == stat.S_IFLNK) & ~paths.is_directory
    permissions = declared & np.uint16(0o555)
    permissions[declared & 0o777 == 0] = 0o555
    files = np.where(declared & 0o777 == 0, 0o444, permissions | 0o400) | stat.S_IFREG
    mode = np.where(paths.is_directory, permissions | 0o500 | stat.S_IFDIR, files)
    paths.mode[:] = np.where(link, stat.S_IFLNK | 0o777, mode)
