"""Ask mounts of this machine for their own files, without being held by one that hangs."""

from __future__ import annotations

import contextlib
import errno
import os
import selectors
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NoReturn

from s3zipfs.errors import MountError
from s3zipfs.fuse import mountpoint
from s3zipfs.fuse.mountpoint import ANSWER_SECONDS, MountEntry
from s3zipfs.tree.names import CONTROL

_WELL: Final = b"\0"  # before a content; all else is an errno, in digits
_PIECE: Final = 1 << 16
_MOST: Final = 1 << 24  # bytes; ours are 30 kB, but anybody may mount what is called as ours is

TELLS_NOTHING: Final = "tells nothing"

_GONE: Final = ("dead", "its process is gone; mount again, or clear it: s3zipfs umount {}")
_FOREIGN: Final = ("not permitted", "another user's, without allow_other; ask as that user")
_WHY: Final = {
    errno.ENOTCONN: _GONE,
    errno.ECONNABORTED: _GONE,
    errno.EACCES: _FOREIGN,
    errno.EPERM: _FOREIGN,
    errno.ETIMEDOUT: ("no answer", "its process may be stuck; end it, and clear it: umount -l {}"),
    errno.ENOENT: (TELLS_NOTHING, "it is served by an older version"),
}


class NoAnswer(MountError):
    """A mount that tells nothing: why, and what to do. `state` is the first of it, some words."""

    def __init__(self, message: str, state: str) -> None:
        super().__init__(message)
        self.state = state


def mounts() -> list[MountEntry]:
    """All mounts of ours that can be reached by their paths."""
    return [each for each in _topmost() if each.type == mountpoint.TYPE]


def mount_of(path: str | Path) -> MountEntry:
    """The mount of ours that a path is on, by the kernel's table; the mount is not touched.

    Raises:
        MountError: it is on none.
    """
    for find in (_lexically, mountpoint.absolute):
        place = find(path)
        on = [each for each in _topmost() if place.is_relative_to(each.path)]
        nearest = max(on, key=lambda each: len(each.path.parts), default=None)
        if nearest is not None and nearest.type == mountpoint.TYPE:
            return nearest
    raise MountError(f"{path}: on no mount of s3zipfs; without a path, status shows all of them")


def _lexically(path: str | Path) -> Path:
    with contextlib.suppress(FileNotFoundError):  # the current directory; `absolute` says so
        return Path(os.path.abspath(path))  # noqa: PTH100 - Path.absolute keeps ".."
    return Path("/")


def _topmost() -> list[MountEntry]:
    return list({each.path: each for each in mountpoint.mount_table()}.values())


def read_file(mounted: MountEntry, name: str, *, seconds: float = ANSWER_SECONDS) -> bytes:
    """A file of a mount's `.s3zipfs`.

    Raises:
        NoAnswer: there is none.
    """
    (answer,) = read_files([mounted], name, seconds=seconds)
    if isinstance(answer, NoAnswer):
        raise answer
    return answer


def read_files(
    asked: Sequence[MountEntry], name: str, *, seconds: float = ANSWER_SECONDS
) -> list[bytes | NoAnswer]:
    """The same of several mounts at once, each its content or why there is none."""
    questions = [_Question(each.path / CONTROL.decode() / name) for each in asked]
    give_up = time.monotonic() + seconds
    with selectors.DefaultSelector() as waiting:
        for question in questions:
            waiting.register(question.channel, selectors.EVENT_READ, question)
        while waiting.get_map() and (remaining := give_up - time.monotonic()) > 0:
            for key, _ in waiting.select(remaining):
                if not key.data.hear():
                    waiting.unregister(key.fileobj)
    answers = [question.end() for question in questions]
    return [
        _no_answer(mounted, answer) if isinstance(answer, int) else answer
        for mounted, answer in zip(asked, answers, strict=True)
    ]


class _Question:
    """A child that reads: once the daemon has taken its request, only an answer can end it."""

    def __init__(self, path: Path) -> None:
        self.channel, its = os.pipe()
        self._heard = bytearray()
        self._is_answered = False
        self._child = os.fork()
        if self._child == 0:
            _answer(path, its)
        os.close(its)

    def hear(self) -> bool:
        """Take what has come; False: that was all."""
        piece = os.read(self.channel, _PIECE)
        self._heard += piece
        self._is_answered = not piece
        return bool(piece)

    def end(self) -> bytes | int:
        """The content, or an errno; a child that has none yet is left to the kernel."""
        os.close(self.channel)
        if not self._is_answered:
            os.kill(self._child, signal.SIGKILL)
        os.waitpid(self._child, 0 if self._is_answered else os.WNOHANG)
        if not self._is_answered:
            return errno.ETIMEDOUT
        if self._heard.startswith(_WELL):
            return bytes(self._heard[len(_WELL) :])
        return int(self._heard or errno.EIO)


def _answer(path: Path, channel: int) -> NoReturn:
    try:
        nothing = os.open(os.devnull, os.O_RDWR)
        for stream in range(3):  # else whoever reads our output waits for this child as well
            os.dup2(nothing, stream)
        try:
            with path.open("rb") as file:
                told = _WELL + file.read(_MOST)
        except OSError as error:
            told = b"%d" % (error.errno or errno.EIO)
        with os.fdopen(channel, "wb") as answer:
            answer.write(told)
    finally:
        os._exit(0)


def _no_answer(mounted: MountEntry, number: int) -> NoAnswer:
    state, remedy = _WHY.get(number, (os.strerror(number), "the mount's log may say more"))
    return NoAnswer(f"{mounted.path}: {state}: {remedy.format(mounted.path)}", state)
