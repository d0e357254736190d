"""What a real mount tells Prometheus, beside what a proxy has counted and readers have read."""

from __future__ import annotations

import contextlib
import errno
import os
import random
import socket
import zipfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from commands import assert_one_line, mount, s3zipfs
from fakes3 import Request, error
from faults.px import Proxy, gets
from mounting import Mount, mounted_type
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from s3server import S3Server
from telling import ANY_PORT, SECONDS, get, metrics, parsed, settled, status, total, url_of, value
from trees import zipped

FAILED, USAGE = 1, 2
RANDOM = random.Random(7)
STORED = {f"c/{number}": RANDOM.randbytes(64 << 10) for number in range(20)}
DEFLATED = {f"t/{number}": b"%d\n" % number * 4000 for number in range(10)}
PLAIN = RANDOM.randbytes(3 << 20)


@dataclass
class World:
    proxy: Proxy
    mount: Mount
    bucket: str

    @property
    def url(self) -> str:
        return url_of(self.mount.path)


@pytest.fixture
def world(s3server: S3Server, s3client: Any, bucket: str, tmp_path: Path) -> Iterator[World]:
    """A mount whose every request passes a proxy."""
    s3client.put_object(Bucket=bucket, Key="stored.zip", Body=zipped(STORED))
    body = zipped(DEFLATED, zipfile.ZIP_DEFLATED)
    s3client.put_object(Bucket=bucket, Key="deflated.zip", Body=body)
    s3client.put_object(Bucket=bucket, Key="plain.bin", Body=PLAIN)
    options = ("--cache-dir", "none", *ANY_PORT)
    with (
        Proxy(s3server) as proxy,
        Mount(tmp_path / "mnt", proxy.server, [f"s3://{bucket}"], *options) as mounted,
    ):
        yield World(proxy, mounted, bucket)


def verb(request: Request) -> str:
    if request.method == "HEAD":
        return "head"
    if "list-type=2" in request.query:
        return "list"
    return "list_buckets" if request.path == "/" else "get"


def fetched(requests: list[Request]) -> int:
    """Bytes that GETs have asked for."""
    ranges = [each.range for each in requests if verb(each) == "get"]
    return sum(end - start for start, end in ranges)


def read_all(path: Path) -> int:
    """Read each member and compare it; how many bytes there were."""
    assert (path / "plain.bin").read_bytes() == PLAIN
    for archive, members in (("stored.zip", STORED), ("deflated.zip", DEFLATED)):
        for name, content in members.items():
            assert (path / archive / name).read_bytes() == content
    return len(PLAIN) + sum(map(len, [*STORED.values(), *DEFLATED.values()]))


def test_requests_and_bytes_are_those_that_a_proxy_saw_and_programs_read(world: World) -> None:
    read = read_all(world.mount.path)
    for number in range(50):
        assert not (world.mount.path / f"stored.zip/missing-{number}").exists()
    found = settled(world.url)
    for name, count in Counter(map(verb, world.proxy.requests)).items():
        assert total(found, "s3zipfs_requests_total", verb=name) == count, name
        assert value(found, "s3zipfs_request_duration_seconds_count", verb=name) == count, name
        assert value(found, "s3zipfs_requests_total", verb=name, outcome="ok") == count, name
    assert total(found, "s3zipfs_requests_total") == len(world.proxy.requests)
    assert value(found, "s3zipfs_fetched_bytes_total") == fetched(world.proxy.requests)
    assert value(found, "s3zipfs_read_bytes_total") == read
    operations = "s3zipfs_operation_duration_seconds_count"
    assert value(found, operations, operation="lookup") >= 50 + len(STORED) + len(DEFLATED)
    assert value(found, operations, operation="read") >= 1 + len(STORED) + len(DEFLATED)
    assert total(found, "s3zipfs_operation_errors_total") == 0
    loads = "s3zipfs_index_load_duration_seconds_count"
    assert value(found, loads, origin="store") == value(found, "s3zipfs_archives_open") == 2
    assert (
        0 < value(found, "s3zipfs_memory_used_bytes") <= value(found, "s3zipfs_memory_budget_bytes")
    )
    assert value(found, "process_resident_memory_bytes") > 1 << 20
    state = {"endpoint": world.proxy.server.endpoint, "state": "closed"}
    assert value(found, "s3zipfs_breaker_state", **state) == 1


def test_each_attempt_counts_by_how_it_ended(world: World) -> None:
    settled(world.url)
    world.proxy.tell(lambda _: error(503, "SlowDown"), gets("plain.bin"), times=3)
    assert (world.mount.path / "plain.bin").read_bytes() == PLAIN
    found = settled(world.url)
    asked = [each for each in world.proxy.requests if verb(each) == "get"]
    assert value(found, "s3zipfs_requests_total", verb="get", outcome="unavailable") == 3
    assert value(found, "s3zipfs_requests_total", verb="get", outcome="ok") == len(asked) - 3
    assert value(found, "s3zipfs_request_retries_total") >= 1


def test_a_refusal_is_an_error_of_the_read_and_an_outcome(world: World) -> None:
    world.proxy.tell(lambda _: error(403, "AccessDenied"), gets("plain.bin"))
    with pytest.raises(PermissionError):
        (world.mount.path / "plain.bin").read_bytes()
    found = settled(world.url)
    assert value(found, "s3zipfs_requests_total", verb="get", outcome="denied") >= 1
    assert value(found, "s3zipfs_operation_errors_total", operation="read", errno="EACCES") >= 1
    assert value(found, "s3zipfs_operations_waited_total", operation="read") >= 1


def test_a_replaced_object_is_an_outcome(world: World, s3client: Any) -> None:
    with (world.mount.path / "plain.bin").open("rb", buffering=0) as file:
        s3client.put_object(Bucket=world.bucket, Key="plain.bin", Body=b"other")
        with pytest.raises(OSError, match=os.strerror(errno.ESTALE)):
            file.read(10)
    found = settled(world.url)
    assert value(found, "s3zipfs_requests_total", verb="get", outcome="changed") >= 1
    assert value(found, "s3zipfs_operation_errors_total", operation="read", errno="ESTALE") >= 1


def test_the_file_in_the_mount_and_the_address_say_the_same(world: World) -> None:
    read_all(world.mount.path)
    settled(world.url)
    told = status(world.mount.path)
    assert told["pid"] == world.mount.process.pid
    assert told["archives"][0]["key"] == "plain.bin"
    assert {each["key"] for each in told["archives"]} == {"plain.bin", "stored.zip", "deflated.zip"}
    assert sum(each["bytes_fetched"] for each in told["archives"]) == told["bytes"]["fetched"]
    assert sum(each["requests"] for each in told["archives"]) == sum(
        told["requests"]["get"].values()
    )
    assert sum(each["bytes_read"] for each in told["archives"]) == told["bytes"]["read"]
    by_file = parsed((world.mount.path / ".s3zipfs/metrics").read_text())
    assert value(by_file, "s3zipfs_read_bytes_total") == told["bytes"]["read"]


def test_openmetrics_is_told_to_who_asks_for_it(world: World) -> None:
    wanted = {"Accept": "application/openmetrics-text; version=1.0.0"}
    code, headers, body = get(f"{world.url}metrics", wanted)
    assert (code, headers.get_content_type()) == (200, "application/openmetrics-text")
    names = {family.name for family in text_string_to_metric_families(body.decode())}
    assert {"s3zipfs_requests", "s3zipfs_operation_duration_seconds"} <= names
    _, headers, _ = get(f"{world.url}metrics")
    assert headers.get_content_type() == "text/plain"


@pytest.mark.parametrize(
    ("path", "host", "method", "expected"),
    [
        ("", "localhost:1", "GET", 200),
        ("status.json", "[::1]", "HEAD", 200),
        ("metrics", "evil.example", "GET", 421),
        ("status.json", "evil.example:9100", "GET", 421),
        ("status.json", "127.0.0.1", "POST", 405),
        ("metrics", "127.0.0.1", "DELETE", 405),
        ("../../etc/passwd", "127.0.0.1", "GET", 404),
        ("metrics", "[", "GET", 421),
    ],
)
def test_what_is_asked_wrongly_is_refused(
    world: World, path: str, host: str, method: str, expected: int
) -> None:
    code, headers, body = get(f"{world.url}{path}", {"Host": host}, method=method)
    assert code == expected
    assert (method == "HEAD") == (not body)
    if code == 200:
        assert "default-src 'none'" in headers["Content-Security-Policy"]


def test_who_asks_slowly_or_not_at_all_keeps_nobody_waiting(world: World) -> None:
    host, port = world.url.removeprefix("http://").rstrip("/").split(":")
    slow = [socket.create_connection((host, int(port)), timeout=SECONDS) for _ in range(40)]
    try:
        for each in slow[::2]:
            with contextlib.suppress(ConnectionError):  # it has given way already
                each.sendall(b"GET /metr")
        assert (world.mount.path / "plain.bin").read_bytes() == PLAIN
        assert total(metrics(world.url), "s3zipfs_requests_total") > 0
        with contextlib.suppress(ConnectionResetError):
            assert slow[0].recv(1) == b""  # the oldest has given way
    finally:
        for each in slow:
            each.close()


def test_what_is_asked_is_printable_in_the_log(
    s3server: S3Server, filled: str, tmp_path: Path
) -> None:
    options = ("--verbose", *ANY_PORT)
    with Mount(tmp_path / "mnt", s3server, [f"s3://{filled}"], *options) as mount:
        parts = urlsplit(url_of(mount.path))
        with socket.create_connection((parts.hostname, parts.port), timeout=SECONDS) as asking:
            asking.sendall(b"GET /\x1b[31mred HTTP/1.0\r\nHost: localhost\r\n\r\n")
            assert asking.makefile("rb").read().startswith(b"HTTP/1.0 404 ")
        mount.wait_for_line("GET /\\x1b[31mred")
        assert "\x1b" not in mount.log.read_text()


def test_a_mount_in_the_background_tells_too(
    s3server: S3Server, filled: str, mountpoint: Path
) -> None:
    done = mount(s3server, "-o", "metrics=127.0.0.1:0", f"s3://{filled}", str(mountpoint))
    assert (done.returncode, done.stderr) == (0, "")
    assert (mountpoint / "x.zip/a.txt").read_text() == "hello\n"
    assert value(metrics(url_of(mountpoint)), "s3zipfs_read_bytes_total") == 6
    assert s3zipfs("umount", str(mountpoint)).returncode == 0


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
def test_an_address_that_is_taken_is_one_line_and_no_mount(
    s3server: S3Server, filled: str, mountpoint: Path, host: str
) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as taken:
        try:
            taken.bind((host.strip("[]"), 0))
        except OSError:
            pytest.skip("this machine has no IPv6")
        taken.listen()
        address = f"{host}:{taken.getsockname()[1]}"
        done = mount(s3server, "--metrics", address, f"s3://{filled}", str(mountpoint))
    words = (f"--metrics {address}", os.strerror(errno.EADDRINUSE))
    assert_one_line(done, *words, code=FAILED)
    assert mounted_type(mountpoint) is None


@pytest.mark.parametrize("address", ["9100", ":9100", "127.0.0.1", "127.0.0.1:x", "::1:9100"])
def test_what_is_no_address_is_told_before_anything_is_done(
    s3server: S3Server, filled: str, mountpoint: Path, address: str
) -> None:
    done = mount(s3server, "--metrics", address, f"s3://{filled}", str(mountpoint))
    assert_one_line(done, "--metrics", "HOST:PORT", code=USAGE)
    assert mounted_type(mountpoint) is None


def test_nobody_listens_where_it_was_not_asked_for(
    s3server: S3Server, filled: str, mountpoint: Path
) -> None:
    assert mount(s3server, f"s3://{filled}", str(mountpoint)).returncode == 0
    told = status(mountpoint)
    assert told["metrics"] is None
    assert listening_sockets().isdisjoint(sockets_of(told["pid"]))


def sockets_of(pid: int) -> set[str]:
    """By their inodes."""
    links = [str(each.readlink()) for each in Path(f"/proc/{pid}/fd").iterdir()]
    return {link.removeprefix("socket:[")[:-1] for link in links if link.startswith("socket:")}


def listening_sockets() -> set[str]:
    """Of TCP, of all processes (proc_net_tcp)."""
    lines = [
        line.split()
        for table in ("tcp", "tcp6")
        if (path := Path("/proc/net") / table).exists()
        for line in path.read_text().splitlines()[1:]
    ]
    return {fields[9] for fields in lines if fields[3] == "0A"}
