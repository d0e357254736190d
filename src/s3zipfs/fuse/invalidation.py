"""What the kernel is told to forget: names whose version is gone, pages that are wrong."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol, TypeVar

from s3zipfs.fuse.underway import UnderWay

T = TypeVar("T")

MOST = 10_000  # names, and inodes, that wait; one more waits for its TTL instead
POLL_SECONDS = 0.05
PATIENCE_SECONDS = 1.0  # for a directory to be idle
SHORT_SECONDS = 0.05  # a look-up that is no older is taken for one that will end


class Session(Protocol):
    """As much of `session.Session` as is needed here."""

    def invalidate_entry(self, parent: int, name: bytes) -> None:
        """Make the kernel look a name up again."""

    def invalidate_pages(self, inode: int) -> None:
        """Make the kernel forget all bytes of a file."""


class Invalidations:
    """Names and inodes, each told once, from threads of their own.

    A handler must not tell the kernel itself: the kernel may hold the directory's lock for it.
    The notice of a name waits for that lock too, and until it has it, every other look-up in the
    directory waits for the notice, where no signal reaches it. So none is sent while a look-up or
    a listing of that directory may be stalled.
    """

    def __init__(self, under_way: UnderWay) -> None:
        self._under_way = under_way
        self._changed = threading.Condition()  # guards all below
        self._names: dict[tuple[int, bytes], float] = {}  # by when they came, monotonic seconds
        self._pages: dict[int, None] = {}
        self._stopped = False

    def add_name(self, parent: int, name: bytes) -> None:
        """The version that a name leads to is gone."""
        with self._changed:
            if len(self._names) < MOST:
                self._names.setdefault((parent, name), self._under_way.clock())
                self._changed.notify_all()

    def add_pages(self, inode: int) -> None:
        """Bytes that were given for an inode turned out wrong."""
        with self._changed:
            if len(self._pages) < MOST:
                self._pages[inode] = None
                self._changed.notify_all()

    def stop(self) -> None:
        """End the threads; what waits is not told any more."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def serve(self, session: Session) -> None:
        """Start the threads. Two, since either kind may wait for a stalled read or look-up."""
        for serve in (self._serve_names, self._serve_pages):
            name = f"s3zipfs-{serve.__name__.rpartition('_')[2]}"
            threading.Thread(target=serve, args=[session], name=name, daemon=True).start()

    def _serve_names(self, session: Session) -> None:
        while (stale := self._next(self._take_name)) is not None:
            session.invalidate_entry(*stale)

    def _serve_pages(self, session: Session) -> None:
        while (inode := self._next(self._take_pages)) is not None:
            session.invalidate_pages(inode)

    def _next(self, take: Callable[[], T | None]) -> T | None:
        """What is to be told next; None: no more."""
        with self._changed:
            while not self._stopped:
                taken = take()
                if taken is not None:
                    return taken
                self._changed.wait(POLL_SECONDS if self._names else None)
        return None

    def _take_name(self) -> tuple[int, bytes] | None:
        may_be_told: dict[int, bool] = {}
        now = self._under_way.clock()
        for (parent, name), came in self._names.items():
            if parent not in may_be_told:
                patient = now - came < PATIENCE_SECONDS
                longest = self._under_way.longest_in(parent)
                short = longest is not None and longest < SHORT_SECONDS
                may_be_told[parent] = longest is None or (short and not patient)
            if may_be_told[parent]:
                del self._names[parent, name]
                return parent, name
        return None

    def _take_pages(self) -> int | None:
        return self._pages.popitem()[0] if self._pages else None
