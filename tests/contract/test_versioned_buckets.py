"""Buckets that keep versions: what was replaced or deleted can be read on."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mounting import Mount, wait_until
from s3server import S3Server
from trees import zipped

from s3zipfs.errors import ObjectChanged
from s3zipfs.settings import Settings
from s3zipfs.stores.base import ObjectId
from s3zipfs.stores.network import Network
from s3zipfs.stores.s3 import S3Store

SIZE = 16 << 20
TTL = 1.0


def empty(s3client: Any, bucket: str) -> None:
    for page in s3client.get_paginator("list_object_versions").paginate(Bucket=bucket):
        for found in (*page.get("Versions", ()), *page.get("DeleteMarkers", ())):
            s3client.delete_object(Bucket=bucket, Key=found["Key"], VersionId=found["VersionId"])


@pytest.fixture
def versioned(s3server: S3Server, s3client: Any, bucket: str) -> Iterator[str]:
    if s3server.kind != "minio":
        pytest.skip("of moto nothing is known about If-Match with a version id")
    s3client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    yield bucket
    empty(s3client, bucket)


@pytest.fixture
def store(s3settings: Settings, network: Network) -> Iterator[S3Store]:
    opened = S3Store(s3settings)
    yield opened
    network.submit(opened.close()).result(20)


KEYS = ["x.bin", "a\x01b"]  # read by obstore, and by the client


def put(s3client: Any, bucket: str, key: str, content: bytes) -> ObjectId:
    etag = s3client.put_object(Bucket=bucket, Key=key, Body=content)["ETag"]
    return ObjectId("", bucket, key, etag)


@pytest.mark.parametrize("key", KEYS, ids=["obstore", "client"])
@pytest.mark.parametrize("gone", ["replaced", "deleted"])
def test_a_version_that_was_read_from_can_be_read_on(
    s3client: Any, versioned: str, store: S3Store, network: Network, key: str, gone: str
) -> None:
    def read(oid: ObjectId, start: int, end: int) -> bytes:
        return bytes(network.submit(store.get_range(oid, start, end)).result(20))

    old = put(s3client, versioned, key, b"1" * 1000)
    unread = put(s3client, versioned, "unread", b"1")
    assert read(old, 0, 10) == b"1" * 10
    if gone == "replaced":
        put(s3client, versioned, key, b"2" * 2000)
        put(s3client, versioned, "unread", b"2")
    else:
        s3client.delete_object(Bucket=versioned, Key=key)
        s3client.delete_object(Bucket=versioned, Key="unread")
    for _ in range(2):
        assert read(old, 500, 1000) == b"1" * 500
    with pytest.raises(ObjectChanged):  # its id was never told
        read(unread, 0, 1)
    empty(s3client, versioned)
    with pytest.raises(ObjectChanged):
        read(old, 0, 10)


def test_the_id_of_a_version_is_an_attribute_once_it_was_read(
    tmp_path: Path, s3server: S3Server, s3client: Any, versioned: str
) -> None:
    put(s3client, versioned, "plain.txt", b"plain\n")
    with Mount(tmp_path / "mnt", s3server, [f"s3://{versioned}"], "--xattrs") as mounted:
        path = mounted.path / "plain.txt"
        assert "user.s3.version" not in os.listxattr(path)
        assert path.read_bytes() == b"plain\n"
        current = s3client.head_object(Bucket=versioned, Key="plain.txt")["VersionId"]
        wait_until(  # the answer's thread tells the network's loop
            lambda: "user.s3.version" in os.listxattr(path), seconds=60, what="the version's id"
        )
        assert os.getxattr(path, "user.s3.version") == current.encode()


def test_an_archive_in_a_versioned_bucket_is_read_to_its_end_though_it_was_replaced(
    tmp_path: Path, s3server: S3Server, s3client: Any, versioned: str
) -> None:
    old = put(s3client, versioned, "x.zip", zipped({"data": b"1" * SIZE}))
    with Mount(tmp_path / "mnt", s3server, [f"s3://{versioned}"], "--ttl", str(TTL)) as mounted:
        path = mounted.path / "x.zip" / "data"
        pinned = mounted.path / ("x.zip@" + old.etag.strip('"')) / "data"
        with path.open("rb", buffering=0) as file, pinned.open("rb", buffering=0) as same:
            assert file.read(10) == same.read(10) == b"1" * 10
            put(s3client, versioned, "x.zip", zipped({"data": b"2" * (SIZE // 2)}))
            assert file.readall() == same.readall() == b"1" * (SIZE - 10)
            wait_until(lambda: path.stat().st_size == SIZE // 2, seconds=60, what="the new one")
            assert path.read_bytes() == b"2" * (SIZE // 2)
            assert pinned.read_bytes() == b"1" * SIZE
