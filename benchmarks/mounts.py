"""The mounts that are compared: ours and the peers', each fresh, on the same server."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from s3server import REPOSITORY

RCLONE = REPOSITORY / ".tools" / "bin" / "rclone"
RATARMOUNT = REPOSITORY / ".tools" / "env-ratarmount" / "bin" / "ratarmount"
MOUNT_SECONDS = 60.0
STOP_SECONDS = 20.0
REST_SECONDS = 30.0  # at most, until a daemon has nothing more to do
RUN_SECONDS = 240.0  # of one mount; a daemon that hangs is killed then, and its readers err
OURS = "s3zipfs"
OURS_ON_DISK = "s3zipfs, disk cache"


@dataclass(frozen=True)
class Store:
    """An S3 endpoint: the server itself, or a proxy before it."""

    endpoint: str
    access_key: str
    secret_key: str


@dataclass(frozen=True)
class Command:
    """How one system mounts a bucket. `MNT` in `words` stands for the mountpoint."""

    words: list[str]
    environment: Mapping[str, str]


def s3zipfs(store: Store, bucket: str, home: Path) -> Command:
    """Our mount with its defaults."""
    words = [sys.executable, "-m", "s3zipfs", "mount", f"s3://{bucket}", "MNT", "--foreground"]
    words += ["--endpoint-url", store.endpoint]
    environment = {
        "AWS_ACCESS_KEY_ID": store.access_key,
        "AWS_SECRET_ACCESS_KEY": store.secret_key,
        "XDG_CACHE_HOME": str(home / "cache"),
    }
    return Command(words, environment)


def s3zipfs_on_disk(store: Store, bucket: str, home: Path) -> Command:
    """Our mount with a cache directory of its own: it keeps on disk what it fetched."""
    command = s3zipfs(store, bucket, home)
    return Command([*command.words, "--cache-dir", str(home / "cache")], command.environment)


def rclone(store: Store, bucket: str, home: Path, *, mode: str = "full") -> Command:
    """rclone's archive backend over its S3 one, as its documentation mounts it."""
    words = [str(RCLONE), "mount", f":archive:m:{bucket}", "MNT", "--read-only"]
    words += ["--vfs-cache-mode", mode, "--cache-dir", str(home / "cache")]
    words += ["--dir-cache-time", "1h"]
    environment = {
        "RCLONE_CONFIG": os.devnull,
        "RCLONE_CONFIG_M_TYPE": "s3",
        "RCLONE_CONFIG_M_PROVIDER": "Minio",
        "RCLONE_CONFIG_M_ENDPOINT": store.endpoint,
        "RCLONE_CONFIG_M_ACCESS_KEY_ID": store.access_key,
        "RCLONE_CONFIG_M_SECRET_ACCESS_KEY": store.secret_key,
    }
    return Command(words, environment)


def rclone_without_cache(store: Store, bucket: str, home: Path) -> Command:
    """rclone's default cache mode, faster where a large member is read once in order."""
    return rclone(store, bucket, home, mode="off")


def ratarmount(store: Store, bucket: str, _home: Path) -> Command:
    """ratarmount over a whole bucket: archives in it are opened when they are looked into."""
    words = [str(RATARMOUNT), "-f", "-l", "-r", f"s3://{bucket}", "MNT"]
    environment = {
        "FSSPEC_S3_ENDPOINT_URL": store.endpoint,
        "FSSPEC_S3_KEY": store.access_key,
        "FSSPEC_S3_SECRET": store.secret_key,
        "AWS_ENDPOINT_URL": store.endpoint,
    }
    return Command(words, environment)


PEERS: dict[str, Callable[[Store, str, Path], Command]] = {
    "rclone": rclone,
    "rclone, cache off": rclone_without_cache,
    "ratarmount": ratarmount,
}
SYSTEMS = {OURS: s3zipfs, OURS_ON_DISK: s3zipfs_on_disk, **PEERS}
PROGRAMS = {"rclone": RCLONE, "rclone, cache off": RCLONE, "ratarmount": RATARMOUNT}


def is_mounted(path: Path) -> bool:
    """Whether the kernel lists a mount there; one whose daemon died is one as well."""
    mounts = Path("/proc/self/mountinfo").read_text(errors="replace").splitlines()
    return any(line.split()[4] == str(path) for line in mounts)


def is_installed(system: str) -> bool:
    """Whether the system's program was built; ours always is."""
    return system not in PROGRAMS or PROGRAMS[system].exists()


class Mount:
    """A mount of a bucket, running inside a `with`; `path` is where the bucket's content is.

    Its cache directory and home are empty at first, and stay over a `remount`. `peak` (MB) and
    `cpu` (seconds) are the daemon's, of all the times that it was mounted; final after the `with`.
    A work calls `mark` where what it measures begins: requests count from there.
    """

    def __init__(
        self, system: str, store: Store, bucket: str, mark: Callable[[], None] = lambda: None
    ) -> None:
        self.system = system
        self.mark = mark
        self.peak = 0
        self.cpu = 0.0
        self._folder = tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True)
        self._home = Path(self._folder.name)
        self.path = self._home / "mnt"
        self.path.mkdir()
        self._command = SYSTEMS[system](store, bucket, self._home)
        self._process: subprocess.Popen[bytes] | None = None
        self._watchdog: threading.Timer | None = None

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()
        if not is_mounted(self.path):  # never remove through a mount
            self._folder.cleanup()

    def remount(self) -> None:
        """End the daemon and start it anew: the kernel's caches are empty, the disk's are not.

        Not before it rests: what it writes to its disk in the background is there.
        """
        give_up, before = time.monotonic() + REST_SECONDS, -1.0
        while (now := self._seconds()) - before > 0.02 and time.monotonic() < give_up:
            before = now
            time.sleep(1)
        self._stop()
        self._start()

    def resident(self) -> int:
        """MB that the daemon holds now (VmRSS)."""
        return self._status("VmRSS")

    def _status(self, field: str) -> int:
        assert self._process is not None
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith(field))
        return int(line.split()[1]) // 1024

    def _seconds(self) -> float:
        assert self._process is not None
        stat = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")  # proc(5): utime, stime

    def _start(self) -> None:
        # Nothing of the user's settings, of earlier runs' indexes and caches, or of a proxy.
        foreign = ("AWS_", "S3ZIPFS_", "STORAGE_", "ENDPOINT_", "RCLONE_", "FSSPEC_")
        kept = {k: v for k, v in os.environ.items() if not k.startswith(foreign)}
        own = {"HOME": str(self._home), "no_proxy": "127.0.0.1", "AWS_REGION": "us-east-1"}
        with (self._home / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(self.path) if word == "MNT" else word for word in self._command.words],
                env={**kept, **own, **self._command.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self._watchdog = threading.Timer(RUN_SECONDS, self._process.kill)
        self._watchdog.start()
        give_up = time.monotonic() + MOUNT_SECONDS
        while not is_mounted(self.path):
            if self._process.poll() is not None or time.monotonic() > give_up:
                said = (self._home / "log").read_text(errors="replace")[-2000:]
                raise RuntimeError(f"{self.system} did not mount: {said}")
            time.sleep(0.01)

    def _stop(self) -> None:
        process, watchdog = self._process, self._watchdog
        if process is None:
            return
        if watchdog is not None:
            watchdog.cancel()
        if process.poll() is None:
            self.peak = max(self.peak, self._status("VmHWM"))
            self.cpu += self._seconds()
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self._process = None
        if is_mounted(self.path):
            subprocess.run(["fusermount3", "-uz", str(self.path)], check=False)
