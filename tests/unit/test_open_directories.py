"""What becomes of an error that ends a reply of a listing early."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import pytest

from s3zipfs.errors import Interrupted, S3ZipError, StoreUnavailable, TooManyWaiting
from s3zipfs.fuse import protocol as p
from s3zipfs.fuse.answers import Answers
from s3zipfs.fuse.directories import DOTS, Directories
from s3zipfs.fuse.inodes import Inodes
from s3zipfs.fuse.protocol import Opcode
from s3zipfs.fuse.shown import Shown
from s3zipfs.tree.nodes import Attributes, Buckets, DirEntry, Folder, Kind
from s3zipfs.waiting import Wait

NAMES = (b"one", b"two", b"three")
FOLDER = Folder("memory:", "lab", "d/")


class Request:
    """Remembers what it was answered."""

    def __init__(self, inode: int, body: bytes) -> None:
        self.inode, self.body = inode, memoryview(body)
        self.answer = b""

    def reply(self, *parts: bytes) -> bool:
        self.answer = b"".join(parts)
        return True


class Tree:
    """One directory; before the second of its names an error is met, once."""

    root = Buckets()

    def __init__(self, error: S3ZipError) -> None:
        self.node = FOLDER
        self._errors = [error]

    def open_directory(self, _node: Folder) -> Tree:
        return self

    def getattr(self, _node: Folder, _wait: Wait) -> Attributes:
        return Attributes(Kind.DIRECTORY, 0, 0o555, 0.0)

    def entries(self, offset: int, _wait: Wait) -> Iterator[DirEntry]:
        for number in range(offset, len(NAMES)):
            if number == 1 and self._errors:
                raise self._errors.pop()
            node = Folder("memory:", "lab", f"d/{NAMES[number].decode()}/")
            yield DirEntry(NAMES[number], node, number + 1, 0.0)


class Guard:
    """Slows nobody."""

    def list(self, *_: object) -> None: ...


class Lister:
    """Reads an open directory as the kernel does."""

    def __init__(self, error: S3ZipError) -> None:
        tree: Any = Tree(error)
        guard: Any = Guard()
        inodes = Inodes(tree.root)
        answers = Answers(inodes, Shown(0, 0, 0))
        directories = Directories(tree, inodes, answers, guard, lambda _: Wait(1.0))
        self._handlers = directories.handlers()
        self._inode = inodes.look_up(FOLDER)
        (self._handle,) = struct.unpack_from("=Q", self._ask(Opcode.OPENDIR, b""))

    def names(self, offset: int) -> list[bytes]:
        told = self._ask(Opcode.READDIR, p.READ_IN.pack(self._handle, offset, 4096, 0, 0, 0, 0))
        return [name for name in (*DOTS, *NAMES) if name + b"\0" in told + b"\0"]

    def _ask(self, opcode: Opcode, body: bytes) -> bytes:
        request: Any = Request(self._inode, body)
        self._handlers[opcode](request)
        answer: bytes = request.answer
        return answer


@pytest.mark.parametrize("error", [Interrupted("a signal"), TooManyWaiting("all places taken")])
def test_what_ended_one_reply_only_is_not_told_to_the_next(error: S3ZipError) -> None:
    lister = Lister(error)
    assert lister.names(0)[-1] == b"one"
    assert lister.names(3) == [b"two", b"three"]


def test_an_error_of_the_store_is_told_by_the_next_reply_once() -> None:
    lister = Lister(StoreUnavailable("refused"))
    assert lister.names(0)[-1] == b"one"
    with pytest.raises(StoreUnavailable):
        lister.names(3)
    assert lister.names(3) == [b"two", b"three"]
