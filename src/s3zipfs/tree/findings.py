"""What a check finds, and what it comes to."""

from __future__ import annotations

import enum
from collections import Counter
from dataclasses import dataclass, field
from typing import Final


class Kind(enum.StrEnum):
    """What a finding says; the words are those of `s3zipfs check --json`."""

    ARCHIVE = "archive"  # not a zip that can be trusted: nothing in it was read
    CHANGED = "changed"  # replaced or deleted while it was checked
    DENIED = "denied"  # the store refuses it
    STRUCTURE = "structure"  # the central directory contradicts itself on this member
    CONTENT = "content"  # local header, compressed data, length or CRC-32
    ENCRYPTED = "encrypted"  # not checked
    UNSUPPORTED = "unsupported"  # not checked: a method without a library


NOT_CHECKED: Final = frozenset({Kind.ENCRYPTED, Kind.UNSUPPORTED})


@dataclass(frozen=True, slots=True)
class Finding:
    """A fault, or a member that could not be checked."""

    archive: str  # its URL; on a mount: the path of the file or directory
    member: bytes | None  # its path in the archive; None: the archive, or the path, itself
    kind: Kind
    message: str

    @property
    def is_fault(self) -> bool:
        """Whether something is wrong, rather than unknown."""
        return self.kind not in NOT_CHECKED


@dataclass(slots=True)
class Counts:
    """What a check has come to by now."""

    archives: int = 0
    members: int = 0  # files and symlinks: good, faulty or not checked
    bytes: int = 0  # of the contents found good
    compressed_bytes: int = 0  # the same as they stand in the archives
    faults: int = 0
    not_checked: Counter[str] = field(default_factory=Counter)  # by message
    hidden: int = 0  # headers that are no file here: names, devices
    duplicates: int = 0  # headers that a later one of the same name replaces
    other_objects: int = 0  # passed over: no archives by their names

    def add(self, finding: Finding) -> None:
        """Count it."""
        if finding.is_fault:
            self.faults += 1
        else:
            self.not_checked[finding.message] += 1
