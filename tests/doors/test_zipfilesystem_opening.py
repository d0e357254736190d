"""When a zip is opened again: after `close()`, and in a forked child."""

from __future__ import annotations

import contextlib
import os
import threading
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from trees import zipped

from s3zipfs import ZipFileSystem
from s3zipfs.filesystem.opening import FileSource


@pytest.fixture
def closed(tmp_path: Path) -> Iterator[ZipFileSystem]:
    """The next use opens it again."""
    path = tmp_path / "x.zip"
    path.write_bytes(zipped({"a": b"hello"}, zipfile.ZIP_DEFLATED))
    made = ZipFileSystem(path)
    made.close()
    yield made
    made.close()


def while_opening(monkeypatch: pytest.MonkeyPatch, meanwhile: Callable[[], None]) -> list[str]:
    """Each opening is noted, and `meanwhile` called within."""
    openings: list[str] = []
    original = FileSource.open

    def open_(source: FileSource, user: object) -> Any:
        openings.append(str(source))
        meanwhile()
        return original(source, user)

    monkeypatch.setattr(FileSource, "open", open_)
    return openings


def test_threads_that_come_at_once_open_it_once(
    closed: ZipFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    everybody, both_open = threading.Barrier(2), threading.Barrier(2)

    def meanwhile() -> None:
        with contextlib.suppress(threading.BrokenBarrierError):  # nobody else came: well so
            both_open.wait(0.5)

    openings = while_opening(monkeypatch, meanwhile)

    def read() -> Any:
        everybody.wait(100)
        return closed.cat("a")

    with ThreadPoolExecutor(2) as pool:
        found = [each.result() for each in [pool.submit(read) for _ in range(2)]]
    assert found == [b"hello"] * 2
    assert len(openings) == 1


def test_a_forked_child_waits_for_no_thread_of_its_parent(
    closed: ZipFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    parent, found = os.getpid(), list[bytes]()

    def fork() -> None:
        """What a child sees: another number, and the opening of its parent under way."""
        if os.getpid() != parent:
            return
        with monkeypatch.context() as patch:
            patch.setattr(os, "getpid", lambda: parent + 1)
            child = threading.Thread(target=lambda: found.append(closed.cat("a")), daemon=True)
            child.start()
            child.join(20)

    while_opening(monkeypatch, fork)
    assert closed.cat("a") == b"hello"
    assert found == [b"hello"]
