"""The archives of the tests behind a proxy: small, alike, and each for one test."""

from __future__ import annotations

import io
import random
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

TIMEOUT = 5.0  # of the mounts: short, and yet patient on a machine that is busy
OPTIONS = ("--timeout", f"{TIMEOUT:g}", "--cache-dir", "none")
CASES = 128  # as many as tests ask for one, and some
MANY = 1100  # objects in one directory: more than one page
SIZE = 3 << 20
CONTENT = {
    "stored": random.Random(1).randbytes(SIZE),
    "deflated": random.Random(2).randbytes(SIZE),  # and hardly smaller
}


def archive_bytes(comment: bytes = b"") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("stored", CONTENT["stored"], zipfile.ZIP_STORED)
        archive.writestr("deflated", CONTENT["deflated"], zipfile.ZIP_DEFLATED, compresslevel=1)
        archive.comment = comment
    return buffer.getvalue()


@dataclass(frozen=True)
class Case:
    """An archive that nothing has been read of yet."""

    folder: Path
    prefix: str

    @property
    def key(self) -> str:
        return f"{self.prefix}x.zip"

    @property
    def archive(self) -> Path:
        return self.folder / "x.zip"


def cases(mountpoint: Path) -> list[Case]:
    """All of them."""
    names = [f"case-{number:03}" for number in range(CASES)]
    return [Case(mountpoint / name, f"{name}/") for name in names]


def next_case(mountpoint: Path, numbers: Iterator[int]) -> Case:
    """One that no test has had."""
    return cases(mountpoint)[next(numbers)]
