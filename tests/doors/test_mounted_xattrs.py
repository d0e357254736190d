"""Extended attributes of a real mount, as the kernel and getfattr(1) show them."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import subprocess
import zipfile
import zlib
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from mounting import Mount
from s3server import S3Server

CONTENT = b"words " * 1000
NAMES = {"a.txt": zipfile.ZIP_DEFLATED, "d/b.bin": zipfile.ZIP_STORED}


def archive() -> bytes:
    """Two files and a link; the first begins behind 100 bytes of something else."""
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w") as zipped:
        for name, method in NAMES.items():
            zipped.writestr(name, CONTENT, method)
        link = zipfile.ZipInfo("link")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        zipped.writestr(link, "a.txt")
    return b"#" * 100 + buffer.getvalue()


@pytest.fixture(scope="module")
def members() -> dict[str, zipfile.ZipInfo]:
    with zipfile.ZipFile(BytesIO(archive())) as zipped:
        return {info.filename: info for info in zipped.infolist()}


@pytest.fixture
def mount(tmp_path: Path, s3server: S3Server, s3client: Any, bucket: str) -> Iterator[Mount]:
    s3client.put_object(Bucket=bucket, Key="in/x.zip", Body=archive())
    s3client.put_object(Bucket=bucket, Key="plain.txt", Body=b"plain\n")
    with Mount(tmp_path / "mnt", s3server, [f"s3://{bucket}"], "--xattrs") as mounted:
        yield mounted


def told(path: Path) -> dict[str, bytes]:
    return {name: os.getxattr(path, name) for name in os.listxattr(path)}


def of_object(s3client: Any, bucket: str, key: str) -> dict[str, bytes]:
    etag = s3client.head_object(Bucket=bucket, Key=key)["ETag"].strip('"')
    values = {"bucket": bucket, "key": key, "etag": etag}
    return {f"user.s3.{name}": value.encode() for name, value in values.items()}


def test_they_tell_of_the_object_and_of_the_member(
    mount: Mount, s3client: Any, bucket: str, members: dict[str, zipfile.ZipInfo]
) -> None:
    assert told(mount.path / "plain.txt") == of_object(s3client, bucket, "plain.txt")
    assert told(mount.path) == told(mount.path / "in") == told(mount.path / ".s3zipfs") == {}
    own = of_object(s3client, bucket, "in/x.zip")
    path = mount.path / "in/x.zip"
    assert told(path) == told(path / "d") == told(mount.path / ".s3zipfs/raw/in/x.zip") == own
    for name, method in (("a.txt", b"deflated"), ("d/b.bin", b"stored")):
        assert told(path / name) == own | {
            "user.zip.method": method,
            "user.zip.crc32": b"%08x" % zlib.crc32(CONTENT),
            "user.zip.compressed_size": b"%d" % members[name].compress_size,
            "user.zip.offset": b"%d" % members[name].header_offset,
        }
        offset = members[name].header_offset
        assert archive()[offset : offset + 4] == b"PK\3\4"
    assert os.listxattr(path / "link", follow_symlinks=False) == []


def test_getfattr_shows_them(mount: Mount, bucket: str) -> None:
    if shutil.which("getfattr") is None:
        pytest.skip("needs getfattr")
    path = mount.path / "in/x.zip/a.txt"
    command = ["getfattr", "--absolute-names", "-d", str(path)]
    shown = subprocess.run(command, check=True, capture_output=True, text=True)
    assert shown.stderr == ""
    lines = shown.stdout.splitlines()
    assert f'user.s3.bucket="{bucket}"' in lines
    assert 'user.s3.key="in/x.zip"' in lines
    assert 'user.zip.method="deflated"' in lines
    assert len(lines) == 1 + 7 + 1  # the file's name, and an empty line


def test_what_is_not_there_and_what_may_not_be_written(mount: Mount) -> None:
    path = mount.path / "in/x.zip/a.txt"
    for name in ("user.other", "user.s3.version", "security.capability"):
        with pytest.raises(OSError, match="No data") as caught:
            os.getxattr(path, name)
        assert caught.value.errno == errno.ENODATA
    with pytest.raises(OSError, match="Read-only") as caught:
        os.setxattr(path, "user.mine", b"1")
    assert caught.value.errno == errno.EROFS
    with pytest.raises(OSError, match="Read-only") as caught:
        os.removexattr(path, "user.s3.key")
    assert caught.value.errno == errno.EROFS


def test_ls_and_cp_with_attributes_work(mount: Mount, tmp_path: Path) -> None:
    path = mount.path / "in/x.zip"
    subprocess.run(["ls", "-lR", str(path)], check=True, capture_output=True)
    copy = tmp_path / "copy"
    done = subprocess.run(["cp", "-r", str(path), str(copy)], check=False, capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")
    assert (copy / "d/b.bin").read_bytes() == CONTENT


def test_without_the_setting_there_are_none(
    tmp_path: Path, s3server: S3Server, s3client: Any, bucket: str
) -> None:
    s3client.put_object(Bucket=bucket, Key="plain.txt", Body=b"plain\n")
    with Mount(tmp_path / "mnt", s3server, [f"s3://{bucket}"]) as mount:
        for ask in (os.listxattr, lambda path: os.getxattr(path, "user.s3.key")):
            with pytest.raises(OSError, match="not supported") as caught:
                ask(mount.path / "plain.txt")
            assert caught.value.errno == errno.ENOTSUP
