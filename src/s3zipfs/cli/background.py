"""A mount that outlives its command: a child that serves, and the word it gives when it can.

Never a fork of this process: threads of the libraries would not survive it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click

import s3zipfs
from s3zipfs.cli import logs
from s3zipfs.cli.errors import USAGE
from s3zipfs.errors import MountError, SettingsError
from s3zipfs.fuse.mountpoint import is_automount
from s3zipfs.settings import environment_without_files

READY = "READY"  # the child's word; anything else is why it could not
STOP_SECONDS = 15.0  # what a mount needs at most to end (fuse.mount)


class Word:
    """What a child tells its parent, once, through an inherited pipe; nothing without one."""

    def __init__(self, descriptor: int | None) -> None:
        self._descriptor = descriptor
        self._warnings = _Warnings()
        if descriptor is not None:
            os.set_inheritable(descriptor, False)  # fusermount3 is a child too

    @property
    def is_awaited(self) -> bool:
        """Whether there is a parent that has not heard it yet."""
        return self._descriptor is not None

    def hear(self) -> None:
        """What is warned of from now on is told with `READY`: who waits would not see the log."""
        if self.is_awaited:
            logging.getLogger().addHandler(self._warnings)

    def give_ready(self) -> None:
        """Say that the mount can be used."""
        logging.getLogger().removeHandler(self._warnings)
        self.give("\n".join([READY, *self._warnings.texts]))

    def give(self, text: str) -> None:
        """Raises `BrokenPipeError` where the parent is gone."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            try:
                os.write(descriptor, text.encode(errors="backslashreplace"))
            finally:
                os.close(descriptor)


class _Warnings(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep its text."""
        self.texts.append(" ".join(record.getMessage().split()))


def mount(mountpoint: Path, log_file: Path | None) -> None:
    """Run this command again in the foreground of a process of its own; wait for its word.

    Raises:
        MountError, SettingsError: the child's, or how it died and where its log is.
    """
    log_file, log = _open_log(mountpoint, log_file)
    end_of_log = os.fstat(log).st_size
    reading, writing = os.pipe()
    child = None
    try:
        with os.fdopen(reading, "rb") as pipe:
            with _interrupts_held():
                child = _start(_command(writing, log_file), mountpoint, log, writing)
            word, *warnings = pipe.read().decode(errors="replace").split("\n")
        status = 0 if word == READY else child.wait(STOP_SECONDS)
    except BaseException:
        if child is not None:
            _end(child)
        raise
    if word != READY:
        kind = SettingsError if status == USAGE else MountError
        raise kind(word or _how_it_died(status, log_file, end_of_log))
    for text in warnings:
        click.echo(f"s3zipfs: warning: {text}", err=True)


def _start(command: list[str], mountpoint: Path, log: int, writing: int) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(  # noqa: S603 - no shell
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=log,
            pass_fds=(writing,),
            # What an env file says would stand in /proc/PID/environ, and stay there at SIGHUP.
            env=environment_without_files(),
            # autofs lets nobody mount but the group of processes that systemd has asked.
            start_new_session=not is_automount(mountpoint),
        )
    finally:
        os.close(writing)
        os.close(log)


@contextlib.contextmanager
def _interrupts_held() -> Iterator[None]:
    """Ctrl-C counts afterwards: in the middle of `Popen` it leaves a child that nobody knows."""
    before = signal.getsignal(signal.SIGINT)
    if before is not signal.default_int_handler:  # ignored, as for what a shell has put behind
        yield
        return
    came: list[int] = []
    signal.signal(signal.SIGINT, lambda number, _: came.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if came:
        raise KeyboardInterrupt


def _command(ready_fd: int, log_file: Path | None) -> list[str]:
    # Without -P, `-m` would import from the current directory before anything else.
    from_here = Path(s3zipfs.__file__).parent.parent == Path.cwd()
    command = [sys.executable, *([] if from_here else ["-P"]), "-m", "s3zipfs"]
    # Behind the command's name, since "--" may end the options further on.
    own = sys.argv.index("mount") + 1
    command += [*sys.argv[1:own], "--foreground", "--ready-fd", str(ready_fd)]
    if log_file is not None:
        command += ["--log-file", str(log_file)]
    return command + sys.argv[own:]


def _open_log(mountpoint: Path, wanted: Path | None) -> tuple[Path | None, int]:
    path = (wanted or logs.default_file(mountpoint)).absolute()
    try:
        return path, logs.open_file(path)
    except OSError as error:
        why = f"{path}: {error.strerror}"
        if wanted is not None:
            raise SettingsError(f"log file {why}") from error
        click.echo(f"s3zipfs: warning: no log is kept ({why}); --log-file names one", err=True)
        return None, os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)


def _how_it_died(status: int, log_file: Path | None, end_of_log: int) -> str:
    how = f"with exit status {status}"
    if status < 0:
        how = f"by {signal.Signals(-status).name}"
    elif status == 0:
        how = "since it was told to"
    last, where = "", ""
    if log_file is not None:
        where = f"; its log: {log_file}"
        with contextlib.suppress(OSError):
            written = log_file.read_bytes()[end_of_log:].decode(errors="replace").split("\n")
            last = next((f": {line.strip()}" for line in reversed(written) if line.strip()), "")
    return f"the mount's process ended before it was ready, {how}{last}{where}"


def _end(child: subprocess.Popen[bytes]) -> None:
    """It unmounts what it has mounted by then."""
    child.terminate()
    try:
        child.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
