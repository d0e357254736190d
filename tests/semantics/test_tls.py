"""Nothing is read from an endpoint that does not prove itself, unless that was asked for, aloud."""

from __future__ import annotations

import logging
import os
import random
import subprocess
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from certificates import write_certificates, write_self_signed
from commands import assert_one_line, keys_of, s3zipfs
from mounting import Mount, mounted_type
from s3clients import make_s3client
from s3server import S3Server, ServerError
from tlsproxy import TlsProxy

from s3zipfs.errors import SettingsError
from s3zipfs.settings import load_settings
from s3zipfs.stores.s3.connection import Connection

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning"),
]

OPTIONS = ("--timeout", "20", "--cache-dir", "none")
SMALL = b"small"
LARGE = random.Random(7).randbytes(3 << 20)  # read by several ways: threads, loop, parts
UNVERIFIED = "its certificate is NOT verified"


def archive_bytes() -> bytes:
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("small", SMALL)
        archive.writestr("large", LARGE)
    return buffer.getvalue()


@dataclass(frozen=True)
class Store:
    """A MinIO that speaks TLS, by a certificate that the authority in `folder` signed."""

    server: S3Server
    folder: Path

    @property
    def authority(self) -> str:
        return str(self.folder / "ca.crt")


def start(folder: Path) -> S3Server:
    try:
        server = S3Server.start(certs_dir=folder)
    except ServerError as no_tls:
        pytest.skip(str(no_tls))
    client = make_s3client(server, verify=False)
    client.create_bucket(Bucket="lab")
    client.put_object(Bucket="lab", Key="x.zip", Body=archive_bytes())
    client.put_object(Bucket="lab", Key="odd\x01.zip", Body=archive_bytes())  # not by obstore
    return server


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    folder = tmp_path_factory.mktemp("theirs")
    write_certificates(folder)
    with start(folder) as server:
        yield Store(server, folder)


def assert_read_whole(path: Path) -> None:
    """By both client libraries."""
    archives = sorted(each for each in path.iterdir())
    assert len(archives) == 2
    for archive in archives:
        assert (archive / "small").read_bytes() == SMALL
        assert (archive / "large").read_bytes() == LARGE


def ls(server: S3Server, *options: str, endpoint: str | None = None, **variables: str) -> Any:
    return s3zipfs(
        "ls", "s3://lab", "--endpoint-url", endpoint or server.endpoint, *OPTIONS, *options,
        environment={**keys_of(server), **variables},
    )  # fmt: skip


@pytest.mark.parametrize("way", ["--ca-bundle", "AWS_CA_BUNDLE", "SSL_CERT_FILE", "configuration"])
def test_an_authority_of_ones_own_is_trusted_whichever_way_it_is_named(
    store: Store, tmp_path: Path, way: str
) -> None:
    options, variables = [], {}
    if way.startswith("--"):
        options = [way, store.authority]
    elif way == "configuration":
        (tmp_path / "config").write_text(f"[default]\nca_bundle = {store.authority}\n")
        variables = {"AWS_CONFIG_FILE": str(tmp_path / "config")}
    else:
        variables = {way: store.authority}
    sources = ["s3://lab"]
    with Mount(
        tmp_path / "mnt", store.server, sources, *OPTIONS, *options, environment=variables
    ) as mounted:
        assert_read_whole(mounted.path)
        assert UNVERIFIED not in mounted.log.read_text()


def test_a_certificate_of_an_unknown_authority_is_refused_by_one_line_that_says_what_to_do(
    store: Store, tmp_path: Path
) -> None:
    write_certificates(tmp_path)
    for options in ((), ("--ca-bundle", str(tmp_path / "ca.crt"))):
        assert_one_line(ls(store.server, *options), "not trusted", "give --ca-bundle", code=1)


def test_a_certificate_of_another_host_is_refused(store: Store) -> None:
    localhost = store.server.endpoint.replace("127.0.0.1", "localhost")
    done = ls(store.server, "--ca-bundle", store.authority, endpoint=localhost)
    assert_one_line(done, "TLS: certificate is of another host", code=1)


def test_an_expired_certificate_is_refused_and_so_is_a_mount(tmp_path: Path) -> None:
    write_certificates(tmp_path, expired=True)
    path = tmp_path / "mnt"
    path.mkdir()
    with start(tmp_path) as server:
        bundle = ("--ca-bundle", str(tmp_path / "ca.crt"))
        assert_one_line(ls(server, *bundle), "TLS: certificate has expired", code=1)
        words = ("mount", "s3://lab", str(path), "--foreground", "--endpoint-url", server.endpoint)
        done = s3zipfs(*words, *OPTIONS, *bundle, environment=keys_of(server))
        assert_one_line(done, "TLS: certificate has expired", code=1)
        assert mounted_type(path) is None


@pytest.mark.parametrize("kind", ["unknown authority", "another host", "expired", "self-signed"])
def test_unverified_means_any_certificate_and_a_warning_at_each_start(
    tmp_path: Path, kind: str
) -> None:
    address = "192.0.2.1" if kind == "another host" else "127.0.0.1"
    if kind == "self-signed":
        write_self_signed(tmp_path)
    else:
        write_certificates(tmp_path, address=address, expired=kind == "expired")
    with start(tmp_path) as server:
        for _ in range(2):
            sources = ["s3://lab"]
            with Mount(tmp_path / "mnt", server, sources, *OPTIONS, "--no-verify-tls") as mounted:
                assert_read_whole(mounted.path)
                warnings = [x for x in mounted.log.read_text().splitlines() if UNVERIFIED in x]
                assert len(warnings) == 1
                assert " WARNING " in warnings[0]
        done = ls(server, "--no-verify-tls")
        assert done.returncode == 0
        assert done.stderr.count(UNVERIFIED) == 1


def test_a_mount_in_the_background_warns_where_it_was_started(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "mnt"
    path.mkdir()
    words = ("mount", "s3://lab", str(path), "--endpoint-url", store.server.endpoint)
    environment = {**keys_of(store.server), "XDG_STATE_HOME": str(tmp_path)}
    try:
        done = s3zipfs(*words, *OPTIONS, "--no-verify-tls", environment=environment)
        assert done.returncode == 0, done.stderr
        assert done.stderr.startswith("s3zipfs: warning: ")
        assert done.stderr.count(UNVERIFIED) == done.stderr.count("\n") == 1
        assert_read_whole(path)
    finally:
        subprocess.run(["fusermount3", "-uz", str(path)], check=False)


# --- client certificates ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def demanding(store: Store, s3server: S3Server) -> Iterator[TlsProxy]:
    """A proxy that wants to see a certificate, before a server that has the same objects."""
    client = make_s3client(s3server)
    client.create_bucket(Bucket="lab")
    keys = ("x.zip", "odd\x01.zip")
    for key in keys:
        client.put_object(Bucket="lab", Key=key, Body=archive_bytes())
    with TlsProxy(s3server, store.folder) as proxy:
        yield proxy
    for key in keys:
        client.delete_object(Bucket="lab", Key=key)
    client.delete_bucket(Bucket="lab")


def pair(folder: Path) -> tuple[str, ...]:
    return (
        "--client-certificate", str(folder / "client.crt"),
        "--client-key", str(folder / "client.key"),
    )  # fmt: skip


@pytest.mark.parametrize("in_one_file", [True, False])
def test_a_client_certificate_is_shown_where_one_is_demanded(
    demanding: TlsProxy, store: Store, tmp_path: Path, in_one_file: bool
) -> None:
    shown = pair(store.folder)
    if in_one_file:
        both = tmp_path / "both.pem"
        texts = [(store.folder / f"client.{end}").read_text() for end in ("crt", "key")]
        both.write_text("".join(texts))
        shown = ("--client-certificate", str(both))
    options = (*OPTIONS, "--ca-bundle", store.authority, *shown)
    with Mount(tmp_path / "mnt", demanding.server, ["s3://lab"], *options) as mounted:
        assert_read_whole(mounted.path)


def test_without_the_certificate_that_is_demanded_one_line_says_so(
    demanding: TlsProxy, store: Store, tmp_path: Path
) -> None:
    write_certificates(tmp_path)
    for shown in ((), pair(tmp_path)):
        done = ls(demanding.server, "--ca-bundle", store.authority, *shown)
        assert_one_line(done, "wants a client certificate", "--client-certificate", code=1)


@pytest.mark.parametrize(
    ("certificate", "key", "words"),
    [
        ("client.crt", None, "no PEM certificate with its key"),
        ("client.crt", "private.key", "the key is of another certificate"),
        ("nothing.crt", "client.key", "No such file or directory"),
        ("client.crt", "nothing.key", "No such file or directory"),
        ("client.key", "client.key", "no PEM certificate"),
        (None, "client.key", "client_certificate: not given"),
    ],
)
def test_a_pair_that_is_none_is_a_settings_error(
    store: Store, certificate: str | None, key: str | None, words: str
) -> None:
    given: dict[str, Any] = {
        "client_certificate": certificate and store.folder / certificate,
        "client_key": key and store.folder / key,
    }
    with pytest.raises(SettingsError, match=words):
        Connection(load_settings(endpoint_url="https://127.0.0.1:9", **given))


def test_a_client_key_that_everybody_can_read_is_refused() -> None:
    with tempfile.TemporaryDirectory() as name:  # pytest's own are private as a whole
        folder = Path(name)
        write_certificates(folder)
        key = folder / "client.key"
        given: dict[str, Any] = {"client_certificate": folder / "client.crt", "client_key": key}
        key.chmod(0o644)
        Connection(load_settings(endpoint_url="https://127.0.0.1:9", **given))
        folder.chmod(0o755)
        with pytest.raises(SettingsError, match=r"client_key: .*everybody can read it"):
            Connection(load_settings(endpoint_url="https://127.0.0.1:9", **given))
        key.chmod(0o600)
        Connection(load_settings(endpoint_url="https://127.0.0.1:9", **given))


def test_a_client_certificate_for_plain_http_is_a_settings_error(store: Store) -> None:
    given: dict[str, Any] = {
        "client_certificate": store.folder / "client.crt",
        "client_key": store.folder / "client.key",
    }
    with pytest.raises(SettingsError, match="is not https"):
        Connection(load_settings(endpoint_url="http://127.0.0.1:9", **given))


# --- plain HTTP ---------------------------------------------------------------------------------


def warned(caplog: pytest.LogCaptureFixture, endpoint: str, **given: Any) -> int:
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            Connection(load_settings(endpoint_url=endpoint, **given))
    return caplog.text.count("plain HTTP to another host")


def test_plain_http_to_another_host_is_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    number = os.getpid()  # nobody was warned of that host before
    assert warned(caplog, f"http://minio-{number}.example.org:9000") == 1
    assert warned(caplog, f"http://minio-{number}.example.org:9000") == 0
    assert warned(caplog, "http://192.0.2.7:9000") == 1
    for endpoint in ("http://127.0.0.1:9", "http://[::1]:9", "http://localhost:9", "https://a.b"):
        assert warned(caplog, endpoint) == 0
    assert warned(caplog, "http://public.example.org", anonymous=True) == 0
