"""A machine with a service, for the tests of this folder."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from s3server import S3Server
from service.machine import Machine, why_not
from trees import zipped

MEMBERS = {"a.txt": b"hello\n", "deep/b.bin": bytes(range(256)) * 1000}


@pytest.fixture(scope="session")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """One that has booted, and knows nothing of s3zipfs yet."""
    if (why := why_not()) is not None:
        if os.environ.get("S3ZIPFS_REQUIRE_MINIO") == "1" and os.geteuid() == 0:
            pytest.fail(f"S3ZIPFS_REQUIRE_MINIO=1, and there can be no systemd: {why}")
        pytest.skip(f"no systemd of our own: {why}")
    with Machine(tmp_path_factory.mktemp("machine") / "own") as booted:
        yield booted


@pytest.fixture(scope="session")
def archives(s3client: Any) -> Iterator[str]:
    """A bucket that all tests of a machine read."""
    from s3clients import temporary_bucket

    with temporary_bucket(s3client, f"service-{os.getpid()}") as name:
        s3client.put_object(Bucket=name, Key="x.zip", Body=zipped(MEMBERS))
        s3client.put_object(Bucket=name, Key="plain.txt", Body=b"plain\n")
        yield name


@pytest.fixture(scope="session")
def installed(machine: Machine, s3server: S3Server, archives: str) -> Machine:
    """`s3zipfs install-service lab`, done as an administrator does it."""
    done = machine.run(*s3zipfs("install-service", "lab"), environment=interpreter())
    assert "systemctl enable --now s3zipfs@lab" in done.stdout
    machine.run("systemd-sysusers")
    machine.path("/srv/lab").mkdir()
    machine.write(
        "/etc/s3zipfs/lab.toml",
        f'mountpoint = "/srv/lab"\nsources = ["s3://{archives}"]\n'
        f'endpoint_url = "{s3server.endpoint}"\nallow_other = true\n',
    )
    keys = f"AWS_ACCESS_KEY_ID={s3server.access_key}\nAWS_SECRET_ACCESS_KEY={s3server.secret_key}\n"
    machine.write("/etc/s3zipfs/lab.env", keys, mode=0o600)
    variables = "".join(f"Environment={name}={value}\n" for name, value in interpreter().items())
    # There is no journal.
    machine.write(
        "/etc/systemd/system/s3zipfs@.service.d/test.conf",
        f"[Service]\n{variables}StandardError=append:/run/lab.log\n",
    )
    machine.systemctl("daemon-reload")
    return machine


def s3zipfs(*words: str) -> tuple[str, ...]:
    """The program of this environment."""
    return (sys.executable, "-m", "s3zipfs", *words)


def interpreter() -> dict[str, str]:
    """What Python needs to find this checkout, where it is not installed."""
    return {name: os.environ[name] for name in ("PYTHONPATH",) if name in os.environ}
