"""Indexes on disk: what was written is read back, or nothing is."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from corpus import odd_zips
from corpus.reading import open_index
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from isal import isal_zlib
from large_zips import large_directory

from s3zipfs.cache import indexes, indexfile, indexfolder
from s3zipfs.cache.indexes import PersistedIndexes
from s3zipfs.cache.indexfolder import FOLDER
from s3zipfs.settings import Settings, load_settings
from s3zipfs.stores.base import ObjectId, ObjectInfo
from s3zipfs.zipformat.index import COLUMNS, MemberIndex, build_index
from s3zipfs.zipformat.plan import DirectoryLocation

INFO = ObjectInfo(ObjectId("http://minio:9000", "lab", "runs/x.zip", '"v1"'), 1 << 30, 0.0)
COUNT = 500
BOUND = 1 << 20
REFUSED = {"opened": 0, "discarded": 1}

Cache = PersistedIndexes


def an_index(count: int = COUNT) -> MemberIndex:
    directory = large_directory(count)
    location = DirectoryLocation(1 << 20, (1 << 20) + len(directory), count, 0, is_zip64=True)
    return build_index(directory, location)


INDEX = an_index()


@pytest.fixture(params=[0, 1 << 40], ids=["mapped", "in memory"])
def _any_place(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indexfile, "SMALLEST_MAPPED", request.param)


@pytest.fixture(autouse=True)
def _any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indexes, "SMALLEST", 0)


def cache_in(folder: Path, *, max_bytes: int = BOUND, encoding: str | None = None) -> Cache:
    return PersistedIndexes(folder, max_bytes=max_bytes, encoding=encoding)


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return cache_in(tmp_path / "cache")


def files(folder: Path) -> list[Path]:
    return sorted((folder / FOLDER).iterdir())


def saved_file(cache: Cache, tmp_path: Path, info: ObjectInfo = INFO) -> Path:
    before = set(files(tmp_path / "cache")) if (tmp_path / "cache").exists() else set()
    assert cache.save(info, INDEX)
    (written,) = set(files(tmp_path / "cache")) - before
    return written


def assert_equal(found: MemberIndex, expected: MemberIndex = INDEX) -> None:
    assert found.columns.keys() == expected.columns.keys()
    for name, column in expected.columns.items():
        assert found.columns[name].dtype == column.dtype
        assert np.array_equal(found.columns[name], column), name
    assert found.member_count == expected.member_count
    assert found.hidden_count == expected.hidden_count
    assert found.duplicate_count == expected.duplicate_count


def assert_refused(cache: Cache, path: Path) -> None:
    """It is not served, it is gone, and it can be written anew."""
    assert cache.open(INFO) is None
    assert cache.counts.discarded == 1
    assert not path.exists()
    assert cache.save(INFO, INDEX)
    opened = cache.open(INFO)
    assert opened is not None
    assert_equal(opened.index)


# What is written is read back


@pytest.mark.usefixtures("_any_place")
def test_a_saved_index_opens_equal_and_read_only(cache: Cache) -> None:
    assert cache.save(INFO, INDEX)
    opened = cache.open(INFO)
    assert opened is not None
    assert_equal(opened.index)
    assert not any(column.flags.writeable for column in opened.index.columns.values())
    assert opened.index.find(b"x/00/01/00000123.dat") == INDEX.find(b"x/00/01/00000123.dat")


def test_every_odd_zip_comes_back_equal(cache: Cache) -> None:
    for number, make in enumerate(odd_zips.ACCEPTED):
        index = open_index(make())
        info = replace(INFO, id=replace(INFO.id, key=str(number)))
        assert cache.save(info, index)
        opened = cache.open(info)
        assert opened is not None
        assert_equal(opened.index, index)


def test_a_mapped_index_takes_none_of_our_memory_and_survives_its_file(
    cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indexfile, "SMALLEST_MAPPED", 0)
    path = saved_file(cache, tmp_path)
    opened = cache.open(INFO)
    assert opened is not None
    assert opened.is_mapped
    path.unlink()
    assert_equal(opened.index)


def test_on_a_network_file_system_the_index_is_read_into_memory(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indexfile, "SMALLEST_MAPPED", 0)
    monkeypatch.setattr(indexfile, "is_local", lambda _descriptor: False)
    cache.save(INFO, INDEX)
    opened = cache.open(INFO)
    assert opened is not None
    assert opened.resident >= INDEX.nbytes


def test_the_file_system_of_the_tests_is_told(tmp_path: Path) -> None:
    descriptor = os.open(tmp_path, os.O_RDONLY)
    try:
        assert indexfile.is_local(descriptor)
    finally:
        os.close(descriptor)
    descriptor = os.open("/proc", os.O_RDONLY)
    try:
        assert not indexfile.is_local(descriptor)
    finally:
        os.close(descriptor)


@pytest.mark.parametrize(
    "other",
    [
        replace(INFO, size=INFO.size + 1),
        replace(INFO, id=replace(INFO.id, etag='"v2"')),
        replace(INFO, id=replace(INFO.id, version_id="1")),
        replace(INFO, id=replace(INFO.id, key="runs/y.zip")),
        replace(INFO, id=replace(INFO.id, bucket="other")),
        replace(INFO, id=replace(INFO.id, endpoint="http://minio:9001")),
    ],
)
def test_another_version_of_anything_is_another_index(cache: Cache, other: ObjectInfo) -> None:
    cache.save(INFO, INDEX)
    assert cache.open(other) is None
    assert cache.counts.missing == 1
    assert cache.open(replace(INFO, modified=1.0)) is not None


def test_another_encoding_is_another_index(cache: Cache, tmp_path: Path) -> None:
    cache.save(INFO, INDEX)
    japanese = cache_in(tmp_path / "cache", encoding="cp932")
    assert japanese.open(INFO) is None
    japanese.save(INFO, INDEX)
    assert cache_in(tmp_path / "cache", encoding="MS932").open(INFO) is not None  # the same


def test_another_format_is_another_index(
    cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = saved_file(cache, tmp_path)
    monkeypatch.setattr(indexes, "FORMAT", 1000)
    monkeypatch.setattr(indexfile, "FORMAT", 1000)
    assert cache.open(INFO) is None
    assert cache.save(INFO, INDEX)
    assert old.exists()  # of another version of the program, that may be running


def test_keys_that_are_not_text_have_an_index(cache: Cache) -> None:
    info = replace(INFO, id=replace(INFO.id, key="\udcff\x01é/" + 900 * "\n"))
    assert cache.save(info, INDEX)
    assert cache.open(info) is not None


# What is damaged is not served


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data(), mapped=st.booleans())
def test_any_damage_is_seen_or_harmless(tmp_path: Path, data: st.DataObject, mapped: bool) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(indexfile, "SMALLEST_MAPPED", 0 if mapped else 1 << 40)
        cache = cache_in(tmp_path / "cache")
        assert cache.save(INFO, INDEX)
        (path,) = files(tmp_path / "cache")
        content = bytearray(path.read_bytes())
        at = data.draw(st.one_of(st.integers(0, 3000), st.integers(0, len(content) - 1)))
        kind = data.draw(st.sampled_from(["flip", "cut", "append", "zero"]))
        if kind == "flip":
            content[at] ^= 1 << data.draw(st.integers(0, 7))
        elif kind == "cut":
            del content[at:]
        elif kind == "append":
            content += bytes(at + 1)
        else:  # as after a crash: blocks that were never written
            content[at : at + 4096] = bytes(len(content[at : at + 4096]))
        path.write_bytes(content)
        opened = cache.open(INFO)
        if opened is None:
            assert cache.counts.discarded == 1
            assert not path.exists()
        else:
            assert_equal(opened.index)


def test_files_that_changed_places_are_refused(cache: Cache, tmp_path: Path) -> None:
    other = replace(INFO, id=replace(INFO.id, etag='"v2"'))
    one, two = saved_file(cache, tmp_path), saved_file(cache, tmp_path, other)
    one.rename(tmp_path / "kept")
    two.rename(one)
    (tmp_path / "kept").rename(two)
    assert_refused(cache, one)
    assert cache.open(other) is None


def test_a_file_of_another_format_under_our_name_is_refused(cache: Cache, tmp_path: Path) -> None:
    path = saved_file(cache, tmp_path)
    content = bytearray(path.read_bytes())
    struct.pack_into("<I", content, 8, indexfile.FORMAT + 1)
    path.write_bytes(content)
    assert_refused(cache, path)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"modes"', b'"names"'),  # twice one, none of the other
        (b'"<f8"', b'">f8"'),
        (b'"<f8"', b'"|O8"'),
        (b'"|u1", %d' % INDEX.node_count, b'"|u1", %d' % (INDEX.node_count - 1)),
        (b'"columns": ', b'"Columns": '),
        (b'"counts": [', b'"counts":[['),
    ],
)
def test_a_header_that_lies_with_a_right_checksum_is_refused(
    cache: Cache, tmp_path: Path, old: bytes, new: bytes
) -> None:
    path = saved_file(cache, tmp_path)
    content = path.read_bytes()
    length = struct.unpack_from("<I", content, 12)[0]
    text = content[20 : 20 + length]
    assert old in text
    text = text.replace(old, new)
    assert len(text) == length
    header = content[:16] + struct.pack("<I", isal_zlib.crc32(text)) + text
    path.write_bytes(header + content[len(header) :])
    assert_refused(cache, path)


def test_what_is_no_file_is_passed_over(cache: Cache, tmp_path: Path) -> None:
    path = saved_file(cache, tmp_path)
    for kind in ("directory", "link", "pipe"):
        path.unlink()
        if kind == "directory":
            path.mkdir()
        elif kind == "link":
            path.symlink_to("/dev/zero")
        else:
            os.mkfifo(path)
        assert cache.open(INFO) is None
        if path.is_dir():
            path.rmdir()
        assert cache.save(INFO, INDEX)
        assert cache.open(INFO) is not None


# The folder


def test_the_folder_and_its_files_are_the_owners_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        cache_in(tmp_path / "a" / "b").save(INFO, INDEX)
    finally:
        os.umask(before)
    for made in (tmp_path / "a", tmp_path / "a/b", tmp_path / "a/b" / FOLDER):
        assert made.stat().st_mode & 0o777 == 0o700
    assert files(tmp_path / "a" / "b")[0].stat().st_mode & 0o777 == 0o600


def test_nothing_is_made_before_it_is_needed(tmp_path: Path) -> None:
    cache = cache_in(tmp_path / "cache")
    assert cache.open(INFO) is None
    assert cache.counts.missing == 1
    assert not (tmp_path / "cache").exists()


def test_without_a_folder_nothing_is_kept() -> None:
    off = PersistedIndexes(None, max_bytes=BOUND, encoding=None)
    assert not off.save(INFO, INDEX)
    assert off.open(INFO) is None


def one_warning(caplog: pytest.LogCaptureFixture) -> str:
    (record,) = [r for r in caplog.records if r.levelno >= logging.WARNING]
    return record.getMessage()


@pytest.mark.parametrize("mode", [0o770, 0o702, 0o755])
def test_a_folder_open_to_others_is_not_used(
    cache: Cache, tmp_path: Path, mode: int, caplog: pytest.LogCaptureFixture
) -> None:
    cache.save(INFO, INDEX)
    (tmp_path / "cache" / FOLDER).chmod(mode)
    for _ in range(3):
        assert cache.open(INFO) is None
    assert "not ours alone" in one_warning(caplog)
    assert not cache.save(INFO, INDEX)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_folder_of_somebody_else_is_not_used(
    cache: Cache, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache.save(INFO, INDEX)
    os.chown(tmp_path / "cache" / FOLDER, 12345, 12345)
    assert cache.open(INFO) is None
    assert "not ours alone" in one_warning(caplog)


def test_a_link_or_a_file_in_the_folders_place_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / FOLDER).symlink_to(tmp_path / "elsewhere")
    (tmp_path / "two").mkdir()
    (tmp_path / "two" / FOLDER).write_bytes(b"")
    (tmp_path / "three").write_bytes(b"")
    for name in ("one", "two", "three"):
        cache = cache_in(tmp_path / name)
        assert not cache.save(INFO, INDEX)
        assert cache.open(INFO) is None
        assert cache.counts.failed
    assert not list((tmp_path / "elsewhere").iterdir())


def test_a_removed_folder_comes_back(cache: Cache, tmp_path: Path) -> None:
    saved_file(cache, tmp_path).unlink()
    (tmp_path / "cache" / FOLDER).rmdir()
    (tmp_path / "cache").rmdir()
    assert cache.open(INFO) is None
    assert cache.save(INFO, INDEX)
    assert cache.open(INFO) is not None


# The disk


def fail(cache: Cache, monkeypatch: pytest.MonkeyPatch, call: str, error: int) -> None:
    def failing(*_arguments: object, **_options: object) -> int:
        raise OSError(error, os.strerror(error))

    with monkeypatch.context() as patch:
        patch.setattr(os, call, failing)
        assert not cache.save(INFO, INDEX)


@pytest.mark.parametrize(
    ("call", "error"),
    [
        ("pwrite", errno.ENOSPC),
        ("pwrite", errno.EDQUOT),
        ("pwrite", errno.EIO),
        ("rename", errno.EIO),
        ("open", errno.EROFS),
        ("open", errno.EMFILE),
        ("scandir", errno.EIO),
    ],
)
def test_a_failing_disk_is_bypassed_with_one_warning_and_comes_back(
    cache: Cache,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    call: str,
    error: int,
) -> None:
    for _ in range(3):
        fail(cache, monkeypatch, call, error)
    assert os.strerror(error) in one_warning(caplog)
    folder = tmp_path / "cache" / FOLDER
    assert not folder.exists() or not list(folder.iterdir())
    assert cache.save(INFO, INDEX)
    caplog.clear()
    fail(cache, monkeypatch, call, error)
    assert one_warning(caplog)


def test_a_disk_that_fails_to_read_is_bypassed(
    cache: Cache, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    cache.save(INFO, INDEX)

    def failing(*_arguments: object) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(os, "preadv", failing)
        assert cache.open(INFO) is None
    assert "Input/output error" in one_warning(caplog)
    assert cache.open(INFO) is not None


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k,mode=0700", "s3zipfs-test", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a tmpfs")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk_keeps_what_it_has(tiny_disk: Path) -> None:
    cache = cache_in(tiny_disk)
    small = an_index(100)
    assert cache.save(INFO, small)
    other = replace(INFO, id=replace(INFO.id, key="other"))
    assert not cache.save(other, an_index(5000))
    assert len(files(tiny_disk)) == 1
    opened = cache.open(INFO)
    assert opened is not None
    assert_equal(opened.index, small)


def test_a_read_only_disk_is_read(tiny_disk: Path) -> None:
    cache = cache_in(tiny_disk)
    cache.save(INFO, an_index(100))
    remount = ["mount", "-o", "remount,ro", str(tiny_disk)]
    subprocess.run(remount, check=True, capture_output=True)
    assert cache.open(INFO) is not None
    other = replace(INFO, id=replace(INFO.id, key="other"))
    assert not cache.save(other, an_index(100))


# The bound


def numbered(number: int) -> ObjectInfo:
    return replace(INFO, id=replace(INFO.id, key=str(number)))


def test_the_least_recently_used_gives_way(tmp_path: Path) -> None:
    size = indexfile.describe({}, INDEX)[0].file_size + 1024
    cache = cache_in(tmp_path / "cache", max_bytes=3 * size)
    for number in range(3):
        cache.save(numbered(number), INDEX)
        for path in files(tmp_path / "cache"):  # the clock of a file system is coarse
            age = path.stat().st_mtime_ns - 10**9
            os.utime(path, ns=(age, age))
    assert cache.open(numbered(0)) is not None
    cache.save(numbered(3), INDEX)
    assert cache.counts.evicted == 1
    held = [number for number in range(4) if cache.open(numbered(number)) is not None]
    assert held == [0, 2, 3]
    assert sum(path.stat().st_size for path in files(tmp_path / "cache")) <= 3 * size


def test_what_is_larger_than_the_bound_is_not_kept_and_drives_nothing_out(tmp_path: Path) -> None:
    cache = cache_in(tmp_path / "cache", max_bytes=INDEX.nbytes + 8192)
    cache.save(INFO, INDEX)
    assert not cache.save(numbered(1), an_index(5000))
    assert cache.open(INFO) is not None


def test_what_a_killed_writer_left_is_removed_at_the_next_write(
    cache: Cache, tmp_path: Path
) -> None:
    left = saved_file(cache, tmp_path).with_name("0123.4567.tmp")
    left.write_bytes(bytes(100))
    assert cache.open(INFO) is not None
    cache.save(numbered(1), INDEX)
    assert not left.exists()


def test_a_writer_that_stands_still_is_not_waited_for(
    cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indexfolder, "LOCK_SECONDS", 0.1)
    saved_file(cache, tmp_path)
    folder = os.open(tmp_path / "cache" / FOLDER, os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)
    assert not cache.save(numbered(1), INDEX)
    assert cache.open(INFO) is not None
    os.close(folder)
    assert cache.save(numbered(1), INDEX)


# Many at once

SAVER = """
import sys
from pathlib import Path
from test_indexes import INDEX, cache_in, assert_equal, numbered
from s3zipfs.cache import indexes, indexfile, indexfolder
indexes.SMALLEST = indexfile.SMALLEST_MAPPED = 0
cache = cache_in(Path(sys.argv[1]), max_bytes=4 * INDEX.nbytes)
for turn in range(60):
    number = turn % 6
    opened = cache.open(numbered(number))
    if opened is None:
        cache.save(numbered(number), INDEX)
    else:
        assert_equal(opened.index)
assert cache.counts.discarded == 0 == cache.counts.failed, cache.counts
"""


def test_processes_share_one_folder(tmp_path: Path) -> None:
    here = Path(__file__).parent
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*sys.path, str(here)])}
    command = [sys.executable, "-c", SAVER, str(tmp_path / "cache")]
    processes = [
        subprocess.Popen(command, env=environment, stderr=subprocess.PIPE) for _ in range(3)
    ]
    for process in processes:
        _, text = process.communicate(timeout=60)
        assert process.returncode == 0, text.decode()
    assert sum(path.stat().st_size for path in files(tmp_path / "cache")) <= 4 * INDEX.nbytes


def test_threads_share_one_cache(tmp_path: Path) -> None:
    cache = cache_in(tmp_path / "cache", max_bytes=4 * INDEX.nbytes)
    wrong = threading.Event()

    def use(turn: int) -> None:
        opened = cache.open(numbered(turn % 6))
        if opened is None:
            cache.save(numbered(turn % 6), INDEX)
        elif not np.array_equal(opened.index.names, INDEX.names):
            wrong.set()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(use, range(200)))
    assert not wrong.is_set()
    assert cache.counts.discarded == 0


# What the format promises


QUIRKS = (
    odd_zips.zip64_everywhere, odd_zips.names_to_be_cleaned, odd_zips.backslashes,
    odd_zips.encodings, odd_zips.devices_and_setuid, odd_zips.link_and_target,
    odd_zips.malformed_extras, odd_zips.file_and_directory_of_one_name, odd_zips.duplicates,
    odd_zips.two_headers_of_one_member, odd_zips.long_components,
)  # fmt: skip


def fingerprint() -> int:
    """Of all that `zipformat` makes of the quirks."""
    crc32 = 0
    for make in QUIRKS:
        index = open_index(make())
        for name in COLUMNS:
            column = index.columns[name]
            crc32 = isal_zlib.crc32(f"{name} {column.dtype.str}".encode(), crc32)
            crc32 = isal_zlib.crc32(column.data.cast("B"), crc32)
    return crc32


def test_a_change_of_the_index_is_a_new_format() -> None:
    """Else old files are served for what the program would make now.

    Where this fails because an index is *meant* to differ: raise `indexfile.FORMAT`, and set the
    new pair here. Where a quirk was changed, set the fingerprint only.
    """
    assert (indexfile.FORMAT, fingerprint()) == (1, 212951001)


# Settings


def test_the_cache_directory_is_where_caches_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert Settings().cache_dir == Path("/somewhere/s3zipfs")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", "/home/ada")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert Settings().cache_dir == Path("/home/ada/.cache/s3zipfs")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert Settings().cache_dir == Path("/var/cache/s3zipfs")


def test_the_cache_directory_can_be_given_or_switched_off(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert Settings(cache_dir="here").cache_dir == tmp_path / "here"  # type: ignore[arg-type]
    assert Settings(cache_dir=Path("none")).cache_dir is None
    monkeypatch.setenv("S3ZIPFS_CACHE_DIR", "none")
    assert load_settings().cache_dir is None
