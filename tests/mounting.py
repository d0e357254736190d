"""A real mount for a test: the daemon in a process of its own, unmounted whatever happens."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest
from s3server import S3Server

START_SECONDS = 30.0
STOP_SECONDS = 20.0


def wait_until(holds: Callable[[], Any], *, seconds: float, what: str) -> None:
    """Poll until it holds; fails the test when it does not in time."""
    give_up = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > give_up:
            raise AssertionError(f"not within {seconds:g} s: {what}")
        time.sleep(0.01)


def mounted_type(path: Path) -> str | None:
    """The type of the topmost mount at exactly this path, from the kernel's table."""
    found = None
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields = line.split()
        if fields[4].encode().decode("unicode_escape") == str(path):
            found = fields[fields.index("-") + 1]
    return found


@contextmanager
def small_disk(path: Path, size: str) -> Iterator[Path]:
    """A file system of its own, of so many bytes, as `64k`; skips where none may be mounted."""
    path.mkdir()
    options = ["-o", f"size={size},mode=0700", "s3zipfs-test", str(path)]
    mounting = ["mount", "-t", "tmpfs", *options]
    if os.geteuid() != 0 or subprocess.run(mounting, capture_output=True, check=False).returncode:
        pytest.skip("needs root, and the right to mount a tmpfs")
    try:
        yield path
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


class Mount:
    """`s3zipfs mount --foreground` as a child; `path` is where it is mounted."""

    def __init__(
        self,
        path: Path,
        server: S3Server,
        sources: Sequence[str],
        *options: str,
        python: str = sys.executable,
        prefix: Sequence[str] = (),
        environment: dict[str, str] | None = None,
    ) -> None:
        if not path.exists():
            path.mkdir()
        self.path = path
        self._prefix = prefix
        self._is_kept = False
        self.log = path.with_name(path.name + ".log")
        program = [*prefix, python, "-m", "s3zipfs", "mount"]
        program += [*sources, str(path), "--foreground", "--endpoint-url", server.endpoint]
        keys = {"AWS_ACCESS_KEY_ID": server.access_key, "AWS_SECRET_ACCESS_KEY": server.secret_key}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*program, *options],
                env={**os.environ, **keys, **(environment or {})},
                stdin=subprocess.DEVNULL,
                cwd="/",
                stdout=log,
                stderr=log,
            )

    def __enter__(self) -> Self:
        try:
            wait_until(self._ready, seconds=START_SECONDS, what=f"{self.path} mounted")
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def _ready(self) -> bool:
        if self.process.poll() is not None:
            raise AssertionError(f"the mount ended at its start: {self.log.read_text()}")
        return "ready" in self.log.read_text() and mounted_type(self.path) == "fuse.s3zipfs"

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if self.process.poll() is None:
                self.process.send_signal(signal.SIGTERM)
                self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            if kind is None:
                raise AssertionError(f"SIGTERM did not end it: {self.log.read_text()}") from None
        finally:
            if mounted_type(self.path) is not None and not self._is_kept:
                subprocess.run([*self._prefix, "fusermount3", "-uz", str(self.path)], check=False)

    def wait_for_line(self, text: str) -> None:
        """Until the log has it: a thread of its own writes that, behind the readers' answers."""
        wait_until(lambda: text in self.log.read_text(), seconds=START_SECONDS, what=text)

    def keep(self) -> None:
        """Leave what is mounted as it is when the block ends, dead as it may be."""
        self._is_kept = True

    def memory(self, field: str = "VmHWM") -> int:
        """Bytes of memory: `VmHWM` is the peak, `VmRSS` what is held now."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        kilobytes = next(line.split()[1] for line in status.splitlines() if line.startswith(field))
        return int(kilobytes) * 1024
