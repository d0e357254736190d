"""A small S3 server in this process that answers what a test says, lies and silence included."""

from __future__ import annotations

import contextlib
import hashlib
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

DATA = b"0123456789abcdef"
ETAG = f'"{hashlib.md5(DATA, usedforsecurity=False).hexdigest()}"'
MODIFIED = "Sat, 21 Nov 2026 08:00:00 GMT"


@dataclass(frozen=True)
class Request:
    method: str
    path: str  # as it came, not decoded
    query: str
    headers: dict[str, str]  # names in lower case

    @property
    def range(self) -> tuple[int, int]:
        """Half-open."""
        first, last = self.headers["range"].removeprefix("bytes=").split("-")
        return int(first), int(last) + 1


@dataclass(frozen=True)
class Answer:
    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    length: int | None = None  # what Content-Length says, where it is not the truth
    stall_after: int | None = None  # bytes of the body, after which nothing more comes
    reset: bool = False  # the connection, once the body is sent
    rate: float | None = None  # bytes/s of the body


class Silence:
    """The answer that never comes."""


def honest(request: Request) -> Answer:
    """One object, `DATA`, at every key."""
    headers = {"ETag": ETAG, "Last-Modified": MODIFIED}
    if request.method == "HEAD":
        return Answer(200, b"", headers, length=len(DATA))
    if "list-type=2" in request.query:
        return Answer(200, listing())
    if request.headers.get("if-match", ETAG) != ETAG:
        return error(412, "PreconditionFailed")
    start, end = request.range
    headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(DATA)}"
    return Answer(206, DATA[start:end], headers)


def error(status: int, code: str, message: str = "why") -> Answer:
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{message}</Message></Error>"
    return Answer(status, body.encode(), {"Content-Type": "application/xml"})


def listing(contents: str = "", *, end: str = "<IsTruncated>false</IsTruncated>") -> bytes:
    return (
        '<?xml version="1.0" encoding="UTF-8"?>'
        '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        f"<Name>bucket</Name>{end}{contents}</ListBucketResult>"
    ).encode()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients go away in the midst of an answer, since they are killed or have waited."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class FakeS3:
    """`answer` may be replaced at any time; `requests` grows."""

    def __init__(self) -> None:
        self.answer: Callable[[Request], Answer | Silence] = honest
        self.requests: list[Request] = []
        self.silent = threading.Event()  # a request is being met with silence
        self.hung_up = threading.Event()  # the client of such a request closed its connection
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True  # a body waited 40 ms for the ACK of its headers

            def do_GET(self) -> None:
                fake._serve(self)

            do_HEAD = do_GET  # noqa: N815 - http.server's name

            def log_message(self, *_: object) -> None:
                pass

        self._server = _Server(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    def _serve(self, handler: BaseHTTPRequestHandler) -> None:
        path, _, query = handler.path.partition("?")
        headers = {name.lower(): value for name, value in handler.headers.items()}
        request = Request(handler.command, path, query, headers)
        self.requests.append(request)
        answer = self.answer(request)
        if isinstance(answer, Silence):
            self._be_silent(handler)
            return
        length = len(answer.body) if answer.length is None else answer.length
        handler.send_response_only(answer.status)
        headers = {"Date": handler.date_time_string(), **answer.headers}
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(length))
        handler.end_headers()
        if handler.command == "HEAD":
            return
        if answer.stall_after is not None:
            handler.wfile.write(answer.body[: answer.stall_after])
            self._be_silent(handler)
            return
        if answer.rate is not None:
            self._trickle(handler, answer.body, answer.rate)
        else:
            handler.wfile.write(answer.body)
        handler.close_connection = answer.reset or length != len(answer.body)
        if answer.reset:  # lingering for 0 s (socket(7)): RST instead of FIN
            linger = struct.pack("ii", 1, 0)
            handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            handler.connection.close()

    def _trickle(self, handler: BaseHTTPRequestHandler, body: bytes, rate: float) -> None:
        step = max(1, int(rate / 10))
        for at in range(0, len(body), step):
            try:
                handler.wfile.write(body[at : at + step])
            except OSError:  # the client had enough
                self.hung_up.set()
                handler.close_connection = True
                return
            time.sleep(step / rate)

    def _be_silent(self, handler: BaseHTTPRequestHandler) -> None:
        self.silent.set()
        with contextlib.suppress(ConnectionError):
            handler.connection.recv(1)  # returns when the client goes away
        self.hung_up.set()
        handler.close_connection = True

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
