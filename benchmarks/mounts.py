"""The mounts that are compared: ours and the peers', each fresh, on the same server."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from s3server import REPOSITORY, S3Server

RCLONE = REPOSITORY / ".tools" / "bin" / "rclone"
MOUNT_SECONDS = 30.0


@dataclass(frozen=True)
class Mounted:
    """A running mount of a bucket; `path` is where the bucket's content is."""

    name: str
    path: Path
    process: subprocess.Popen[bytes]

    def memory(self, field: str = "VmHWM") -> int:
        """Megabytes: the peak (VmHWM) or what is held now (VmRSS)."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith(field))
        return int(line.split()[1]) // 1024


@contextlib.contextmanager
def s3zipfs(server: S3Server, bucket: str, cache: Path, *options: str) -> Iterator[Mounted]:
    """Our mount; `cache` is its cache directory, empty for a fresh one."""
    command = [sys.executable, "-m", "s3zipfs", "mount", f"s3://{bucket}", "MNT", "--foreground"]
    command += ["--endpoint-url", server.endpoint, "--cache-dir", str(cache), *options]
    keys = {"AWS_ACCESS_KEY_ID": server.access_key, "AWS_SECRET_ACCESS_KEY": server.secret_key}
    with _running("s3zipfs", command, keys) as mounted:
        yield mounted


@contextlib.contextmanager
def rclone(server: S3Server, bucket: str, cache: Path) -> Iterator[Mounted]:
    """rclone's archive backend over its S3 one, as its documentation mounts it."""
    command = [str(RCLONE), "mount", f":archive:m:{bucket}", "MNT", "--read-only"]
    command += ["--vfs-cache-mode", "full", "--cache-dir", str(cache), "--dir-cache-time", "1h"]
    environment = {
        "RCLONE_CONFIG": os.devnull,
        "RCLONE_CONFIG_M_TYPE": "s3",
        "RCLONE_CONFIG_M_PROVIDER": "Minio",
        "RCLONE_CONFIG_M_ENDPOINT": server.endpoint,
        "RCLONE_CONFIG_M_ACCESS_KEY_ID": server.access_key,
        "RCLONE_CONFIG_M_SECRET_ACCESS_KEY": server.secret_key,
    }
    with _running("rclone", command, environment) as mounted:
        yield mounted


@contextlib.contextmanager
def _running(name: str, command: list[str], environment: dict[str, str]) -> Iterator[Mounted]:
    folder = Path(tempfile.mkdtemp(prefix=f"bench-{name}-"))
    path = folder / "mnt"
    path.mkdir()
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [str(path) if word == "MNT" else word for word in command],
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        give_up = time.monotonic() + MOUNT_SECONDS
        while not os.path.ismount(path):
            if process.poll() is not None or time.monotonic() > give_up:
                raise RuntimeError(f"{name} did not mount: {(folder / 'log').read_text()}")
            time.sleep(0.01)
        yield Mounted(name, path, process)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if os.path.ismount(path):
            subprocess.run(["fusermount3", "-uz", str(path)], check=False)
