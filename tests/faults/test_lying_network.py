"""Answers that are cut, changed or of another version, through a real mount: never a wrong byte."""

from __future__ import annotations

import dataclasses
import errno
import os
from collections import Counter
from collections.abc import Callable

import pytest
from fakes3 import Answer, Request
from faults.cases import CONTENT, Case
from faults.px import Lie, Proxy, cut_after, gets, with_headers
from faults.reading import BODY, failure, healed, opened

pytestmark = pytest.mark.timeout(300)


@pytest.mark.parametrize("reset", [False, True], ids=["truncated", "reset"])
def test_a_broken_body_is_resumed_on_the_same_version(
    px: Proxy, case: Case, *, reset: bool
) -> None:
    opened(case)
    # All of the first may be lost: a link that has not failed yet is asked for everything at once.
    body = gets(case.key, at_least=2 << 20)
    px.tell(px.changed(cut_after(1_000_000, reset=reset)), body, times=2)
    assert (case.archive / "deflated").read_bytes() == CONTENT["deflated"]
    asked = [r for r in px.requests if gets(case.key, at_least=BODY)(r)]
    assert len({r.headers["if-match"] for r in asked}) == 1
    begun = {r.range[0] for r in asked if r.range[1] == asked[0].range[1]}
    if not reset:  # a reset may take along what the kernel had received
        assert max(begun) - min(begun) >= 900_000


def test_a_body_that_breaks_again_and_again_arrives(px: Proxy, case: Case) -> None:
    opened(case)
    px.tell(px.changed(cut_after(1_100_000)), gets(case.key, at_least=BODY))
    assert (case.archive / "deflated").read_bytes() == CONTENT["deflated"]


def moved(answer: Answer) -> Answer:
    """Another range, and it says so."""
    told = answer.headers["Content-Range"].removeprefix("bytes ")
    first, rest = told.split("-")
    last, size = rest.split("/")
    return with_headers(Content_Range=f"bytes {int(first) + 1}-{int(last) + 1}/{size}")(answer)


def short(answer: Answer) -> Answer:
    return dataclasses.replace(answer, body=answer.body[:-7], length=None)


def one_bit_flipped(answer: Answer) -> Answer:
    middle = len(answer.body) // 2
    flipped = bytes([answer.body[middle] ^ 1])
    body = answer.body[:middle] + flipped + answer.body[middle + 1 :]
    return dataclasses.replace(answer, body=body)


def ignoring_the_range(px: Proxy) -> Lie:
    return lambda request: px.truth(request, headers={"range": ""})


LIES: dict[str, Callable[[Proxy], Lie]] = {
    "another range": lambda px: px.changed(moved),
    "a short body": lambda px: px.changed(short),
    "the range is ignored": ignoring_the_range,
    "another ETag": lambda px: px.changed(with_headers(ETag='"another"')),
    "no ETag": lambda px: px.changed(with_headers(ETag="")),
    "a login page": lambda _: lambda _request: Answer(200, b"<html>Log in</html>"),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_is_eio_and_never_cached(px: Proxy, case: Case, lie: str) -> None:
    opened(case)
    px.tell(LIES[lie](px), gets(case.key))
    for name in CONTENT:
        assert failure((case.archive / name).read_bytes) == errno.EIO
    px.honest()
    healed(case)


def test_the_directory_of_an_archive_is_never_read_from_a_lie(px: Proxy, case: Case) -> None:
    px.tell(px.changed(with_headers(ETag='"another"')), gets(case.key))
    assert failure(lambda: os.listdir(case.archive)) == errno.EIO
    px.honest()
    assert set(os.listdir(case.archive)) == set(CONTENT)


@pytest.mark.parametrize("name", CONTENT)
def test_a_flipped_bit_is_eio_at_the_last_read_at_the_latest(
    px: Proxy, case: Case, name: str
) -> None:
    opened(case)
    px.tell(px.changed(one_bit_flipped), gets(case.key))
    for _ in range(2):  # nor is it taken for good the second time
        assert failure((case.archive / name).read_bytes) == errno.EIO


def test_a_range_that_the_store_no_longer_has_is_estale(px: Proxy, case: Case) -> None:
    opened(case)
    px.tell(px.refusing(416, "InvalidRange"), gets(case.key))
    assert failure((case.archive / "stored").read_bytes) == errno.ESTALE
    px.honest()
    healed(case)


def test_403_is_eacces_and_not_remembered(px: Proxy, case: Case) -> None:
    def denied(request: Request) -> bool:
        return gets(case.key)(request) or f"prefix={case.prefix.rstrip('/')}" in request.query

    px.tell(px.refusing(403, "AccessDenied"), denied)
    assert failure(lambda: os.listdir(case.folder)) == errno.EACCES
    px.honest()
    assert os.listdir(case.folder) == ["x.zip"]
    px.tell(px.refusing(403, "AccessDenied"), denied)
    assert failure(lambda: os.listdir(case.archive)) == errno.EACCES
    px.honest()
    opened(case)
    px.tell(px.refusing(403, "AccessDenied"), denied)
    assert failure((case.archive / "deflated").read_bytes) == errno.EACCES
    asked = Counter(request.range for request in px.requests if gets(case.key)(request))
    assert max(asked.values()) <= 2  # not asked again by us; the kernel asks twice
    px.honest()
    assert (case.archive / "deflated").read_bytes() == CONTENT["deflated"]
