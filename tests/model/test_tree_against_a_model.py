"""A tree over a store that others write to, and that fails and stalls, against a model of both.

Held against the model: which names may be seen (those of some moment within the TTL), whose bytes
a node gives (one version's, or an error), and which error may be met when.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from trees import zipped

from s3zipfs import waiting
from s3zipfs.build import build_tree
from s3zipfs.errors import (
    BadArchive,
    DeadlineExceeded,
    NotFound,
    ObjectChanged,
    S3ZipError,
    StoreUnavailable,
)
from s3zipfs.settings import Settings
from s3zipfs.stores.base import ListPage, ObjectId, ObjectInfo
from s3zipfs.stores.memory import MemoryStore
from s3zipfs.tree import folders
from s3zipfs.tree.nodes import Member, Node, ObjectFile
from s3zipfs.waiting import Wait

TTL = 30.0
KEYS = ["a.zip", "b.zip", "d/c.zip", "plain"]
PATIENT, IMPATIENT = 60.0, 0.02  # seconds; the latter where the store is known to stall


class Clock:
    """Stands in for the module `time`."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


class FaultyStore(MemoryStore):
    """Answers, fails, or says nothing until it answers again."""

    def __init__(self) -> None:
        super().__init__()
        self.mode = "answers"
        self.told = asyncio.Event()  # of another mode; set by the loop itself

    async def _meet(self) -> None:
        while self.mode == "stalls":
            await self.told.wait()
        if self.mode == "fails":
            raise StoreUnavailable("503")

    async def list_page(self, *arguments: Any, **options: Any) -> ListPage:
        await self._meet()
        return await super().list_page(*arguments, **options)

    async def head(self, bucket: str, key: str) -> ObjectInfo:
        await self._meet()
        return await super().head(bucket, key)

    async def get_range(self, oid: ObjectId, start: int, end: int) -> memoryview:
        await self._meet()
        return await super().get_range(oid, start, end)


@dataclass(frozen=True)
class Version:
    """What stood at a key for a time."""

    etag: str
    members: dict[bytes, bytes] = field(hash=False)  # of a plain object: its bytes, as b""
    broken: bool = False


class Model(RuleBasedStateMachine):
    """The other users of the store, the readers of the tree, and the time that passes."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        self.clock = Clock()
        self.patch.setattr(folders, "time", self.clock)
        self.patch.setattr(waiting, "GRACE_SECONDS", 0.0)
        self.store = FaultyStore()
        self.store.make_bucket("lab")
        self.counter = itertools.count()
        self.versions: dict[str, Version] = {}  # by ETag
        # What stood at each key, from when on.
        self.history: dict[str, list[tuple[float, Version | None]]] = {
            key: [(0.0, None)] for key in KEYS
        }
        self.held: list[tuple[Node, Version, bytes]] = []
        self.start()

    def start(self) -> None:
        settings = Settings(cache_dir=None, ttl=TTL)
        self.tree = build_tree(settings, ["s3://lab"], store=self.store)

    def teardown(self) -> None:
        self.store.mode = "fails"
        self.tree.close()
        self.patch.undo()

    @property
    def wait(self) -> Wait:
        return Wait(IMPATIENT if self.store.mode == "stalls" else PATIENT)

    def current(self, key: str) -> Version | None:
        return self.history[key][-1][1]

    def possible(self, key: str) -> list[Version | None]:
        """What stood at a key at some moment that may still be believed."""
        since = self.clock.now - TTL
        stood = self.history[key]
        ends = [start for start, _ in stood[1:]] + [self.clock.now + 1]
        return [version for (_, version), end in zip(stood, ends, strict=True) if end >= since]

    def explain(self, error: S3ZipError) -> None:
        """Raise what the store's present state does not explain."""
        stalls = isinstance(error, DeadlineExceeded) and self.store.mode == "stalls"
        fails = isinstance(error, StoreUnavailable) and self.store.mode != "answers"
        if not (stalls or fails):
            raise error

    # The other users of the store

    def _put(self, key: str, content: bytes, members: dict[bytes, bytes], *, broken: bool) -> None:
        info = self.store.put("lab", key, content)
        version = Version(info.id.etag, members, broken)
        self.versions[info.id.etag] = version
        self.history[key].append((self.clock.now, version))

    @initialize()
    def begin(self) -> None:
        for key in KEYS[:3]:
            self.overwrite(key, 100_000)

    @rule(key=st.sampled_from(KEYS), size=st.sampled_from([0, 1, 70_000, 400_000, 1_200_000]))
    def overwrite(self, key: str, size: int) -> None:
        number = next(self.counter)
        content = random.Random(number).randbytes(8) + b"%08d" % number * (size // 8)
        if key == "plain":
            self._put(key, content, {b"": content}, broken=False)
            return
        members = {f"m{each}": content[: size // (each + 1)] for each in range(1 + number % 3)}
        members["id"] = b"%d" % number
        expected = {name.encode(): data for name, data in members.items()}
        self._put(key, zipped(members), expected, broken=False)

    @rule(key=st.sampled_from(KEYS[:3]), share=st.floats(0.1, 0.99))
    def truncate(self, key: str, share: float) -> None:
        number = next(self.counter)
        whole = zipped({"m": b"%08d" % number * 5000})
        self._put(key, whole[: int(len(whole) * share)], {}, broken=True)

    @rule(key=st.sampled_from(KEYS))
    def delete(self, key: str) -> None:
        self.store.delete("lab", key)
        self.history[key].append((self.clock.now, None))

    @rule(mode=st.sampled_from(["answers", "answers", "fails", "stalls"]))
    def fault(self, mode: str) -> None:
        self.store.mode = mode
        if mode != "stalls":
            self.settle()

    def settle(self) -> None:
        """Let what the store was asked before come to its end."""
        loop = self.tree._fetcher.network.loop

        async def others() -> None:
            self.store.told.set()
            self.store.told = asyncio.Event()
            own = asyncio.current_task()
            tasks = [task for task in asyncio.all_tasks() if task is not own]
            await asyncio.wait(tasks) if tasks else None

        asyncio.run_coroutine_threadsafe(others(), loop).result(PATIENT)

    @rule(seconds=st.sampled_from([1.0, TTL / 2, TTL + 1]))
    def time_passes(self, seconds: float) -> None:
        self.clock.now += seconds

    @precondition(lambda self: self.store.mode == "answers")
    @rule()
    def restart(self) -> None:
        self.tree.close()
        self.start()

    # The readers

    @rule(directory=st.sampled_from(["", "d"]))
    def list_directory(self, directory: str) -> None:
        prefix = f"{directory}/" if directory else ""
        try:
            node = self.tree.resolve(directory.encode(), self.wait)
            names = {entry.name.decode() for entry in self.tree.entries(node, self.wait)}
        except NotFound:
            assert directory == "d"
            assert None in self.possible("d/c.zip")
            return
        except S3ZipError as error:
            self.explain(error)
            return
        for key in KEYS:
            if key.rpartition("/")[0] != directory:
                continue
            seen = key.removeprefix(prefix) in names
            assert any((version is not None) == seen for version in self.possible(key)), key

    @rule(key=st.sampled_from(KEYS))
    def open_file(self, key: str) -> None:
        """Look a name up, and hold what it is at."""
        self._open(key, key.encode(), self.possible(key))

    @rule(key=st.sampled_from(KEYS[:3]), back=st.integers(1, 3))
    def open_pinned(self, key: str, back: int) -> None:
        """The same by `x.zip@ETAG`, of the present version or an earlier one."""
        stood = [version for _, version in self.history[key] if version is not None]
        version = stood[max(-back, -len(stood))]
        name = f"{key}@{version.etag.strip(chr(34))}".encode()
        if b"/" in name and None in self.possible(key):
            return  # the directory may be gone, which is another question
        self._open(key, name, [version])

    def _open(self, key: str, path: bytes, possible: list[Version | None]) -> None:
        try:
            node = self.tree.resolve(path, self.wait)
        except NotFound:
            assert None in possible, f"{key} was there all the time"
            return
        except ObjectChanged:
            assert b"@" in path
            assert possible != [self.current(key)], f"{key} is of that version"
            return
        except S3ZipError as error:
            self.explain(error)
            return
        assert isinstance(node, ObjectFile | Member)
        version = self.versions[node.info.id.etag]
        assert version in possible, f"{key} is of a version that was not there within the TTL"
        if isinstance(node, ObjectFile):
            self.held.append((node, version, b""))
        else:
            self._look_inside(key, node, version)

    def _look_inside(self, key: str, node: Member, version: Version) -> None:
        try:
            found = {entry.name: entry.node for entry in self.tree.entries(node, self.wait)}
        except BadArchive:
            assert version.broken
            return
        except ObjectChanged:
            assert version is not self.current(key)
            return
        except S3ZipError as error:
            self.explain(error)
            return
        assert not version.broken, "a broken zip looks like one"
        assert set(found) == set(version.members)
        self.held.extend((member, version, name) for name, member in found.items())

    @precondition(lambda self: self.held)
    @rule(which=st.integers(0, 1 << 20), start=st.floats(0, 1), length=st.floats(0, 1))
    def read_held(self, which: int, start: float, length: float) -> None:
        """Read a part of what was opened at any time before."""
        node, version, name = self.held[which % len(self.held)]
        content = version.members[name]
        first = int(start * len(content))
        last = first + int(length * len(content))
        assert isinstance(node, ObjectFile | Member)
        try:
            data = b"".join(self.tree.read(node, first, last, self.wait))
        except ObjectChanged:
            assert version is not self.current(node.info.id.key)
        except S3ZipError as error:
            self.explain(error)
        else:
            assert data == content[first:last], "bytes of another version, or a clean end"

    @invariant()
    def the_root_needs_no_store(self) -> None:
        assert self.tree.getattr(self.tree.root, Wait(0.0)).size == 0


@pytest.mark.timeout(600)
def test_names_bytes_and_errors_are_those_of_the_model() -> None:
    run_state_machine_as_test(
        Model,
        settings=settings(
            max_examples=250,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
        ),
    )
