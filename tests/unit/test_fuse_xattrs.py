"""Extended attributes as the kernel asks for them: a length, or as much as there is room for."""

from __future__ import annotations

import errno
import struct
from typing import Any

import pytest

from s3zipfs.fuse import xattrs
from s3zipfs.fuse.inodes import ROOT, Inodes
from s3zipfs.fuse.protocol import Opcode
from s3zipfs.fuse.xattrs import ExtendedAttributes
from s3zipfs.tree.nodes import Buckets
from s3zipfs.waiting import Wait

TOLD = {b"user.s3.key": b"in/x.zip", b"user.s3.bucket": b"lab"}
NAMES = b"user.s3.key\0user.s3.bucket\0"


class Request:
    """Remembers what it was answered."""

    def __init__(self, room: int, name: bytes = b"") -> None:
        self.inode = ROOT
        self.body = memoryview(struct.pack("=II", room, 0) + (name + b"\0" if name else b""))
        self.answers: list[bytes | int] = []

    def reply(self, *parts: bytes) -> bool:
        self.answers.append(b"".join(parts))
        return True

    def fail(self, number: int) -> bool:
        self.answers.append(number)
        return True


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(xattrs, "xattrs", lambda *_: TOLD)
    tree: Any = None
    handlers = ExtendedAttributes(tree, Inodes(Buckets()), lambda _: Wait(1.0)).handlers()

    def asked(opcode: Opcode, room: int, name: bytes = b"") -> bytes | int:
        request: Any = Request(room, name)
        handlers[opcode](request)
        (answer,) = request.answers
        assert isinstance(answer, bytes | int)
        return answer

    return asked


@pytest.mark.parametrize(
    ("opcode", "name", "value"),
    [(Opcode.GETXATTR, b"user.s3.key", b"in/x.zip"), (Opcode.LISTXATTR, b"", NAMES)],
)
def test_a_size_of_0_asks_for_the_length_and_too_little_room_is_erange(
    ask: Any, opcode: Opcode, name: bytes, value: bytes
) -> None:
    assert ask(opcode, 0, name) == struct.pack("=II", len(value), 0)
    assert ask(opcode, len(value) - 1, name) == errno.ERANGE
    assert ask(opcode, len(value), name) == value
    assert ask(opcode, 65536, name) == value


def test_a_name_of_another_class_asks_nobody(ask: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ask(Opcode.GETXATTR, 10, b"user.s3.etag") == errno.ENODATA
    monkeypatch.delattr(xattrs, "xattrs")
    assert ask(Opcode.GETXATTR, 10, b"system.posix_acl_access") == errno.ENODATA
