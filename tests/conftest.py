"""Fixtures for all tests: one S3 server per session, a fresh bucket per test, a clean environment.

No test sees the developer's own `AWS_…`, `STORAGE_…`, `S3ZIPFS_…` or `MC_…` variables or AWS
files, or writes to their cache; or speaks to the systemd of a unit that runs the tests.
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from s3clients import make_s3client, temporary_bucket
from s3server import S3Server

from s3zipfs.settings import Settings, load_settings
from s3zipfs.stores.network import Network

if TYPE_CHECKING:
    from pageserver import PageServer

KEPT = {"S3ZIPFS_TEST_ENDPOINT", "S3ZIPFS_REQUIRE_MINIO", "S3ZIPFS_SOAK_SECONDS"}
SYSTEMD = ("NOTIFY_SOCKET", "WATCHDOG_", "CREDENTIALS_DIRECTORY", "JOURNAL_STREAM")
FOREIGN = ("AWS_", "STORAGE_", "S3ZIPFS_", "ENDPOINT_FULL", "MC_", *SYSTEMD)
ALONE = {"tests/faults", "tests/semantics", "tests/service", "tests/model"}
PROXIES = {"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"}  # all traffic stays on loopback

_server_keys: dict[str, str] = {}  # of a server given by S3ZIPFS_TEST_ENDPOINT


def pytest_configure(config: pytest.Config) -> None:
    if _is_controller(config):
        return  # it runs no test, and its workers have its environment
    # Who is started in the background by a shell ignores SIGINT, and so would all that tests start.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for name in list(os.environ):
        if name in KEPT or not (name.startswith(FOREIGN) or name.upper() in PROXIES):
            continue
        value = os.environ.pop(name)
        if name in {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}:
            _server_keys[name] = value
    os.environ["AWS_CONFIG_FILE"] = os.environ["AWS_SHARED_CREDENTIALS_FILE"] = os.devnull
    os.environ["AWS_EC2_METADATA_DISABLED"] = "true"
    os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="s3zipfs-tests-")


def pytest_unconfigure(config: pytest.Config) -> None:
    if not _is_controller(config):
        shutil.rmtree(os.environ["XDG_CACHE_HOME"], ignore_errors=True)


@pytest.hookimpl(tryfirst=True)  # before xdist writes the groups into the names
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A file's tests stay together, in order; those that load the machine run one after another."""
    for item in items:
        folder, _, file = item.nodeid.partition("::")[0].rpartition("/")
        group = "alone" if folder in ALONE else f"{folder}/{file}"
        item.add_marker(pytest.mark.xdist_group(group))


def _is_controller(config: pytest.Config) -> bool:
    """Whether this process has others run the tests (pytest -n)."""
    return not hasattr(config, "workerinput") and bool(config.getoption("numprocesses", None))


@pytest.fixture(scope="session")
def s3server() -> Iterator[S3Server]:
    """The session's S3 server. Tests that pause or break one start their own."""
    with pytest.MonkeyPatch.context() as environment:
        for name, value in _server_keys.items():
            environment.setenv(name, value)
        server = S3Server.start()
    with server:
        yield server


@pytest.fixture(scope="session")
def s3client(s3server: S3Server) -> Any:
    """A boto3 client of the session's server, to play the other users of the store."""
    return make_s3client(s3server)


@pytest.fixture
def bucket(s3client: Any) -> Iterator[str]:
    """A new bucket, removed afterwards with all in it."""
    with temporary_bucket(s3client, f"test-{uuid.uuid4().hex[:16]}") as name:
        yield name


@pytest.fixture(scope="session")
def s3settings(s3server: S3Server) -> Settings:
    """Settings for the session's server."""
    return load_settings(
        endpoint_url=s3server.endpoint,
        access_key=s3server.access_key,
        secret_key=s3server.secret_key,
        timeout=20.0,
    )


@pytest.fixture
def network() -> Iterator[Network]:
    """A network loop of this test's own."""
    running = Network()
    yield running
    running.close()


@pytest.fixture(scope="session")
def s3certs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `ca.crt` and a server's `public.crt` and `private.key` for 127.0.0.1."""
    from certificates import write_certificates

    folder = tmp_path_factory.mktemp("certs")
    write_certificates(folder)
    return folder


@pytest.fixture(scope="session")
def page_server(tmp_path_factory: pytest.TempPathFactory, s3certs: Path) -> Iterator[PageServer]:
    """What the pages of the documentation speak of."""
    from pageserver import serve_pages

    with serve_pages(tmp_path_factory.mktemp("pages"), s3certs) as server:
        yield server
