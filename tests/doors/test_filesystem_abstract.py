"""fsspec's own suites on both filesystems of this door.

Only `AbstractGetTests` reads. The suites for copy, put, pipe and open write first, which is refused
here: `test_whatever_would_write_is_refused` has their verbs.
"""

from __future__ import annotations

import errno
import io
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.local import LocalFileSystem
from fsspec.tests.abstract import AbstractFixtures, AbstractGetTests
from s3server import S3Server
from trees import zipped

from s3zipfs import S3ZipFileSystem, ZipFileSystem


def folder_zipped(folder: Path) -> bytes:
    """A zip of all that is below a folder, empty directories included."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path in sorted(folder.rglob("*")):
            archive.write(path, path.relative_to(folder))
    return buffer.getvalue()


@pytest.fixture(scope="module")
def of_buckets(s3server: S3Server) -> Iterator[S3ZipFileSystem]:
    made = S3ZipFileSystem(
        endpoint_url=s3server.endpoint,
        key=s3server.access_key,
        secret=s3server.secret_key,
        ttl=0,  # each test has a new bucket
        skip_instance_cache=True,
    )
    yield made
    made.close()


class GetTests(AbstractFixtures, AbstractGetTests):  # type: ignore[misc] # fsspec has no types
    """fsspec's tests, whose scenarios are made in a folder and put into an archive in the store."""

    @pytest.fixture
    def fs_path(self) -> str:
        return ""

    @pytest.fixture
    def place(self, bucket: str, s3client: Any, tmp_path: Path) -> Any:
        """Makes a scenario and gives its path in the filesystem."""

        def put(make: Any) -> str:
            folder = tmp_path / "scenario"
            folder.mkdir()
            make(LocalFileSystem(auto_mkdir=True), _join, str(folder))
            s3client.put_object(Bucket=bucket, Key="x.zip", Body=folder_zipped(folder))
            return self.path_of(bucket, "source")

        return put

    def path_of(self, bucket: str, name: str) -> str:
        return f"{bucket}/x.zip/{name}"

    @pytest.fixture
    def fs_bulk_operations_scenario_0(self, place: Any) -> Any:
        return place(self._bulk_operations_scenario_0)

    @pytest.fixture
    def fs_glob_edge_cases_files(self, place: Any) -> Any:
        return place(self._glob_edge_cases_files)

    @pytest.fixture
    def fs_dir_and_file_with_same_name_prefix(self, place: Any) -> Any:
        return place(self._dir_and_file_with_same_name_prefix)

    @pytest.fixture
    def fs_10_files_with_hashed_names(self, place: Any) -> Any:
        return place(self._10_files_with_hashed_names)

    def test_get_directory_recursive(
        self, fs: Any, fs_join: Any, place: Any, local_fs: Any, local_join: Any, local_target: str
    ) -> None:
        """As fsspec's, which makes its scenario by itself."""

        def make(local: LocalFileSystem, _join: Any, folder: str) -> None:
            local.touch(f"{folder}/source/src/file")

        source = fs_join(place(make), "src")
        for name in ("file", "src/file"):  # into a new directory, and below one that is there
            fs.get(source, local_target, recursive=True)
            assert local_fs.isfile(local_join(local_target, name))
        local_fs.rm(local_target, recursive=True)
        for _ in range(2):
            fs.get(source + "/", local_target, recursive=True)
            assert local_fs.find(local_target) == [local_join(local_target, "file")]


def _join(*parts: str) -> str:
    return "/".join(parts)


class TestOfBuckets(GetTests):
    """`s3zip://`."""

    @pytest.fixture
    def fs(self, of_buckets: S3ZipFileSystem) -> Any:
        return of_buckets


class LazyZip:
    """The zip of a test's scenario, opened at its first use: fixtures make it later than `fs`."""

    def __init__(self, url: str, options: dict[str, Any]) -> None:
        self._url, self._options = url, options
        self._opened: ZipFileSystem | None = None

    def __getattr__(self, name: str) -> Any:
        if self._opened is None:
            self._opened = ZipFileSystem(self._url, target_options=self._options)
        return getattr(self._opened, name)


class TestOfOneZip(GetTests):
    """`ZipFileSystem`; what nobody uses lingers, so that the next one finds connections."""

    @pytest.fixture
    def fs(self, s3server: S3Server, bucket: str) -> Any:
        options = {
            "endpoint_url": s3server.endpoint,
            "key": s3server.access_key,
            "secret": s3server.secret_key,
        }
        return LazyZip(f"s3://{bucket}/x.zip", options)

    def path_of(self, bucket: str, name: str) -> str:
        return name


WRITES: dict[str, tuple[Any, ...]] = {
    "mkdir": ("new",),
    "makedirs": ("new",),
    "rmdir": ("d",),
    "rm": ("a",),
    "rm_file": ("a",),
    "touch": ("a",),
    "pipe": ("a", b"other"),
    "pipe_file": ("a", b"other"),
    "put": (__file__, "a"),
    "put_file": (__file__, "a"),
    "cp_file": ("a", "b"),
    "copy": ("a", "b"),
    "mv": ("a", "b"),
    "open": ("a", "wb"),
}


@pytest.mark.parametrize("verb", WRITES)
def test_whatever_would_write_is_refused(verb: str) -> None:
    opened = ZipFileSystem(io.BytesIO(zipped({"a": b"1", "d/b": b"2"})))
    with pytest.raises(OSError, match="read-only") as caught:
        getattr(opened, verb)(*WRITES[verb])
    assert caught.value.errno == errno.EROFS
    assert opened.cat("a") == b"1"
    opened.close()
