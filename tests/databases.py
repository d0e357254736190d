"""Databases that trees are copied into: started on a socket of their own, killed afterwards."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from environments import find_program
from mounting import wait_until


def redis() -> AbstractContextManager[str | None]:
    """A redis-server's socket, or None where none is installed."""
    return _running("redis-server", "redis.sock", _redis_arguments)


def mongodb() -> AbstractContextManager[str | None]:
    """The socket of FerretDB, which speaks MongoDB's protocol over SQLite, or None."""
    return _running("ferretdb", "mongodb.sock", _ferretdb_arguments)


def _redis_arguments(folder: Path, socket: Path) -> list[str]:
    return ["--port", "0", "--unixsocket", str(socket), "--save", "", "--dir", str(folder)]


def _ferretdb_arguments(folder: Path, socket: Path) -> list[str]:
    return [
        *("--handler=sqlite", f"--sqlite-url=file:{folder}/", f"--state-dir={folder}"),
        *("--listen-addr=", f"--listen-unix={socket}", "--debug-addr=-", "--telemetry=disable"),
    ]


@contextmanager
def _running(
    name: str, socket_name: str, arguments: Callable[[Path, Path], list[str]]
) -> Iterator[str | None]:
    program = find_program(name)
    if program is None:
        yield None
        return
    # Not in a test's folder: an address of a socket has 107 bytes.
    with tempfile.TemporaryDirectory(prefix="s3zipfs-", dir="/tmp") as place:
        folder, socket = Path(place), Path(place) / socket_name
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [program, *arguments(folder, socket)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        try:
            wait_until(
                lambda: socket.exists() or process.poll() is not None,
                seconds=60.0,
                what=f"{name} listens",
            )
            assert process.poll() is None, (folder / "log").read_text()
            yield str(socket)
        finally:
            process.kill()
            process.wait()
