"""One level of a bucket, page by page, and what each key is called in it."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field

from s3zipfs.budget import MemoryBudget
from s3zipfs.stores.base import ListPage, ObjectInfo
from s3zipfs.waiting import Wait

# Rows kept for everyone who lists the same directory within the TTL; behind them each reader
# walks on by itself and keeps one page. 200,000 rows are about 80 MB.
MAX_KEPT = 200_000
ROW_BYTES = 420  # tracemalloc: an ObjectInfo with its strings and its slots


@dataclass(frozen=True, slots=True)
class Shadowed:
    """An object whose name belongs to a prefix (`a` beside `a/b`)."""

    info: ObjectInfo


Row = ObjectInfo | Shadowed | str  # an object, an object in the shadow of a prefix, a prefix
FetchPage = Callable[[str | None], Future[ListPage]]


@dataclass(slots=True)
class _Position:
    """Where a walk over the pages of one level stands."""

    token: str | None = None
    carried: list[ObjectInfo] = field(default_factory=list)
    complete: bool = False


def settle(carried: list[ObjectInfo], page: ListPage) -> tuple[list[Row], list[ObjectInfo]]:
    """The rows that are certain after this page, and the objects that are not yet.

    An object `a` is certain once the listing has passed `a/`: until then a prefix of its name may
    follow. Keys between the two are few, and so is what is carried.
    """
    prefixes = set(page.prefixes)
    last = max(page.prefixes[-1:] + tuple(o.id.key for o in page.objects[-1:]), default="")
    rows: list[Row] = []
    uncertain: list[ObjectInfo] = []
    for info in (*carried, *page.objects):
        as_prefix = info.id.key + "/"
        if as_prefix in prefixes:
            rows.append(Shadowed(info))
        elif page.next_token is None or as_prefix < last:
            rows.append(info)
        else:
            uncertain.append(info)
    rows.extend(page.prefixes)
    return rows, uncertain


class Listing:
    """The rows of one level, fetched as far as somebody has read; shared by all its readers."""

    def __init__(
        self, fetch: FetchPage, budget: MemoryBudget, *, prefix: str, valid_until: float
    ) -> None:
        self.valid_until = valid_until  # monotonic seconds
        self._fetch = fetch
        self._budget = budget
        self._prefix = prefix
        self._lock = threading.Lock()  # guards all below
        self._rows: list[Row] = []
        self._pages: list[ListPage] = []
        self._position = _Position()
        # The page that was asked for last, and behind which position it stands.
        self._next: tuple[_Position | None, Future[ListPage]] = None, Future()
        self._charged = 0
        self._closed = False

    @property
    def complete(self) -> bool:
        """Whether every row is here."""
        return self._position.complete

    @property
    def empty(self) -> bool:
        """Whether no key has been found, the marker of the directory itself included."""
        return not any(page.objects or page.prefixes for page in self._pages)

    def rows(self, offset: int, wait: Wait) -> Iterator[tuple[int, Row]]:
        """`(offset of the next, row)` from `offset` on; fetches pages as they are reached."""
        while True:
            complete = self.complete  # before the rows: another reader may add the last of them
            while offset < len(self._rows):
                offset += 1
                yield offset, self._rows[offset - 1]
            if complete:
                return
            if len(self._rows) >= MAX_KEPT:
                yield from self._walk_on(offset, wait)
                return
            self.load_next(offset, wait)

    def load_next(self, known: int, wait: Wait) -> None:
        """Fetch one page more, unless rows beyond `known` are here already."""
        with self._lock:
            if self.complete or len(self._rows) > known:
                return
            position = self._position
            asked, future = self._next
            if asked is not position or _failed(future):  # one that failed had lost its waiter
                future = self._fetch(position.token)
                self._next = position, future
        page = wait.result(future)
        with self._lock:
            if self._position is position:
                rows, following = _advance(position, page, self._prefix)
                self._pages.append(page)
                self._rows.extend(rows)
                self._position = following  # last: "complete" is believed without the lock
                cost = 0 if self._closed else len(rows) * ROW_BYTES
                self._charged += cost
            else:
                cost = 0
        self._budget.charge(cost)

    def close(self) -> int:
        """Give back its memory, as far as the budget is concerned; returns how much it was."""
        with self._lock:
            freed, self._charged, self._closed = self._charged, 0, True
        self._budget.release(freed)
        return freed

    def _walk_on(self, offset: int, wait: Wait) -> Iterator[tuple[int, Row]]:
        with self._lock:  # rows are added before the position moves
            position, at = self._position, len(self._rows)
        while not position.complete:
            page = wait.result(self._fetch(position.token))
            rows, position = _advance(position, page, self._prefix)
            for row in rows:
                at += 1
                if at > offset:
                    yield at, row

    def find_object(self, key: str) -> ObjectInfo | None:
        """The object of that key among the rows that are here."""
        for page in self._pages:
            if page.objects and page.objects[0].id.key <= key <= page.objects[-1].id.key:
                at = bisect_left(page.objects, key, key=lambda info: info.id.key)
                return page.objects[at] if page.objects[at].id.key == key else None
        return None

    def has_prefix(self, prefix: str) -> bool:
        """Whether that common prefix is among the rows that are here."""
        for page in self._pages:
            if page.prefixes and page.prefixes[0] <= prefix <= page.prefixes[-1]:
                return page.prefixes[bisect_left(page.prefixes, prefix)] == prefix
        return False

    def beginning_with(self, key: str) -> Iterator[ObjectInfo | str]:
        """The objects and prefixes that begin so, among the rows that are here."""
        for page in self._pages:
            yield from (info for info in page.objects if info.id.key.startswith(key))
            yield from (prefix for prefix in page.prefixes if prefix.startswith(key))


def _failed(future: Future[ListPage]) -> bool:
    return future.done() and (future.cancelled() or future.exception() is not None)


def _advance(position: _Position, page: ListPage, prefix: str) -> tuple[list[Row], _Position]:
    rows, carried = settle(position.carried, page)
    # The object whose key is the prefix itself marks the directory; with bytes in it, it is a
    # file with an empty name.
    rows = [row for row in rows if not _marks(row, prefix)]
    return rows, _Position(page.next_token, carried, page.next_token is None)


def _marks(row: Row, prefix: str) -> bool:
    info = row.info if isinstance(row, Shadowed) else row
    return isinstance(info, ObjectInfo) and info.id.key == prefix and info.size == 0
