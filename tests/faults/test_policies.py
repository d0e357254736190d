"""What a real MinIO's policies deny is EACCES, to those alone, and only as long as they deny it."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from commands import assert_one_line, s3zipfs
from faults.cases import CONTENT, OPTIONS, Case, archive_bytes, next_case
from faults.px import Proxy, gets
from faults.reading import assert_whole, failure, opened
from faults.roles import assume_role
from mounting import Mount
from s3server import S3Server

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(autouse=True)
def with_policies(s3server: S3Server) -> None:
    if s3server.kind == "moto":
        pytest.skip("moto does not check policies")


def statement(bucket: str, *actions: str, keys: str = "*") -> dict[str, Any]:
    """Lets those that it is given to do that with a bucket and some of its keys."""
    resources = [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/{keys}"]
    return {"Effect": "Allow", "Action": [f"s3:{each}" for each in actions], "Resource": resources}


def policy(*statements: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": statements})


def test_what_the_policy_of_a_role_denies_is_eacces_and_all_else_is_served(
    px: Proxy, s3server: S3Server, faults_bucket: str, numbers: Iterator[int], tmp_path: Path
) -> None:
    path = tmp_path / "mnt"
    allowed, denied = next_case(path, numbers), next_case(path, numbers)
    role = assume_role(
        s3server,
        policy(
            statement(faults_bucket, "ListBucket"),
            statement(faults_bucket, "GetObject", keys=f"{allowed.prefix}*"),
        ),
    )
    sources = [f"s3://{faults_bucket}"]
    with Mount(path, px.server, sources, *OPTIONS, environment=role.variables):
        assert_whole(opened(allowed))
        assert os.listdir(denied.folder) == ["x.zip"]
        for _ in range(2):
            asked = px.count(gets(denied.key))
            assert failure(lambda: os.listdir(denied.archive)) == errno.EACCES
            assert px.count(gets(denied.key)) == asked + 1  # asked for again, and once
        assert failure((denied.archive / "stored").read_bytes) == errno.EACCES
        assert_whole(allowed)


def test_a_policy_that_changes_counts_from_then_on_and_no_refusal_is_remembered(
    s3server: S3Server, s3client: Any, bucket: str, tmp_path: Path
) -> None:
    def allow(*actions: str) -> None:
        everybody = {**statement(bucket, *actions), "Principal": {"AWS": ["*"]}}
        s3client.put_bucket_policy(Bucket=bucket, Policy=policy(everybody))

    for number in range(4):
        s3client.put_object(Bucket=bucket, Key=f"{number}/x.zip", Body=archive_bytes())
    options = (*OPTIONS, "--anonymous")
    path = tmp_path / "mnt"
    path.mkdir()
    words = ("mount", f"s3://{bucket}", str(path), "--endpoint-url", s3server.endpoint)
    assert_one_line(s3zipfs(*words, *options, "--foreground"), "access denied", code=1)
    allow("ListBucket", "GetObject")
    with Mount(path, s3server, [f"s3://{bucket}"], *options) as mounted:
        read, known, new, unlisted = (
            Case(mounted.path / f"{number}", f"{number}/") for number in range(4)
        )
        assert_whole(opened(read))
        opened(known)
        allow("ListBucket")
        assert_whole(read)  # it was allowed to be read
        assert failure((known.archive / "deflated").read_bytes) == errno.EACCES
        assert os.listdir(new.folder) == ["x.zip"]
        assert failure(lambda: os.listdir(new.archive)) == errno.EACCES
        allow("GetObject")
        assert (known.archive / "deflated").read_bytes() == CONTENT["deflated"]
        assert failure(lambda: os.listdir(unlisted.folder)) == errno.EACCES  # never empty
        allow("ListBucket", "GetObject")
        assert os.listdir(unlisted.folder) == ["x.zip"]
        assert_whole(opened(new))
