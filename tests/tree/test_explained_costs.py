"""What `explain` foretells is what reading asks MinIO for, counted below a tree."""

from __future__ import annotations

import struct
import uuid
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mounting import wait_until
from s3clients import temporary_bucket
from trees import WAIT, zipped
from zarrs import hierarchy, is_metadata

from s3zipfs.build import KEPT_BY_MOUNT, build_tree
from s3zipfs.settings import Settings
from s3zipfs.stores.counting import CountingStore
from s3zipfs.stores.retrying import RetryingStore
from s3zipfs.stores.s3 import S3Store
from s3zipfs.tree.explaining import Cost, Explainer, Explanation, Reading
from s3zipfs.tree.nodes import Member, ObjectFile
from s3zipfs.tree.tree import Tree
from s3zipfs.waiting import Wait

MIB = 1 << 20
PIECE = MIB
SECONDS = 60.0


def noise(size: int) -> bytes:
    """Deflate leaves about half of it."""
    data = np.random.default_rng(size).integers(0, 256, size, np.uint8)
    data[::2] = 7
    return data.tobytes()


MEMBERS = {
    "stored-small": (noise(100_000), zipfile.ZIP_STORED),
    "deflated-small": (noise(3 * MIB), zipfile.ZIP_DEFLATED),
    "stored-large": (noise(21 * MIB), zipfile.ZIP_STORED),
    "deflated-large": (noise(24 * MIB), zipfile.ZIP_DEFLATED),
    "empty": (b"", zipfile.ZIP_STORED),
}


def archive(path: Path, *, more: int) -> None:
    """The members, and so many small ones between them and the end."""
    with zipfile.ZipFile(path, "w") as written:
        for name, (content, method) in MEMBERS.items():
            written.writestr(name, content, method)
        for number in range(more):
            written.writestr(f"more/{number:05}", b"." * 100)


@pytest.fixture(scope="module")
def filled(s3client: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """`runs/x.zip` with few names, `runs/many.zip` with a directory of 400 kB, and others."""
    folder = tmp_path_factory.mktemp("explained")
    with temporary_bucket(s3client, f"explained-{uuid.uuid4().hex[:16]}") as bucket:
        for name, more in (("x.zip", 0), ("many.zip", 5000)):
            archive(folder / name, more=more)
            s3client.upload_file(str(folder / name), bucket, f"runs/{name}")
        s3client.put_object(Bucket=bucket, Key="plain.bin", Body=noise(20 * MIB))
        s3client.put_object(Bucket=bucket, Key="tiny.zip", Body=zipped({"a": b"hello"}))
        for zarr_format in (2, 3):
            body = zipped({**hierarchy(zarr_format), "tail": bytes(MIB)})
            s3client.put_object(Bucket=bucket, Key=f"v{zarr_format}.zip", Body=body)
        yield bucket


class Bench:
    """Explains and reads one bucket, with one cache directory."""

    def __init__(self, settings: Settings, bucket: str, cache: Path | None) -> None:
        update = {"cache_dir": cache, "cache_size": 256 * MIB if cache else 0}
        self.settings = settings.model_copy(update=update)
        self.bucket = bucket

    def explain(self, path: bytes) -> Explanation:
        sources = [f"s3://{self.bucket}"]
        nothing = self.settings.model_copy(update={"cache_dir": None})
        tree, offline = (
            build_tree(nothing, sources),
            build_tree(self.settings, sources, offline=True),
        )
        try:
            node = tree.resolve(path, WAIT)
            assert isinstance(node, Member | ObjectFile)
            return Explainer(
                tree, offline, WAIT, memory=self.settings.memory, kept=KEPT_BY_MOUNT,
                keeps_indexes=True, unwraps=False,
            ).explain(node)  # fmt: skip
        finally:
            tree.close()
            offline.close()

    def foretold(self, path: bytes, what: str) -> Reading:
        return next(each for each in self.explain(path).readings if each.what == what)

    def counted(self, path: bytes, what: str, *, is_open: bool = False) -> tuple[int, int, int]:
        """GETs, their bytes, and LISTs, of a process of its own; or since the archive was open."""
        settings = self.settings
        store = CountingStore(RetryingStore(S3Store(settings), timeout=settings.timeout))
        tree = build_tree(settings, [f"s3://{self.bucket}"], store=store, kept=KEPT_BY_MOUNT)
        try:
            node = tree.resolve(path, WAIT)
            lists = store.counts["list"]
            if is_open:
                store.reset()
            read(tree, node, what)
            wait_until(lambda: has_settled(tree), seconds=SECONDS, what="all that was begun")
            assert tree.fetcher.disk.flush(SECONDS)
            tree.archives.finish_writes(WAIT)
            return store.counts["get"], store.bytes_read, lists
        finally:
            tree.close()


def has_settled(tree: Tree) -> bool:
    """Whether all is here that was asked for, ahead of the reader as well."""
    contents = list(tree.fetcher.cache._contents.values())
    plans = [held.archive._metadata._plan for held in tree.archives._open.values()]
    return all(extent.future.done() for each in contents for extent in list(each.extents)) and all(
        here.done() for plan in plans if plan is not None for here in plan._coming.values()
    )


def read(tree: Tree, node: Any, what: str) -> None:
    size = tree.getattr(node, WAIT).size
    if what == "metadata":
        index = tree.index(node.info, WAIT)
        for number in range(index.node_count):
            if is_metadata(index.path(number).decode()):
                tree.read(Member(node.info, number), 0, index.size(number), WAIT)
    elif what == "whole":
        for start in range(0, size, PIECE):
            tree.read(node, start, start + PIECE, WAIT)
    elif what == "random":
        start = size // 2 // 4096 * 4096
        tree.read(node, start, start + 65536, WAIT)
        if isinstance(node, Member):
            let_the_pass_end(tree, node)


def let_the_pass_end(tree: Tree, node: Member) -> None:
    """A large deflated member is gone through while nobody waits: wait for all of it."""
    member = tree.index(node.info, WAIT).member(node.number)
    if member.method == zipfile.ZIP_DEFLATED and member.uncompressed_size > 16 * MIB:
        held = tree.archives._seeks.get(node.info, member, WAIT)
        job = tree.archives._seeks.job(held)
        if job is not None and job.read_raw is not None:
            tree.archives._seeks.indexer.wait(job, job.verdict, job.read_raw, Wait(SECONDS))


def cost(of: Cost) -> tuple[int, int]:
    return of.gets, of.bytes


@pytest.fixture
def cold(s3settings: Settings, filled: str) -> Bench:
    return Bench(s3settings, filled, None)


@pytest.fixture
def kept(s3settings: Settings, filled: str, tmp_path: Path) -> Bench:
    return Bench(s3settings, filled, tmp_path / "cache")


@pytest.fixture
def indexed(s3settings: Settings, filled: str, tmp_path: Path) -> Bench:
    """Keeps indexes and no blocks, as by default."""
    bench = Bench(s3settings, filled, tmp_path / "cache")
    bench.settings = bench.settings.model_copy(update={"cache_size": 0})
    return bench


@pytest.mark.parametrize("what", ["whole", "random"])
@pytest.mark.parametrize("name", [name for name in MEMBERS if name != "empty"])
@pytest.mark.parametrize("of", ["x.zip", "many.zip"])
def test_a_cold_read_costs_what_is_foretold(cold: Bench, of: str, name: str, what: str) -> None:
    path = f"runs/{of}/{name}".encode()
    foretold = cold.foretold(path, what)
    gets, size, lists = cold.counted(path, what)
    assert (gets, size) == cost(foretold.cold) == cost(foretold.now)
    assert gets > 0
    assert lists == cold.explain(path).lists == 2
    if of == "x.zip":  # of so few members no index is written
        assert cold.counted(path, what, is_open=True)[:2] == cost(foretold.indexed)


@pytest.mark.parametrize("what", ["whole", "random"])
@pytest.mark.parametrize("name", ["stored-small", "stored-large", "deflated-small"])
def test_a_read_with_the_index_on_disk_costs_what_is_foretold(
    indexed: Bench, name: str, what: str
) -> None:
    path = f"runs/many.zip/{name}".encode()
    assert indexed.counted(b"runs/many.zip/empty", "open")[0] == 2
    foretold = indexed.foretold(path, what)
    assert cost(foretold.now) == cost(foretold.indexed)
    assert indexed.counted(path, what)[:2] == cost(foretold.indexed)


@pytest.mark.parametrize("what", ["whole", "random"])
@pytest.mark.parametrize("name", [name for name in MEMBERS if name != "empty"])
@pytest.mark.parametrize("of", ["x.zip", "many.zip"])
def test_a_warm_read_costs_what_is_foretold_and_that_is_nothing(
    kept: Bench, of: str, name: str, what: str
) -> None:
    path = f"runs/{of}/{name}".encode()
    kept.counted(path, what)
    explained = kept.explain(path)
    foretold = next(each for each in explained.readings if each.what == what)
    assert cost(foretold.now) == (0, 0)
    assert kept.counted(path, what)[:2] == (0, 0)
    assert explained.kept.index == (of == "many.zip")
    if what == "whole":
        assert explained.kept.bytes == explained.kept.of_bytes
    elif name == "deflated-large":
        assert explained.kept.checkpoints


@pytest.mark.parametrize("name", ["stored-large", "deflated-large"])
def test_what_is_partly_on_disk_costs_what_is_foretold(kept: Bench, name: str) -> None:
    path = f"runs/x.zip/{name}".encode()
    kept.counted(b"runs/x.zip/stored-small", "whole")
    kept.counted(path, "random")
    foretold = kept.foretold(path, "whole")
    assert kept.counted(path, "whole")[:2] == cost(foretold.now)
    assert foretold.now.bytes < foretold.cold.bytes


def test_a_random_read_by_checkpoints_costs_what_is_foretold(indexed: Bench) -> None:
    path = b"runs/many.zip/deflated-large"
    indexed.counted(path, "random")
    foretold = indexed.foretold(path, "random")
    assert indexed.counted(path, "random")[:2] == cost(foretold.now)
    assert 0 < foretold.now.bytes < 2 * MIB < foretold.cold.bytes


@pytest.mark.parametrize("path", [b"runs/x.zip", b"runs/many.zip", b"tiny.zip"])
def test_opening_an_archive_costs_what_is_foretold(kept: Bench, path: bytes) -> None:
    foretold = kept.foretold(path, "open")
    gets, size, lists = kept.counted(path + b"/empty" * path.startswith(b"runs"), "open")
    if path == b"tiny.zip":  # nothing looks into it unless a name in it is asked for
        gets, size, lists = kept.counted(b"tiny.zip/a", "open")
    assert (gets, size) == cost(foretold.cold)
    assert lists == kept.explain(path).lists
    assert cost(kept.foretold(path, "open").now) == (0, 0)


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_the_metadata_of_a_zarr_archive_cost_what_is_foretold(
    kept: Bench, zarr_format: int
) -> None:
    path = f"v{zarr_format}.zip".encode()
    foretold = kept.foretold(path, "metadata")
    assert kept.counted(path, "metadata")[:2] == cost(foretold.cold)
    assert foretold.cold.gets < 12
    assert cost(kept.foretold(path, "metadata").now) == (0, 0)
    assert kept.counted(path, "metadata")[:2] == (0, 0)


@pytest.mark.parametrize("what", ["whole", "random"])
@pytest.mark.parametrize("path", [b"v2.zip/.zgroup", b"v3.zip/zarr.json"])
def test_one_metadata_member_costs_what_is_fetched_with_it(
    cold: Bench, path: bytes, what: str
) -> None:
    foretold = cold.foretold(path, what)
    assert cold.counted(path, what)[:2] == cost(foretold.cold)
    assert foretold.cold.gets > 2  # of which two are the index and the member


def test_of_a_member_that_can_not_be_read_no_cost_is_told(
    cold: Bench, s3client: Any, filled: str
) -> None:
    data = bytearray(zipped({"odd": b"1"}))
    struct.pack_into("<H", data, data.index(b"PK\1\2") + 10, 98)  # APPNOTE 4.4.5: PPMd
    struct.pack_into("<H", data, 8, 98)
    s3client.put_object(Bucket=filled, Key="odd.zip", Body=bytes(data))
    explained = cold.explain(b"odd.zip/odd")
    assert [each.what for each in explained.readings] == ["open"]
    assert [each.rule for each in explained.advice] == ["unsupported"]


def test_an_object_that_is_no_archive_costs_what_is_foretold(kept: Bench) -> None:
    for what in ("random", "whole"):
        foretold = kept.foretold(b"plain.bin", what)
        assert kept.counted(b"plain.bin", what)[:2] == cost(foretold.now)
    assert cost(kept.foretold(b"plain.bin", "whole").now) == (0, 0)


def test_asking_changes_nothing_on_disk(kept: Bench) -> None:
    kept.explain(b"runs/many.zip/stored-large")
    explained = kept.explain(b"runs/many.zip/stored-large")
    assert explained.kept.bytes == 0
    assert explained.kept.index is False
