"""Check what is below a path on a mount, by reading it through the kernel.

The mount's own reading path verifies every member, and says so by errno. What only an index tells
(hidden members, duplicates) is not seen from here.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from s3zipfs.errors import SettingsError
from s3zipfs.fuse.mountpoint import TYPE, mount_table
from s3zipfs.tree.findings import Counts, Finding, Kind

PIECE: Final = 1 << 20  # bytes read at once

_KINDS: Final = {
    errno.EIO: (Kind.CONTENT, "damaged, or not to be had; the mount's log says which"),
    errno.ESTALE: (Kind.CHANGED, "replaced while it was checked"),
    errno.ENOENT: (Kind.CHANGED, "gone since it was listed"),
    errno.EACCES: (Kind.DENIED, "the store refuses it"),
    errno.EOPNOTSUPP: (Kind.UNSUPPORTED, "encrypted, or a method without a library"),
}


class MountedCheck:
    """One check through a mount. `counts` and `progress` may be read between steps of `run`."""

    def __init__(self) -> None:
        self.counts = Counts()
        self.total: int | None = None  # bytes of content: not known
        self.progress = 0  # bytes read
        self._buffer = bytearray(PIECE)

    def run(self, path: str) -> Iterator[Finding | None]:
        """Findings in the order of the directories; None: time has passed.

        Raises:
            SettingsError: the path is on no mount of ours: reading there verifies nothing.
            OSError: the path does not exist, or the mount does not serve it any more.
        """
        if not _is_ours(Path(path).stat().st_dev):
            raise SettingsError(
                f"{path} is not on a mount of s3zipfs, so reading it would verify nothing; "
                "give the archive's URL: s3://BUCKET/KEY.zip"
            )
        if not os.path.isdir(path):  # noqa: PTH112 - bytes below
            yield from self._file(os.fsencode(path))
            return
        ahead = [os.fsencode(path)]
        while ahead:
            directory = ahead.pop()
            try:
                with os.scandir(directory) as entries:
                    names = list(entries)
            except OSError as error:
                yield self._finding(directory, error, of_archive=True)
                continue
            below = []
            for entry in names:
                if entry.is_dir(follow_symlinks=False):
                    below.append(entry.path)
                elif entry.is_file(follow_symlinks=False):
                    yield from self._file(entry.path)
            ahead += reversed(below)

    def _file(self, path: bytes) -> Iterator[Finding | None]:
        self.counts.members += 1
        size = 0
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                # What the kernel holds was verified when it came; the question is about now.
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
                while length := os.readv(descriptor, [self._buffer]):
                    size += length
                    self.progress += length
                    yield None
            finally:
                os.close(descriptor)
        except OSError as error:
            yield self._finding(path, error)
        else:
            self.counts.bytes += size

    def _finding(self, path: bytes, error: OSError, *, of_archive: bool = False) -> Finding:
        if error.errno not in _KINDS:
            error.filename = error.filename or path
            raise error
        kind, message = _KINDS[error.errno]
        if of_archive and kind is Kind.CONTENT:
            kind = Kind.ARCHIVE
        finding = Finding(os.fsdecode(path), None, kind, message)
        self.counts.add(finding)
        return finding


def _is_ours(device: int) -> bool:
    name = f"{os.major(device)}:{os.minor(device)}"
    return any(each.device == name and each.type == TYPE for each in mount_table())
