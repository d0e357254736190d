"""Check everything below a node, a few archives and members at a time, in a steady order."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from s3zipfs.errors import AccessDenied, BadArchive, NotFound, ObjectChanged, SettingsError
from s3zipfs.stores.base import ObjectId, ObjectInfo
from s3zipfs.tree.findings import Counts, Finding, Kind
from s3zipfs.tree.nodes import Folder, Member, Node, ObjectFile
from s3zipfs.tree.tree import Tree
from s3zipfs.tree.verifying import (
    Batch,
    Numbers,
    Verifier,
    batches,
    members_below,
    total_size,
    url,
)
from s3zipfs.waiting import POLL_SECONDS, Wait
from s3zipfs.zipformat.index import MemberIndex

WORKERS: Final = 8  # threads: what is small and far away waits for the network, piece by piece
MOST_BATCHES: Final = 4 * WORKERS  # under way
OPEN_AHEAD: Final = 256 << 20  # bytes of archives opened before their turn; bounds their indexes

_OF_ARCHIVE: Final = {
    BadArchive: Kind.ARCHIVE,
    ObjectChanged: Kind.CHANGED,
    AccessDenied: Kind.DENIED,
}


@dataclass(slots=True)
class _Opened:
    """An archive that can be read, and what of it is to be read, in the archive's order."""

    info: ObjectInfo
    index: MemberIndex
    numbers: Numbers
    size: int  # bytes of content


class Check:
    """One check. `counts`, `progress` and `total` may be read between the steps of `run`."""

    def __init__(self, tree: Tree, *, timeout: float, workers: int = WORKERS) -> None:
        self.counts = Counts()
        self.total: int | None = None  # bytes of content; known once the only archive is open
        self._tree = tree
        self._stop = threading.Event()
        self._wait = Wait(timeout, self._stop.is_set)
        self._verifier = Verifier(tree, self._wait, self._advance)
        self._workers = workers
        self._opening: deque[tuple[int, Future[_Opened | Finding]]] = deque()
        self._reading: deque[Future[Batch]] = deque()
        self._work: Iterator[Future[Batch]] = iter(())  # of the archive opened last
        self._lock = threading.Lock()  # guards _progress, _given_up
        self._progress = 0
        self._given_up: set[ObjectId] = set()

    @property
    def progress(self) -> int:
        """Bytes of content dealt with."""
        return self._progress

    def run(self, node: Node) -> Generator[Finding | None, None, None]:
        """Findings, in the order of archives and members; None: time has passed.

        Closing the iterator ends the check.

        Raises:
            SettingsError: the node is an object that is not taken for an archive.
            NotFound: no archive is below it.
            S3ZipError: the store can't be read, which says nothing about the archives.
        """
        pool = ThreadPoolExecutor(self._workers, "s3zipfs-check")
        try:
            yield from self._steps(pool, node)
        finally:
            self._stop.set()
            pool.shutdown(cancel_futures=True)

    def _steps(self, pool: ThreadPoolExecutor, node: Node) -> Iterator[Finding | None]:
        targets = self._targets(node)
        target = next(targets, None)
        if target is None:
            raise NotFound(f"{_shown(node)}: no archive is below it")
        while True:
            while target is not None and self._may_open(target):
                future = pool.submit(self._open, target)
                self._opening.append((target.info.size, future))
                target = next(targets, None)
            self._refill(pool, alone=isinstance(node, Member))
            if not self._opening and not self._reading:
                return
            heads: list[Future[Any]] = [*islice(self._reading, 1)]
            heads += [future for _, future in islice(self._opening, 1)]
            wait_for(heads, POLL_SECONDS, FIRST_COMPLETED)
            while self._reading and self._reading[0].done():
                yield from self._counted(self._reading.popleft().result())
            yield None

    # Archives

    def _targets(self, node: Node) -> Iterator[Member]:
        """The archives at or below a node, in the order of the tree."""
        match node:
            case Member():
                yield node
                return
            case ObjectFile(info):
                name = info.id.key.rpartition("/")[2]
                raise SettingsError(
                    f"{url(info)} is not an archive by its name; --archive {name!r} makes it one"
                )
        walks = [self._tree.entries(node, self._wait)]
        while walks:
            entry = next(walks[-1], None)
            if entry is None:
                walks.pop()
            elif isinstance(entry.node, Member):
                yield entry.node
            elif isinstance(entry.node, ObjectFile):
                self.counts.other_objects += 1
            else:
                walks.append(self._tree.entries(entry.node, self._wait))

    def _may_open(self, target: Member) -> bool:
        if not self._opening:
            return True
        ahead = sum(size for size, _ in self._opening) + target.info.size
        return len(self._opening) < self._workers and ahead <= OPEN_AHEAD

    def _open(self, target: Member) -> _Opened | Finding:
        try:
            index = self._tree.index(target.info, self._wait)
        except tuple(_OF_ARCHIVE) as error:
            return _of_archive(target.info, error)
        numbers = members_below(index, target.number)
        return _Opened(target.info, index, numbers, total_size(index, numbers))

    # Members

    def _refill(self, pool: ThreadPoolExecutor, *, alone: bool) -> None:
        """Have enough batches under way, the next archive's too."""
        while len(self._reading) < MOST_BATCHES:
            batch = next(self._work, None)
            if batch is not None:
                self._reading.append(batch)
            elif self._opening and self._opening[0][1].done():
                opened = self._opening.popleft()[1].result()
                self.counts.archives += 1
                if isinstance(opened, Finding):
                    self._reading.append(_done(Batch(findings=[opened])))
                    continue
                self.counts.hidden += opened.index.hidden_count
                self.counts.duplicates += opened.index.duplicate_count
                self.total = opened.size if alone else None
                self._work = self._batches(pool, opened)
            else:
                return

    def _batches(self, pool: ThreadPoolExecutor, of: _Opened) -> Iterator[Future[Batch]]:
        for numbers in batches(of.index, of.numbers):
            yield pool.submit(self._verify, of.info, of.index, numbers)

    def _verify(self, info: ObjectInfo, index: MemberIndex, numbers: Numbers) -> Batch:
        batch = Batch()
        if info.id in self._given_up:
            return batch
        try:
            self._verifier.verify(info, index, numbers, batch)
        except tuple(_OF_ARCHIVE) as error:
            with self._lock:
                again = info.id in self._given_up
                self._given_up.add(info.id)
            if not again:
                batch.findings.append(_of_archive(info, error))
        return batch

    def _counted(self, batch: Batch) -> list[Finding]:
        self.counts.members += batch.members
        self.counts.bytes += batch.bytes
        self.counts.compressed_bytes += batch.compressed_bytes
        for finding in batch.findings:
            self.counts.add(finding)
        return batch.findings

    def _advance(self, size: int) -> None:
        with self._lock:
            self._progress += size


def _shown(node: Node) -> str:
    return f"s3://{node.bucket}/{node.prefix}" if isinstance(node, Folder) else "s3://"


def _of_archive(info: ObjectInfo, error: Exception) -> Finding:
    kind = next(kind for known, kind in _OF_ARCHIVE.items() if isinstance(error, known))
    return Finding(url(info), None, kind, str(error).removeprefix(f"{info.id}: "))


def _done(batch: Batch) -> Future[Batch]:
    future: Future[Batch] = Future()
    future.set_result(batch)
    return future
