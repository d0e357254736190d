"""A proxy that speaks TLS, and only with who shows a certificate of its authority."""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import threading
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from s3server import S3Server


class TlsProxy:
    """In front of a server of plain HTTP; `certificates` as `write_certificates` left them.

    `Host` is passed on unchanged, so signatures stay valid. By threads, since asyncio's server
    closes without the alert that says why.
    """

    def __init__(self, server: S3Server, certificates: Path) -> None:
        self._upstream = urlsplit(server.endpoint)
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._context.load_cert_chain(certificates / "public.crt", certificates / "private.key")
        self._context.load_verify_locations(certificates / "ca.crt")
        self._context.verify_mode = ssl.CERT_REQUIRED
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._accept)
        self.server = S3Server(
            f"https://127.0.0.1:{self._listener.getsockname()[1]}",
            access_key=server.access_key,
            secret_key=server.secret_key,
            kind="external",
        )

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # until it is shut down
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        address = (self._upstream.hostname or "", self._upstream.port or 80)
        with (
            contextlib.suppress(OSError),  # a handshake that failed, or either side went away
            connection,
            self._context.wrap_socket(connection, server_side=True) as secure,
            socket.create_connection(address) as upstream,
        ):
            _pump(secure, upstream)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()


def _pump(secure: ssl.SSLSocket, upstream: socket.socket) -> None:
    """Both ways, in one thread: OpenSSL lets no two use one connection."""
    while True:
        waiting = [secure] if secure.pending() else select.select([secure, upstream], [], [])[0]
        for source in waiting:
            data = source.recv(1 << 16)
            if not data:
                return
            (upstream if source is secure else secure).sendall(data)
