"""What stands between a system and the server: a link with a delay, and a proxy that counts."""

from __future__ import annotations

import asyncio
import contextlib
import json
import multiprocessing
import socket
import subprocess
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Self
from urllib.parse import urlsplit

from mounts import Store
from s3server import REPOSITORY

TOXIPROXY = REPOSITORY / ".tools" / "bin" / "toxiproxy-server"
READY_SECONDS = 20.0
VERBS = ("GET", "HEAD", "LIST")
_FORK = multiprocessing.get_context("fork")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number: int = probe.getsockname()[1]
        return number


def _wait_open(port: int) -> None:
    give_up = time.monotonic() + READY_SECONDS
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        if time.monotonic() > give_up:
            raise RuntimeError(f"nothing listens on port {port}")
        time.sleep(0.01)


def _post(url: str, body: dict[str, object]) -> None:
    request = urllib.request.Request(url, json.dumps(body).encode(), method="POST")
    with urllib.request.urlopen(request, timeout=READY_SECONDS):
        pass


@contextlib.contextmanager
def delayed(store: Store, milliseconds: int) -> Iterator[Store]:
    """The store through toxiproxy, which holds each answer back for so long; 0 is the store."""
    if not milliseconds:
        yield store
        return
    control, port = _free_port(), _free_port()
    process = subprocess.Popen(
        [TOXIPROXY, "-host", "127.0.0.1", "-port", str(control)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait_open(control)
        proxies = f"http://127.0.0.1:{control}/proxies"
        listen, upstream = f"127.0.0.1:{port}", urlsplit(store.endpoint).netloc
        _post(proxies, {"name": "m", "listen": listen, "upstream": upstream, "enabled": True})
        latency = {"type": "latency", "stream": "downstream"}
        _post(f"{proxies}/m/toxics", {**latency, "attributes": {"latency": milliseconds}})
        yield replace(store, endpoint=f"http://{listen}")
    finally:
        process.terminate()
        process.wait()


@dataclass(frozen=True)
class Counts:
    """Requests by verb, and bytes of the bodies that GETs of objects had."""

    requests: Counter[str]
    size: int

    @classmethod
    def none(cls) -> Counts:
        """Nothing was asked yet."""
        return cls(Counter(), 0)

    def __sub__(self, before: Counts) -> Counts:
        return Counts(self.requests - before.requests, self.size - before.size)


class CountingProxy:
    """A `Counts` of what was asked through `store`, taken outside of who asks. HTTP/1.1, no TLS."""

    def __init__(self, upstream: Store) -> None:
        self._port = _free_port()
        self._numbers = _FORK.Array("q", len(VERBS) + 1)
        self._upstream = urlsplit(upstream.endpoint)
        self.store = replace(upstream, endpoint=f"http://127.0.0.1:{self._port}")
        self._process = _FORK.Process(target=self._serve, daemon=True)

    def __enter__(self) -> Self:
        self._process.start()
        _wait_open(self._port)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.join()

    @property
    def counts(self) -> Counts:
        """Of all requests that were answered until now."""
        *requests, size = self._numbers[:]
        return Counts(Counter(dict(zip(VERBS, requests, strict=True))), size)

    def _serve(self) -> None:
        async def run() -> None:
            server = await asyncio.start_server(
                self._connection, "127.0.0.1", self._port, limit=1 << 20
            )
            await server.serve_forever()

        asyncio.run(run())

    async def _connection(self, down: asyncio.StreamReader, reply: asyncio.StreamWriter) -> None:
        host, port = self._upstream.hostname, self._upstream.port
        up, ask = await asyncio.open_connection(host, port, limit=1 << 20)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                request = await down.readuntil(b"\r\n\r\n")
                ask.write(request)
                await self._answer(request, up, reply)
        for writer in (ask, reply):
            writer.close()

    async def _answer(
        self, request: bytes, up: asyncio.StreamReader, reply: asyncio.StreamWriter
    ) -> None:
        """Pass one response on. All of these requests are without a body."""
        head = await up.readuntil(b"\r\n\r\n")
        reply.write(head)
        fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:-2])
        verb, target, _ = request.split(b" ", 2)
        is_list = b"list-type=" in target or target.split(b"?")[0].count(b"/") < 2
        name = "LIST" if verb == b"GET" and is_list else verb.decode()
        if name != "HEAD" and fields.get(b"transfer-encoding") == b"chunked":
            await self._chunks(up, reply)
        left = 0 if name == "HEAD" else int(fields.get(b"content-length", 0))
        self._count(name, left if name == "GET" else 0)
        while left:
            data = await up.read(min(left, 1 << 20))
            if not data:
                raise asyncio.IncompleteReadError(b"", left)
            left -= len(data)
            reply.write(data)
            await reply.drain()

    async def _chunks(self, up: asyncio.StreamReader, reply: asyncio.StreamWriter) -> None:
        size = -1
        while size:
            line = await up.readline()
            size = int(line, 16)
            reply.write(line + await up.readexactly(size + 2))

    def _count(self, name: str, size: int) -> None:
        with self._numbers.get_lock():
            self._numbers[VERBS.index(name)] += 1
            self._numbers[-1] += size
