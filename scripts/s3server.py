"""An S3 server for the tests and the demo: a real MinIO where there is one.

    with S3Server.start() as server:
        boto3.client("s3", endpoint_url=server.endpoint, ...)

Found in this order: `S3ZIPFS_TEST_ENDPOINT` (already running), `.tools/bin/minio`, `minio` on
PATH, and moto's server, with one printed line that says so. `S3ZIPFS_REQUIRE_MINIO=1` refuses
moto. Run as a program it serves in the foreground and prints the endpoint.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from types import FrameType, TracebackType
from typing import NoReturn, Self

REPOSITORY = Path(__file__).resolve().parent.parent
MINIO = REPOSITORY / ".tools" / "bin" / "minio"
ACCESS_KEY = SECRET_KEY = "minioadmin"  # MinIO's own defaults
READY_SECONDS = 60.0
STOP_SECONDS = 10.0


class ServerError(RuntimeError):
    """No server could be started; `str()` says why and what to do."""


def find_minio() -> Path | None:
    """The MinIO program: the one built by `make tools`, else the one on PATH."""
    if os.access(MINIO, os.X_OK):
        return MINIO
    found = shutil.which("minio")
    return Path(found) if found else None


class S3Server:
    """A running S3 server on loopback, stopped by `stop()` or the end of the `with` block.

    `kind` is "minio", "moto" or "external"; `process` is None for an external one.
    """

    def __init__(
        self,
        endpoint: str,
        *,
        access_key: str,
        secret_key: str,
        kind: str,
        process: subprocess.Popen[bytes] | None = None,
        folder: Path | None = None,
    ) -> None:
        self.endpoint = endpoint
        self.access_key = access_key
        self.secret_key = secret_key
        self.kind = kind
        self.process = process
        self.folder = folder  # ours to remove: data and log

    def __repr__(self) -> str:
        return f"S3Server({self.endpoint!r}, kind={self.kind!r})"

    @classmethod
    def start(
        cls,
        *,
        certs_dir: Path | None = None,
        port: int = 0,
        own: bool = False,
        environment: Mapping[str, str] | None = None,
    ) -> S3Server:
        """Start one, or name the one that runs already; returns when it answers.

        Args:
            certs_dir: folder with `public.crt` and `private.key`; serves HTTPS (MinIO only).
            port: loopback port; 0 takes a free one.
            own: never the external one, for tests that pause or break it.
            environment: further variables of a MinIO.

        Raises:
            ServerError: none found, none may be used, or it does not answer within 60 s.
        """
        running = os.environ.get("S3ZIPFS_TEST_ENDPOINT")
        if running and not own and certs_dir is None:
            return cls(
                running.rstrip("/"),
                access_key=os.environ.get("AWS_ACCESS_KEY_ID", ACCESS_KEY),
                secret_key=os.environ.get("AWS_SECRET_ACCESS_KEY", SECRET_KEY),
                kind="external",
            )
        minio = find_minio()
        if minio is not None:
            return _start_until_ready(minio, certs_dir=certs_dir, port=port, more=environment)
        if os.environ.get("S3ZIPFS_REQUIRE_MINIO") == "1":
            raise ServerError(
                "S3ZIPFS_REQUIRE_MINIO=1, and there is no MinIO: 'make tools' builds one (needs Go)"
            )
        if certs_dir is not None:
            raise ServerError("TLS needs a MinIO: 'make tools' builds one (needs Go)")
        if importlib.util.find_spec("moto") is None:
            raise ServerError("no MinIO ('make tools' builds one) and no moto (pip install moto)")
        print(
            "s3server: no MinIO found; using moto's server, which is not a real store",
            file=sys.stderr,
        )
        return _start_until_ready(None, certs_dir=None, port=port)

    def pause(self) -> None:
        """SIGSTOP: connections are accepted by the kernel, nothing is answered."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        self._signal(signal.SIGCONT)

    def stop(self) -> None:
        """End the server and remove its data. Safe to call twice."""
        process, self.process = self.process, None
        if process is not None and process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGCONT)
                os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _signal(self, number: signal.Signals) -> None:
        if self.process is None:
            raise ServerError(f"{self.endpoint} is not ours to pause")
        os.killpg(self.process.pid, number)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()


def _start_until_ready(
    minio: Path | None,
    *,
    certs_dir: Path | None,
    port: int,
    more: Mapping[str, str] | None = None,
) -> S3Server:
    # A free port may be taken by another process before the server binds it: try again.
    for attempt in range(5):
        server = _spawn(minio, certs_dir=certs_dir, port=port or _free_port(), more=more or {})
        try:
            _wait_ready(server)
        except ServerError as error:
            server.stop()
            if port or attempt == 4 or "in use" not in str(error):
                raise
        except BaseException:
            server.stop()
            raise
        else:
            return server
    raise AssertionError("unreachable")


def _spawn(
    minio: Path | None, *, certs_dir: Path | None, port: int, more: Mapping[str, str]
) -> S3Server:
    folder = Path(tempfile.mkdtemp(prefix="s3zipfs-server-"))
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "MINIO_"))}
    if minio is not None:
        (folder / "data").mkdir()
        command = [str(minio), "server", "--quiet", "--address", f"127.0.0.1:{port}"]
        command += ["--certs-dir", str(certs_dir or folder / "certs"), str(folder / "data")]
        environment |= {
            "MINIO_ROOT_USER": ACCESS_KEY,
            "MINIO_ROOT_PASSWORD": SECRET_KEY,
            "MINIO_BROWSER": "off",
            "MINIO_UPDATE": "off",
            "HOME": str(folder),  # nothing is read from or written to the developer's
            **more,
        }
    else:
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
            cwd=folder,
            start_new_session=True,  # a group of its own: Ctrl-C in pytest is not for it
        )
    scheme = "https" if certs_dir is not None else "http"
    return S3Server(
        f"{scheme}://127.0.0.1:{port}",
        access_key=ACCESS_KEY,
        secret_key=SECRET_KEY,
        kind="moto" if minio is None else "minio",
        process=process,
        folder=folder,
    )


def _wait_ready(server: S3Server) -> None:
    process, folder = server.process, server.folder
    assert process is not None
    assert folder is not None
    path = "/minio/health/ready" if server.kind == "minio" else "/moto-api/"
    unverified = ssl.create_default_context()  # our own server, on loopback
    unverified.check_hostname = False
    unverified.verify_mode = ssl.CERT_NONE
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            log = (folder / "log").read_text(errors="replace").strip()
            raise ServerError(f"{server.kind} ended with {process.returncode}: {log[-2000:]}")
        with contextlib.suppress(OSError, urllib.error.URLError):
            answer = urllib.request.urlopen(server.endpoint + path, timeout=2, context=unverified)
            with answer:
                # Another process may have taken the port: then ours has ended, or soon will.
                if process.poll() is None:
                    return
        time.sleep(0.02)  # between two polls of the port
    raise ServerError(f"{server.kind} at {server.endpoint} did not answer in {READY_SECONDS:g} s")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number: int = probe.getsockname()[1]
        return number


def main() -> None:
    """Serve in the foreground until SIGINT or SIGTERM."""
    parser = argparse.ArgumentParser(description="Run an S3 server on loopback.")
    parser.add_argument("--port", type=int, default=0, help="loopback port (default: a free one)")
    parser.add_argument("--certs-dir", type=Path, help="folder with public.crt and private.key")
    options = parser.parse_args()

    def leave(_signal: int, _frame: FrameType | None) -> NoReturn:
        raise SystemExit(0)

    signal.signal(signal.SIGTERM, leave)
    try:
        with S3Server.start(certs_dir=options.certs_dir, port=options.port) as server:
            print(server.endpoint, flush=True)
            print(f"{server.kind}, keys: {server.access_key} {server.secret_key}", file=sys.stderr)
            if server.process is not None:
                server.process.wait()
    except ServerError as error:
        raise SystemExit(f"s3server: {error}") from None
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
