"""A bucket whose archives are each of one test's own, behind a proxy, and one mount of it."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from faults.cases import MANY, OPTIONS, Case, archive_bytes, cases, next_case
from faults.px import Proxy
from mounting import Mount
from s3clients import put_many, temporary_bucket
from s3server import S3Server


@pytest.fixture(scope="session")
def faults_bucket(s3server: S3Server, s3client: Any) -> Iterator[str]:
    """`case-000/` and so on, in which there is nothing yet, and `many/…`."""
    with temporary_bucket(s3client, f"faults-{uuid.uuid4().hex[:16]}") as name:
        for case in cases(Path()):
            s3client.put_object(Bucket=name, Key=case.prefix, Body=b"")
        many = (f"many/{number:04}" for number in range(MANY))
        asyncio.run(put_many(s3server, name, many, b""))
        yield name


@pytest.fixture(scope="session")
def numbers(s3client: Any, faults_bucket: str) -> Iterator[int]:
    """Of the archives that no test has had; each is put there when it is asked for."""
    body = archive_bytes()

    def put() -> Iterator[int]:
        for number, case in enumerate(cases(Path())):
            s3client.put_object(Bucket=faults_bucket, Key=case.key, Body=body)
            yield number

    return put()


@pytest.fixture(scope="module")
def running_proxy(s3server: S3Server) -> Iterator[Proxy]:
    with Proxy(s3server) as running:
        yield running


@pytest.fixture(scope="module")
def mount(
    running_proxy: Proxy, faults_bucket: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Mount]:
    path = tmp_path_factory.mktemp("faults") / "mnt"
    running_proxy.honest()
    with Mount(path, running_proxy.server, [f"s3://{faults_bucket}"], *OPTIONS) as mounted:
        yield mounted


@pytest.fixture
def px(running_proxy: Proxy) -> Iterator[Proxy]:
    """The proxy, honest before and after."""
    running_proxy.honest()
    yield running_proxy
    running_proxy.honest()


@pytest.fixture
def case(mount: Mount, px: Proxy, numbers: Iterator[int]) -> Case:
    return next_case(mount.path, numbers)
