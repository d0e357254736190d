"""A bucket whose archives are each of one test's own, behind a proxy, and one mount of it."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from faults.cases import CASES, MANY, OPTIONS, Case, archive_bytes, next_case
from faults.px import Proxy
from mounting import Mount
from s3server import S3Server


@pytest.fixture(scope="session")
def faults_bucket(s3client: Any) -> Iterator[str]:
    """`case-00/x.zip` and so on, and `many/…`."""
    name = f"faults-{uuid.uuid4().hex[:16]}"
    s3client.create_bucket(Bucket=name)
    keys = {f"case-{number:02}/x.zip": archive_bytes() for number in range(CASES)}
    keys |= {f"many/{number:04}": b"" for number in range(MANY)}
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda k: s3client.put_object(Bucket=name, Key=k, Body=keys[k]), keys))
    yield name
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda k: s3client.delete_object(Bucket=name, Key=k), keys))
    s3client.delete_bucket(Bucket=name)


@pytest.fixture(scope="session")
def numbers() -> Iterator[int]:
    """Of the archives that no test has had."""
    return iter(range(CASES))


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
