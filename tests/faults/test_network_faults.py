"""What the network and the store do wrong, met by a real mount of a real server behind a proxy."""

from __future__ import annotations

import dataclasses
import errno
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from faults.cases import CONTENT, MANY, OPTIONS, SIZE, TIMEOUT, Case, archive_bytes
from faults.px import (
    Proxy,
    Selects,
    everything,
    gets,
    heads,
    lists,
    silent,
    stalled_after,
    trickled,
)
from faults.reading import BODY, SOON, assert_whole, failure, healed, opened
from mounting import Mount, wait_until
from timing import READING, fastest, median_to_end, wait_until_blocked

LATE = TIMEOUT + 2  # what is promised of an error at the deadline
NEWER = archive_bytes(b"another version")
TRANSIENT = {errno.EIO, errno.ETIMEDOUT}

pytestmark = pytest.mark.timeout(300)


# --- silence ------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["before the headers", "after the headers", "in the body"])
def test_a_reader_of_a_stalled_object_gets_etimedout_by_the_deadline(
    px: Proxy, case: Case, where: str
) -> None:
    stalls = {
        "before the headers": silent,
        "after the headers": px.changed(stalled_after(0)),
        "in the body": px.changed(stalled_after(1000)),
    }
    opened(case)
    px.tell(stalls[where], gets(case.key))
    begun = time.monotonic()
    assert failure((case.archive / "deflated").read_bytes) == errno.ETIMEDOUT
    assert time.monotonic() - begun < LATE
    px.honest()
    healed(case)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_signal_ends_a_reader_of_a_stalled_object_within_half_a_second(
    px: Proxy, case: Case, number: signal.Signals
) -> None:
    opened(case)
    px.tell(silent, gets(case.key))
    reading = [cat(case, name) for name in [*CONTENT, "stored"]]
    try:
        wait_until_blocked(reading, READING)
        assert median_to_end(reading, number) < 0.5
        assert {each.returncode for each in reading} == {-number}
    finally:
        end(reading)


def cat(case: Case, name: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        ["cat", str(case.archive / name)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def end(processes: list[subprocess.Popen[bytes]]) -> None:
    for each in processes:
        each.kill()
        each.wait()


def test_root_df_and_what_is_cached_need_no_network(px: Proxy, mount: Mount, case: Case) -> None:
    opened(case)
    names = os.listdir(mount.path)
    assert_whole(case)
    px.honest()
    px.tell(silent, everything)
    for command in (["stat", str(mount.path)], ["df", str(mount.path)], ["ls", str(mount.path)]):
        assert fastest(*command) < 1
    assert os.listdir(mount.path) == names
    assert_whole(case)
    assert not px.requests


def test_a_stalled_object_stops_no_other(px: Proxy, case: Case, mount: Mount) -> None:
    opened(case)
    px.tell(silent, gets(case.key))
    reading = [cat(case, name) for name in CONTENT]
    try:
        assert px.silent.wait(SOON)
        assert len(os.listdir(mount.path / "many")) == MANY
    finally:
        end(reading)


# --- slowness -----------------------------------------------------------------------------------


def test_a_trickle_is_cut_and_asked_again(px: Proxy, case: Case) -> None:
    opened(case)
    px.tell(px.changed(trickled(1000)), gets(case.key, at_least=BODY), times=1)
    assert (case.archive / "deflated").read_bytes() == CONTENT["deflated"]
    assert px.hung_up.wait(SOON)


def test_an_endless_trickle_ends_at_the_deadline(px: Proxy, case: Case) -> None:
    opened(case)
    px.tell(px.changed(trickled(1000)), gets(case.key))
    begun = time.monotonic()
    assert failure((case.archive / "deflated").read_bytes) == errno.ETIMEDOUT
    assert time.monotonic() - begun < LATE


def test_a_slow_link_is_no_fault_however_long_it_takes(px: Proxy, case: Case) -> None:
    opened(case)
    px.tell(px.changed(trickled(SIZE / (2 * TIMEOUT))), gets(case.key, at_least=BODY))
    begun = time.monotonic()
    assert (case.archive / "deflated").read_bytes() == CONTENT["deflated"]
    assert time.monotonic() - begun > TIMEOUT


# --- 503 ----------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Question:
    """Something that needs one kind of request."""

    selects: Selects
    ask: Callable[[], Any]
    answer: Any

    def is_answered(self) -> bool:
        """Never by anything else, and never by ENOENT."""
        try:
            told = self.ask()
        except OSError as error:
            if error.errno in TRANSIENT:
                return False
            raise
        assert told == self.answer
        return True


@pytest.fixture
def mount_of_many(px: Proxy, faults_bucket: str, tmp_path: Path) -> Iterator[Mount]:
    """A mount of its own, whose listing nobody has read to the end."""
    sources = [f"s3://{faults_bucket}/many"]
    with Mount(tmp_path / "many", px.server, sources, *OPTIONS) as mounted:
        yield mounted


@pytest.fixture(params=["LIST", "LIST in the middle", "GET", "HEAD"])
def question(
    request: pytest.FixtureRequest, case: Case, mount: Mount, faults_bucket: str, s3client: Any
) -> Question:
    match request.param:
        case "LIST":
            return Question(lists(case.prefix), lambda: os.listdir(case.folder), ["x.zip"])
        case "LIST in the middle":
            many = request.getfixturevalue("mount_of_many").path
            names = [f"{number:04}" for number in range(MANY)]
            return Question(lists("many/", continued=True), lambda: os.listdir(many), names)
        case "GET":
            opened(case)
            path = case.archive / "deflated"
            return Question(gets(case.key), path.read_bytes, CONTENT["deflated"])
        case _:
            # Whoever pins a version that the listing does not know has the object asked.
            os.listdir(case.folder)
            newer = s3client.put_object(Bucket=faults_bucket, Key=case.key, Body=NEWER)
            pinned = case.folder / f"x.zip@{newer['ETag'].strip(chr(34))}"
            return Question(heads(case.key), lambda: sorted(os.listdir(pinned)), sorted(CONTENT))


def test_a_short_503_storm_is_noticed_by_nobody(px: Proxy, question: Question) -> None:
    px.tell(px.refusing(503, "SlowDown"), question.selects, times=3)
    assert question.ask() == question.answer
    assert px.count(question.selects) > 3


def test_a_long_503_storm_is_eio_and_never_believed(px: Proxy, question: Question) -> None:
    px.tell(px.refusing(503, "SlowDown"), question.selects)
    begun = time.monotonic()
    assert failure(question.ask) in TRANSIENT
    assert time.monotonic() - begun < LATE
    px.honest()
    wait_until(question.is_answered, seconds=SOON, what="the right answer")


def test_one_layer_asks_again(px: Proxy, case: Case) -> None:
    opened(case)
    px.tell(px.refusing(503, "SlowDown"), gets(case.key), times=3)
    assert (case.archive / "deflated").read_bytes() == CONTENT["deflated"]
    asked = [r.range for r in px.requests if gets(case.key)(r)]
    assert len(asked) == len(set(asked)) + 3
