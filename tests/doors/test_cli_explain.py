"""`s3zipfs explain` against a real server, by a user."""

from __future__ import annotations

import json
import subprocess
import zipfile
from io import BytesIO
from typing import Any

from commands import assert_one_line, keys_of, s3zipfs
from faults.px import Proxy
from s3server import S3Server
from trees import zipped

FAILED, USAGE = 1, 2


def run(server: S3Server, *arguments: str) -> subprocess.CompletedProcess[str]:
    return s3zipfs(
        "explain", *arguments, "--endpoint-url", server.endpoint, environment=keys_of(server)
    )


def document(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert isinstance(found, dict)
    return found


def test_a_member_is_told_with_its_place_and_what_its_reads_cost(
    s3server: S3Server, s3client: Any, bucket: str
) -> None:
    members = {"filler": bytes(400_000), "d/a.txt": b"hello" * 1000}
    body = zipped(members, zipfile.ZIP_DEFLATED)
    etag = s3client.put_object(Bucket=bucket, Key="runs/x.zip", Body=body)["ETag"].strip('"')
    found = document(run(s3server, f"s3://{bucket}/runs/x.zip/d/a.txt", "--json"))
    with zipfile.ZipFile(BytesIO(body)) as archive:
        info = archive.getinfo("d/a.txt")
    assert (found["bucket"], found["key"], found["etag"]) == (bucket, "runs/x.zip", etag)
    assert found["endpoint"] == s3server.endpoint
    assert found["path"] == "d/a.txt"
    member = found["member"]
    assert member["method"] == "deflated"
    assert member["crc32"] == f"{info.CRC:08x}"
    assert member["local_header_offset"] == info.header_offset
    assert member["data_offset"] == info.header_offset + 30 + len("d/a.txt")
    assert (member["size"], member["compressed_size"]) == (info.file_size, info.compress_size)
    assert found["lists"] == 2
    assert [each["what"] for each in found["readings"]] == ["open", "whole", "random"]
    assert found["readings"][0]["cold"]["gets"] == 1
    assert found["link"]["latency_seconds"] > 0


def test_people_are_told_the_same_with_advice(
    s3server: S3Server, s3client: Any, bucket: str
) -> None:
    members = {"top/zarr.json": b"{}", **{f"top/c/{n}": bytes(1000) for n in range(9)}}
    body = zipped(members, zipfile.ZIP_DEFLATED)
    s3client.put_object(Bucket=bucket, Key="x.zarr.zip", Body=body)
    done = run(s3server, f"s3://{bucket}/x.zarr.zip")
    assert done.returncode == 0, done.stderr
    assert f"s3://{bucket}/x.zarr.zip" in done.stdout
    assert "10 members" in done.stdout
    assert "deflated: 10" in done.stdout
    assert "open: find and load the index" in done.stdout
    assert "advice: the Zarr root is in top/" in done.stdout
    assert "advice: 9 of 9 chunks are compressed by the zip" in done.stdout
    assert "measured just now" in done.stdout


def test_what_it_asks_itself_is_little(s3server: S3Server, s3client: Any, bucket: str) -> None:
    s3client.put_object(Bucket=bucket, Key="x.zip", Body=zipped({"a": bytes(50 << 20)}))
    with Proxy(s3server) as px:
        document(run(px.server, f"s3://{bucket}/x.zip/a", "--json"))
        ranges = [each.range for each in px.requests if "range" in each.headers]
    assert len(ranges) <= 7
    assert sum(end - start for start, end in ranges) < 2 << 20


def test_a_prefix_is_refused_and_a_broken_zip_is_told(
    s3server: S3Server, s3client: Any, bucket: str
) -> None:
    s3client.put_object(Bucket=bucket, Key="d/x.zip", Body=b"not a zip" * 100)
    assert_one_line(run(s3server, f"s3://{bucket}/d"), "a prefix", code=USAGE)
    assert_one_line(run(s3server, f"s3://{bucket}/d/x.zip"), "not a zip", code=FAILED)


def test_names_are_printable(s3server: S3Server, s3client: Any, bucket: str) -> None:
    name = "a\x1b[31mb"
    s3client.put_object(Bucket=bucket, Key="x.zip", Body=zipped({name: b"1"}))
    done = run(s3server, f"s3://{bucket}/x.zip/{name}")
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout
