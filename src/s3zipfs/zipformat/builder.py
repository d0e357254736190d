"""Build a `MemberIndex`'s columns from a central directory that arrives in pieces.

Memory: the columns, one copy of the names, and what one window of the directory needs.
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from s3zipfs.errors import BadArchive
from s3zipfs.zipformat.bytekeys import PADDING, same_as_previous, word_view
from s3zipfs.zipformat.directories import Directories, allowed_directories
from s3zipfs.zipformat.layout import Columns, Rows, lay_out, narrow
from s3zipfs.zipformat.names import check_encoding
from s3zipfs.zipformat.paths import Paths, take_paths
from s3zipfs.zipformat.plan import DirectoryLocation
from s3zipfs.zipformat.records import (
    CENTRAL_DIRECTORY_HEADER_SIGNATURE,
    DIGITAL_SIGNATURE_SIGNATURE,
    LOCAL_FILE_HEADER_SIZE,
)
from s3zipfs.zipformat.scan import (
    MAX_HEADER_BYTES,
    OVERLAPS,
    PASSES_DIRECTORY,
    Headers,
    find_headers,
    take_headers,
)

Bytes: TypeAlias = bytes | bytearray | memoryview

# Some 50,000 headers: numpy's call overhead is gone, and temporaries are some 20 MB.
WINDOW_BYTES: Final = 4 * 1024 * 1024

# Offsets and sizes are clipped here, so that their sums cannot wrap; S3's limit is 2**46.
_FAR: Final = np.uint64(2**61)

# Directory parts of more bytes than this are not compared with the one before, but looked up.
_COMPARED_BYTES: Final = 256


class IndexBuilder:
    """Takes the central directory's bytes in order, in pieces of any size, then the columns.

    Args:
        location: where the directory stands, of `plan.locate_directory`.
        encoding: of names that do not declare theirs; None: as `names` decides.

    Raises:
        SettingsError: `encoding` is unknown.
    """

    def __init__(self, location: DirectoryLocation, *, encoding: str | None = None) -> None:
        check_encoding(encoding)
        self._location = location
        self._encoding = encoding
        self._rest = np.zeros(0, np.uint8)  # begins at _position, shorter than one header
        self._position = location.start  # absolute offset of the next header
        self._names = bytearray()
        self._windows: list[Rows] = []
        self._count = 0
        self._directories = Directories()

    def feed(self, data: Bytes) -> None:
        """Take the next bytes of the directory.

        Raises:
            BadArchive: a header does not begin where the one before it ends.
        """
        piece = np.frombuffer(data, np.uint8)
        if self._position + len(self._rest) + len(piece) > self._location.end:
            raise ValueError(f"more than the directory's {self._location.size} bytes")
        if len(self._rest):
            piece = np.concatenate([self._rest, piece])
        at = 0
        while at < len(piece):
            window = piece[at : at + WINDOW_BYTES]
            offset, end = find_headers(window)
            if end == 0:
                break
            self._take(window, offset)
            at += end
            self._position += end
        self._rest = piece[at:].copy()
        self._check_rest()

    def finish(self) -> Columns:
        """Verify the whole, and lay it out.

        Raises:
            BadArchive: bytes are missing, or the count of the headers is not the recorded one.
        """
        rest = bytes(self._rest)
        signature_ends = len(rest) >= 6 and len(rest) == 6 + int.from_bytes(rest[4:6], "little")
        if self._position + len(rest) != self._location.end or (
            rest and not (rest.startswith(DIGITAL_SIGNATURE_SIGNATURE) and signature_ends)
        ):
            raise BadArchive(
                f"Central directory header at offset {self._position}: expected it whole before "
                f"the directory's end at {self._location.end}, found {len(rest)} bytes of it"
            )
        recorded = self._location.entry_count
        same = self._count == recorded
        if not same and not self._location.is_zip64:
            same = self._count % 65536 == recorded  # 4.4.22 has two bytes; old writers wrap
        if not same:
            raise BadArchive(
                f"Central directory at offset {self._location.start}: expected {recorded} "
                f"headers as the end record says, found {self._count}"
            )
        rows = self._join_windows()
        _mark_overlaps(rows, self._location.start)
        self._directories.forget_names()
        self._names += bytes(PADDING)
        names = np.frombuffer(self._names, np.uint8)
        names.flags.writeable = False
        return lay_out(rows, self._directories, names)

    def _check_rest(self) -> None:
        found = bytes(self._rest[:4])
        known = (CENTRAL_DIRECTORY_HEADER_SIGNATURE, DIGITAL_SIGNATURE_SIGNATURE)
        if not any(s.startswith(found) for s in known) or len(self._rest) > MAX_HEADER_BYTES:
            raise BadArchive(
                f"Central directory header at offset {self._position}: expected signature "
                f"{CENTRAL_DIRECTORY_HEADER_SIGNATURE!r}, found {found!r}"
            )

    def _take(self, window: NDArray[np.uint8], offset: NDArray[np.int64]) -> None:
        headers = take_headers(window, offset)
        paths = take_paths(window, headers, encoding=self._encoding)
        base = len(self._names)
        first_row = self._count
        self._count += len(offset)
        parent = self._identify_directories(paths, base, first_row)
        self._names += paths.blob.data
        self._windows.append(_rows(headers, paths, parent, base, self._location.base))

    def _identify_directories(self, paths: Paths, base: int, first_row: int) -> NDArray[np.uint32]:
        """For each row the id of the directory that holds it; for a directory's row, its own."""
        end = np.where(paths.is_directory, paths.end, np.maximum(paths.name_start - 1, paths.start))
        end[paths.hidden] = paths.start[paths.hidden]
        padded = np.concatenate([paths.blob, np.zeros(PADDING, np.uint8)])
        same = same_as_previous(word_view(padded), paths.start, end, limit=_COMPARED_BYTES)
        runs = np.flatnonzero(~same)
        blob = paths.blob.tobytes()
        identify = self._directories.identify
        allowed = allowed_directories(self._count)
        ids = [
            identify(blob[start:stop], base + start, allowed=allowed)
            for start, stop in zip(paths.start[runs].tolist(), end[runs].tolist(), strict=True)
        ]
        parent = np.repeat(np.array(ids, np.uint32), np.diff(np.append(runs, len(same))))
        described = np.flatnonzero(paths.is_directory & ~paths.hidden)
        for row, number in zip(described.tolist(), parent[described].tolist(), strict=True):
            self._directories.describe(number, first_row + row)
        return parent

    def _join_windows(self) -> Rows:
        """One array per column; each column's pieces are freed as soon as they are joined."""
        if not self._windows:
            return {}
        windows, self._windows = self._windows, []
        return {
            name: np.concatenate([rows.pop(name) for rows in windows]) for name in list(windows[0])
        }


def _rows(
    headers: Headers, paths: Paths, parent: NDArray[np.uint32], base: int, archive_base: int
) -> Rows:
    """The columns of one window, each as narrow as its values allow."""
    fixed = headers.fixed
    offset = np.minimum(headers.local_header_offset, _FAR) + np.uint64(archive_base)
    columns: dict[str, NDArray[Any]] = {
        "parent": parent,
        "name_start": narrow(paths.name_start + base),
        "name_end": narrow(paths.end + base),
        "raw_start": narrow(paths.raw_start + base),
        "raw_lengths": paths.raw_length,
        "flags": fixed["flags"].copy(),
        "methods": fixed["method"].copy(),
        "crc32s": fixed["crc32"].copy(),
        "compressed_sizes": narrow(headers.compressed_size),
        "sizes": narrow(headers.uncompressed_size),
        "local_header_offsets": narrow(offset),
        "mtimes": headers.modified,
        "modes": paths.mode,
        "damages": headers.damage,
        "is_directory": paths.is_directory,
        "hidden": paths.hidden,
    }
    return columns


def _mark_overlaps(rows: Rows, directory_start: int) -> None:
    """Mark members whose bytes another one claims, or that run into the directory.

    CVE-2024-0450 and quoted overlap: thousands of members may share one bomb's bytes. A member
    takes at least its local header, its name and its compressed data (4.3.7, 4.3.8).
    """
    if not rows:
        return
    damages = rows["damages"]
    start = rows["local_header_offsets"].astype(np.int64)
    size = np.minimum(rows["compressed_sizes"].astype(np.uint64), _FAR).astype(np.int64)
    end = start + LOCAL_FILE_HEADER_SIZE + rows["raw_lengths"] + size
    del size
    damages[(end > directory_start) & (damages == 0)] = PASSES_DIRECTORY
    if np.all(start[1:] >= end[:-1]) and not damages.any():
        return  # one after the other, as nearly all writers lay them out
    if damages.any():  # what cannot be read claims nothing: its neighbours are whole
        claiming = np.flatnonzero(damages == 0)
        start, end = start[claiming], end[claiming]
    else:
        claiming = np.arange(len(damages))
    if not np.all(start[1:] > start[:-1]):
        order = np.lexsort((end, start))
        start, end, claiming = start[order], end[order], claiming[order]
    # Headers of the very same bytes are one claim: the local name leaves only one name to it.
    first = np.append(True, (start[1:] != start[:-1]) | (end[1:] != end[:-1]))[: len(start)]
    claim = np.cumsum(first) - 1
    start, end = start[first], end[first]
    overlapped = np.zeros(len(start), np.bool_)
    overlapped[:-1] = end[:-1] > start[1:]
    overlapped[1:] |= start[1:] < np.maximum.accumulate(end[:-1])
    damages[claiming[overlapped[claim]]] = OVERLAPS
