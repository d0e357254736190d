"""What `examples/pack.py` makes is read by everybody, and is as its first lines say."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pack
import pytest
import zarr
from commands import keys_of, s3zipfs
from demobucket import EXAMPLES
from environments import find_program, skip_without
from hierarchies import ARRAYS, assert_whole, write_hierarchy
from s3server import S3Server
from zarr.storage import ZipStore


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    program = [sys.executable, str(EXAMPLES / "pack.py"), *map(str, arguments)]
    return subprocess.run(program, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture(scope="module", params=[2, 3], ids=["zarr2", "zarr3"])
def tree(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tree") / "x.zarr"
    write_hierarchy(folder, request.param)
    return folder


def packed(tree: Path, folder: Path) -> Path:
    target = folder / "x.zarr.zip"
    done = run(tree, target)
    assert (done.returncode, done.stderr) == (0, "")
    assert list(folder.iterdir()) == [target]
    return target


def test_zipfile_finds_what_was_packed_stored_and_sound(tree: Path, tmp_path: Path) -> None:
    files = {path.relative_to(tree).as_posix(): path for path in tree.rglob("*") if path.is_file()}
    with zipfile.ZipFile(packed(tree, tmp_path)) as archive:
        assert archive.testzip() is None
        assert sorted(archive.namelist()) == sorted(files)
        for member in archive.infolist():
            assert member.compress_type == zipfile.ZIP_STORED
            assert archive.read(member) == files[member.filename].read_bytes()


def test_metadata_comes_first_and_chunks_in_the_order_of_their_positions(
    tree: Path, tmp_path: Path
) -> None:
    with zipfile.ZipFile(packed(tree, tmp_path)) as archive:
        members = sorted(archive.infolist(), key=lambda each: each.header_offset)
    names = [each.filename for each in members]
    assert names == archive.namelist()
    is_metadata = [name.rpartition("/")[2] in pack.METADATA for name in names]
    assert is_metadata == sorted(is_metadata, reverse=True)
    assert "/" not in names[0]
    depths = [name.count("/") for name in names[: is_metadata.count(True)]]
    assert depths == sorted(depths)
    last = [name.rpartition("counts/")[2] for name in names if "counts/" in name]
    numbers = [name.removeprefix("c/") for name in last if name not in pack.METADATA]
    assert numbers == [str(number) for number in range(10)]
    assert pack.place("c/0/2") < pack.place("c/0/10") < pack.place("c/1/0")
    assert pack.place("0.2") < pack.place("0.10") < pack.place("1.0")


def test_zarr_reads_all_of_it_by_its_zip_store(tree: Path, tmp_path: Path) -> None:
    with ZipStore(packed(tree, tmp_path), mode="r") as store:
        assert_whole(zarr.open_group(store, mode="r"))


def test_7z_finds_no_fault(tree: Path, tmp_path: Path) -> None:
    program = find_program("7z")
    if program is None:
        skip_without("no 7z: apt install p7zip-full")
    command = [program, "t", str(packed(tree, tmp_path))]
    assert "Everything is Ok" in subprocess.check_output(command, text=True, timeout=60)


def test_check_finds_no_fault_and_all_of_it_is_references(
    s3server: S3Server, s3client: Any, bucket: str, tree: Path, tmp_path: Path
) -> None:
    s3client.upload_file(str(packed(tree, tmp_path)), bucket, "x.zarr.zip")
    where = [f"s3://{bucket}/x.zarr.zip", "--endpoint-url", s3server.endpoint]
    for command in (["check", "--strict"], ["refs"]):
        done = s3zipfs(*command, *where, environment=keys_of(s3server))
        assert (done.returncode, done.stderr) == (0, ""), done.stdout


def test_the_same_tree_is_the_same_bytes_whenever_it_is_packed(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    first = packed(tree, tmp_path / "a").read_bytes()
    shutil.copytree(tree, tmp_path / "copy", copy_function=shutil.copyfile)
    for path in (tmp_path / "copy").rglob("*"):
        os.utime(path, (1, 1))
        path.chmod(0o700)
    (tmp_path / "b").mkdir()
    assert packed(tmp_path / "copy", tmp_path / "b").read_bytes() == first


def test_large_members_get_zip64(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 5000)  # as if members of 4 GiB were so large
    pack.pack(tree, tmp_path / "x.zip")
    monkeypatch.undo()
    data = (tmp_path / "x.zip").read_bytes()
    assert b"PK\x06\x06" in data  # APPNOTE 4.3.14
    with zipfile.ZipFile(tmp_path / "x.zip") as archive:
        assert archive.testzip() is None
    with ZipStore(tmp_path / "x.zip", mode="r") as store:
        group = zarr.open_group(store, mode="r")
        np.testing.assert_array_equal(group["values"][...], ARRAYS["values"])  # type: ignore[index]


Refused = Literal["nothing", "no Zarr", "a link", "itself", "a name"]


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("nothing", "no such folder"),
        ("no Zarr", "neither zarr.json nor .zgroup nor .zarray"),
        ("a link", "neither a file nor a folder"),
        ("itself", "within the tree"),
        ("a name", "not UTF-8"),
    ],
)
def test_what_would_not_be_read_back_is_refused_and_an_older_archive_stays(
    tmp_path: Path, what: Refused, words: str
) -> None:
    tree, target = tmp_path / "tree", tmp_path / "x.zip"
    if what != "nothing":
        tree.mkdir()
        (tree / ("other.json" if what == "no Zarr" else "zarr.json")).write_text("{}")
    if what == "a link":
        (tree / "link").symlink_to("zarr.json")
    if what == "itself":
        target = tree / "x.zip"
    if what == "a name":
        Path(os.fsdecode(os.fsencode(tree) + b"/\xff")).touch()
    if what != "nothing":
        target.write_text("older")
    done = run(tree, target)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("pack.py: ")
    assert words in done.stderr
    assert done.stderr.count("\n") == 1
    assert not target.exists() if what == "nothing" else target.read_text() == "older"
    assert not list(tmp_path.glob(".x.zip*"))


def test_a_file_that_changes_meanwhile_is_told(tmp_path: Path) -> None:
    with (
        zipfile.ZipFile(tmp_path / "x.zip", "w") as target,
        pytest.raises(pack.PackError, match="changed"),
    ):
        pack.add(target, Path("/proc/self/status"), "x")  # whose size is told as 0
