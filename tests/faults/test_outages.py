"""An endpoint that is not there: at the start of a mount, and while it serves."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import assert_one_line, keys_of, s3zipfs
from faults.cases import CONTENT, OPTIONS, SIZE, TIMEOUT, Case, next_case
from faults.reading import SOON, assert_whole, failure, healed, opened
from faults.toxiproxy import PROGRAM, Toxiproxy
from mounting import Mount, mounted_type, wait_until
from s3server import S3Server

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.skipif(not PROGRAM.exists(), reason="no toxiproxy-server: 'make tools' builds it"),
]

OUTAGE = {errno.EIO, errno.ETIMEDOUT}


@pytest.fixture(scope="module")
def running_link(s3server: S3Server) -> Iterator[Toxiproxy]:
    with Toxiproxy(s3server) as running:
        yield running


@pytest.fixture
def link(running_link: Toxiproxy) -> Iterator[Toxiproxy]:
    yield running_link
    running_link.open()
    running_link.heal()


@pytest.fixture(scope="module")
def mount(
    running_link: Toxiproxy, faults_bucket: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Mount]:
    path = tmp_path_factory.mktemp("outages") / "mnt"
    with Mount(path, running_link.server, [f"s3://{faults_bucket}"], *OPTIONS) as mounted:
        yield mounted


@pytest.fixture
def case(mount: Mount, numbers: Iterator[int]) -> Case:
    return next_case(mount.path, numbers)


@pytest.fixture
def another(mount: Mount, numbers: Iterator[int]) -> Case:
    return next_case(mount.path, numbers)


def test_an_endpoint_that_is_down_at_the_start_ends_the_mount_with_the_cause(
    s3server: S3Server, tmp_path: Path
) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{probe.getsockname()[1]}"  # nobody listens
        path = tmp_path / "mnt"
        path.mkdir()
        arguments = ("mount", "s3://lab", str(path), "--foreground", "--endpoint-url", endpoint)
        ended = s3zipfs(*arguments, *OPTIONS, environment=keys_of(s3server))
    assert ended.returncode != 0
    assert "connection refused" in ended.stderr
    assert "ready" not in ended.stderr + ended.stdout
    assert mounted_type(path) is None


def test_a_mount_that_retries_begins_once_the_endpoint_answers(
    link: Toxiproxy, faults_bucket: str, numbers: Iterator[int], tmp_path: Path
) -> None:
    link.close()
    sources, path = [f"s3://{faults_bucket}"], tmp_path / "mnt"
    with contextlib.ExitStack() as stack:
        mounted = Mount(path, link.server, sources, *OPTIONS, "--retry", "300")
        stack.push(mounted)
        wait_until(
            lambda: "connection refused; asked again" in mounted.log.read_text(),
            seconds=SOON,
            what="a line that says for what it waits",
        )
        assert mounted_type(path) is None
        assert "ready" not in mounted.log.read_text()
        link.open()
        stack.enter_context(mounted)
        assert_whole(opened(next_case(path, numbers)))


def test_a_mount_that_retries_gives_up_after_that_time_and_at_once_where_it_is_refused(
    link: Toxiproxy, faults_bucket: str, tmp_path: Path
) -> None:
    path = tmp_path / "mnt"
    path.mkdir()
    endpoint = ("--endpoint-url", link.server.endpoint)
    arguments = ("mount", f"s3://{faults_bucket}", str(path), *endpoint)
    keys = {**keys_of(link.server), "XDG_STATE_HOME": str(tmp_path)}
    wrong = {**keys, "AWS_SECRET_ACCESS_KEY": "wrong"}
    refused = s3zipfs(*arguments, *OPTIONS, "--retry", "300", environment=wrong)
    assert_one_line(refused, "secret", code=1)
    link.close()
    ended = s3zipfs(*arguments, *OPTIONS, "--retry", "2", environment=keys)
    assert_one_line(ended, "connection refused", code=1)
    assert mounted_type(path) is None
    (log,) = tmp_path.rglob("*.log")
    assert log.read_text().count("asked again for 2 s") == 1
    assert "asked again for 300 s" not in log.read_text()


def test_an_outage_spares_what_is_cached_ends_by_the_deadline_and_heals_by_itself(
    link: Toxiproxy, case: Case, another: Case, mount: Mount
) -> None:
    assert_whole(case)
    deflated = opened(another).archive / "deflated"
    link.close()
    assert_whole(case)
    assert set(os.listdir(case.archive)) == set(CONTENT)
    begun = time.monotonic()
    assert failure(deflated.read_bytes) in OUTAGE
    assert time.monotonic() - begun < TIMEOUT + 2
    for _ in range(3):
        wait_until(lambda: "out of reach" in mount.log.read_text(), seconds=SOON, what="it opens")
        assert failure(deflated.read_bytes) in OUTAGE
        assert_whole(case)
    link.open()
    healed(another)
    mount.wait_for_line("answers again")


def test_a_short_outage_is_noticed_by_nobody(link: Toxiproxy, case: Case) -> None:
    opened(case)
    link.close()
    back = threading.Timer(1.0, link.open)
    back.start()
    try:
        assert (case.archive / "deflated").read_bytes() == CONTENT["deflated"]
    finally:
        back.join()


def test_a_black_hole_ends_by_the_deadline_and_heals_by_itself(link: Toxiproxy, case: Case) -> None:
    opened(case)
    link.add("timeout", timeout=0)  # toxiproxy's word for silence
    begun = time.monotonic()
    assert failure((case.archive / "deflated").read_bytes) in OUTAGE
    assert time.monotonic() - begun < TIMEOUT + 2
    link.heal()
    healed(case)


def test_a_slow_link_is_no_fault_however_long_it_takes(link: Toxiproxy, case: Case) -> None:
    opened(case)
    link.add("bandwidth", rate=SIZE // 1000 // int(2 * TIMEOUT))  # KB/s
    begun = time.monotonic()
    assert (case.archive / "deflated").read_bytes() == CONTENT["deflated"]
    assert time.monotonic() - begun > TIMEOUT


@pytest.mark.parametrize("toxic", ["limit_data", "reset_peer"])
def test_connections_that_are_cut_are_made_again(link: Toxiproxy, case: Case, toxic: str) -> None:
    opened(case)
    if toxic == "limit_data":
        link.add(toxic, bytes=1_200_000)  # of each connection
        assert_whole(case)
    else:
        link.add(toxic, timeout=0)
        assert failure((case.archive / "deflated").read_bytes) in OUTAGE
        link.heal()
        healed(case)
