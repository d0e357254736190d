"""Answers to a GET of bytes 2 to 8 that are not to what was asked."""

from __future__ import annotations

from collections.abc import Callable

from fakes3 import DATA, ETAG, MODIFIED, Answer, Request


def in_range(body: bytes, told: str, **headers: str) -> Callable[[Request], Answer]:
    headers = {"ETag": ETAG, "Last-Modified": MODIFIED, "Content-Range": told, **headers}
    return lambda _: Answer(206, body, headers)


LIES: dict[str, Callable[[Request], Answer]] = {
    "other range": in_range(DATA[3:9], "bytes 3-8/16"),
    "shorter range": in_range(DATA[2:5], "bytes 2-4/16"),
    "short body": in_range(DATA[2:5], "bytes 2-7/16"),
    "long body": in_range(DATA[2:12], "bytes 2-7/16"),
    "longer range": in_range(DATA[2:12], "bytes 2-11/16"),
    "other ETag": in_range(DATA[2:8], "bytes 2-7/16", ETag='"another"'),
    "no ETag": in_range(DATA[2:8], "bytes 2-7/16", ETag=""),
    "no range": in_range(DATA[2:8], "nonsense"),
    "range ignored": lambda _: Answer(200, DATA, {"ETag": ETAG, "Last-Modified": MODIFIED}),
    "login page": lambda _: Answer(
        200, b"<html>Log in to continue</html>", {"Content-Type": "text/html"}
    ),
}
