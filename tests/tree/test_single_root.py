"""Archives that hold one directory and nothing beside it, with `single_root="unwrap"`."""

from __future__ import annotations

import io
import stat
import time
import zipfile
from pathlib import Path

import pytest
from large_zips import large_zip
from trees import WAIT, MakeTree, names, read, zipped

from s3zipfs.errors import ForbiddenLink, NotFound, SettingsError
from s3zipfs.settings import load_settings
from s3zipfs.stores.counting import CountingStore
from s3zipfs.stores.memory import MemoryStore
from s3zipfs.tree.checking import Check

WRAPPED = {"x.zarr/zarr.json": b"{}", "x.zarr/c/0/1": b"chunk", "x.zarr/c/0/2": b"other"}


def test_the_directory_is_kept_unless_it_is_to_be_unwrapped(
    memory: MemoryStore, make_tree: MakeTree
) -> None:
    memory.put("lab", "x.zip", zipped(WRAPPED))
    kept = make_tree("s3://lab")
    assert names(kept, b"x.zip") == [b"x.zarr"]
    assert read(kept, b"x.zip/x.zarr/zarr.json") == b"{}"

    tree = make_tree("s3://lab", single_root="unwrap")
    assert names(tree, b"x.zip") == [b"c", b"zarr.json"]
    assert read(tree, b"x.zip/zarr.json") == b"{}"
    assert read(tree, b"x.zip/c/0/1") == b"chunk"
    with pytest.raises(NotFound):
        tree.resolve(b"x.zip/x.zarr", WAIT)


@pytest.mark.parametrize(
    ("members", "shown"),
    [
        ({"only.txt": b"1"}, [b"only.txt"]),
        ({"a/1": b"1", "b/1": b"1"}, [b"a", b"b"]),
        ({"a/1": b"1", "b.txt": b"1"}, [b"a", b"b.txt"]),
        ({"a/1": b"1", "a": b"1"}, [b"a", b"a (1)"]),
        ({}, []),
    ],
    ids=["a file", "two directories", "a file beside it", "a file of its name", "nothing"],
)
def test_all_else_is_shown_as_it_is(
    memory: MemoryStore, make_tree: MakeTree, members: dict[str, bytes], shown: list[bytes]
) -> None:
    memory.put("lab", "x.zip", zipped(members))
    assert names(make_tree("s3://lab", single_root="unwrap"), b"x.zip") == shown


def test_one_directory_is_left_out_and_not_those_below_it(
    memory: MemoryStore, make_tree: MakeTree
) -> None:
    memory.put("lab", "x.zip", zipped({"a/a/a/file": b"1"}))
    tree = make_tree("s3://lab", single_root="unwrap")
    assert names(tree, b"x.zip") == [b"a"]
    assert read(tree, b"x.zip/a/a/file") == b"1"


def test_a_link_stays_below_what_is_shown(memory: MemoryStore, make_tree: MakeTree) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("top/d/file", b"1")
        for name, target in {"top/d/good": "../d/file", "top/bad": "../top/d/file"}.items():
            link = zipfile.ZipInfo(name)
            link.create_system = 3  # Unix
            link.external_attr = (stat.S_IFLNK | 0o777) << 16
            archive.writestr(link, target)
    memory.put("lab", "x.zip", buffer.getvalue())
    kept, tree = make_tree("s3://lab"), make_tree("s3://lab", single_root="unwrap")
    assert kept.readlink(kept.resolve(b"x.zip/top/bad", WAIT), WAIT) == b"../top/d/file"
    assert tree.readlink(tree.resolve(b"x.zip/d/good", WAIT), WAIT) == b"../d/file"
    with pytest.raises(ForbiddenLink):
        tree.readlink(tree.resolve(b"x.zip/bad", WAIT), WAIT)


def test_a_pinned_version_is_unwrapped_too(memory: MemoryStore, make_tree: MakeTree) -> None:
    info = memory.put("lab", "x.zip", zipped(WRAPPED))
    tree = make_tree("s3://lab", single_root="unwrap")
    etag = info.id.etag.strip('"').encode()
    assert read(tree, b"x.zip@" + etag + b"/c/0/2") == b"other"


def test_an_index_on_disk_serves_both_ways_to_show_it(
    memory: MemoryStore, store: CountingStore, make_tree: MakeTree, tmp_path: Path
) -> None:
    memory.put("lab", "x.zip", large_zip(20_000))
    first = make_tree("s3://lab", cache_dir=tmp_path, single_root="unwrap")
    shown = names(first, b"x.zip")
    assert shown == [b"00", b"01"]
    until = time.monotonic() + 60
    while first._archives._writes:
        assert time.monotonic() < until
        time.sleep(0.005)
    assert names(first, b"x.zip") == shown  # from the file by now
    store.reset()
    assert names(make_tree("s3://lab", cache_dir=tmp_path), b"x.zip") == [b"x"]
    again = make_tree("s3://lab", cache_dir=tmp_path, single_root="unwrap")
    assert names(again, b"x.zip") == shown
    assert store.counts["get"] == 0


def test_a_check_reads_every_member_and_names_it_as_shown(
    memory: MemoryStore, make_tree: MakeTree
) -> None:
    damaged = zipped(WRAPPED).replace(b"chunk", b"chump", 1)
    memory.put("lab", "x.zip", damaged)
    tree = make_tree("s3://lab", single_root="unwrap")
    check = Check(tree, timeout=20)
    findings = [found for found in check.run(tree.root) if found is not None]
    assert [found.member for found in findings] == [b"c/0/1"]
    assert check.counts.members == len(WRAPPED)


def test_another_word_is_an_error_that_names_the_two() -> None:
    with pytest.raises(SettingsError, match=r"single_root: .*'keep' or 'unwrap'"):
        load_settings(single_root="yes")
