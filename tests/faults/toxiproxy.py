"""Toxiproxy in front of a server: links that are slow, closed or cut.

https://github.com/Shopify/toxiproxy, HTTP API
"""

from __future__ import annotations

import json
import socket
import subprocess
import urllib.error
import urllib.request
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from mounting import wait_until
from s3server import REPOSITORY, S3Server

PROGRAM = REPOSITORY / ".tools" / "bin" / "toxiproxy-server"


class Toxiproxy:
    """One link to a server; `server` is what stands at its other end."""

    def __init__(self, server: S3Server) -> None:
        api, link = _free_port(), _free_port()
        self._api = f"http://127.0.0.1:{api}"
        self._process = subprocess.Popen(
            [str(PROGRAM), "-host", "127.0.0.1", "-port", str(api)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.server = S3Server(
            f"http://127.0.0.1:{link}",
            access_key=server.access_key,
            secret_key=server.secret_key,
            kind="external",
        )
        self._link = {
            "name": "link",
            "listen": f"127.0.0.1:{link}",
            "upstream": urlsplit(server.endpoint).netloc,
            "enabled": True,
        }

    def __enter__(self) -> Self:
        try:
            wait_until(self._answers, seconds=30, what="toxiproxy answers")
            self._ask("POST", "/proxies", self._link)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        """End all connections and refuse new ones."""
        self._ask("POST", "/proxies/link", {"enabled": False})

    def open(self) -> None:
        """Serve again."""
        self._ask("POST", "/proxies/link", {"enabled": True})

    def add(self, toxic: str, **attributes: int) -> None:
        """A toxic on what the server sends, as `bandwidth` with `rate` in KB/s."""
        self._ask("POST", "/proxies/link/toxics", {"type": toxic, "attributes": attributes})

    def heal(self) -> None:
        """Remove all toxics."""
        self._ask("POST", "/reset", {})

    def _answers(self) -> bool:
        try:
            self._ask("GET", "/version")
        except OSError:
            return False
        return True

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> None:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._api + path, data, method=method)
        with urllib.request.urlopen(request, timeout=10) as answer:
            answer.read()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
