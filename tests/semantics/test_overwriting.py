"""Promise 1, never a mix: a writer replaces an archive five times a second under its readers."""

from __future__ import annotations

import errno
import io
import os
import subprocess
import sys
import time
import zipfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest
import zarr
from mounting import Mount, wait_until
from replacing import replacing
from s3server import S3Server
from semantics.reading_versions import tree_digest
from zarr.storage import ZipStore

SOAK_SECONDS = float(os.environ.get("S3ZIPFS_SOAK_SECONDS", "15"))
PERIOD = 0.2  # seconds from one version to the next
ENOUGH = 3  # versions that must have been read whole
SIZES = [96 << 10, 48 << 20, 900 << 10, 6 << 20, 8]  # bytes of the member, in turn
MEMORY = "32M"  # so that the largest is not all read ahead before it is replaced
TTL = "1"
STALE = {"ESTALE", "ENOENT"}  # ENOENT: deleted, before the next version is there

pytestmark = pytest.mark.timeout(SOAK_SECONDS + 180)


def filled(version: int) -> bytes:
    """An archive whose one member is the version's id, over and over."""
    buffer = io.BytesIO()
    method = zipfile.ZIP_DEFLATED if version % 7 == 3 else zipfile.ZIP_STORED
    with zipfile.ZipFile(buffer, "w", method, compresslevel=1) as archive:
        archive.writestr("data", b"%08d" % version * (SIZES[version % len(SIZES)] // 8))
    return buffer.getvalue()


class Readers:
    """Processes of `reading_versions`, and what they have said."""

    def __init__(self, folder: Path, arguments: Sequence[Sequence[str]]) -> None:
        self._outputs = [folder / f"reader-{number}" for number in range(len(arguments))]
        program = [sys.executable, "-S", str(Path(__file__).with_name("reading_versions.py"))]
        self._processes = []
        for output, words in zip(self._outputs, arguments, strict=True):
            with output.open("wb") as stream:
                started = subprocess.Popen([*program, *words], stdout=stream, stderr=stream)
            self._processes.append(started)

    @property
    def said(self) -> Counter[str]:
        """The complete lines of all of them."""
        lines: Counter[str] = Counter()
        for output in self._outputs:
            lines.update(output.read_text().split("\n")[:-1])
        return lines

    @property
    def whole(self) -> set[str]:
        return {line.split()[1] for line in self.said if line.startswith("whole")}

    @property
    def failed(self) -> set[str]:
        return {line for line in self.said if not line.startswith("whole")}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for each in self._processes:
            each.terminate()
        for each in self._processes:
            try:
                each.wait(30)
            except subprocess.TimeoutExpired:
                each.kill()
                each.wait()


def soak(readers: Readers) -> None:
    """Let them read for the time that was set, and until enough was read whole."""
    end = time.monotonic() + SOAK_SECONDS
    while time.monotonic() < end:
        assert not {line for line in readers.failed if line.startswith(("MIX", "CUT"))}
        time.sleep(0.5)
    wait_until(lambda: len(readers.whole) >= ENOUGH, seconds=90, what="three versions read whole")
    wait_until(
        lambda: readers.failed & {"ESTALE", "SIGBUS"},
        seconds=90,
        what="a version replaced under its reader",
    )


def test_sixteen_readers_of_a_replaced_archive_never_see_two_versions(
    tmp_path: Path, s3server: S3Server, s3client: Any, bucket: str
) -> None:
    def replace(version: int) -> None:
        if version % 40 == 39:
            s3client.delete_object(Bucket=bucket, Key="x.zip")
        else:
            s3client.put_object(Bucket=bucket, Key="x.zip", Body=filled(version))

    replace(0)
    options = ("--ttl", TTL, "--memory", MEMORY)
    with Mount(tmp_path / "mnt", s3server, [f"s3://{bucket}"], *options) as mounted:
        path = str(mounted.path / "x.zip" / "data")
        kinds = [[mode, path] for mode in ("pread", "pread", "shared", "private")]
        with replacing(replace, period=PERIOD), Readers(tmp_path, kinds * 4) as readers:
            soak(readers)
        assert readers.failed <= STALE | {"SIGBUS"}, readers.said


def zarr_tree(folder: Path, version: int) -> bytes:
    """A Zarr array in a zip, every element and an attribute the version's number."""
    size = 40 + 8 * (version % 5)
    path = folder / f"{version}.zip"
    with ZipStore(path, mode="w") as store:
        array = zarr.create_array(
            store,
            shape=(size, size),
            chunks=(8, 8),
            dtype="int64",
            fill_value=-1,
            attributes={"version": version},
        )
        array[:] = version
    return path.read_bytes()


def test_a_zarr_tree_through_a_pinned_path_is_one_version_or_estale(
    tmp_path: Path, s3server: S3Server, s3client: Any, bucket: str
) -> None:
    current = tmp_path / "current"
    digests: dict[str, str] = {}

    def replace(version: int) -> None:
        body = zarr_tree(tmp_path, version)
        unpacked = tmp_path / "unpacked" / str(version)
        with zipfile.ZipFile(io.BytesIO(body)) as archive:
            archive.extractall(unpacked)
        etag = s3client.put_object(Bucket=bucket, Key="x.zip", Body=body)["ETag"].strip('"')
        digests[etag] = tree_digest(unpacked)
        (tmp_path / "next").write_text(etag)
        (tmp_path / "next").replace(current)

    replace(0)
    whole = 0
    with Mount(tmp_path / "mnt", s3server, [f"s3://{bucket}"], "--ttl", TTL) as mounted:
        arguments = [["tree", str(mounted.path), str(current)]] * 4
        with replacing(replace, period=PERIOD), Readers(tmp_path, arguments) as readers:
            end = time.monotonic() + SOAK_SECONDS
            while time.monotonic() < end:
                whole += _read_by_zarr(mounted.path / f"x.zip@{current.read_text()}")
            wait_until(lambda: len(readers.whole) >= ENOUGH, seconds=90, what="three whole")
        assert readers.failed <= {"ESTALE"}, readers.said
        for line in readers.said:
            if line.startswith("whole"):
                _, etag, digest = line.split()
                assert digest == digests[etag], f"{etag} was not read as it was written"
        assert whole, "zarr read no version to its end"


def _read_by_zarr(path: Path) -> bool:
    """Whether the array was read; by a version that is gone it was not."""
    try:
        array = zarr.open_array(str(path), mode="r")
        values = np.asarray(array[:])
    except OSError as error:
        if error.errno != errno.ESTALE:
            raise
        return False
    assert set(np.unique(values).tolist()) == {array.attrs["version"]}
    return True
