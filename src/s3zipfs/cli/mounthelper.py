"""`mount.s3zipfs` and `mount.fuse.s3zipfs`: what mount(8) calls for `-t fuse.s3zipfs` and fstab.

    mount.fuse.s3zipfs SOURCE DIRECTORY [-sfnv] [-N NAMESPACE] [-o OPTIONS] [-t TYPE]

(mount(8), "EXTERNAL HELPERS"). SOURCE may be `none`, where the settings (`config=`) have sources.
"""

from __future__ import annotations

import getopt
import os
import re
import sys
from typing import NoReturn

from s3zipfs.cli.errors import USAGE, leave
from s3zipfs.cli.main import run

# As mount(8) has them under "EXIT STATUS":
_USAGE, _FAILED = 1, 32
_NO_SOURCE = ("none", "-", "s3zipfs", "")


def main() -> NoReturn:
    """The console script."""
    try:
        command = command_of(sys.argv[1:])
    except getopt.GetoptError as error:
        sys.stderr.write(f"{os.path.basename(sys.argv[0])}: {error}\n")  # noqa: PTH119
        sys.exit(_USAGE)
    if command is None:
        sys.exit(0)
    sys.argv = [sys.argv[0], *command]
    leave({0: 0, USAGE: _USAGE}.get(run(), _FAILED))


def command_of(arguments: list[str]) -> list[str] | None:
    """The words of `s3zipfs` for those of mount(8); None: nothing is to be done (`-f`).

    Raises:
        GetoptError: they are none of mount(8)'s.
    """
    options, places = getopt.gnu_getopt(arguments, "sfnvrwN:o:t:")
    if len(places) != 2:
        raise getopt.GetoptError("SOURCE and DIRECTORY are needed")
    source, directory = places
    command = ["mount"]
    for option, value in options:
        if option == "-f":
            return None
        if option == "-v":
            command.append("-v")
        if option == "-o":
            command += ["-o", _without_rw(value)]
    sources = [] if source in _NO_SOURCE else source.split()
    return [*command, "--", *sources, directory]


def _without_rw(words: str) -> str:
    """Mount(8) says `rw` wherever nobody said `ro`."""
    # A comma behind "\\" is one of a value.
    return re.sub(r"(?:\A|(?<!\\),)rw(?=,|\Z)", "", words).lstrip(",")
