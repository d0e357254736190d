"""Bring what will be read to the disk beforehand: by large GETs, in the order of the objects.

Bytes go from the store to the disk as they are; nothing is decoded. Whether it is enough is asked
of a tree that has the disk and nothing else (`build_tree(offline=True)`): what it can open, any
other process opens without a GET.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, TypeVar

from s3zipfs.cache.streams import LARGEST_GET
from s3zipfs.errors import AccessDenied, BadArchive, NotFound, ObjectChanged, S3ZipError
from s3zipfs.stores.base import ObjectInfo
from s3zipfs.stores.offline import NotKeptError
from s3zipfs.tree.globs import Globs
from s3zipfs.tree.nodes import Node
from s3zipfs.tree.selecting import Part, Spans, Target, find_targets, spans_of
from s3zipfs.tree.tree import Tree
from s3zipfs.waiting import POLL_SECONDS, Wait
from s3zipfs.zipformat.index import MemberIndex
from s3zipfs.zipformat.plan import FIRST_TAIL_BYTES

T = TypeVar("T")

Steps = Generator[None, None, None]

WORKERS: Final = 8  # GETs under way, of 8 MiB each, where a quarter of the memory is as much
SAMPLE: Final = 1 << 20  # bytes of each GET by which the link is measured
WORTH_A_SAMPLE: Final = 16 << 20  # bytes; or so many requests as there are workers, twice

GRACE_SECONDS: Final = 1.0  # for what is on its way when it is to end

_OF_OBJECT: Final = (BadArchive, ObjectChanged, AccessDenied)  # and of no other one


@dataclass(frozen=True, slots=True)
class Piece:
    """One GET."""

    info: ObjectInfo
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Estimate:
    """What is to be fetched, and for how long."""

    requests: int
    bytes: int
    seconds: float | None = None  # None: not measured


@dataclass(frozen=True, slots=True)
class State:
    """What of one target is on disk."""

    target: Target
    bytes: int | None  # of the object that reading it asks for; None: only its index would tell
    missing: int  # of them
    index_is_warm: bool | None  # None: it has none
    fault: str | None = None

    @property
    def is_warm(self) -> bool:
        """Whether nothing of it would be fetched."""
        return not self.missing and self.index_is_warm is not False and self.fault is None


class Warming:
    """One run. What is counted may be read between the steps of its iterators.

    Closing an iterator ends what is under way; what was fetched until then is kept.
    """

    def __init__(
        self, tree: Tree, offline: Tree, part: Part, *, timeout: float, memory: int
    ) -> None:
        self.targets: list[Target] = []
        self.requests = 0  # made, as the next one
        self.bytes = 0
        self.indexes = 0  # looked at
        self._tree = tree
        self._offline = offline
        self._part = part
        self._workers = max(1, min(WORKERS, memory // 4 // LARGEST_GET))
        self._stopped = 0.0  # by the monotonic clock; 0.0: not yet
        self._wait = Wait(timeout, self._is_over)
        self._lock = threading.Lock()  # guards all counts, and what follows
        self._spans: dict[Target, Spans] = {}  # of those that need an index to be known
        self._faults: dict[Target, str] = {}

    def find(self, node: Node, globs: Globs) -> None:
        """Note what is at or below a node. Lists names; opens nothing.

        Raises:
            NotFound: nothing is.
        """
        self.targets = list(find_targets(self._tree, node, globs, self._part, self._wait))
        if not self.targets:
            raise NotFound("nothing to be read is there, or matches --glob")

    # Indexes

    def needs_index(self, target: Target) -> bool:
        """Whether only its index tells what of it is meant."""
        is_archive = target.number is not None
        return is_archive and (self._part is not Part.DATA or not target.is_whole)

    def find_cold(self) -> Generator[None, None, list[Target]]:
        """Look, without a GET, for targets that need an index which is not there."""
        cold: list[Target] = []

        def look(target: Target) -> None:
            try:
                self._note(target, self._offline.index(target.info, self._wait))
            except NotKeptError:
                cold.append(target)

        yield from self._each(look, filter(self.needs_index, self.targets))
        return cold

    def estimate_indexes(self, cold: Sequence[Target]) -> Estimate:
        """The least that they cost: how large a directory is only the end of its object tells."""
        return Estimate(len(cold), sum(min(each.info.size, FIRST_TAIL_BYTES) for each in cold))

    def load_indexes(self, targets: Iterable[Target]) -> Steps:
        """Have their indexes on disk."""
        return self._each(lambda each: self._note(each, self._warm_index(each)), targets)

    def finish(self) -> Steps:
        """See that the indexes of whole objects are there, too: of bytes that are on disk by now.

        What is there is not opened again, a directory is parsed once.
        """
        whole = (t for t in self.targets if t.number is not None and not self.needs_index(t))
        return self._each(self._warm_index, whole)

    def _note(self, target: Target, index: MemberIndex) -> None:
        spans = spans_of(target, self._part, index)
        with self._lock:
            self._spans[target] = spans

    def _warm_index(self, target: Target) -> MemberIndex:
        """The index, which any process opens without a GET from now on."""
        info, disk = target.info, self._tree.fetcher.disk
        try:
            return self._opened(info)
        except NotKeptError:
            pass
        self._tree.index(info, self._wait)
        self._tree.archives.finish_writes(self._wait)
        asked: set[tuple[int, int]] = set()
        while True:
            disk.flush(self._wait.timeout)
            try:
                return self._opened(info)
            except NotKeptError as lack:
                if (lack.start, lack.end) in asked:
                    raise S3ZipError(f"{info.id}: its index could not be kept") from lack
                asked.add((lack.start, lack.end))
                self._fetch(Piece(info, lack.start, lack.end))

    def _opened(self, info: ObjectInfo) -> MemberIndex:
        index = self._offline.index(info, self._wait)
        self._offline.archives.finish_writes(self._wait)
        return index

    # Bytes

    def size(self) -> tuple[int, int]:
        """Bytes of all that is meant, and in how many ranges."""
        spans = [span for each in self.targets for span in self._spans_of(each)]
        return sum(end - start for start, end in spans), len(spans)

    def plan(self) -> list[Piece]:
        """What is missing, a GET each, in the order of the objects."""
        pieces = []
        for target in self.targets:
            if target in self._faults:
                continue
            for start, end in self._gaps(target):
                count = -(-(end - start) // LARGEST_GET)
                cuts = [start + (end - start) * number // count for number in range(count + 1)]
                pieces += [Piece(target.info, *cut) for cut in pairwise(cuts)]
        return pieces

    def measure(self, pieces: Sequence[Piece]) -> Generator[None, None, Estimate]:
        """Fetch the first bytes of a plan, which are kept, and tell what the rest takes.

        A small plan is not measured.
        """
        total = sum(each.end - each.start for each in pieces)
        if total <= WORTH_A_SAMPLE and len(pieces) <= 2 * WORKERS:
            return Estimate(len(pieces), total)
        sample = [
            Piece(each.info, each.start, min(each.end, each.start + SAMPLE))
            for each in pieces[: self._workers]
        ]
        taken = sum(each.end - each.start for each in sample)
        begun = time.monotonic()
        yield from self.fetch(sample)
        seconds = time.monotonic() - begun
        left, requests = total - taken, len(pieces)
        return Estimate(requests, left, seconds * max(left / taken, requests / len(sample) - 1))

    def fetch(self, pieces: Iterable[Piece]) -> Steps:
        """Have them on disk."""
        yield from self._each(self._fetch_of_object, pieces)
        self._tree.fetcher.disk.flush(self._wait.timeout)

    def _fetch_of_object(self, piece: Piece) -> None:
        try:
            self._fetch(piece)
        except _OF_OBJECT as error:
            with self._lock:
                self._faults |= dict.fromkeys(
                    (each for each in self.targets if each.info == piece.info), str(error)
                )

    def _fetch(self, piece: Piece) -> None:
        fetcher, oid, size = self._tree.fetcher, piece.info.id, piece.end - piece.start
        data = fetcher.get(oid, piece.start, piece.end, self._wait)
        with self._lock:
            self.requests += 1
            self.bytes += size
        if not fetcher.disk.put(oid, piece.start, data, self._wait):
            raise S3ZipError("the cache on disk can't be written to; -v says why")

    def _spans_of(self, target: Target) -> Spans:
        if self.needs_index(target):
            return self._spans.get(target, [])
        return spans_of(target, self._part, None)

    def _gaps(self, target: Target) -> Spans:
        disk, oid = self._tree.fetcher.disk, target.info.id
        return [gap for span in self._spans_of(target) for gap in disk.gaps(oid, *span)]

    def _is_over(self) -> bool:
        return bool(self._stopped) and time.monotonic() - self._stopped > GRACE_SECONDS

    # What there is

    def states(self) -> Iterator[State]:
        """Of each target, without a GET."""
        for target in self.targets:
            index_is_warm = None
            fault = self._faults.get(target)
            if target.number is not None and fault is None:
                try:
                    index = self._offline.index(target.info, self._wait)
                    index_is_warm = True
                    if self.needs_index(target) and target not in self._spans:
                        self._note(target, index)
                except NotKeptError:
                    index_is_warm = False
                except BadArchive as error:
                    fault = str(error)
            is_known = not self.needs_index(target) or target in self._spans
            size = sum(end - start for start, end in self._spans_of(target)) if is_known else None
            missing = sum(end - start for start, end in self._gaps(target))
            yield State(target, size, missing, index_is_warm, fault)

    def _each(self, act: Callable[[T], object], things: Iterable[T]) -> Steps:
        """Act on each, some at a time; a step of the iterator is some time that has passed."""
        pool = ThreadPoolExecutor(self._workers, "s3zipfs-warm")
        left, under_way = iter(things), deque[Future[object]]()
        try:
            while True:
                while (
                    len(under_way) < 2 * self._workers and (thing := next(left, None)) is not None
                ):
                    under_way.append(pool.submit(self._act, act, thing))
                if not under_way:
                    return
                wait_for(under_way, POLL_SECONDS, FIRST_COMPLETED)
                for _ in range(len(under_way)):
                    future = under_way.popleft()
                    if future.done():
                        future.result()
                    else:
                        under_way.append(future)
                yield None
        except BaseException:
            self._stopped = time.monotonic()
            raise
        finally:
            pool.shutdown(cancel_futures=True)

    def _act(self, act: Callable[[T], object], thing: T) -> None:
        try:
            act(thing)
        except _OF_OBJECT as error:
            if not isinstance(thing, Target):
                raise
            with self._lock:
                self._faults[thing] = str(error)
        finally:
            if isinstance(thing, Target):
                with self._lock:
                    self.indexes += 1
