"""docs/contributing.md leads where it says: its first walkthrough is followed, step by step."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path

import documented

from s3zipfs.tree.tree import Tree

ROOT = documented.ROOT
PAGE = (ROOT / "docs" / "contributing.md").read_text()
NUMBER = 0xFF01


def section(title: str) -> str:
    return PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def test_a_method_that_is_added_as_described_is_read(tmp_path: Path) -> None:
    package = tmp_path / "s3zipfs"
    shutil.copytree(ROOT / "src" / "s3zipfs", package)
    number, decoder, line = (
        each.text for each in documented.blocks(section("A new compression method"))
    )
    extend(package / "zipformat" / "methods.py", number)
    importing = f"from s3zipfs.zipformat.methods import {number.partition(':')[0]}\n"
    extend(package / "archive" / "decoders.py", f"{importing}\n{decoder}\n{line}")

    content = bytes(range(256)) * 5000
    archive = tmp_path / "inverted.zip"
    write_member(archive, "odd.bin", content)
    read = (
        "import sys; from s3zipfs import ZipFileSystem; "
        "sys.stdout.buffer.write(ZipFileSystem(fo=sys.argv[1]).cat_file('odd.bin'))"
    )
    done = subprocess.run(
        [sys.executable, "-c", read, str(archive)],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout == content


def test_a_door_is_told_of_calls_that_a_tree_has() -> None:
    told = re.search(r"calls (`.+?`), each\s", section("A new door"))
    assert told is not None
    names = re.findall(r"`(\w+)`", told[1])
    assert len(names) > 3
    assert all(callable(getattr(Tree, name)) for name in names)


def extend(file: Path, text: str) -> None:
    with file.open("a") as module:
        module.write(f"\n\n{text}")


def write_member(archive: Path, name: str, content: bytes) -> None:
    """One member of the walkthrough's method: a stored one, with its number and CRC put right."""
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr(name, bytes(255 - byte for byte in content))
    crc = zlib.crc32(content)
    data = bytearray(archive.read_bytes())
    for signature, method in ((b"PK\3\4", 8), (b"PK\1\2", 10)):
        at = data.index(signature)
        data[at + method : at + method + 2] = NUMBER.to_bytes(2, "little")
        data[at + method + 6 : at + method + 10] = crc.to_bytes(4, "little")
    archive.write_bytes(data)


def test_every_place_that_it_names_exists() -> None:
    named = set(re.findall(r"`((?:src|tests|docs|scripts)?/?[\w/]+\.(?:py|md|toml))`", PAGE))
    assert len(named) > 15
    below = (ROOT, ROOT / "src" / "s3zipfs")
    missing = [
        each
        for each in named
        if "NAME" not in each and not any((folder / each).exists() for folder in below)
    ]
    assert missing == []
