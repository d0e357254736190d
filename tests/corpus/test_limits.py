"""Bombs, overlaps and the limits of 16 and 32 bits, through the tree, in bounded memory."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from corpus.bombs import BOMBS, quoted_overlap
from corpus.isolated import Isolated
from corpus.raw_zip import U16, U32
from corpus.sparse import AFTER, directory_at, many, member_at, stored_zeros
from trees import WAIT, names, read

from s3zipfs.build import build_tree
from s3zipfs.errors import BadMember
from s3zipfs.settings import Settings
from s3zipfs.stores.memory import Computed, MemoryStore
from s3zipfs.tree.tree import Tree

PEAK_RSS = 300 << 20
Open = Callable[[bytes | Computed], Tree]


@pytest.fixture(scope="module")
def isolated() -> Iterator[Isolated]:
    with Isolated() as helper:
        yield helper


@pytest.fixture
def open_archive() -> Iterator[Open]:
    """The tree of a bucket with that object as `x.zip`."""
    trees: list[Tree] = []

    def opened(content: bytes | Computed) -> Tree:
        store = MemoryStore()
        store.put("b", "x.zip", content)
        trees.append(build_tree(Settings(), ["s3://b"], store=store))
        return trees[-1]

    yield opened
    for tree in trees:
        tree.close()


@pytest.mark.parametrize("bomb", BOMBS, ids=lambda maker: maker.__name__)
def test_bomb_stays_in_bounded_memory(
    bomb: Callable[[], bytes], isolated: Isolated, tmp_path: Path
) -> None:
    expected = BOMBS[bomb]
    (tmp_path / "x.zip").write_bytes(bomb())
    report = isolated.read(tmp_path / "x.zip")
    assert report.fault is None
    assert report.refused is None
    assert set(expected) - {"*"} <= set(report.members)
    for name, found in report.members.items():
        assert found.startswith(expected[name if name in expected else "*"]), name
    assert report.peak_rss <= PEAK_RSS


def test_overlapping_members_are_refused_without_a_read(open_archive: Open) -> None:
    tree = open_archive(quoted_overlap())
    assert len(names(tree, b"x.zip")) == 251
    for name in names(tree, b"x.zip"):
        with pytest.raises(BadMember, match="overlap"):
            tree.check_open(tree.resolve(b"x.zip/" + name, WAIT), WAIT)


@pytest.mark.parametrize("size", [U32 - 1, U32, U32 + 1, 1 << 40])
def test_member_of_about_4_gib(size: int, open_archive: Open) -> None:
    tree = open_archive(stored_zeros(size))
    node = tree.resolve(b"x.zip/zeros", WAIT)
    assert tree.getattr(node, WAIT).size == size
    assert b"".join(tree.read(node, size - 10, size + 10, WAIT)) == bytes(10)
    assert tree.read(node, size, size + 10, WAIT) == []
    assert read(tree, b"x.zip/after") == AFTER


@pytest.mark.parametrize("offset", [U32 - 1, U32, U32 + 1])
def test_member_at_about_4_gib(offset: int, open_archive: Open) -> None:
    archive = member_at(offset)
    assert archive.range(offset, offset + 4) == b"PK\x03\x04"
    tree = open_archive(archive)
    assert names(tree, b"x.zip") == [b"after", b"zeros"]
    assert read(tree, b"x.zip/after") == AFTER


@pytest.mark.parametrize("start", [U32 - 1, U32, U32 + 1, 1 << 44])
def test_directory_at_about_4_gib(start: int, open_archive: Open) -> None:
    archive = directory_at(start)
    assert archive.range(start, start + 4) == b"PK\x01\x02"
    assert read(open_archive(archive), b"x.zip/after") == AFTER


@pytest.mark.parametrize(
    ("count", "zip64"),
    # Without Zip64 65,535 is the number itself, and more wraps.
    list(itertools.product([U16 - 1, U16, U16 + 1, U16 + 2], [False, True])),
)
def test_about_65536_members(count: int, zip64: bool, open_archive: Open) -> None:
    tree = open_archive(many(count, zip64=zip64))
    folders = names(tree, b"x.zip")
    assert folders[-1] == b"last"
    assert 1 + sum(len(names(tree, b"x.zip/" + name)) for name in folders[:-1]) == count
    assert read(tree, b"x.zip/last") == b"last"
