"""A proxy in front of a real server that says what the server says, unless a test has it lie.

`Host` is passed on unchanged, so signatures stay valid.
"""

from __future__ import annotations

import dataclasses
import http.client
from collections.abc import Callable, Iterator, Mapping
from urllib.parse import parse_qs, unquote, urlsplit

from fakes3 import Answer, FakeS3, Request, Silence, error
from s3server import S3Server

Lie = Callable[[Request], Answer | Silence]
Selects = Callable[[Request], bool]

_HOP_BY_HOP = {"connection", "content-length", "keep-alive", "transfer-encoding"}


class Proxy(FakeS3):
    """`tell` has it lie where a request is selected; `honest` ends all lies."""

    def __init__(self, server: S3Server) -> None:
        super().__init__()
        self._upstream = urlsplit(server.endpoint).netloc
        self.server = S3Server(
            self.endpoint,
            access_key=server.access_key,
            secret_key=server.secret_key,
            kind="external",
        )
        self.honest()

    def honest(self) -> None:
        """The truth from now on; what was counted is forgotten."""
        self.answer = self.truth
        self.requests.clear()
        self.silent.clear()
        self.hung_up.clear()

    def tell(self, lie: Lie, to: Selects, *, times: int | None = None) -> None:
        """Lie to what is selected, all of it or the first `times` of it."""
        left = iter(range(times)) if times is not None else _for_ever()

        def answer(request: Request) -> Answer | Silence:
            lies = to(request) and next(left, None) is not None
            return lie(request) if lies else self.truth(request)

        self.answer = answer

    def truth(self, request: Request, *, headers: Mapping[str, str] | None = None) -> Answer:
        """What the server answers, to other headers where they are given."""
        connection = http.client.HTTPConnection(self._upstream, timeout=60)
        try:
            target = request.path + (f"?{request.query}" if request.query else "")
            connection.putrequest(request.method, target, skip_host=True, skip_accept_encoding=True)
            for name, value in {**request.headers, **(headers or {})}.items():
                if value and name not in _HOP_BY_HOP:
                    connection.putheader(name, value)
            connection.endheaders()
            told = connection.getresponse()
            kept = {k: v for k, v in told.getheaders() if k.lower() not in _HOP_BY_HOP}
            length = told.getheader("Content-Length")
            body = told.read()
            return Answer(told.status, body, kept, length=int(length) if length else None)
        finally:
            connection.close()

    def refusing(self, status: int, code: str) -> Lie:
        """An error of the store, where there is none."""
        return lambda _: error(status, code)

    def changed(self, change: Callable[[Answer], Answer]) -> Lie:
        """The true answer, changed."""
        return lambda request: change(self.truth(request))

    def count(self, selects: Selects) -> int:
        """How many requests of that kind came since `honest`."""
        return sum(map(selects, list(self.requests)))


def _for_ever() -> Iterator[int]:
    while True:
        yield 0


def silent(_: Request) -> Silence:
    """No answer."""
    return Silence()


def stalled_after(size: int) -> Callable[[Answer], Answer]:
    """Nothing comes after so many bytes of the body."""
    return lambda answer: dataclasses.replace(answer, stall_after=size)


def cut_after(size: int, *, reset: bool = False) -> Callable[[Answer], Answer]:
    """The connection ends after so many bytes of the body."""
    return lambda a: dataclasses.replace(
        a, body=a.body[:size], length=len(a.body), reset=reset and len(a.body) > size
    )


def trickled(rate: float) -> Callable[[Answer], Answer]:
    """So many bytes/s."""
    return lambda answer: dataclasses.replace(answer, rate=rate)


def with_headers(**headers: str) -> Callable[[Answer], Answer]:
    """Other headers; underscores stand for hyphens."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda a: dataclasses.replace(a, headers={**a.headers, **named})


# --- which requests -----------------------------------------------------------------------------


def everything(_: Request) -> bool:
    return True


def gets(key: str, *, at_least: int = 0) -> Selects:
    """GETs of that object for at least so many bytes."""

    def selects(request: Request) -> bool:
        if request.method != "GET" or "range" not in request.headers:
            return False
        start, end = request.range
        return unquote(request.path).endswith(f"/{key}") and end - start >= at_least

    return selects


def heads(key: str) -> Selects:
    return lambda r: r.method == "HEAD" and unquote(r.path).endswith(f"/{key}")


def lists(prefix: str = "", *, continued: bool = False) -> Selects:
    """LISTs of what begins with it; `continued`: only pages after the first."""

    def selects(request: Request) -> bool:
        query = parse_qs(request.query, keep_blank_values=True)
        if "list-type" not in query or not query.get("prefix", [""])[0].startswith(prefix):
            return False
        return not continued or "continuation-token" in query

    return selects
