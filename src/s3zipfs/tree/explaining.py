"""What reading an object or a member costs: cold, with its index, and as the disk is now."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from s3zipfs.archive.decoders import METHODS
from s3zipfs.archive.loading import FoundDirectory, find_directory
from s3zipfs.archive.metadata import MetadataTable
from s3zipfs.archive.metadataplan import NAMES
from s3zipfs.archive.planned import PlannedReads, read_object
from s3zipfs.archive.raw import read_header, span_of_read
from s3zipfs.budget import MemoryBudget
from s3zipfs.cache.disk import DiskCache
from s3zipfs.cache.extents import ExtentCache
from s3zipfs.cache.planned import Known, PlannedGets
from s3zipfs.cache.reader import ObjectReader
from s3zipfs.stores.base import ObjectInfo
from s3zipfs.stores.offline import NotKeptError
from s3zipfs.tree.advice import Advice, Situation, advise, advise_on_member
from s3zipfs.tree.archivefacts import ArchiveFacts, facts_of
from s3zipfs.tree.links import Link, measure_link
from s3zipfs.tree.nodes import Member, ObjectFile
from s3zipfs.tree.tree import Tree
from s3zipfs.waiting import Wait
from s3zipfs.zipformat.index import MemberIndex
from s3zipfs.zipformat.member import Member as ZipMember
from s3zipfs.zipformat.methods import DEFLATED, STORED
from s3zipfs.zipformat.named import numbers_named
from s3zipfs.zipformat.records import local_header_span

RANDOM: Final = 64 << 10  # bytes of a read at random, in the middle
PAGE: Final = 4 << 10  # at which it begins
TRIPS_IN_ORDER: Final = 3  # after so many GETs what is read in order is fetched ahead

_ONCE: Final = "the first read goes through all of it; later ones begin near their place"
_FORWARD: Final = "each read goes through all that is before it, at most all of it"


@dataclass(frozen=True, slots=True)
class Cost:
    """What is asked of the store, names apart."""

    gets: int
    bytes: int
    seconds: float  # about, on that link


@dataclass(frozen=True, slots=True)
class Reading:
    """One way to read, and its cost."""

    what: str  # "open", "metadata", "whole" or "random"
    cold: Cost  # nothing is kept
    indexed: Cost  # the index is on disk, or open where it is too small for that
    now: Cost  # with what the disk holds
    note: str | None = None


@dataclass(frozen=True, slots=True)
class Kept:
    """What the disk holds of it now."""

    bytes: int
    of_bytes: int  # that all of it takes in the object
    index: bool | None  # in a file of its own; None: it is no archive
    checkpoints: bool | None = None  # of a large deflated member; None: it is none


@dataclass(frozen=True, slots=True)
class Explanation:
    """All that is told of one object or member."""

    info: ObjectInfo
    version_id: str | None
    lists: int  # LIST requests for its name, from its bucket on; again once it is not believed
    link: Link
    readings: list[Reading]
    kept: Kept
    advice: list[Advice]
    archive: ArchiveFacts | None = None
    path: str | None = None  # in the archive
    member: ZipMember | None = None
    data_offset: int | None = None  # of the member's data in the object


class Explainer:
    """Explains nodes. Asks the store for little, and keeps nothing of it.

    Args:
        tree: of a process without a cache on disk.
        offline: of one that has it, and nothing else.
        memory, kept: as the tree of the reader is built with (`build_tree`).
        keeps_indexes, unwraps: see `Situation`.
    """

    def __init__(
        self,
        tree: Tree,
        offline: Tree,
        wait: Wait,
        *,
        memory: int,
        kept: int,
        keeps_indexes: bool,
        unwraps: bool,
    ) -> None:
        self._tree = tree
        self._offline = offline
        self._wait = wait
        self._memory = memory
        self._most_read = memory // kept
        self._keeps_indexes = keeps_indexes
        self._unwraps = unwraps

    def explain(self, node: Member | ObjectFile) -> Explanation:
        """Of an object, an archive with all below it, or a member.

        Raises:
            BadArchive: it is not a zip that can be trusted.
        """
        if isinstance(node, ObjectFile):
            return self._explain_object(node.info)
        return self._explain_member(node) if node.number else self._explain_archive(node.info)

    # Objects

    def _explain_object(self, info: ObjectInfo) -> Explanation:
        link = measure_link(self._tree.fetcher, info, self._wait)

        def reading(what: str, start: int, end: int) -> Reading:
            costs = []
            for disk in (None, self._disk):
                gets = self._planned(disk, [])
                read_object(info, gets, start, end)
                costs.append(_cost(what, gets, link))
            return Reading(what, costs[0], costs[0], costs[1])

        readings = [reading("whole", 0, info.size), reading("random", *_middle(info.size))]
        kept = Kept(self._held(info, 0, info.size), info.size, None)
        version = self._tree.version_id(info)
        return Explanation(info, version, _lists(info), link, readings, kept, [])

    # Archives

    def _explain_archive(self, info: ObjectInfo) -> Explanation:
        at = self._look_at(info)
        facts = facts_of(at.index, at.found, info.size)
        readings = [self._reading("open", at, lambda *_: None)]
        if facts.zarr is not None:
            members = [at.index.member(n) for n in numbers_named(at.index, NAMES).tolist()]

            def read_all(run: PlannedReads, _: DiskCache | None) -> None:
                for member in members:
                    run.read_whole(member)

            readings.append(self._reading("metadata", at, read_all))
        situation = Situation(readings[0].cold.gets, self._keeps_indexes, self._unwraps)
        kept = Kept(self._held(info, 0, info.size), info.size, at.index_is_kept)
        version = self._tree.version_id(info)
        advice = advise(facts, situation)
        return Explanation(
            info, version, _lists(info), at.link, readings, kept, advice, archive=facts
        )

    def _explain_member(self, node: Member) -> Explanation:
        info, at = node.info, self._look_at(node.info)
        path = at.index.path(node.number).decode("utf-8", "backslashreplace")
        if at.index.is_directory(node.number):
            return replace(self._explain_archive(info), path=path)
        member = at.index.member(node.number)
        readings, data = [self._reading("open", at, lambda *_: None)], None
        if not member.is_encrypted and not member.damaged:
            data = at.learn(member)
            if member.method in {STORED, *METHODS}:
                readings += self._readings(at, member)
        start = member.local_header_offset
        end = start + (data or local_header_span(member)) + member.compressed_size
        end = min(end, info.size)
        return Explanation(
            info,
            self._tree.version_id(info),
            _lists(info),
            at.link,
            readings,
            Kept(
                self._held(info, start, end),
                end - start,
                at.index_is_kept,
                self._has_checkpoints(at, member),
            ),
            advise_on_member(member),
            archive=facts_of(at.index, at.found, info.size),
            path=path,
            member=member,
            data_offset=start + data if data else None,
        )

    def _readings(self, at: _Looked, member: ZipMember) -> list[Reading]:
        start, end = _middle(member.uncompressed_size)
        known = self._offline.archives.checkpoints(at.info, member, self._wait)
        is_streamed = bool(end) and span_of_read(member, start, end) is None
        whole = self._reading("whole", at, lambda run, _: run.read_whole(member))
        part = self._reading(
            "random",
            at,
            lambda run, disk: run.read_part(member, start, end, known if disk else None),
            note=(_ONCE if member.method == DEFLATED else _FORWARD) if is_streamed else None,
        )
        return [whole, part]

    def _has_checkpoints(self, at: _Looked, member: ZipMember) -> bool | None:
        if span_of_read(member, 0, 1) is not None:
            return None
        return self._offline.archives.checkpoints(at.info, member, self._wait) is not None

    def _look_at(self, info: ObjectInfo) -> _Looked:
        is_kept = self._offline.archives.is_index_kept(info)
        try:
            index = self._offline.index(info, self._wait)
        except NotKeptError:
            index = self._tree.index(info, self._wait)
        found = self._find_directory(info)
        link = measure_link(self._tree.fetcher, info, self._wait)
        return _Looked(info, index, found, link, self._bytes_of, index_is_kept=is_kept)

    def _find_directory(self, info: ObjectInfo) -> FoundDirectory:
        try:
            return self._directory_by(self._offline, info)
        except NotKeptError:
            return self._directory_by(self._tree, info)

    def _directory_by(self, tree: Tree, info: ObjectInfo) -> FoundDirectory:
        finding = find_directory(ObjectReader(info, tree.fetcher))
        return self._wait.result(tree.fetcher.network.submit(finding))

    def _bytes_of(self, info: ObjectInfo, start: int, end: int) -> memoryview:
        held = self._disk.look(info.id, start, end)
        if held is not None and not held.gaps:
            return held.data
        return self._tree.fetcher.get(info.id, start, end, self._wait)

    # Costs

    def _reading(
        self,
        what: str,
        at: _Looked,
        act: Callable[[PlannedReads, DiskCache | None], object],
        *,
        note: str | None = None,
    ) -> Reading:
        def cost(disk: DiskCache | None, *, loads: bool, counts_load: bool = True) -> Cost:
            gets = self._planned(disk, at.known)
            most = MetadataTable(MemoryBudget(self._memory)).most
            run = PlannedReads(at.info, at.index, gets, at.learn, most_metadata=most)
            if loads:
                network = self._tree.fetcher.network
                self._wait.result(network.submit(run.load_index()))
            if not counts_load:
                gets.gets.clear()
            act(run, disk)
            return _cost(what, gets, at.link)

        return Reading(
            what,
            cost(None, loads=True),
            # A small index is not written to disk: then it is the same process that has it.
            cost(None, loads=at.found.is_in_tail, counts_load=False),
            cost(self._disk, loads=not at.index_is_kept),
            note,
        )

    @property
    def _disk(self) -> DiskCache:
        return self._offline.fetcher.disk

    def _planned(self, disk: DiskCache | None, known: Known) -> PlannedGets:
        """The GETs of a process that has just begun."""
        cache = ExtentCache(MemoryBudget(self._memory), most_read=self._most_read)
        return PlannedGets(cache, window=self._tree.fetcher.window, disk=disk, known=known)

    def _held(self, info: ObjectInfo, start: int, end: int) -> int:
        gaps = self._disk.gaps(info.id, start, end)
        return end - start - sum(last - first for first, last in gaps)


class _Looked:
    """One archive, and what of its bytes is known."""

    def __init__(
        self,
        info: ObjectInfo,
        index: MemberIndex,
        found: FoundDirectory,
        link: Link,
        bytes_of: Callable[[ObjectInfo, int, int], memoryview],
        *,
        index_is_kept: bool,
    ) -> None:
        self.info = info
        self.index = index
        self.found = found
        self.link = link
        self.index_is_kept = index_is_kept
        self.known: Known = [(found.tail_start, found.tail)]
        self._bytes_of = bytes_of
        self._data_starts: dict[int, int] = {}

    def learn(self, member: ZipMember) -> int:
        """Know a member's local header; the bytes that it has before the data."""
        if member.number in self._data_starts:
            return self._data_starts[member.number]
        start, size = member.local_header_offset, self.info.size
        read = partial(self._bytes_of, self.info)
        view = read(start, min(start + local_header_span(member), size))
        found, header = read_header(member, view, size, read)
        self.known.append((start, header))
        self._data_starts[member.number] = found
        return found


def _cost(what: str, gets: PlannedGets, link: Link) -> Cost:
    count, size = len(gets.gets), gets.bytes
    trips = min(count, TRIPS_IN_ORDER) if what == "whole" else count
    return Cost(count, size, link.seconds(size, trips=trips))


def _middle(size: int) -> tuple[int, int]:
    """A read at random."""
    start = size // 2 // PAGE * PAGE
    return start, min(start + RANDOM, size)


def _lists(info: ObjectInfo) -> int:
    """Each name of a key is looked up by one LIST, where its directory was not listed yet."""
    return info.id.key.count("/") + 1
