"""Which names the kernel is told to forget, where the version behind them is gone."""

from __future__ import annotations

from typing import Any

import pytest
from trees import WAIT, MakeTree, zipped

from s3zipfs.fuse.invalidation import Invalidations
from s3zipfs.fuse.ledger import Ledger
from s3zipfs.fuse.operations import Operations
from s3zipfs.fuse.shown import Shown
from s3zipfs.stores.memory import MemoryStore
from s3zipfs.tree.names import CONTROL


def test_every_name_that_may_lead_to_a_version_is_told(
    memory: MemoryStore, make_tree: MakeTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory.put("lab", "d/x.zip", zipped({"a": b"one"}))
    tree = make_tree("s3://lab")
    tree.publish({})
    told: set[tuple[int, bytes]] = set()
    monkeypatch.setattr(Invalidations, "add_name", lambda _self, *each: told.add(each))
    guard: Any = None
    operations = Operations(tree, Shown(0, 0, 0), Ledger(), guard, timeout=1.0)
    operations._invalidate(tree.resolve(b"d/x", WAIT))
    parents = [tree.resolve(path, WAIT) for path in (b"d", CONTROL + b"/raw/d")]
    names = (b"x.zip", b"x", b"x.zip%_object")
    assert told == {(operations._inodes.number(each), name) for each in parents for name in names}
