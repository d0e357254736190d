"""Inode numbers where the hashes of two versions coincide."""

from __future__ import annotations

import pytest

from s3zipfs.fuse import inodes as module
from s3zipfs.fuse.inodes import Inodes
from s3zipfs.stores.base import ObjectId, ObjectInfo
from s3zipfs.tree.nodes import Buckets, Member


def archive(name: str, number: int = 0) -> Member:
    return Member(ObjectInfo(ObjectId("memory:", "lab", f"{name}.zip", '"1"'), 1, 0.0), number)


A, B, C = map(archive, "abc")


@pytest.fixture
def inodes(monkeypatch: pytest.MonkeyPatch) -> Inodes:
    monkeypatch.setattr(module, "_hash", lambda _: 7)
    return Inodes(Buckets())


def test_who_stands_beside_its_hash_keeps_its_number_after_the_other_has_gone(
    inodes: Inodes,
) -> None:
    first, second, third = map(inodes.look_up, (A, B, C))
    assert len({first, second, third}) == 3
    inodes.forget(first, 1)
    inodes.forget(second, 1)
    assert inodes.number(C) == third
    assert inodes.look_up(C) == third
    members = inodes.number(archive("c", 1))
    inodes.look_up_more(members, 5)  # what a listing of an open archive does
    assert inodes.node(members) == archive("c", 1)
    assert inodes.look_up(A) == first


def test_who_has_gone_leaves_nothing_behind(inodes: Inodes) -> None:
    held = {node: inodes.look_up(node) for node in (A, B, C)}
    for node in (B, C, A):
        inodes.forget(held[node], 1)
    assert len(inodes) == 0
    assert {inodes.number(node) for node in (A, B, C)} == {held[A]}
    again = {node: inodes.look_up(node) for node in (C, B)}
    assert {node: inodes.number(node) for node in (C, B)} == again
