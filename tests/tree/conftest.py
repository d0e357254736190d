"""Trees over a store in memory that counts what is asked of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from trees import MakeTree

from s3zipfs.build import build_tree
from s3zipfs.settings import Settings
from s3zipfs.stores.counting import CountingStore
from s3zipfs.stores.memory import MemoryStore
from s3zipfs.tree.tree import Tree


@pytest.fixture
def memory() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def store(memory: MemoryStore) -> CountingStore:
    return CountingStore(memory)


@pytest.fixture
def make_tree(store: CountingStore) -> Iterator[MakeTree]:
    """`make_tree("s3://lab", ttl=…)`; closed after the test."""
    made: list[Tree] = []

    def make(*sources: str, **settings: object) -> Tree:
        # Requests are counted here, and other tests make the same objects.
        settings.setdefault("cache_size", 0)
        tree = build_tree(Settings(**settings), sources, store=store)  # type: ignore[arg-type]
        made.append(tree)
        return tree

    yield make
    for tree in made:
        tree.close()
