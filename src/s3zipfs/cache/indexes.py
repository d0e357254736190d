"""Indexes of archives on disk, so that a remount opens a million members without a request.

One file (`indexfile`) of the folder of indexes (`indexfolder`) holds one index.
"""

from __future__ import annotations

import codecs
from functools import partial
from pathlib import Path
from typing import Any, Final

from s3zipfs.cache.indexfile import FORMAT, Opened, describe, read_file, write_file
from s3zipfs.cache.indexfolder import Counts, IndexFolder, identity_of_version
from s3zipfs.stores.base import ObjectInfo
from s3zipfs.zipformat.index import MemberIndex

# Smaller indexes are those of directories within the first GET of 128 KiB, which is one request
# again after a remount, as cheap as a file of their own.
SMALLEST: Final = 128 << 10


class PersistedIndexes:
    """The indexes under one cache directory, for one `encoding`; safe for threads and processes.

    Nothing here raises: without a file that can be used the archive is loaded from the store.

    Args:
        cache_dir, max_bytes: see `IndexFolder`.
        encoding: of names that do not declare theirs, as the indexes are built with.
    """

    def __init__(self, cache_dir: Path | None, *, max_bytes: int, encoding: str | None) -> None:
        self.folder = IndexFolder(cache_dir, max_bytes=max_bytes)
        self._encoding = codecs.lookup(encoding).name if encoding is not None else None

    @property
    def counts(self) -> Counts:
        """What became of the attempts, since the start."""
        return self.folder.counts

    def wants(self, index: MemberIndex, *, in_tail: bool) -> bool:
        """Whether it is worth a file. `in_tail`: the first GET of the object told all of it."""
        folder, size = self.folder, index.nbytes
        is_small = in_tail and size < SMALLEST
        return folder.cache_dir is not None and size <= folder.max_bytes and not is_small

    def open(self, info: ObjectInfo) -> Opened | None:
        """The index of that version, verified; None where there is none to be had."""
        identity = self._identity(info)
        return self.folder.open(identity, partial(read_file, identity=identity))

    def save(self, info: ObjectInfo, index: MemberIndex) -> bool:
        """Write the index of that version; whether it is there now."""
        identity = self._identity(info)
        header, columns = describe(identity, index)
        write = partial(write_file, header=header, columns=columns)
        return self.folder.save(identity, header.file_size, write)

    def _identity(self, info: ObjectInfo) -> dict[str, Any]:
        return {
            "format": FORMAT,
            **identity_of_version(info),
            "encoding": self._encoding,
        }
