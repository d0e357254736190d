"""The README's picture, `docs/images/demo.svg`: commands on the demo's bucket, and what they said.

Run by `make pictures`. Fails where a command does, so that the picture shows what is so.
"""

from __future__ import annotations

import io
import os
import re
import subprocess
import tempfile
from pathlib import Path

import demo
from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text
from s3server import REPOSITORY, S3Server

PICTURE = REPOSITORY / "docs" / "images" / "demo.svg"
COLUMNS = 100
COMMANDS = (
    "s3zipfs mount s3://demo ~/mnt",
    "ls -C ~/mnt ~/mnt/climate.zarr.zip",
    "grep -rn storm ~/mnt/notes.zip | head -n 3",
    'python -c \'import zarr; print(zarr.open("mnt/climate.zarr.zip", mode="r")["temperature"])\'',
    "s3zipfs tree s3://demo/climate.zarr.zip",
    "s3zipfs umount ~/mnt",
)
# rich's SVG fetches its font from another host: the reader's own will do.
_FONTS = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)


def main() -> None:
    """Run the commands and draw them."""
    demo.prepare_environment()
    with tempfile.TemporaryDirectory(prefix="s3zipfs-pictures-") as folder:
        home = Path(folder)
        (home / "mnt").mkdir()
        with S3Server.start(own=True) as server:
            demo.fill_bucket(server, home)
            try:
                said = [(command, run(command, home, server)) for command in COMMANDS]
            finally:
                demo.clean(home)
    PICTURE.parent.mkdir(exist_ok=True)
    PICTURE.write_text(draw(said), encoding="utf-8")
    print(f"{PICTURE.relative_to(REPOSITORY)} is drawn")


def run(command: str, home: Path, server: S3Server) -> str:
    """What a command prints in that home.

    Raises:
        CalledProcessError: it fails.
    """
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command],
        env={
            **os.environ,
            "HOME": str(home),
            "COLUMNS": str(COLUMNS),
            "S3ZIPFS_ENDPOINT_URL": server.endpoint,
            "AWS_ACCESS_KEY_ID": server.access_key,
            "AWS_SECRET_ACCESS_KEY": server.secret_key,
        },
        cwd=home,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        timeout=demo.COMMAND_SECONDS,
        check=True,
    )
    return done.stdout.replace(str(home), "/home/me")


def draw(said: list[tuple[str, str]]) -> str:
    """A terminal that shows them, as SVG that fetches nothing."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    for command, printed in said:
        console.print(Text.assemble(("$ ", "bold green"), (command, "bold")))
        if printed:
            console.print(Text(printed.rstrip()))
    svg = console.export_svg(title="s3zipfs", theme=MONOKAI, unique_id="demo")
    return _FONTS.sub("", svg)


if __name__ == "__main__":
    main()
