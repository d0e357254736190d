"""What failed, as a line of the log."""

from __future__ import annotations

import errno
from typing import Any, cast

import pytest

from s3zipfs.errors import S3ZipError, StoreUnavailable
from s3zipfs.fuse import faults
from s3zipfs.fuse import protocol as p
from s3zipfs.fuse.guard import CrawlGuard
from s3zipfs.fuse.ledger import Ledger
from s3zipfs.fuse.operations import Operations
from s3zipfs.fuse.protocol import Opcode
from s3zipfs.fuse.session import Request
from s3zipfs.fuse.shown import Shown
from s3zipfs.settings import MountSettings
from s3zipfs.stores.base import ObjectId, ObjectInfo
from s3zipfs.tree.nodes import Folder, Node, ObjectFile, Sources

ENDPOINT = "http://127.0.0.1:9000"


def told(
    caplog: pytest.LogCaptureFixture, opcode: Opcode, body: bytes, node: Node, error: S3ZipError
) -> Any:
    nothing: Any = None
    request = Request(nothing, (0, opcode, 1, 2, 0, 0, 3, 0), memoryview(body))
    faults.tell(request, errno.EIO, node, nothing, error)
    return caplog.records[-1]


def test_a_request_is_answered_though_its_fault_cannot_be_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answered: list[int] = []

    class Session:
        def send(self, _unique: int, error: int, *_: Any) -> bool:
            answered.append(error)
            return True

    class Tree:
        root = Sources()

    def fails(*_: Any) -> None:
        raise StoreUnavailable("is away")

    monkeypatch.setattr(faults, "tell", lambda *_: 1 / 0)
    tree, ledger = cast("Any", Tree()), Ledger()
    guard = CrawlGuard(tree, ledger, MountSettings())
    operations = Operations(tree, Shown(0, 0, 0), ledger, guard, timeout=1.0)
    handler = operations._answering(Opcode.STATFS, fails)
    handler(Request(cast("Any", Session()), (0, Opcode.STATFS, 1, 1, 0, 0, 3, 0), memoryview(b"")))
    assert answered == [-errno.EIO]


def test_a_directory_is_named_by_bucket_and_prefix(caplog: pytest.LogCaptureFixture) -> None:
    folder = Folder(ENDPOINT, "lab", "in/")
    line = told(caplog, Opcode.LOOKUP, b"x.zip\0", folder, StoreUnavailable("is away"))
    assert line.getMessage() == "lookup: EIO: s3://lab/in/ name x.zip: is away"
    assert (line.endpoint, line.bucket, line.key, line.entry) == (ENDPOINT, "lab", "in/", "x.zip")


def test_a_name_is_one_line_and_nothing_that_a_terminal_obeys(
    caplog: pytest.LogCaptureFixture,
) -> None:
    oid = ObjectId(ENDPOINT, "lab", "a\n<0>\x1b[2J", '"1"')
    node = ObjectFile(ObjectInfo(oid, 10, 0.0))
    body = p.READ_IN.pack(0, 3, 4, 0, 0, 0, 0)
    line = told(caplog, Opcode.READ, body, node, StoreUnavailable("of b\n<0>\x1b[2J: is away"))
    escaped = "\\n<0>\\x1b[2J"
    wanted = f"read: EIO: s3://lab/a{escaped} (1) [3, 7): of b{escaped}: is away"
    assert line.getMessage() == wanted
