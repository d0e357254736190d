"""zarr's own tests of stores, as far as a read-only one can run them, over both doors.

What a test puts into the store by `set` goes into a new version of the archive in the bucket, and
is to be seen at once (`ttl=0`).
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import itertools
import pickle
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import pytest
from hierarchies import Place
from trees import zipped
from zarr.abc.store import Store
from zarr.core.buffer import Buffer, cpu, default_buffer_prototype
from zarr.storage import FsspecStore, LocalStore
from zarr.testing.store import StoreTests

LEFT_OUT = {
    *("test_set", "test_set_many", "test_set_not_open", "test_set_if_not_exists"),
    *("test_delete", "test_delete_dir", "test_delete_nonexistent_key_does_not_raise"),
    *("test_clear", "test_set_sync", "test_delete_sync", "test_delete_sync_missing"),
    "test_with_read_only_store",  # writes by a copy of the store
}
"""Tests of writing; all others run."""

C = TypeVar("C", bound=type)
_numbers = itertools.count()


def read_side(*also_left_out: str) -> Callable[[C], C]:
    """Leave out the tests of writing, and run coroutines: pytest itself runs none."""

    def reduce(tests: C) -> C:
        for name in [name for name in dir(tests) if name.startswith("test_")]:
            function = getattr(tests, name)
            if name in LEFT_OUT or name in also_left_out:
                setattr(tests, name, None)
            elif inspect.iscoroutinefunction(function):
                setattr(tests, name, _run_by_pytest(function))
        return tests

    return reduce


def _run_by_pytest(function: Callable[..., Any]) -> Callable[..., None]:
    @functools.wraps(function)
    def run(*arguments: Any, **options: Any) -> None:
        asyncio.run(function(*arguments, **options))

    return run


class Written:
    """An archive to which a test adds members, each time as a new version."""

    def __init__(self, client: Any, bucket: str, key: str) -> None:
        self.key = key
        self.members: dict[str, bytes] = {}
        self._put = functools.partial(client.put_object, Bucket=bucket, Key=key)
        self._put(Body=zipped({}))

    def add(self, members: Iterable[tuple[str, Buffer]]) -> None:
        self.members |= {name: value.to_bytes() for name, value in members}
        self._put(Body=zipped(self.members))


class Filled:
    """The suite puts several members into a store at once by this method."""

    archive: ClassVar[Written]

    async def _set_many(self, values: Iterable[tuple[str, Buffer]]) -> None:
        self.archive.add(values)


class FilledLocalStore(Filled, LocalStore):
    """A `LocalStore` that is filled behind its back."""


class FilledFsspecStore(Filled, FsspecStore):
    """The same."""


class ReadOnlyStoreTests(StoreTests[Any, cpu.Buffer]):
    """What both doors have in common."""

    buffer_cls = cpu.Buffer
    written: Written

    async def set(self, store: Any, key: str, value: Buffer) -> None:
        self.written.add([(key, value)])

    async def get(self, store: Any, key: str) -> Buffer:
        return self.buffer_cls.from_bytes(self.written.members[key])

    @pytest.fixture
    def store(self, open_kwargs: dict[str, Any]) -> Any:
        Filled.archive = self.written
        return asyncio.run(self.store_cls.open(**open_kwargs))

    @pytest.fixture
    def store_not_open(self, store_kwargs: dict[str, Any]) -> Any:
        return self.store_cls(**store_kwargs)

    def test_store_read_only(self, store: Any) -> None:
        assert store.read_only

    def test_store_supports_writes(self, store: Any) -> None:
        assert store.supports_writes  # a word about the class: what is read-only is this store

    def test_store_supports_listing(self, store: Any) -> None:
        assert store.supports_listing

    async def test_exists(self, store: Any) -> None:
        assert not await store.exists("foo")
        await self.set(store, "foo/zarr.json", self.buffer_cls.from_bytes(b"bar"))
        assert await store.exists("foo/zarr.json")
        assert not await store.exists("foo/zarr")

    async def test_serializable_store(self, store: Any) -> None:
        await self.set(store, "foo", self.buffer_cls.from_bytes(b"\x01\x02"))
        again = pickle.loads(pickle.dumps(store))
        assert again == store
        assert again.read_only
        observed = await again.get("foo", prototype=default_buffer_prototype())
        assert observed.to_bytes() == b"\x01\x02"


@pytest.fixture(scope="module")
def at(tmp_path_factory: pytest.TempPathFactory, serve: Callable[..., Any]) -> Any:
    return serve(tmp_path_factory.mktemp("empty"), "--ttl", "0")


@pytest.mark.row("zarr 3", "`zarr.testing.store.StoreTests`, the reading ones, of `LocalStore`")
@read_side()
class TestLocalStoreOverTheMount(ReadOnlyStoreTests):
    store_cls: type[Store] = FilledLocalStore

    @pytest.fixture
    def store_kwargs(self, at: Any, s3client: Any) -> dict[str, Any]:
        type(self).written = Written(s3client, at.bucket, f"{next(_numbers)}.zarr.zip")
        return {"root": str(Path(at.path) / self.written.key), "read_only": True}

    def test_store_repr(self, store: Any) -> None:
        assert str(store) == f"file://{store.root}"


@pytest.mark.row("zarr 3", "`zarr.testing.store.StoreTests`, the reading ones, of `s3zip://`")
@read_side("test_get_sync", "test_get_sync_missing")  # which `FsspecStore` does not have
class TestFsspecStoreByUrl(ReadOnlyStoreTests):
    store_cls: type[Store] = FilledFsspecStore

    @pytest.fixture
    def store_kwargs(self, at: Any, s3client: Any) -> dict[str, Any]:
        type(self).written = Written(s3client, at.bucket, f"{next(_numbers)}.zarr.zip")
        place = Place.of(at.path, at.bucket, at.server, self.written.key)
        store = FsspecStore.from_url(place.url, storage_options={**place.options, "ttl": 0})
        return {"fs": store.fs, "path": store.path, "read_only": True}

    def test_store_repr(self, store: Any) -> None:
        assert repr(store).endswith(f", {store.path})>")
