"""The trees of a process, where threads can't be started and connections not be closed."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from s3zipfs.filesystem import shared
from s3zipfs.filesystem.shared import Trees


class User:
    """Whoever reads by a tree."""


class FakeTree:
    """Told to close, it says so; and may fail."""

    root: Any = None
    endpoint = "http://store"

    def __init__(self, error: Exception | None = None) -> None:
        self.closed = threading.Event()
        self._error = error

    def close(self) -> None:
        self.closed.set()
        if self._error is not None:
            raise self._error


def opened(trees: Trees, user: object, tree: FakeTree) -> object:
    built: Any = tree
    return trees.open(user, tree, lambda: built).tree


def test_where_no_thread_can_be_started_the_next_one_opens_the_tree(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shared, "LINGER", 0.0)
    trees, tree, users, found = Trees(), FakeTree(), [User()], list[object]()

    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError, match="new thread"):
            opened(trees, users[0], tree)
    next_one = threading.Thread(
        target=lambda: found.append(opened(trees, users[0], tree)), daemon=True
    )
    next_one.start()
    next_one.join(20)
    assert found == [tree]
    users.clear()
    assert tree.closed.wait(20)


def test_a_tree_that_could_not_be_built_is_built_by_the_next_one() -> None:
    trees, tree, user = Trees(), FakeTree(), User()

    def build() -> Any:
        raise OSError("no such store")

    with pytest.raises(OSError, match="no such store"):
        trees.open(user, tree, build)
    assert opened(trees, user, tree) is tree


def test_a_tree_that_cannot_be_closed_keeps_no_other_open(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(shared, "LINGER", 0.0)
    trees, slow, other = Trees(), FakeTree(TimeoutError()), FakeTree()
    first, second = User(), User()
    opened(trees, first, slow)
    opened(trees, second, other)
    del first
    assert slow.closed.wait(20)
    del second
    assert other.closed.wait(20)
    assert "http://store could not be closed: TimeoutError()" in caplog.text


def test_leaving_closes_the_other_trees_as_well(caplog: pytest.LogCaptureFixture) -> None:
    trees, slow, other, user = Trees(), FakeTree(TimeoutError()), FakeTree(), User()
    opened(trees, user, slow)
    opened(trees, user, other)
    trees.leave(user)
    assert slow.closed.is_set()
    assert other.closed.is_set()
    assert "TimeoutError" in caplog.text
