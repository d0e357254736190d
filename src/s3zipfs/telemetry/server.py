"""The address at which a mount tells how it does: `/`, `/status.json` and `/metrics`.

It has threads of its own and takes no lock that a reader of the mount waits for. It answers
questions only, and knows no more than `.s3zipfs/status.json`.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import ipaddress
import logging
import re
import socket
import socketserver
import sys
import threading
from collections.abc import Callable, Iterable
from importlib import resources
from typing import Any, Final
from urllib.parse import urlsplit
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer
from wsgiref.types import StartResponse, WSGIEnvironment

from prometheus_client import make_wsgi_app

from s3zipfs.errors import MountError, printable
from s3zipfs.telemetry.monitor import Monitor

log = logging.getLogger(__name__)

MOST_CONNECTIONS: Final = 16  # at once; the next one ends the oldest
SECONDS: Final = 10.0  # for each part of a question, and of its answer

_NO_CACHE: Final = [
    ("Cache-Control", "no-store"),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
]


class _Handler(WSGIRequestHandler):
    timeout = SECONDS

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name there
        log.debug("%s: %s", self.client_address[0], printable(format % args))


class _Server(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = True

    def __init__(self, host: str, port: int) -> None:
        family, _, _, _, where = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        self.address_family = family
        self._places = threading.Semaphore(MOST_CONNECTIONS)
        self._lock = threading.Lock()  # guards _asking; who is in it is not closed yet
        self._asking: dict[Any, None] = {}  # connections, the oldest first
        super().__init__(where[:2], _Handler)  # type: ignore[arg-type]

    def server_bind(self) -> None:
        # Theirs looks for the host's name, which may ask a name server.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.socket.getsockname()[:2]
        self.setup_environ()

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._places.acquire(blocking=False):
            self._end_oldest()
            self._places.acquire()  # its thread wakes up, and ends
        with self._lock:
            self._asking[request] = None
        try:
            super().process_request(request, client_address)
        except RuntimeError:  # the process may have no more threads
            self._places.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._asking.pop(request, None)
        super().shutdown_request(request)

    def _end_oldest(self) -> None:
        """An answer takes milliseconds: who is there for longest sends nothing, or byte by byte."""
        with self._lock:
            oldest = next(iter(self._asking), None)
            if oldest is not None:
                del self._asking[oldest]
                with contextlib.suppress(OSError):  # it has gone by itself
                    oldest.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002
        # Who asked is gone or silent: no fault of ours.
        log.debug("%s: not answered: %r", client_address[0], sys.exception())


class StatusServer:
    """Listens from the start; answers once it is told what of.

    Args:
        host, port: port 0 is any that is free.

    Raises:
        MountError: nobody can listen there.
    """

    def __init__(self, host: str, port: int) -> None:
        self._given = host
        try:
            self._server = _Server(host, port)
        except OSError as error:
            raise MountError(f"--metrics {_joined(host, port)}: {error.strerror}") from error
        except UnicodeError as error:  # by the codec of names of hosts
            raise MountError(f"--metrics {_joined(host, port)}: no name of a host") from error

    @property
    def url(self) -> str:
        """Of the status page."""
        host, port = self._server.socket.getsockname()[:2]
        return f"http://{_joined(host, port)}/"

    def start(self, monitor: Monitor) -> None:
        """Answer, in a thread of its own."""
        self._server.set_app(_Answers(monitor, self._is_meant))
        serve = threading.Thread(
            target=self._server.serve_forever, name="s3zipfs-metrics", daemon=True
        )
        serve.start()

    def close(self) -> None:
        """Answer no more."""
        self._server.shutdown()
        self._server.server_close()

    def _is_meant(self, host: str) -> bool:
        """Whether a question for that host is for us.

        Any page of the web may have a name of its own point at 127.0.0.1, and then read what is
        told here (DNS rebinding). An address says what it is.
        """
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:  # as of "["
            return False
        if not ipaddress.ip_address(self._server.socket.getsockname()[0]).is_loopback:
            return True  # whoever reaches this machine may know it by any name
        return name in {"localhost", self._given.lower()} or _is_address(name)


class _Answers:
    """The WSGI application."""

    def __init__(self, monitor: Monitor, is_meant: Callable[[str], bool]) -> None:
        self._monitor = monitor
        self._is_meant = is_meant
        self._metrics = make_wsgi_app(monitor.registry)
        page = resources.files(__package__).joinpath("page.html").read_bytes()
        self._page = page
        self._policy = content_security_policy(page.decode())

    def __call__(self, environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        try:
            if not self._is_meant(environ.get("HTTP_HOST", "")):
                return _plain(start, "421 Misdirected Request", "not the name of this address")
            return self._answer(environ, start)
        except Exception:
            log.exception("%r: unexpected error", environ.get("PATH_INFO"))
            return _plain(start, "500 Internal Server Error", "see the log of the mount")

    def _answer(self, environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if path == "/metrics":
            answer: Iterable[bytes] = self._metrics(environ, start)
            return answer
        if path not in {"/", "/status.json"}:
            return _plain(start, "404 Not Found", "there are /, /status.json and /metrics")
        if environ["REQUEST_METHOD"] not in {"GET", "HEAD"}:
            return _plain(start, "405 Method Not Allowed", "GET only", ("Allow", "GET, HEAD"))
        if path == "/":
            body, kind = self._page, "text/html; charset=utf-8"
        else:
            body, kind = self._monitor.status_json(), "application/json"
        headers = [("Content-Type", kind), ("Content-Length", str(len(body))), *_NO_CACHE]
        start("200 OK", [*headers, ("Content-Security-Policy", self._policy)])
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]


def content_security_policy(page: str) -> str:
    """What a page may do: run its own script, show its own style, ask its own address."""

    def hashed(tag: str) -> str:
        (text,) = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        digest = hashlib.sha256(text.encode()).digest()
        return f"'sha256-{base64.b64encode(digest).decode()}'"

    return (
        f"default-src 'none'; script-src {hashed('script')}; style-src {hashed('style')}; "
        "connect-src 'self'; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def _plain(
    start: StartResponse, status: str, text: str, *headers: tuple[str, str]
) -> Iterable[bytes]:
    start(status, [("Content-Type", "text/plain; charset=utf-8"), *_NO_CACHE, *headers])
    return [f"{text}\n".encode()]


def _joined(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
