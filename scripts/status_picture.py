"""The status page's picture, `docs/images/status.png`: a mount of the demo's bucket that is read.

Run by `make pictures`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import demo
from chromium import Chromium, find_chromium
from s3server import REPOSITORY, S3Server

PICTURE = REPOSITORY / "docs" / "images" / "status.png"
ROUNDS = 12  # of reads, one each second
WIDTH, HEIGHT = 1100, 1330  # pixels


def main() -> None:
    """Mount, read for a while, and take the picture."""
    program = find_chromium()
    if program is None:
        sys.exit("no chromium: scripts/bootstrap-system.sh chromium:chromium")
    demo.prepare_environment()
    with (
        tempfile.TemporaryDirectory(prefix="s3zipfs-pictures-") as folder,
        S3Server.start(own=True) as server,
        Chromium(program) as browser,
    ):
        home = Path(folder)
        demo.fill_bucket(server, home)
        mount = home / "lab"
        mount.mkdir()
        s3zipfs("mount", "s3://demo", str(mount), "--metrics", "127.0.0.1:0", server=server)
        try:
            photograph(browser, mount)
        finally:
            s3zipfs("umount", str(mount), server=server)
    print(f"{PICTURE.relative_to(REPOSITORY)} is taken")


def s3zipfs(*arguments: str, server: S3Server) -> None:
    """Run a command of ours at that server."""
    given = {
        "S3ZIPFS_ENDPOINT_URL": server.endpoint,
        "AWS_ACCESS_KEY_ID": server.access_key,
        "AWS_SECRET_ACCESS_KEY": server.secret_key,
    }
    command = [sys.executable, "-m", "s3zipfs", *arguments]
    subprocess.run(command, env={**os.environ, **given}, check=True, timeout=demo.COMMAND_SECONDS)


def photograph(browser: Chromium, mount: Path) -> None:
    """The page, once it has seen some reads."""
    size = {"width": WIDTH, "height": HEIGHT, "deviceScaleFactor": 1, "mobile": False}
    browser.send("Emulation.setDeviceMetricsOverride", **size)
    browser.open(json.loads((mount / ".s3zipfs/status.json").read_bytes())["metrics"])
    files = [path for path in sorted(mount.rglob("*")) if path.is_file()]
    for number in range(ROUNDS):
        for path in files[number::ROUNDS]:
            path.read_bytes()
        time.sleep(1)
    browser.wait_until("samples.length >= 6", seconds=60)
    PICTURE.parent.mkdir(exist_ok=True)
    browser.screenshot(PICTURE)


if __name__ == "__main__":
    main()
