"""Keeps crawlers out of archives: what each process may open, and what the log is told of it."""

from __future__ import annotations

import contextlib
import logging
import math
import shlex
import threading
from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Final, Protocol

from s3zipfs.errors import CrawlerRefused, TooManyWaiting, printable
from s3zipfs.fuse.crawl import CALM_SECONDS, Crawl, State
from s3zipfs.fuse.inodes import NUMBER_BITS
from s3zipfs.fuse.ledger import Ledger
from s3zipfs.fuse.processes import Process
from s3zipfs.fuse.session import Request
from s3zipfs.settings import DEFAULT_CRAWLERS, MountSettings
from s3zipfs.tree.nodes import Member, Node
from s3zipfs.tree.tree import Tree
from s3zipfs.waiting import Wait

log = logging.getLogger(__name__)

MOST_DELAYED: Final = 32  # listings that wait at once, of the threads that may wait for the store
_NAME_BYTES: Final = 15  # of a process's name, as the kernel cuts it (TASK_COMM_LEN)

_SLOWED = "%s (pid %d) has listed %d archives and not read from them: further ones open later; %s"
_REFUSED = (
    "%s (pid %d) has listed %d archives and not read from them: no further ones are opened for it "
    "(EACCES) until it has stopped for %g s; %s"
)
_BY_NAME = "%s (pid %d) is a crawler by its name: no archives are opened for it (EACCES); %s"


def limit_of(process: Process, settings: MountSettings) -> float:
    """How many archives a process may list and not read; see `Crawl`."""
    if not settings.crawl_guard or process.pid == 0 or _is_called(process, settings.crawl_allow):
        return math.inf
    if _is_called(process, (*DEFAULT_CRAWLERS, *settings.crawlers)):
        return 0.0
    return settings.crawl_limit


def _is_called(process: Process, patterns: Iterable[str]) -> bool:
    """Whether one of the patterns means its name, which the kernel may have cut."""
    name = process.name.encode()
    return any(
        fnmatchcase(process.name, each) or name == each.encode()[:_NAME_BYTES] for each in patterns
    )


class _Event(Protocol):
    """A method of `Crawl`."""

    def __call__(
        self, crawl: Crawl, archive: int, limit: float, now: float, /, *, is_held: bool
    ) -> float | None: ...


class CrawlGuard:
    """Judges looks into archives by the process that takes them; for any number of threads.

    What counts, and what follows, is `Crawl`'s. A delay holds up a listing, never a look-up: behind
    one of those the kernel lets all others wait that ask for the same name. Archives are told apart
    by their inodes, less what numbers the members.
    """

    def __init__(self, tree: Tree, ledger: Ledger, settings: MountSettings) -> None:
        self._tree = tree
        self._ledger = ledger
        self._places = threading.Semaphore(MOST_DELAYED)
        self.change(settings)

    def change(self, settings: MountSettings) -> None:
        """Other rules from now on, for those that are slowed or refused as well."""
        self._ledger.judge_by(lambda process: limit_of(process, settings))

    def look(self, request: Request, node: Node) -> None:
        """A process asks for a name in a directory, or where a link leads.

        Raises:
            CrawlerRefused: it is let into no further archive.
        """
        account = request.account
        if not isinstance(node, Member) or account is None:
            return
        if not account.crawl.may_look(request.inode >> NUMBER_BITS, account.limit):
            self._judge(request, node, Crawl.look)

    def list(self, request: Request, node: Node, wait: Wait) -> None:
        """It opens a directory, and waits where it is slowed.

        Raises:
            CrawlerRefused: it is let into no further archive.
            Interrupted: it was ended while it waited.
        """
        account = request.account
        if not isinstance(node, Member) or account is None:
            return
        if account.crawl.may_list(request.inode >> NUMBER_BITS, account.limit):
            return
        # What `find MOUNT -maxdepth 2` lists is no crawling: archives that stand in the root.
        is_glance = node.number == 0 and self._tree.place(node.info)[0] == self._tree.root
        delay = self._judge(request, node, Crawl.look if is_glance else Crawl.list_directory)
        if delay and self._places.acquire(blocking=False):
            try:
                with contextlib.suppress(TooManyWaiting):
                    wait.pause(delay)
            finally:
                self._places.release()

    def read(self, request: Request, node: Node) -> None:
        """It reads from a file.

        Raises:
            CrawlerRefused: it is a crawler by its name.
        """
        account = request.account
        if not isinstance(node, Member) or account is None:
            return
        if not account.crawl.may_read(request.inode >> NUMBER_BITS, account.limit):
            self._judge(request, node, Crawl.read)

    def _judge(self, request: Request, node: Member, event: _Event) -> float:
        """Tell its account of what may be an event; the seconds to wait."""
        is_held = self._tree.is_held(node.info)
        account = self._ledger.identify(request.pid)  # by the name that it has now
        crawl, archive = account.crawl, request.inode >> NUMBER_BITS
        with self._ledger.lock:
            now, limit, remembered = self._ledger.clock(), account.limit, len(crawl)
            delay = event(crawl, archive, limit, now, is_held=is_held)
            self._ledger.remembers(account, len(crawl) - remembered)
            state, unread = crawl.state(limit, now), crawl.unread(limit, now)
            is_worse = state > account.told
            if is_worse or not unread:  # else it may be told the same again in a moment
                account.told = state
        if is_worse:
            _tell(account.process, state, unread)
        if delay is None:
            raise CrawlerRefused(f"{account.process.name}: let into no further archive")
        return delay


def _tell(process: Process, state: State, unread: int) -> None:
    name = printable(process.name)
    allow = f"--crawl-allow {shlex.quote(name)} lets it, --no-crawl-guard everybody"
    if state is State.SLOWED:
        log.info(_SLOWED, name, process.pid, unread, allow)
    elif unread:
        log.warning(_REFUSED, name, process.pid, unread, CALM_SECONDS, allow)
    else:
        log.warning(_BY_NAME, name, process.pid, allow)
