"""A check of archives in memory: each kind of fault, what is counted, and what ends it."""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
import time
import zipfile

import pytest
from corpus.raw_zip import End, Entry, Layout, write_zip
from trees import WAIT, MakeTree, zipped

from s3zipfs.build import build_tree
from s3zipfs.errors import BadResponse, NotFound, S3ZipError, SettingsError, StoreUnavailable
from s3zipfs.settings import Settings
from s3zipfs.stores.base import ObjectId
from s3zipfs.stores.counting import CountingStore
from s3zipfs.stores.memory import MemoryStore
from s3zipfs.tree.checking import Check
from s3zipfs.tree.findings import Counts, Finding, Kind
from s3zipfs.tree.tree import Tree

NOISE = random.Random(1).randbytes(20 << 20)


def check(tree: Tree, path: bytes = b"") -> tuple[Counts, list[Finding]]:
    checking = Check(tree, timeout=10)
    found = [step for step in checking.run(tree.resolve(path, WAIT)) if step is not None]
    return checking.counts, found


def told(found: list[Finding]) -> list[tuple[bytes | None, Kind]]:
    return [(each.member, each.kind) for each in found]


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_good_archive_is_read_whole(
    memory: MemoryStore, make_tree: MakeTree, method: int
) -> None:
    members = {f"d{n % 3}/{n}": NOISE[: n * 1000] for n in range(300)} | {"large": NOISE}
    data = zipped(members, method)
    memory.put("lab", "x.zip", data)
    tree = make_tree("s3://lab")
    checking = Check(tree, timeout=10)
    assert [step for step in checking.run(tree.resolve(b"x.zip", WAIT)) if step] == []
    counts = checking.counts
    assert (counts.archives, counts.members, counts.faults) == (1, 301, 0)
    assert counts.bytes == sum(map(len, members.values()))
    assert counts.bytes == checking.progress == checking.total
    assert len(data) * 0.99 < counts.compressed_bytes < len(data)


def test_members_are_fetched_once_and_by_large_gets(
    memory: MemoryStore, store: CountingStore, make_tree: MakeTree
) -> None:
    members = {f"{number:04}": NOISE[:65536] for number in range(512)}  # 32 MiB
    memory.put("lab", "x.zip", zipped(members))
    counts, found = check(make_tree("s3://lab"), b"x.zip")
    assert (counts.members, found) == (512, [])
    assert store.counts["get"] <= 64  # at most two for each MiB
    assert store.bytes_read <= 1.1 * 512 * 65536


def test_only_what_is_below_a_directory_or_a_member_is_read(
    memory: MemoryStore, make_tree: MakeTree
) -> None:
    bad = Entry(b"d/e/bad", b"data", crc=1)
    memory.put("lab", "x.zip", write_zip([Entry(b"a", b"1"), bad, Entry(b"d/f", b"22")]))
    tree = make_tree("s3://lab")
    counts, found = check(tree, b"x.zip/d")
    assert (counts.members, counts.bytes, told(found)) == (2, 2, [(b"d/e/bad", Kind.CONTENT)])
    counts, found = check(tree, b"x.zip/a")
    assert (counts.members, counts.bytes, found) == (1, 1, [])


def test_every_archive_below_a_prefix_is_checked_in_order(
    memory: MemoryStore, make_tree: MakeTree
) -> None:
    good = zipped({"a": b"1"})
    broken = write_zip([Entry(b"bad", b"data", crc=1)])
    for number in range(40):
        memory.put("lab", f"in/{number:02}/x.zip", broken if number % 2 else good)
    memory.put("lab", "in/not-an-archive", b"1")
    memory.put("lab", "in/no.zip", b"not a zip")
    memory.put("lab", "out/x.zip", broken)
    counts, found = check(make_tree("s3://lab"), b"in")
    assert (counts.archives, counts.members, counts.other_objects) == (41, 40, 1)
    expected = [f"s3://lab/in/{number:02}/x.zip" for number in range(1, 40, 2)]
    assert [each.archive for each in found] == ["s3://lab/in/no.zip", *expected]
    assert found[0].kind is Kind.ARCHIVE
    assert counts.faults == 21


LARGE = zipped({"large": NOISE, "small": b"1"})
LARGE_DEFLATED = zipped({"large": NOISE, "small": b"1"}, zipfile.ZIP_DEFLATED)


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


GOOD = Entry(b"good", b"fine")


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (write_zip([Entry(b"m", b"data", crc=1), GOOD]), [(b"m", Kind.CONTENT)]),
        (write_zip([Entry(b"m", b"data", method=8, crc=1), GOOD]), [(b"m", Kind.CONTENT)]),
        (write_zip([Entry(b"m", b"data", method=8, body=b"\xff"), GOOD]), [(b"m", Kind.CONTENT)]),
        (
            write_zip([Entry(b"m", b"data", method=8, uncompressed_size=9), GOOD]),
            [(b"m", Kind.CONTENT)],
        ),
        (write_zip([Entry(b"m", b"data", local_name=b"n"), GOOD]), [(b"m", Kind.CONTENT)]),
        (write_zip([Entry(b"m", b"", local_name=b"n"), GOOD]), [(b"m", Kind.CONTENT)]),
        (write_zip([Entry(b"m", b"", crc=1, local_crc=1), GOOD]), [(b"m", Kind.CONTENT)]),
        (write_zip([Entry(b"m", b"data", uncompressed_size=5), GOOD]), [(b"m", Kind.STRUCTURE)]),
        (
            write_zip([Entry(b"m", b"data", offset=0), Entry(b"n", b"x", offset=10), GOOD]),
            [(b"m", Kind.STRUCTURE), (b"n", Kind.STRUCTURE)],
        ),
        (write_zip([Entry(b"m", b"data", flags=1), GOOD]), [(b"m", Kind.ENCRYPTED)]),
        (write_zip([Entry(b"m", b"data", method=98), GOOD]), [(b"m", Kind.UNSUPPORTED)]),
        (write_zip([GOOD], Layout(end=End(size=46))), [(None, Kind.ARCHIVE)]),
        (write_zip([GOOD])[:-5], [(None, Kind.ARCHIVE)]),
        (write_zip([GOOD, GOOD]).replace(b"PK\1\2", b"PK\1\3"), [(None, Kind.ARCHIVE)]),
        (flipped(LARGE, 15 << 20), [(b"large", Kind.CONTENT)]),
        (flipped(LARGE_DEFLATED, 15 << 20), [(b"large", Kind.CONTENT)]),
    ],
    ids=[
        "stored CRC", "deflated CRC", "deflate data", "length", "local name",
        "local name of an empty member", "CRC of an empty member", "stored sizes", "overlap",
        "encrypted", "unsupported", "directory size", "cut", "directory", "a large stored member",
        "a large deflated member",
    ],
)  # fmt: skip
def test_a_fault_is_named_and_the_rest_is_read(
    memory: MemoryStore, make_tree: MakeTree, data: bytes, expected: list[tuple[bytes, Kind]]
) -> None:
    memory.put("lab", "x.zip", data)
    counts, found = check(make_tree("s3://lab"), b"x.zip")
    assert told(found) == expected
    in_archive = [each for each in found if each.member is not None]
    assert counts.members == (len(in_archive) + 1 if in_archive else 0)
    assert counts.bytes == (0 if not in_archive else 4 if len(data) < 1 << 20 else 1)
    for each in found:
        assert each.archive == "s3://lab/x.zip"
        assert "s3://" not in each.message
        assert not each.message.startswith("member")
    assert counts.faults == sum(each.is_fault for each in found)
    assert counts.not_checked.total() == len(found) - counts.faults


def test_what_is_not_shown_is_counted(memory: MemoryStore, make_tree: MakeTree) -> None:
    entries = [Entry(b"a", b"1"), Entry(b"a", b"2"), Entry(b"x/../y", b"3"), Entry(b"d/", b"")]
    memory.put("lab", "x.zip", write_zip(entries))
    counts, found = check(make_tree("s3://lab"), b"x.zip")
    assert (counts.members, counts.hidden, counts.duplicates, found) == (1, 1, 1, [])


def test_lying_sizes_are_faults_and_allocate_nothing(
    memory: MemoryStore, make_tree: MakeTree
) -> None:
    wide = {"method": 8, "uncompressed_size": 0xFFFFFFFE}
    entries = [Entry(f"{n}".encode(), b"data", **wide) for n in range(20)]  # type: ignore[arg-type]
    memory.put("lab", "x.zip", write_zip(entries))
    counts, found = check(make_tree("s3://lab", memory=32 << 20), b"x.zip")
    assert {each.kind for each in found} == {Kind.CONTENT}
    assert counts.faults == 20


def test_an_archive_replaced_meanwhile_is_one_fault(make_tree: MakeTree) -> None:
    memory = MemoryStore()
    memory.put("lab", "a.zip", LARGE)
    memory.put("lab", "b.zip", zipped({"m": b"1"}))

    class Replacing(CountingStore):
        async def get_range(self, oid: ObjectId, start: int, end: int) -> memoryview:
            if oid.key == "a.zip" and start < 10 << 20 < end:
                memory.put("lab", "a.zip", b"new")
            return await super().get_range(oid, start, end)

    with contextlib.closing(build_tree(Settings(), ["s3://lab"], store=Replacing(memory))) as tree:
        counts, found = check(tree)
    assert [(each.archive, each.kind) for each in found] == [("s3://lab/a.zip", Kind.CHANGED)]
    assert (counts.archives, counts.bytes) in {(2, 1), (2, 2)}


class Failing(CountingStore):
    """Serves listings and tails, and no more."""

    def __init__(self, inner: MemoryStore, error: S3ZipError | None) -> None:
        super().__init__(inner)
        self.error = error
        self.stalled = threading.Event()

    async def get_range(self, oid: ObjectId, start: int, end: int) -> memoryview:
        if start < 10 << 20:
            if self.error is not None:
                raise self.error
            self.stalled.set()
            await asyncio.sleep(60)
        return await super().get_range(oid, start, end)


@pytest.mark.parametrize("error", [StoreUnavailable("503"), BadResponse("short")])
def test_a_store_that_fails_ends_it(memory: MemoryStore, error: S3ZipError) -> None:
    memory.put("lab", "x.zip", LARGE)
    with (
        contextlib.closing(
            build_tree(Settings(), ["s3://lab"], store=Failing(memory, error))
        ) as tree,
        pytest.raises(type(error)),
    ):
        check(tree)
    assert not any("s3zipfs-check" in thread.name for thread in threading.enumerate())


def test_closing_it_ends_threads_that_wait_for_a_silent_store(memory: MemoryStore) -> None:
    memory.put("lab", "x.zip", LARGE)
    store = Failing(memory, None)
    with contextlib.closing(build_tree(Settings(), ["s3://lab"], store=store)) as tree:
        steps = Check(tree, timeout=60).run(tree.root)
        while not store.stalled.is_set():
            assert next(steps) is None
        begun = time.monotonic()
        steps.close()
        assert time.monotonic() - begun < 20  # the store stalls for 60
    assert not any("s3zipfs-check" in thread.name for thread in threading.enumerate())


def test_nothing_to_check_is_an_error(memory: MemoryStore, make_tree: MakeTree) -> None:
    memory.put("lab", "in/plain.txt", b"1")
    tree = make_tree("s3://lab")
    with pytest.raises(NotFound, match="s3://lab/in/: no archive"):
        check(tree, b"in")
    with pytest.raises(SettingsError, match=r"--archive 'plain\.txt'"):
        check(tree, b"in/plain.txt")
