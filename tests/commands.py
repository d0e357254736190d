"""Running `s3zipfs` as a user does, and what its errors must look like."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import preloaded
from s3server import S3Server

SECONDS = 60.0


def s3zipfs(
    *arguments: str, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the program to its end."""
    whole = {**os.environ, **(environment or {})}
    if preloaded.is_same_when_forked(whole):
        return preloaded.run(list(arguments), whole, SECONDS)
    return subprocess.run(
        [sys.executable, "-m", "s3zipfs", *arguments],
        check=False,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        env=whole,
    )


def keys_of(server: S3Server) -> dict[str, str]:
    """The environment that holds a server's credentials."""
    return {
        "AWS_ACCESS_KEY_ID": server.access_key,
        "AWS_SECRET_ACCESS_KEY": server.secret_key,
    }


def mount(server: S3Server, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`s3zipfs mount` with the server's keys; the mountpoint comes last, its log lies beside it."""
    keys = {**keys_of(server), "XDG_STATE_HOME": str(Path(arguments[-1]).parent / "state")}
    return s3zipfs("mount", "--endpoint-url", server.endpoint, *arguments, environment=keys)


def daemon_of(path: Path) -> int:
    """The process that serves, or will serve, a mount which its command has left behind."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"--ready-fd" in words and os.fsencode(path) in words:
            return int(process.name)
    raise ProcessLookupError(f"no process serves {path}")


def assert_one_line(done: subprocess.CompletedProcess[str], *words: str, code: int) -> None:
    """A failure is one line on stderr that says what is wrong, nothing else, and its exit code."""
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith("s3zipfs: "), done.stderr
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr, done.stderr
