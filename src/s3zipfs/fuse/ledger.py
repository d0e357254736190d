"""What each process has asked of a mount, in bounded memory."""

from __future__ import annotations

import heapq
import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from s3zipfs.fuse.crawl import Crawl, State
from s3zipfs.fuse.processes import Process, process_of
from s3zipfs.telemetry.figures import ProcessFigures

MOST_PROCESSES: Final = 2048
MOST_THREADS: Final = 4096
MOST_ARCHIVES: Final = 1 << 16  # remembered of all processes together, at 100 bytes each
# Seconds for which a thread is believed to be whose it was: numbers are given again after 32,768
# others at the earliest, and exec(2) gives another name.
BELIEVED: Final = 1.0

_STATES: Final[dict[State, Literal["free", "slowed", "refused"]]] = {
    State.FREE: "free",
    State.SLOWED: "slowed",
    State.REFUSED: "refused",
}


class Account:
    """One process as it is counted. The lock, which is the ledger's, guards all of it."""

    __slots__ = (
        "_lock",
        "bytes_read",
        "crawl",
        "limit",
        "operations",
        "process",
        "requests",
        "told",
    )

    def __init__(self, process: Process, lock: threading.Lock) -> None:
        self._lock = lock
        self.process = process
        self.operations = 0
        self.bytes_read = 0
        self.requests = 0
        self.crawl = Crawl()
        self.limit = math.inf  # see `Crawl`
        self.told = State.FREE  # what the log was told last

    def request_sent(self) -> None:
        """See `Cause`."""
        with self._lock:
            self.requests += 1

    def bytes_given(self, size: int) -> None:
        """It was given so many bytes of content."""
        with self._lock:
            self.bytes_read += size


@dataclass(slots=True)
class _Thread:
    account: Account
    until: float  # monotonic seconds


class Ledger:
    """Accounts by process; safe for any number of threads.

    A request tells the number of the thread that asks. What is read ahead counts for whom it is
    read ahead.

    Args:
        identify: the process of a thread.
    """

    def __init__(
        self,
        identify: Callable[[int], Process] = process_of,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.clock = clock
        self._identify = identify
        self.lock = threading.Lock()  # guards all below, and each account
        self._accounts: OrderedDict[tuple[int, int], Account] = OrderedDict()
        self._threads: OrderedDict[int, _Thread] = OrderedDict()  # `count` looks without it
        self._archives = 0  # remembered by all accounts
        self._limit_of: Callable[[Process], float] = lambda _process: math.inf

    def judge_by(self, limit_of: Callable[[Process], float]) -> None:
        """Judge all processes by that, those that are known as well; see `Crawl`."""
        with self.lock:
            self._limit_of = limit_of
            for account in self._accounts.values():
                account.limit = limit_of(account.process)

    def count(self, thread: int, now: float) -> Account:
        """The account of a thread's process, with one operation more; `now` by the clock."""
        found = self._threads.get(thread)
        account = found.account if found and now <= found.until else self.identify(thread)
        with self.lock:
            account.operations += 1
        return account

    def identify(self, thread: int) -> Account:
        """The account of the process that a thread is of now, by the name that it has now."""
        process = self._identify(thread)  # reads files
        key = process.key
        with self.lock:
            account = self._accounts.get(key)
            if account is None:
                account = self._accounts[key] = Account(process, self.lock)
                account.limit = self._limit_of(process)
                self._drop_oldest()
            elif account.process != process:  # exec(2)
                account.process, account.limit = process, self._limit_of(process)
            self._accounts.move_to_end(key)
            self._threads[thread] = _Thread(account, self.clock() + BELIEVED)
            self._threads.move_to_end(thread)
            if len(self._threads) > MOST_THREADS:
                self._threads.popitem(last=False)
        return account

    def remembers(self, account: Account, more: int) -> None:
        """So many archives more are remembered of an account, or fewer; the lock is held."""
        if self._accounts.get(account.process.key) is not account:
            return  # dropped meanwhile, with all that is remembered of it
        self._archives += more
        if self._archives > MOST_ARCHIVES:
            oldest = next(each for each in self._accounts.values() if len(each.crawl))
            oldest.crawl.forget_oldest()
            self._archives -= 1

    def _drop_oldest(self) -> None:
        if len(self._accounts) > MOST_PROCESSES:
            _, dropped = self._accounts.popitem(last=False)
            self._archives -= len(dropped.crawl)

    def snapshot(self, most: int = 20) -> list[ProcessFigures]:
        """The busiest processes, by operations; at most so many."""
        now = self.clock()
        with self.lock:
            busiest = heapq.nlargest(
                most, self._accounts.values(), key=lambda each: each.operations
            )
            return [_figures(each, now) for each in busiest]


def _figures(account: Account, now: float) -> ProcessFigures:
    return ProcessFigures(
        name=account.process.name,
        pid=account.process.pid,
        operations=account.operations,
        bytes_read=account.bytes_read,
        archives_opened=account.crawl.opened,
        requests=account.requests,
        state=_STATES[account.crawl.state(account.limit, now)],
    )
