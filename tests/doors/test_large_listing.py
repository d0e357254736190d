"""A directory of 100,000 keys, through the mount: each page is used when it comes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs

import pytest
from fakes3 import Answer, FakeS3, Request, error, listing
from mounting import Mount
from s3server import S3Server

KEYS = 100_000
PAGE = 1000


def entry(key: str) -> str:
    return (
        f"<Contents><Key>{key}</Key><LastModified>2026-11-21T08:00:00.000Z</LastModified>"
        f"<ETag>&quot;{key}&quot;</ETag><Size>1</Size></Contents>"
    )


def pages(request: Request) -> Answer:
    """`flat/`, page by page; making as many objects in a real store takes minutes."""
    query = {name: values[0] for name, values in parse_qs(request.query).items()}
    if "list-type" not in query:
        return error(404, "NoSuchKey")
    if not query.get("prefix", "").startswith("flat"):
        return Answer(200, listing("<CommonPrefixes><Prefix>flat/</Prefix></CommonPrefixes>"))
    first = int(query.get("continuation-token", "0"))
    last = min(first + PAGE, KEYS)
    contents = "".join(entry(f"flat/{number:06}.bin") for number in range(first, last))
    token = f"<NextContinuationToken>{last}</NextContinuationToken>"
    end = f"<IsTruncated>true</IsTruncated>{token}" if last < KEYS else None
    return Answer(200, listing(contents, end=end) if end else listing(contents))


@pytest.fixture
def server() -> Iterator[S3Server]:
    with FakeS3() as fake:
        fake.answer = pages
        yield S3Server(fake.endpoint, access_key="x", secret_key="x", kind="external")


@pytest.mark.timeout(600)
def test_100_000_keys_list_in_pages_within_200_mb(tmp_path: Path, server: S3Server) -> None:
    with Mount(tmp_path / "mnt", server, ["s3://lab"]) as mount:
        with os.scandir(mount.path / "flat") as entries:
            first = next(entries)
            assert first.is_file()
            early = mount.memory("VmRSS")
            names = {first.name, *(entry.name for entry in entries)}
        assert names == {f"{number:06}.bin" for number in range(KEYS)}
        sizes = {entry.stat().st_size for entry in os.scandir(mount.path / "flat")}
        assert sizes == {1}
        assert mount.memory() < 200_000_000
        assert early < mount.memory()  # the first name came before the last page
