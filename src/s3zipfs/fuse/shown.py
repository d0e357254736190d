"""Whose the files are shown to be, what the kernel lets whom do with them, and what is told."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass

from s3zipfs.fuse import privileges
from s3zipfs.settings import Settings


@dataclass(frozen=True, slots=True)
class Shown:
    """The same for all of a mount. The kernel compares with it (`default_permissions`)."""

    uid: int
    gid: int
    umask: int  # taken from 0444, and from 0555 of directories and programs
    file_mode: int | None = None  # in place of that
    dir_mode: int | None = None
    xattrs: bool = False  # whether there are extended attributes

    @classmethod
    def of(cls, settings: Settings) -> Shown:
        """What the settings say, else as of this process."""
        return cls(
            os.getuid() if settings.uid is None else settings.uid,
            os.getgid() if settings.gid is None else settings.gid,
            privileges.umask() if settings.umask is None else settings.umask,
            settings.file_mode,
            settings.dir_mode,
            settings.xattrs,
        )

    def mode_for(self, kind: int) -> int | None:
        """The permissions of all of a kind (S_IFDIR, S_IFREG); None: their own, less the umask."""
        return {stat.S_IFDIR: self.dir_mode, stat.S_IFREG: self.file_mode}.get(kind)

    def mode(self, kind: int, permissions: int) -> int:
        """`st_mode` of what has these permissions of its own."""
        given = self.mode_for(kind)
        return kind | (permissions & ~self.umask if given is None else given)
