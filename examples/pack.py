"""Pack a Zarr hierarchy into a zip that is read well from far away: `pack.py TREE ARCHIVE.zip`.

The archive is as readers want it:

- stored: chunks are compressed by their codecs already, and any range of a stored member is read,
- metadata first and together, the root's at the start: one request fetches all of it,
- chunks in the order of their positions, 2 before 10: an array read in order is one stream,
- Zip64 where a member, the archive or their number asks for it,
- the same bytes each time, whenever and by whomever it is packed,
- there whole or not at all, by a rename.

It needs Python alone, and refuses what would not be read back: a folder that is no Zarr, links.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import stat
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

METADATA = ("zarr.json", ".zgroup", ".zarray", ".zattrs", ".zmetadata")
DATE = (1980, 1, 1, 0, 0, 0)  # the first that a zip can tell
LONGEST_NAME = 65535  # bytes; APPNOTE 4.4.10
PIECE = 1 << 20  # bytes read at once


class PackError(Exception):
    """The tree can't be packed; `str()` says why."""


def main() -> int:
    """Pack, and say what came of it."""
    parser = argparse.ArgumentParser(description="Pack a Zarr hierarchy into a zip.")
    parser.add_argument("tree", type=Path, help="folder with zarr.json, .zgroup or .zarray")
    parser.add_argument("archive", type=Path, help="zip to write; one that is there is replaced")
    given = parser.parse_args()
    try:
        members = pack(given.tree, given.archive)
    except (PackError, OSError) as error:
        print(f"pack.py: {error}", file=sys.stderr)
        return 1
    print(f"{given.archive}: {members:,} members, {given.archive.stat().st_size:,} bytes")
    return 0


def pack(tree: Path, archive: Path) -> int:
    """Write the archive; how many members it has.

    Raises:
        PackError: the folder holds no Zarr hierarchy, or something that no member can be.
    """
    if archive.resolve().is_relative_to(tree.resolve()):
        raise PackError(f"{archive}: within the tree that is packed")
    names = sorted(find_members(tree), key=place)
    beside = archive.with_name(f".{archive.name}.{os.getpid()}")
    try:
        with beside.open("wb") as file:
            with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as target:
                for name in names:
                    add(target, tree / name, name)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(archive)
    finally:
        beside.unlink(missing_ok=True)
    return len(names)


def find_members(tree: Path) -> Iterator[str]:
    """The names of all files, with slashes."""
    if not tree.is_dir():
        raise PackError(f"{tree}: no such folder")
    if not any((tree / name).is_file() for name in ("zarr.json", ".zgroup", ".zarray")):
        raise PackError(f"{tree}: no Zarr hierarchy: neither zarr.json nor .zgroup nor .zarray")
    for folder, folders, files in os.walk(tree, onerror=refuse):
        for name in [*folders, *files]:
            path = Path(folder, name)
            mode = path.lstat().st_mode
            if stat.S_ISREG(mode):
                yield checked(path.relative_to(tree).as_posix())
            elif not stat.S_ISDIR(mode):
                raise PackError(f"{path}: neither a file nor a folder")


def checked(name: str) -> str:
    """The same name, where a zip can tell it."""
    try:
        encoded = name.encode()
    except UnicodeEncodeError:
        raise PackError(f"{name!r}: not UTF-8") from None
    if len(encoded) > LONGEST_NAME:
        raise PackError(f"{name[:40]}…: longer than {LONGEST_NAME} bytes")
    return name


def refuse(error: OSError) -> None:
    """What can't be listed is not left out."""
    raise error


def place(name: str) -> tuple[bool, int, list[tuple[bool, int, str]]]:
    """Metadata before all else and higher before deeper; numbers by their values."""
    parts = re.split(r"[/.]", name)
    numbers = [(part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in parts]
    is_metadata = name.rpartition("/")[2] in METADATA
    return not is_metadata, name.count("/") if is_metadata else 0, numbers


def add(target: zipfile.ZipFile, path: Path, name: str) -> None:
    """One file, with nothing of it but its name and content."""
    member = zipfile.ZipInfo(name, DATE)
    member.create_system = 3  # Unix, wherever it is packed
    member.external_attr = (stat.S_IFREG | 0o644) << 16
    member.file_size = size = path.stat().st_size  # by which Zip64 is chosen
    with path.open("rb") as source, target.open(member, "w") as written:
        shutil.copyfileobj(source, written, PIECE)
    if member.file_size != size:
        raise PackError(f"{path}: changed while it was packed")


if __name__ == "__main__":
    sys.exit(main())
