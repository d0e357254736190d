"""`s3zipfs.ZipFileSystem` in place of fsspec's: of a store, of files, in threads and processes."""

from __future__ import annotations

import errno
import gzip
import io
import os
import pickle
import random
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import boto3
import fsspec
import numpy as np
import pytest
import s3fs
import zarr
from fsspec.mapping import FSMap
from s3server import S3Server, ServerError
from trees import zipped

from s3zipfs import ZipFileSystem
from s3zipfs.errors import ObjectChanged, S3ZipError

MEMBERS = {"a.txt": b"hello", "d/b.bin": bytes(range(256)) * 5000, "d/e/c.txt": b"deep"}


@pytest.fixture
def key(s3client: Any, bucket: str) -> str:
    """An archive in the store, not called so, as `bucket/key`."""
    s3client.put_object(Bucket=bucket, Key="data/x.rec", Body=zipped(MEMBERS, zipfile.ZIP_DEFLATED))
    return f"{bucket}/data/x.rec"


@pytest.fixture
def options(s3server: S3Server) -> dict[str, Any]:
    """What s3fs is given."""
    return {
        "key": s3server.access_key,
        "secret": s3server.secret_key,
        "client_kwargs": {"endpoint_url": s3server.endpoint},
    }


@pytest.fixture
def remote(options: dict[str, Any]) -> s3fs.S3FileSystem:
    return s3fs.S3FileSystem(**options, skip_instance_cache=True)


@pytest.fixture
def opened(remote: s3fs.S3FileSystem, key: str) -> Iterator[ZipFileSystem]:
    made = ZipFileSystem(fo=remote.open(key, "rb"))
    yield made
    made.close()


def contents(filesystem: Any) -> dict[str, bytes]:
    found: dict[str, bytes] = filesystem.cat("", recursive=True)
    return found


def test_an_open_file_of_s3fs_is_read_by_our_own_connections(
    remote: s3fs.S3FileSystem, key: str
) -> None:
    file = remote.open(key, "rb")
    opened = ZipFileSystem(fo=file)
    file.close()  # ours does not need it
    assert contents(opened) == MEMBERS
    assert str(opened) == f"<ZipFileSystem of s3://{key}>"
    opened.close()


@pytest.mark.parametrize("way", ["url", "protocol", "open file", "instance"])
def test_every_way_to_name_a_zip_in_the_store(way: str, key: str, options: dict[str, Any]) -> None:
    given: dict[str, dict[str, Any]] = {
        "url": {"fo": f"s3://{key}", "target_options": options},
        "protocol": {"fo": key, "target_protocol": "s3", "target_options": options},
        "open file": {"fo": fsspec.open(f"s3://{key}", "rb", **options)},
        "instance": {"fo": s3fs.S3FileSystem(**options).open(key)},
    }
    opened = ZipFileSystem(**given[way])
    assert contents(opened) == MEMBERS
    assert "s3://" in str(opened)
    opened.close()


def test_only_the_connection_of_s3fs_counts(
    remote: s3fs.S3FileSystem, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("S3ZIPFS_ENDPOINT_URL", "ENDPOINT_FULL"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("STORAGE_ACCESS_KEY", "STORAGE_SECRET_KEY"):
        monkeypatch.setenv(name, "of another store")
    opened = ZipFileSystem(fo=remote.open(key), timeout=20.0)
    assert opened.cat("a.txt") == b"hello"
    opened.close()


def test_credentials_of_the_environment_stay_there(
    s3server: S3Server, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3server.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3server.secret_key)
    remote = s3fs.S3FileSystem(endpoint_url=s3server.endpoint, skip_instance_cache=True)
    opened = ZipFileSystem(fo=remote.open(key))
    packed = pickle.dumps(opened)
    assert s3server.secret_key.encode() not in packed
    other = pickle.loads(packed)
    assert other.cat("a.txt") == b"hello"
    opened.close()
    other.close()


def test_temporary_credentials_are_taken_with_their_token(s3server: S3Server, key: str) -> None:
    sts = boto3.client(
        "sts",
        endpoint_url=s3server.endpoint,
        aws_access_key_id=s3server.access_key,
        aws_secret_access_key=s3server.secret_key,
        region_name="us-east-1",
    )
    try:
        role = sts.assume_role(RoleArn="arn:xxx:xxx:xxx:xxxx", RoleSessionName="test")
    except sts.exceptions.ClientError as error:
        pytest.skip(f"this server gives no temporary credentials: {error}")
    keys = role["Credentials"]
    remote = s3fs.S3FileSystem(
        key=keys["AccessKeyId"],
        secret=keys["SecretAccessKey"],
        token=keys["SessionToken"],
        endpoint_url=s3server.endpoint,
        skip_instance_cache=True,
    )
    opened = ZipFileSystem(fo=remote.open(key))
    assert opened.cat("a.txt") == b"hello"
    assert "s3://" in str(opened)
    opened.close()


def test_a_ca_of_ones_own_is_taken_from_client_kwargs(s3certs: Path) -> None:
    try:
        server = S3Server.start(certs_dir=s3certs)
    except ServerError as no_tls:
        pytest.skip(str(no_tls))
    with server:
        remote = s3fs.S3FileSystem(
            client_kwargs={"endpoint_url": server.endpoint, "verify": str(s3certs / "ca.crt")},
            key=server.access_key,
            secret=server.secret_key,
            use_ssl=True,
            skip_instance_cache=True,
        )
        remote.mkdir("lab")
        remote.pipe("lab/x.zip", zipped(MEMBERS))
        opened = ZipFileSystem(fo=remote.open("lab/x.zip"))
        assert contents(opened) == MEMBERS
        assert "s3://" in str(opened)
        opened.close()


@pytest.mark.parametrize(
    "more",
    [
        {"requester_pays": True},
        {"s3_additional_kwargs": {"ExpectedBucketOwner": "somebody"}},
        {"version_aware": True},
        {"config_kwargs": {"proxies": {}}},
    ],
)
def test_what_our_connections_know_no_equal_of_is_read_through_s3fs(
    more: dict[str, Any],
    options: dict[str, Any],
    key: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    remote = s3fs.S3FileSystem(**{**options, **more}, skip_instance_cache=True)
    opened = ZipFileSystem(fo=remote.open(key))
    assert contents(opened) == MEMBERS
    assert "through s3fs" in caplog.text
    opened.close()


def test_all_bytes_are_of_the_version_that_was_opened(
    remote: s3fs.S3FileSystem, key: str, s3client: Any
) -> None:
    large = {"large": random.Random(1).randbytes(3 << 20), "a.txt": b"first"}
    bucket, _, name = key.partition("/")
    s3client.put_object(Bucket=bucket, Key=name, Body=zipped(large))
    remote.invalidate_cache()
    old = ZipFileSystem(fo=remote.open(key), memory=32 << 20)
    assert old.cat("a.txt") == b"first"
    s3client.put_object(Bucket=bucket, Key=name, Body=zipped({"a.txt": b"second", "large": b""}))
    with pytest.raises(OSError, match="overwritten") as caught:
        old.cat_file("large", 1 << 20, 2 << 20)
    assert caught.value.errno == errno.ESTALE
    assert old.info("large")["size"] == 3 << 20
    again = pickle.loads(pickle.dumps(old))  # of the old version as well
    with pytest.raises(OSError, match="overwritten"):
        again.cat_file("large", 1 << 20, 2 << 20)
    remote.invalidate_cache()
    new = ZipFileSystem(fo=remote.open(key))
    assert new.cat("a.txt") == b"second"
    for each in (old, again, new):
        each.close()


def test_sixteen_threads_read_every_byte_right(
    remote: s3fs.S3FileSystem, key: str, s3client: Any
) -> None:
    generator = random.Random(3)
    members = {f"c/{n}": generator.randbytes(generator.randrange(30_000)) for n in range(300)}
    bucket, _, name = key.partition("/")
    s3client.put_object(Bucket=bucket, Key=name, Body=zipped(members, zipfile.ZIP_DEFLATED))
    opened = ZipFileSystem(fo=remote.open(key))
    mapping = FSMap("c", opened)

    def read(reader: int) -> None:
        names = list(members)
        random.Random(reader).shuffle(names)
        for each in names[:100]:
            assert mapping[each.removeprefix("c/")] == members[each]

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(read, range(16)))
    opened.close()


def test_what_is_no_file_or_writes_is_an_error_that_says_so(
    remote: s3fs.S3FileSystem, key: str, options: dict[str, Any]
) -> None:
    for mode in ("w", "a"):
        with pytest.raises(ValueError, match="only reads"):
            ZipFileSystem(fo=remote.open(key), mode=mode)
    with pytest.raises(FileNotFoundError):
        ZipFileSystem(f"s3://{key}-nothing", target_options=options)
    with pytest.raises(FileNotFoundError):
        ZipFileSystem("/nothing/at/all.zip")
    with pytest.raises(TypeError, match="expected a path"):
        ZipFileSystem(fo=7)
    wrong = {**options, "secret": "wrong-secret-key"}
    with pytest.raises(PermissionError):
        ZipFileSystem(f"s3://{key}", target_options=wrong)


def test_what_is_damaged_is_what_zipfile_raises(tmp_path: Path) -> None:
    with pytest.raises(zipfile.BadZipFile):
        ZipFileSystem(io.BytesIO(b"no zip at all" * 50))
    content = bytearray(zipped({"a": b"hello world"}))
    content[content.index(b"hello")] ^= 1
    opened = ZipFileSystem(io.BytesIO(bytes(content)))
    with pytest.raises(zipfile.BadZipFile):
        opened.cat("a")
    opened.close()


# Files


@pytest.fixture
def local(tmp_path: Path) -> Path:
    path = tmp_path / "x.zip"
    path.write_bytes(zipped(MEMBERS, zipfile.ZIP_DEFLATED))
    return path


@pytest.mark.parametrize("way", ["str", "path", "url", "open", "raw", "fsspec", "memory", "gzip"])
def test_every_kind_of_file(way: str, local: Path) -> None:
    packed = local.with_suffix(".gz")
    packed.write_bytes(gzip.compress(local.read_bytes()))
    ways: dict[str, Any] = {
        "str": lambda: str(local),
        "path": lambda: local,
        "url": lambda: f"file://{local}",
        "open": lambda: local.open("rb"),
        "raw": lambda: local.open("rb", buffering=0),
        "fsspec": lambda: fsspec.open(local).open(),
        "memory": lambda: io.BytesIO(local.read_bytes()),
        "gzip": lambda: gzip.open(packed, "rb"),  # noqa: SIM115
    }
    opened = ZipFileSystem(ways[way]())
    assert contents(opened) == MEMBERS
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(opened.cat, ["d/b.bin"] * 16)) == {MEMBERS["d/b.bin"]}
    opened.close()


def test_a_file_may_be_closed_and_replaced_but_not_written_to(local: Path) -> None:
    large = {"a": random.Random(5).randbytes(4 << 20)}
    local.write_bytes(zipped(large))
    with local.open("rb") as file:
        opened = ZipFileSystem(file)
    replaced = local.with_name("new")
    replaced.write_bytes(b"another")
    replaced.rename(local)
    assert opened.cat_file("a", 0, 1 << 20) == large["a"][: 1 << 20]
    opened.close()

    local.write_bytes(zipped(large))
    opened = ZipFileSystem(local)
    local.write_bytes(zipped({"a": random.Random(6).randbytes(4 << 20)}))
    os.utime(local, ns=(1, 1))
    with pytest.raises(OSError, match="written to") as caught:
        opened.cat_file("a", 2 << 20, 3 << 20)
    assert caught.value.errno == errno.ESTALE
    opened.close()


def test_it_travels_by_pickle_with_its_files(local: Path) -> None:
    opened = ZipFileSystem(local)
    assert contents(pickle.loads(pickle.dumps(opened))) == MEMBERS
    with opened.open("d/b.bin") as file:
        file.seek(1000)
        code = "import pickle, sys; sys.stdout.buffer.write(pickle.load(sys.stdin.buffer).read(9))"
        done = subprocess.run(
            [sys.executable, "-c", code],
            input=pickle.dumps(file),
            capture_output=True,
            check=True,
            timeout=100,
        )
    assert done.stdout == MEMBERS["d/b.bin"][1000:1009]
    packed = pickle.dumps(opened)
    local.write_bytes(zipped({"a.txt": b"another"}))
    with pytest.raises(OSError, match="another file"):
        pickle.loads(packed)
    opened.close()


def test_a_zip_inside_a_zip(local: Path) -> None:
    local.write_bytes(zipped({"inner.zip": zipped(MEMBERS), "x": b"1"}))
    outer = ZipFileSystem(local)
    inner = ZipFileSystem(outer.open("inner.zip"))
    assert contents(inner) == MEMBERS
    inner.close()
    outer.close()


# Zarr


@pytest.fixture(scope="module")
def values() -> np.ndarray[Any, Any]:
    return np.random.default_rng(7).normal(size=(60, 60)).astype("f4")


def zarr_zip(folder: Path, values: np.ndarray[Any, Any], zarr_format: int) -> bytes:
    """A group with an array below `sub`, zipped."""
    group = zarr.open_group(folder, mode="w", zarr_format=zarr_format)  # type: ignore[arg-type]
    group.attrs["title"] = "test"
    chunks = (values.shape[0] // 3, values.shape[1] // 3)
    array = group.create_array("sub/values", shape=values.shape, chunks=chunks, dtype="f4")
    array[:] = values
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return zipped({str(path.relative_to(folder)): path.read_bytes() for path in files})


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_zarr_3_reads_the_mapping(
    zarr_format: int,
    tmp_path: Path,
    values: np.ndarray[Any, Any],
    remote: s3fs.S3FileSystem,
    key: str,
) -> None:
    remote.pipe(key, zarr_zip(tmp_path / "tree", values, zarr_format))
    opened = ZipFileSystem(fo=remote.open(key))
    for store in (FSMap(root="", fs=opened), opened.get_mapper()):
        group = zarr.open(store, mode="r")
        assert group.attrs["title"] == "test"
        np.testing.assert_array_equal(group["sub/values"][:], values)  # type: ignore[index]
    below = zarr.open(FSMap(root="sub/values", fs=opened), mode="r")
    np.testing.assert_array_equal(below[:], values)  # type: ignore[index]
    opened.close()


def test_what_cannot_be_read_is_no_missing_key(local: Path) -> None:
    """Zarr 2's FSStore takes any OSError for a missing key, and so for a chunk of zeros."""
    local.write_bytes(zipped({"a": random.Random(5).randbytes(4 << 20), "b": b"1"}))
    opened = ZipFileSystem(local)
    mapping = opened.get_mapper(missing_exceptions=(KeyError, PermissionError, OSError))
    assert mapping["b"] == b"1"
    with pytest.raises(KeyError):
        mapping["nothing"]
    assert mapping.getitems(["b", "nothing"], on_error="omit") == {"b": b"1"}
    local.write_bytes(b"other")
    with pytest.raises(ObjectChanged) as caught:
        mapping["a"]
    assert not isinstance(caught.value, OSError)
    with pytest.raises(S3ZipError):
        mapping.getitems(["b", "a"], on_error="omit")
    found = mapping.getitems(["b", "a", "nothing"], on_error="return")
    assert isinstance(found["a"], S3ZipError)
    assert isinstance(found["nothing"], KeyError)
    opened.close()
