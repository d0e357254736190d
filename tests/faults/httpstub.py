"""A small HTTP server on loopback that gives what a test put there: metadata, tokens, roles."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

Headers = dict[str, str]  # names in lower case


class HttpStub:
    """`answers` by method and path, without the query: text, or what is sent as JSON.

    A function is given the headers; None of it is 404, as is what is not there.
    """

    def __init__(self) -> None:
        self.answers: dict[tuple[str, str], Any | Callable[[Headers], Any]] = {}
        self.asked: list[str] = []
        stub = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                path = self.path.partition("?")[0]
                stub.asked.append(path)
                answer = stub.answers.get((self.command, path))
                if callable(answer):
                    answer = answer({name.lower(): text for name, text in self.headers.items()})
                self.send_response(404 if answer is None else 200)
                body = answer if isinstance(answer, str) else json.dumps(answer)
                self.send_header("Content-Length", str(len(body)))
                # A lifetime for EC2's tokens.
                self.send_header("x-aws-ec2-metadata-token-ttl-seconds", "21600")
                self.end_headers()
                self.wfile.write(body.encode())

            do_PUT = do_GET  # noqa: N815 - http.server's name

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
