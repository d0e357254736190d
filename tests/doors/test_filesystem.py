"""The fsspec door on a real store: the same tree, without a mount."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Iterator
from typing import Any

import fsspec
import pytest
from s3server import S3Server
from trees import zipped

from s3zipfs import S3ZipFileSystem

CONTENT = bytes(range(256)) * 5000


@pytest.fixture
def filesystem(
    s3server: S3Server, s3client: Any, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[S3ZipFileSystem]:
    """Credentials come from the environment, as on a cluster's workers."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3server.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3server.secret_key)
    members = {"a.txt": b"hello", "d/b.bin": CONTENT, "d/e/c.txt": b"deep"}
    s3client.put_object(Bucket=bucket, Key="data/x.zip", Body=zipped(members, zipfile.ZIP_DEFLATED))
    s3client.put_object(Bucket=bucket, Key="data/plain.csv", Body=b"1,2\n")
    made = S3ZipFileSystem(endpoint_url=s3server.endpoint, skip_instance_cache=True)
    yield made
    made.close()


def test_the_scheme_is_registered(s3server: S3Server, filesystem: S3ZipFileSystem) -> None:
    assert fsspec.get_filesystem_class("s3zip") is S3ZipFileSystem
    assert filesystem._strip_protocol("s3zip://bucket/x.zip/a") == "bucket/x.zip/a"


def test_listing_and_info(filesystem: S3ZipFileSystem, bucket: str) -> None:
    base = f"{bucket}/data/x.zip"
    assert sorted(filesystem.ls(f"{bucket}/data", detail=False)) == [
        f"{bucket}/data/plain.csv",
        base,
    ]
    assert filesystem.info(base)["type"] == "directory"
    found = filesystem.info(f"s3zip://{base}/d/b.bin")
    assert (found["name"], found["type"], found["size"]) == (f"{base}/d/b.bin", "file", 1_280_000)
    assert sorted(filesystem.find(base)) == [
        f"{base}/{n}" for n in ("a.txt", "d/b.bin", "d/e/c.txt")
    ]
    assert filesystem.glob(f"{base}/**/*.txt") == [f"{base}/a.txt", f"{base}/d/e/c.txt"]
    assert filesystem.ls(f"{base}/a.txt", detail=False) == [f"{base}/a.txt"]
    assert bucket in filesystem.ls("", detail=False)
    assert filesystem.exists(f"{base}/d")
    assert not filesystem.exists(f"{base}/nothing")


def test_reading(filesystem: S3ZipFileSystem, bucket: str) -> None:
    path = f"s3zip://{bucket}/data/x.zip/d/b.bin"
    assert filesystem.cat_file(path) == CONTENT
    for start, end in [(10, 20), (None, 5), (-7, None), (100, -100), (0, 10**9), (5, 5)]:
        assert filesystem.cat_file(path, start=start, end=end) == CONTENT[start:end]
    assert filesystem.cat_ranges([path] * 3, [0, 5, 100], [1, 6, 200]) == [
        CONTENT[0:1],
        CONTENT[5:6],
        CONTENT[100:200],
    ]
    with filesystem.open(path) as file:
        file.seek(1_000_000)
        assert file.read(1000) == CONTENT[1_000_000:1_001_000]
        file.seek(-3, 2)
        assert file.read() == CONTENT[-3:]
    with filesystem.open(f"{bucket}/data/x.zip/a.txt", "rt") as text:
        assert text.read() == "hello"
    mapper = filesystem.get_mapper(f"{bucket}/data/x.zip")
    assert mapper["d/e/c.txt"] == b"deep"
    assert sorted(mapper) == ["a.txt", "d/b.bin", "d/e/c.txt"]
    with pytest.raises(KeyError):
        mapper["nothing"]


def test_errors_are_those_that_python_programs_catch(
    filesystem: S3ZipFileSystem, s3client: Any, bucket: str
) -> None:
    s3client.put_object(Bucket=bucket, Key="broken.zip", Body=b"no zip" * 100)
    with pytest.raises(FileNotFoundError):
        filesystem.cat_file(f"{bucket}/data/x.zip/nothing")
    with pytest.raises(FileNotFoundError):
        filesystem.ls("no-such-bucket-at-all")
    with pytest.raises(NotADirectoryError):
        filesystem.info(f"{bucket}/data/plain.csv/below")
    with pytest.raises(IsADirectoryError):
        filesystem.open(f"{bucket}/data/x.zip/d")
    with pytest.raises(OSError, match=r"broken\.zip"):
        filesystem.ls(f"{bucket}/broken.zip")
    with pytest.raises(OSError, match="read-only"):
        filesystem.open(f"{bucket}/new", "wb")


def test_keys_may_have_our_names_too(
    filesystem: S3ZipFileSystem, s3server: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    keys = {"access_key": s3server.access_key, "secret_key": s3server.secret_key}
    named = S3ZipFileSystem(endpoint_url=s3server.endpoint, **keys)
    assert named.cat_file(f"{bucket}/data/x.zip/a.txt") == b"hello"
    assert "secret_key" not in named.to_dict(include_password=False)
    S3ZipFileSystem.clear_instance_cache()
    named.close()


def test_it_travels_by_pickle_without_secrets(filesystem: S3ZipFileSystem, bucket: str) -> None:
    assert filesystem.cat_file(f"{bucket}/data/x.zip/a.txt") == b"hello"
    packed = pickle.dumps(filesystem)
    assert filesystem.tree is not None
    assert b"minioadmin" not in packed
    other = pickle.loads(packed)
    assert other.cat_file(f"{bucket}/data/x.zip/a.txt") == b"hello"
    with filesystem.open(f"{bucket}/data/x.zip/a.txt") as file:
        assert pickle.loads(pickle.dumps(file)).read() == b"hello"
