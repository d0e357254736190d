"""The server that the other tests stand on."""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import s3server as module
from s3clients import make_s3client
from s3server import S3Server, ServerError

SCRIPT = Path(module.__file__)


@pytest.fixture
def no_minio(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MINIO", Path("/nonexistent/minio"))
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.delenv("S3ZIPFS_TEST_ENDPOINT", raising=False)
    monkeypatch.delenv("S3ZIPFS_REQUIRE_MINIO", raising=False)


def test_server_leaves_nothing_behind() -> None:
    server = S3Server.start(own=True)
    process, folder = server.process, server.folder
    assert process is not None
    assert folder is not None
    with server:
        assert os.getpgid(process.pid) == process.pid  # Ctrl-C in pytest is not for it
        make_s3client(server).create_bucket(Bucket="bucket")
        server.pause()
        server.resume()
        assert make_s3client(server).list_buckets()["Buckets"][0]["Name"] == "bucket"
        server.pause()  # a paused one is stopped as well
    assert process.returncode is not None
    assert not folder.exists()
    server.stop()


def test_running_server_is_used_and_not_stopped(monkeypatch: Any) -> None:
    with S3Server.start(own=True) as running:
        monkeypatch.setenv("S3ZIPFS_TEST_ENDPOINT", running.endpoint + "/")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
        with S3Server.start() as found:
            assert (found.endpoint, found.kind) == (running.endpoint, "external")
            assert (found.access_key, found.secret_key) == ("key", "minioadmin")
            with pytest.raises(ServerError, match="not ours"):
                found.pause()
        make_s3client(running).list_buckets()


@pytest.mark.usefixtures("no_minio")
def test_moto_is_named_where_there_is_no_minio(capfd: pytest.CaptureFixture[str]) -> None:
    with S3Server.start() as server:
        assert server.kind == "moto"
        with urllib.request.urlopen(server.endpoint + "/moto-api/") as answer:
            assert answer.status == 200
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 1
    assert "moto" in lines[0]


@pytest.mark.usefixtures("no_minio")
def test_required_minio_is_not_replaced(monkeypatch: Any) -> None:
    monkeypatch.setenv("S3ZIPFS_REQUIRE_MINIO", "1")
    with pytest.raises(ServerError, match="make tools"):
        S3Server.start()


def test_program_prints_its_endpoint_and_ends_on_sigterm() -> None:
    with subprocess.Popen(
        [sys.executable, str(SCRIPT)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as program:
        assert program.stdout is not None
        assert program.stdout.readline().startswith("http://127.0.0.1:")
        program.terminate()
        assert program.wait(20) == 0
