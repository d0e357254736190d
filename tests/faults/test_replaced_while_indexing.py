"""An archive that is replaced while its index is read: started again once, then ESTALE."""

from __future__ import annotations

import errno
import itertools
import os
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from fakes3 import Answer, Request
from faults.px import Proxy, gets
from faults.reading import failure
from mounting import Mount
from s3clients import temporary_bucket
from trees import zipped

pytestmark = pytest.mark.timeout(300)

KEYS = 8  # as many as tests ask for one, and some
NAMES = 4000  # their directory is more than the tail, which is asked for first


def archive(version: int) -> bytes:
    """`data` tells the version, and so does a name."""
    members = {f"{number:040}": b"" for number in range(NAMES)}
    return zipped({**members, "data": b"%d" % version, f"version-{version}": b""})


@dataclass(frozen=True)
class Place:
    """An archive that no test has had, and whoever replaces it."""

    path: Path
    key: str
    put: Callable[[int], None]

    def listed(self) -> str:
        """The version whose names are shown."""
        (name,) = [name for name in os.listdir(self.path) if name.startswith("version")]
        return name.removeprefix("version-")

    def read(self) -> str:
        return (self.path / "data").read_text()


@pytest.fixture(scope="module")
def places(
    running_proxy: Proxy, s3client: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Iterator[Place]]:
    keys = [f"{number}.zip" for number in range(KEYS)]
    path = tmp_path_factory.mktemp("replaced") / "mnt"
    options = ("--ttl", "3600", "--cache-dir", "none")

    def place(bucket: str, key: str) -> Place:
        def put(version: int) -> None:
            s3client.put_object(Bucket=bucket, Key=key, Body=archive(version))

        put(0)
        return Place(path / key, key, put)

    with temporary_bucket(s3client, f"replaced-{uuid.uuid4().hex[:16]}") as bucket:
        made = [place(bucket, key) for key in keys]
        with Mount(path, running_proxy.server, [f"s3://{bucket}"], *options):
            assert sorted(os.listdir(path)) == sorted(keys)  # believed for an hour
            yield iter(made)


@pytest.fixture
def place(places: Iterator[Place]) -> Place:
    return next(places)


class Replacing:
    """A new version before the GET of that number is passed on; None: before each."""

    def __init__(self, px: Proxy, place: Place, number: int | None) -> None:
        self.version = 0
        self._px, self._place, self._number = px, place, number
        self._requests = itertools.count(1)
        self._lock = threading.Lock()  # guards all above; requests may come side by side
        px.tell(self._answer, gets(place.key))

    def _answer(self, request: Request) -> Answer:
        with self._lock:
            if self._number in (next(self._requests), None):
                self.version += 1
                self._place.put(self.version)
        return self._px.truth(request)

    @property
    def asked(self) -> list[str]:
        """The versions that were asked for, one after another."""
        matched = [r.headers["if-match"] for r in self._px.requests if gets(self._place.key)(r)]
        return [etag for etag, _ in itertools.groupby(matched)]


ASK = pytest.mark.parametrize("ask", [Place.listed, Place.read], ids=["listed", "read"])


@ASK
@pytest.mark.parametrize("number", [1, 2], ids=["before the tail", "before the directory"])
def test_an_archive_that_is_replaced_while_it_is_indexed_is_read_anew(
    px: Proxy, place: Place, number: int, ask: Callable[[Place], str]
) -> None:
    replacing = Replacing(px, place, number)
    assert ask(place) == "1"
    assert len(replacing.asked) == 2  # no index is of both


@ASK
def test_an_archive_that_is_replaced_again_and_again_is_estale_and_then_the_last_one(
    px: Proxy, place: Place, ask: Callable[[Place], str]
) -> None:
    replacing = Replacing(px, place, None)
    assert failure(lambda: ask(place)) == errno.ESTALE
    assert len(replacing.asked) > 1  # it was started again
    px.honest()
    assert ask(place) == str(replacing.version)
