"""fsspec's coroutines over a blocking tree, for any event loop.

In an archive that is known, names are answered at once on the caller's loop, and a stored chunk of
up to 1 MiB waits for its GET by a callback, in no thread. All else, as inflating, runs in a bounded
pool of threads.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from functools import partial
from typing import Any, TypeVar

from fsspec.asyn import AsyncFileSystem, get_loop

from s3zipfs.cache.reader import shared
from s3zipfs.errors import ObjectChanged
from s3zipfs.filesystem.ranges import bounds_of
from s3zipfs.filesystem.readonly import ReadOnlyFileSystem
from s3zipfs.filesystem.threads import POOL
from s3zipfs.filesystem.translated import Translated
from s3zipfs.tree.nodes import Member, Node, ObjectFile
from s3zipfs.waiting import Wait
from s3zipfs.zipformat.methods import STORED

T = TypeVar("T")
ROUNDS = 8  # a local header and some extents; more only where memory is so short that they vanish
MOST_AT_ONCE = 1 << 20  # bytes copied and verified on the caller's loop: under a millisecond


class _NotYet(Exception):
    """Somebody would have to wait for this future."""

    def __init__(self, future: Future[Any]) -> None:
        super().__init__("not at once")
        self.future = future


class _AtOnce(Wait):
    """Waits for nothing."""

    __slots__ = ()

    def result(self, future: Future[T]) -> T:
        """The future's result, if it is there.

        Raises:
            _NotYet: it is not.
        """
        if not future.done():
            raise _NotYet(future)
        return future.result()


AT_ONCE = _AtOnce(0.0)


class AsyncReadOnlyFileSystem(ReadOnlyFileSystem, AsyncFileSystem):  # type: ignore[misc] # fsspec has no types
    """The same names and bytes for coroutines. Methods without `_` block, and use no loop.

    So one instance serves threads and coroutines, and threads don't queue for fsspec's one loop.
    """

    async_impl = True
    mirror_sync_methods = False

    def __init__(self, *, asynchronous: bool = False, loop: Any = None, **options: Any) -> None:
        # True: the base starts no thread for a loop that nobody may ever need.
        super().__init__(asynchronous=True, **options)
        self.asynchronous = asynchronous
        self._loop = loop

    @property
    def loop(self) -> Any:
        """The loop on which `fsspec.asyn.sync` runs these coroutines: this process's default."""
        return self._loop or get_loop()

    # Names

    async def _info(self, path: str, **_: Any) -> dict[str, Any]:
        ask = partial(self._told_of, path)
        found: dict[str, Any] = await self._name_answer(path, ask)
        return found

    async def _ls(self, path: str, detail: bool = True, **_: Any) -> list[Any]:  # noqa: FBT001, FBT002
        return await _in_thread(partial(self.ls, path, detail))

    async def _exists(self, path: str, **_: Any) -> bool:
        return await self._name_answer(path, partial(self._type, path)) is not None

    async def _isfile(self, path: str) -> bool:
        return await self._name_answer(path, partial(self._type, path)) == "file"

    async def _isdir(self, path: str) -> bool:
        return await self._name_answer(path, partial(self._type, path)) == "directory"

    async def _find(self, *arguments: Any, **options: Any) -> Any:
        return await _in_thread(partial(self.find, *arguments, **options))

    async def _glob(self, *arguments: Any, **options: Any) -> Any:
        return await _in_thread(partial(self.glob, *arguments, **options))

    async def _du(self, *arguments: Any, **options: Any) -> Any:
        return await _in_thread(partial(self.du, *arguments, **options))

    async def _expand_path(self, *arguments: Any, **options: Any) -> Any:
        return await _in_thread(partial(self.expand_path, *arguments, **options))

    async def _walk(self, *arguments: Any, **options: Any) -> AsyncIterator[Any]:
        walk = iter(self.walk(*arguments, **options))
        while (found := await _in_thread(partial(next, walk, None))) is not None:
            yield found

    async def _name_answer(self, path: str, ask: Callable[[Wait], T]) -> T:
        if self._paths.is_in_known_archive(self._strip_protocol(path)):
            try:
                return ask(AT_ONCE)
            except _NotYet:  # the archive was closed for memory
                pass
        return await _in_thread(partial(ask, self._wait))

    # Bytes

    async def _cat_file(
        self, path: str, start: int | None = None, end: int | None = None, **_: Any
    ) -> bytes:
        path = self._strip_protocol(path)
        if self._paths.is_in_known_archive(path):
            with Translated(path):
                found = await self._read_at_once(path, start, end)
            if found is not None:
                return found
        return await _in_thread(partial(self._bytes_of, path, start, end, self._wait))

    async def _read_at_once(self, path: str, start: int | None, end: int | None) -> bytes | None:
        """The bytes, waiting for GETs only; None: that is a thread's work."""
        try:
            node = self._resolve(path, AT_ONCE)
            first, last = bounds_of(start, end, self.tree.getattr(node, AT_ONCE).size)
            if last - first > MOST_AT_ONCE or not self._is_plain(node):
                return None
        except _NotYet:
            return None
        for _ in range(ROUNDS):
            try:
                return self._read(node, first, last, AT_ONCE)
            except _NotYet as not_yet:
                try:
                    # Shared: cancelling us must not cancel it for others.
                    await shared(not_yet.future)
                except ObjectChanged:  # the tree has to be told, by who asks it again
                    return None
        return None

    def _is_plain(self, node: Node) -> bool:
        """Whether its bytes are those of the object; what is asked twice is fetched once."""
        match node:
            case ObjectFile():
                return True
            case Member(info, number):
                index = self.tree.index(info, AT_ONCE)
                return not index.is_directory(number) and index.member(number).method == STORED
            case _:
                return False

    async def _cat_ranges(
        self, paths: list[str], starts: Any, ends: Any, **options: Any
    ) -> list[Any]:
        options.pop("batch_size", None)
        return await _in_thread(partial(self.cat_ranges, paths, starts, ends, **options))

    async def _cat(self, path: Any, **options: Any) -> Any:
        options.pop("batch_size", None)
        return await _in_thread(partial(self.cat, path, **options))

    async def _get_file(self, rpath: str, lpath: str, **options: Any) -> None:
        await _in_thread(partial(self.get_file, rpath, lpath, **options))

    # Writing

    async def _refuse_later(self, path: Any, *_: Any, **__: Any) -> None:
        raise self._refusal(path)

    _mkdir = _makedirs = _rm = _rm_file = _refuse_later
    _pipe_file = _put_file = _cp_file = _refuse_later


async def _in_thread(call: Callable[[], T]) -> T:
    return await asyncio.wrap_future(POOL.submit(call))
