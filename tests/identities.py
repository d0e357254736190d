"""Running the daemon and its readers as root, and as an ordinary user that a test makes."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pwd
import shutil
import stat
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

import pytest

SOURCE = Path(__file__).resolve().parent.parent / "src"
USER = "s3zipfs-test"
DEVICE = Path("/dev/fuse")
LOCK = Path("/tmp/s3zipfs-tests.lock")  # who holds it changes what the machine has
USED = Path("/tmp/s3zipfs-tests.used")  # held by each who uses it; the device's mode before


@dataclass(frozen=True)
class Identity:
    """Who runs a command, and a folder of theirs that they can reach."""

    folder: Path
    python: str
    prefix: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)

    def run(self, *command: str, cwd: Path = Path("/"), **options: object) -> str:
        """The standard output of a command that must succeed."""
        # The directory is changed by the user: root may not enter another's mount.
        done = subprocess.run(
            [*self.prefix, "env", "-C", str(cwd), *command],
            check=False,
            capture_output=True,
            text=True,
            timeout=120,
            env={**os.environ, **self.environment},
            **options,  # type: ignore[call-overload]
        )
        assert done.returncode == 0, f"{command}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
        return str(done.stdout)


@contextlib.contextmanager
def current_identity(folder: Path) -> Iterator[Identity]:
    """Whoever runs the tests."""
    yield Identity(folder, sys.executable)


@contextlib.contextmanager
def ordinary_identity() -> Iterator[Identity]:
    """A user without privileges, made and removed by root; else whoever runs the tests."""
    folder = Path(tempfile.mkdtemp(prefix="s3zipfs-user-"))
    try:
        if os.geteuid() != 0:
            with current_identity(folder) as identity:
                yield identity
            return
        with _user_and_device() as (uid, gid):
            folder.chmod(0o755)
            home = folder / "home"
            home.mkdir()
            os.chown(home, uid, gid)
            # The program is found by env, after the privileges are gone: setpriv itself would
            # still find one that the user cannot.
            prefix = ("setpriv", f"--reuid={uid}", f"--regid={gid}", "--clear-groups", "env")
            paths = [_reachable(path, folder, prefix) for path in (SOURCE, _packages())]
            environment = {
                "HOME": str(home),
                "PYTHONPATH": os.pathsep.join(map(str, paths)),
                "PYTHONDONTWRITEBYTECODE": "1",
            }
            python = _python(prefix, environment)
            yield Identity(home, python, prefix, environment)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _user_and_device() -> Iterator[tuple[int, int]]:
    """The user's uid and gid, and /dev/fuse open to all, as udev makes it and a container may not.

    Both are the machine's. Of all processes that test at once the first one makes them, and the
    last one takes them away.
    """
    with LOCK.open("a+") as changing, USED.open("a+") as used:
        fcntl.flock(changing, fcntl.LOCK_EX)
        if _is_alone(used):
            used.truncate(0)
            used.write(oct(stat.S_IMODE(DEVICE.stat().st_mode)))
            used.flush()
            DEVICE.chmod(0o666)
            subprocess.run(["userdel", USER], check=False, stderr=subprocess.DEVNULL)  # killed run
            subprocess.run(["useradd", "--system", "--no-create-home", USER], check=True)
        fcntl.flock(used, fcntl.LOCK_SH)
        fcntl.flock(changing, fcntl.LOCK_UN)
        try:
            found = pwd.getpwnam(USER)
            yield found.pw_uid, found.pw_gid
        finally:
            fcntl.flock(changing, fcntl.LOCK_EX)
            fcntl.flock(used, fcntl.LOCK_UN)
            if _is_alone(used):
                subprocess.run(["userdel", USER], check=False)
                used.seek(0)
                DEVICE.chmod(int(used.read(), 8))


def _is_alone(used: TextIO) -> bool:
    try:
        fcntl.flock(used, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _packages() -> Path:
    return Path(sysconfig.get_paths()["purelib"])


def _reachable(path: Path, folder: Path, prefix: Sequence[str]) -> Path:
    """The path itself where the user can read it, else a copy of hard links that they can."""
    if subprocess.run([*prefix, "test", "-r", str(path)], check=False).returncode == 0:
        return path
    copy = folder / path.name
    for command in (["cp", "-rl"], ["cp", "-r"]):
        if subprocess.run([*command, str(path), str(copy)], check=False).returncode == 0:
            break
    subprocess.run(["chmod", "-R", "a+rX", str(copy)], check=True)
    return copy


def _python(prefix: Sequence[str], environment: dict[str, str]) -> str:
    own = os.path.realpath(sys.executable)
    system = f"/usr/bin/python{sys.version_info.major}.{sys.version_info.minor}"
    for python in (own, system):
        tried = subprocess.run(
            [*prefix, python, "-c", "import s3zipfs.filesystem"],
            check=False,
            capture_output=True,
            env={**os.environ, **environment},
            cwd="/",
        )
        if tried.returncode == 0:
            return python
    pytest.fail(f"no Python that an ordinary user may run: {own}, {system}")
