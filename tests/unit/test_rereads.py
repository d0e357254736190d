"""The memory of reads that failed a moment ago."""

from __future__ import annotations

import pytest

from s3zipfs.errors import DeadlineExceeded
from s3zipfs.fuse import rereads
from s3zipfs.fuse.rereads import Rereads

LATE = DeadlineExceeded("no answer")


def test_what_overlaps_a_failed_read_of_the_same_inode_fails_alike() -> None:
    failed = Rereads()
    failed.add(7, 4096, 8192, LATE)
    assert failed.find(7, 4096, 8192) is LATE
    assert failed.find(7, 8191, 9000) is LATE
    assert failed.find(7, 0, 4096) is None
    assert failed.find(7, 8192, 9000) is None
    assert failed.find(8, 4096, 8192) is None


def test_it_is_forgotten_after_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    failed = Rereads()
    failed.add(7, 0, 4096, LATE)
    monkeypatch.setattr(rereads, "MOMENT", -1.0)
    assert failed.find(7, 0, 4096) is None
    assert not failed._failed  # and nothing is kept of it
