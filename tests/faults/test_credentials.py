"""Keys that expire, clocks that differ, certificates that nobody trusts: the cause is told."""

from __future__ import annotations

import datetime as dt
import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from certificates import write_certificates
from commands import keys_of, s3zipfs
from fakes3 import Answer, Request, error
from faults.cases import CONTENT, OPTIONS, Case, next_case
from faults.px import Proxy, everything, with_headers
from faults.reading import assert_whole, failure, healed, opened
from faults.roles import assume_role
from mounting import Mount, mounted_type
from s3clients import make_s3client
from s3server import S3Server, ServerError

pytestmark = pytest.mark.timeout(300)


def write_role(file: Path, server: S3Server) -> str:
    """Temporary keys of a role, into a credentials file; the access key."""
    role = assume_role(server)
    role.write(file)
    return role.access_key


class Expiry:
    """Access keys whose time is over, as MinIO tells it."""

    def __init__(self) -> None:
        self.keys: set[str] = set()
        self.refused = 0

    def meets(self, request: Request) -> bool:
        return any(f"Credential={key}/" in request.headers["authorization"] for key in self.keys)

    def answer(self, _: Request) -> Answer:
        self.refused += 1
        return error(403, "ExpiredToken", "The access key expired")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "credentials"


@pytest.fixture
def role(file: Path, s3server: S3Server) -> str:
    return write_role(file, s3server)


@pytest.fixture
def mount_of_role(
    px: Proxy, faults_bucket: str, file: Path, role: str, tmp_path: Path
) -> Iterator[Mount]:
    environment = {
        "AWS_SHARED_CREDENTIALS_FILE": str(file),
        "AWS_ACCESS_KEY_ID": "",  # of `Mount`; empty is not set
        "AWS_SECRET_ACCESS_KEY": "",
    }
    sources = [f"s3://{faults_bucket}"]
    with Mount(tmp_path / "mnt", px.server, sources, *OPTIONS, environment=environment) as mounted:
        yield mounted


def test_expired_keys_are_read_again_and_asked_with_once(
    px: Proxy, mount_of_role: Mount, file: Path, role: str, s3server: S3Server, numbers: Any
) -> None:
    case = opened(next_case(mount_of_role.path, numbers))
    expiry = Expiry()
    px.tell(expiry.answer, expiry.meets)
    write_role(file, s3server)
    expiry.keys.add(role)
    assert_whole(case)
    assert os.listdir(mount_of_role.path / "many")
    assert 1 <= expiry.refused <= 8  # those that were under way, and nothing after
    refused = expiry.refused
    assert_whole(opened(next_case(mount_of_role.path, numbers)))
    assert expiry.refused == refused


def test_keys_that_expire_before_new_ones_are_there_are_eacces_until_then(
    px: Proxy, mount_of_role: Mount, file: Path, role: str, s3server: S3Server, numbers: Any
) -> None:
    case = opened(next_case(mount_of_role.path, numbers))
    expiry = Expiry()
    expiry.keys.add(role)
    px.tell(expiry.answer, expiry.meets)
    assert failure((case.archive / "deflated").read_bytes) == errno.EACCES
    mount_of_role.wait_for_line("expired")
    write_role(file, s3server)
    healed(case)  # within 10 s


HOUR = dt.timedelta(hours=1)


def an_hour_apart(px: Proxy) -> Any:
    """What a store says whose clock is an hour ahead; MinIO itself refuses the signature's time."""
    ago = (dt.datetime.now(dt.UTC) - HOUR).strftime("%Y%m%dT%H%M%SZ")
    ahead = (dt.datetime.now(dt.UTC) + HOUR).strftime("%a, %d %b %Y %H:%M:%S GMT")

    def answer(request: Request) -> Answer:
        return with_headers(Date=ahead)(px.truth(request, headers={"x-amz-date": ago}))

    return answer


def test_clocks_that_differ_are_eio_and_by_how_much_is_logged(
    px: Proxy, case: Case, mount: Mount
) -> None:
    opened(case)
    px.tell(an_hour_apart(px), everything)
    assert failure((case.archive / "deflated").read_bytes) == errno.EIO
    mount.wait_for_line("behind the store's")
    (line, *_) = [text for text in mount.log.read_text().splitlines() if "clock" in text]
    assert "this machine's clock is 1:00:0" in line or "this machine's clock is 0:59:5" in line
    assert "behind the store's" in line
    px.honest()
    assert (case.archive / "stored").read_bytes() == CONTENT["stored"]
    healed(case)


def test_a_certificate_that_nobody_trusts_ends_the_mount_and_nothing_is_sent_in_the_clear(
    tmp_path: Path,
) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    for folder in (ours, theirs):
        folder.mkdir()
        write_certificates(folder)
    path = tmp_path / "mnt"
    path.mkdir()
    try:
        server = S3Server.start(certs_dir=theirs)
    except ServerError as no_tls:
        pytest.skip(str(no_tls))
    with server:
        make_s3client(server, verify=str(theirs / "ca.crt")).create_bucket(Bucket="lab")
        arguments = ("mount", "s3://lab", str(path), "--foreground", "--endpoint-url")
        for bundle in ([], ["--ca-bundle", str(ours / "ca.crt")]):
            ended = s3zipfs(
                *arguments, server.endpoint, *OPTIONS, *bundle, environment=keys_of(server)
            )
            assert ended.returncode != 0
            assert "TLS: certificate not trusted" in ended.stderr
            assert mounted_type(path) is None
        trusted = ("--ca-bundle", str(theirs / "ca.crt"), *OPTIONS)
        with Mount(path, server, ["s3://lab"], *trusted) as mounted:
            assert os.listdir(mounted.path) == []
