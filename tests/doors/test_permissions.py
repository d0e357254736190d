"""Whose the files of a mount are, and whom the kernel lets read them."""

from __future__ import annotations

import os
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mounting import Mount
from s3server import S3Server
from trees import zipped

OWNER, GROUP, STRANGER = 12345, 23456, 34567
SHOWN = ("--uid", str(OWNER), "--gid", str(GROUP), "--file-mode", "0440", "--dir-mode", "0550")


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that everybody may pass; pytest's own are for their owner alone."""
    if os.geteuid() != 0:
        pytest.skip("only root becomes other users")
    with tempfile.TemporaryDirectory() as made:
        Path(made).chmod(0o711)
        yield Path(made)


def cat(path: Path, user: int, group: int) -> str:
    """What that user reads, or why not."""
    done = subprocess.run(
        ["cat", str(path)],
        user=user,
        group=group,
        extra_groups=[],
        cwd="/",
        env={"LC_ALL": "C", "PATH": os.defpath},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return done.stdout or done.stderr.rpartition(": ")[2].strip()


def test_the_kernel_lets_in_whom_the_settings_name_and_nobody_else(
    s3server: S3Server, s3client: Any, bucket: str, place: Path
) -> None:
    s3client.put_object(Bucket=bucket, Key="x.zip", Body=zipped({"d/a": b"hello"}))
    s3client.put_object(Bucket=bucket, Key="plain", Body=b"text")
    with Mount(place / "mnt", s3server, [f"s3://{bucket}"], "--allow-other", *SHOWN) as mounted:
        files = [mounted.path / "plain", mounted.path / "x.zip/d/a"]
        for file in files:
            for user, group in ((OWNER, STRANGER), (STRANGER, GROUP)):
                assert cat(file, user, group) == file.read_text()
            assert cat(file, STRANGER, STRANGER) == "Permission denied"
        for path in (mounted.path, *files, mounted.path / "x.zip", mounted.path / "x.zip/d"):
            found = path.stat()
            assert (found.st_uid, found.st_gid) == (OWNER, GROUP)
            assert stat.S_IMODE(found.st_mode) == (0o550 if path.is_dir() else 0o440)


def test_without_allow_other_nobody_else_is_let_in(
    s3server: S3Server, s3client: Any, bucket: str, place: Path
) -> None:
    s3client.put_object(Bucket=bucket, Key="plain", Body=b"text")
    with Mount(place / "mnt", s3server, [f"s3://{bucket}"], "--umask", "0") as mounted:
        assert (mounted.path / "plain").read_text() == "text"
        assert stat.S_IMODE((mounted.path / "plain").stat().st_mode) == 0o444
        assert cat(mounted.path / "plain", STRANGER, STRANGER) == "Permission denied"
