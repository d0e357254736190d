"""Open files as objects: a file-like has one position, however often it was opened."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import threading
import weakref
from collections.abc import Callable

import pytest

from s3zipfs.stores.base import ObjectInfo
from s3zipfs.stores.files import FileStore, _Positioned

CONTENT = bytes(range(100))


class Interfered:
    """A file-like where `other`, a thread, begins between a seek and its read.

    It can be neither hashed nor weakly referenced.
    """

    __slots__ = ("_file", "_moved", "other")
    __hash__ = None  # type: ignore[assignment]

    def __init__(self) -> None:
        self._file = io.BytesIO(CONTENT)
        self._moved = threading.Event()  # by the other thread
        self.other: threading.Thread | None = None

    def seek(self, position: int, whence: int = io.SEEK_SET) -> int:
        found = self._file.seek(position, whence)
        if threading.current_thread() is self.other:
            self._moved.set()
        return found

    def read(self, size: int) -> bytes:
        if self.other is not None and self.other.ident is None:
            self.other.start()
            self._moved.wait(0.3)  # in vain: the other one has to wait for us
        return self._file.read(size)


def read_of(store: FileStore, info: ObjectInfo, start: int, end: int) -> bytes:
    return bytes(asyncio.run(store.get_range(info.id, start, end)))


@pytest.mark.parametrize("does", ["reads", "opens"])
def test_a_file_opened_twice_is_moved_by_one_at_a_time(does: str) -> None:
    store, file = FileStore(), Interfered()
    first, second = store.add(file), store.add(file)
    done: list[object] = []
    actions: dict[str, Callable[[], object]] = {
        "reads": lambda: store._held[second.id.key].read(0, 10),
        "opens": lambda: store.add(file).size,
    }
    file.other = threading.Thread(target=lambda: done.append(actions[does]()))
    assert read_of(store, first, 50, 100) == CONTENT[50:]
    file.other.join(20)
    assert done == [{"reads": CONTENT[:10], "opens": 100}[does]]


def test_a_file_that_was_removed_as_often_as_added_is_held_by_nobody() -> None:
    store, file = FileStore(), io.BytesIO(CONTENT)
    gone = weakref.ref(file)
    infos = [store.add(file) for _ in range(3)]
    del file
    for info in infos:
        assert read_of(store, info, 0, 50) == CONTENT[:50]
        store.remove(info)
    assert gone() is None


def test_a_forked_child_waits_for_no_read_of_its_parent() -> None:
    store, file = FileStore(), io.BytesIO(CONTENT)
    held = store._held[store.add(file).id.key]
    assert isinstance(held, _Positioned)
    with held._position.lock:  # a thread of the parent reads
        child = os.fork()
        if child == 0:
            signal.alarm(20)
            os._exit(0 if FileStore().add(file).size == len(CONTENT) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
