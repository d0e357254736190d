"""The metadata members of an archive, fetched together once one of them is read.

Zarr keeps the metadata of each group and array in a small member of its own, and who opens a
hierarchy reads all of them, one after another. They are known by their names alone, so the first
read of one has the others fetched by a few requests, and kept as long as memory allows: Zarr reads
them again and again.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Final

from isal import isal_zlib

from s3zipfs.archive.inflate import decode_whole, verify
from s3zipfs.archive.metadataplan import Group, MetadataPlan, may_be_metadata
from s3zipfs.budget import MemoryBudget
from s3zipfs.cache.reader import Fetcher
from s3zipfs.errors import BadMember, DeadlineExceeded, S3ZipError
from s3zipfs.stores.base import ObjectId, ObjectInfo
from s3zipfs.waiting import Wait
from s3zipfs.zipformat.index import MemberIndex
from s3zipfs.zipformat.member import Member
from s3zipfs.zipformat.methods import DEFLATED
from s3zipfs.zipformat.records import (
    MoreNeeded,
    parse_local_header,
)

log = logging.getLogger(__name__)

AT_ONCE: Final = 4  # requests under way, after the first one
# Nobody waits longer (and `GRACE_SECONDS`) for a group, of which a small part is needed; where the
# first one took so long, the others are left.
PATIENCE: Final = 1.0  # seconds

_PART_OF_BUDGET: Final = 8  # one part in so many is for contents that are kept
_OVERHEAD: Final = 200  # bytes of a content beside its own: two objects, and their place in a dict


@dataclass(slots=True)
class _Kept:
    """What is kept of one archive."""

    contents: dict[int, bytes] = field(default_factory=dict)  # by number
    cost: int = 0  # bytes


class MetadataTable:
    """Contents of metadata members, by archive; those of the archive used least recently give way.

    They are apart from the cache of extents, of which a mount keeps little once it was read.
    """

    def __init__(self, budget: MemoryBudget) -> None:
        self.most = budget.limit // _PART_OF_BUDGET  # bytes, in all
        self._budget = budget
        self._lock = threading.Lock()  # guards all below
        self._archives: OrderedDict[ObjectId, _Kept] = OrderedDict()
        self._cost = 0
        budget.add_reclaimer(self._reclaim)

    @contextmanager
    def holding(self, size: int) -> Iterator[None]:
        """Charge what is on its way here, while the block runs."""
        self._budget.charge(size)
        try:
            yield
        finally:
            self._budget.release(size)

    def find(self, oid: ObjectId, number: int) -> memoryview | None:
        """The content of a member, where it is kept."""
        with self._lock:
            kept = self._archives.get(oid)
            if kept is None or number not in kept.contents:
                return None
            self._archives.move_to_end(oid)
            return memoryview(kept.contents[number])

    def keep(self, oid: ObjectId, contents: dict[int, bytes]) -> None:
        """Keep what was verified, where memory allows."""
        cost = sum(map(len, contents.values())) + _OVERHEAD * len(contents)
        if not self._budget.try_charge(cost):
            return
        with self._lock:
            kept = self._archives.setdefault(oid, _Kept())
            self._archives.move_to_end(oid)
            # Again where the archive was closed and opened meanwhile.
            fits = kept.contents.keys().isdisjoint(contents) and kept.cost + cost <= self.most
            if fits:
                kept.contents.update(contents)
                kept.cost += cost
                self._cost += cost
            surplus = self._cost - self.most
        if not fits:
            self._budget.release(cost)
        self._reclaim(surplus)

    def _reclaim(self, size: int) -> int:
        freed = 0
        with self._lock:
            while freed < size and self._archives:
                freed += self._archives.popitem(last=False)[1].cost
            self._cost -= freed
        self._budget.release(freed)
        return freed


class MetadataMembers:
    """The metadata members of one archive. Safe for any number of threads.

    They are fetched beside the cache of extents, so that nobody who reads one of them by itself
    has to wait for all of its group.
    """

    def __init__(self, info: ObjectInfo, fetcher: Fetcher, table: MetadataTable) -> None:
        self._info = info
        self._fetcher = fetcher
        self._table = table
        # Guards _plan; names are looked for within it, so that it is done once.
        self._lock = threading.Lock()
        self._plan: MetadataPlan | None = None

    def content(self, index: MemberIndex, member: Member, wait: Wait) -> memoryview | None:
        """The whole content, verified; None: read it as any other member.

        The first call has it fetched with the others. No fault of that is told: it would show
        again where the member is read by itself.

        Raises:
            Interrupted, TooManyWaiting: of `wait`.
        """
        if not may_be_metadata(member):
            return None
        with self._lock:
            if self._plan is None:
                self._plan = MetadataPlan(index, self._info.size, most=self._table.most)
            coming, groups = self._plan.read(member.number)
        if groups:
            self._fetcher.network.start(self._fetch(index, groups))
        if coming is None:
            return None
        try:
            replace(wait, timeout=min(PATIENCE, wait.timeout)).result(coming)
        except DeadlineExceeded:
            return None
        return self._table.find(self._info.id, member.number)

    async def _fetch(self, index: MemberIndex, groups: list[Group]) -> None:
        turns = asyncio.Semaphore(AT_ONCE)

        async def in_turn(group: Group) -> None:
            async with turns:
                await self._fetch_group(index, group)

        begun = time.monotonic()
        try:
            is_well = await self._fetch_group(index, groups[0])
            if is_well and time.monotonic() - begun < PATIENCE:
                await asyncio.gather(*map(in_turn, groups[1:]))
        finally:
            for group in groups:
                if not group.here.done():
                    group.here.set_result(None)

    async def _fetch_group(self, index: MemberIndex, group: Group) -> bool:
        """Whether it could be had."""
        oid = self._info.id
        try:
            with self._table.holding(group.end - group.start):
                data, is_new = await self._fetcher.get_once(oid, group.start, group.end)
                contents = await asyncio.to_thread(_contents, index, group, data)
            self._table.keep(oid, contents)
            # What holds a damaged member is not kept: the wire may have done it.
            if is_new and len(contents) == len(group.numbers):
                self._fetcher.disk.offer(oid, group.start, data)
        except S3ZipError as error:
            log.debug("%s: metadata members were not fetched together: %s", oid, error)
            return False
        except Exception:
            log.exception("%s: metadata members: unexpected error", oid)
            return False
        finally:
            group.here.set_result(None)
        return True


def _contents(index: MemberIndex, group: Group, data: memoryview) -> dict[int, bytes]:
    """Of the members that are in order: what is wrong with others is told when they are read."""
    contents = {}
    for number in group.numbers:
        member = index.member(number)
        try:
            content = _content(member, data[member.local_header_offset - group.start :])
        except BadMember as error:
            log.debug("%s: left to be read by itself", error)
            continue
        if content is not None:
            contents[number] = content
    return contents


def _content(member: Member, data: memoryview) -> bytes | None:
    if member.damaged or member.is_encrypted:
        return None
    begin = parse_local_header(data, member)
    if isinstance(begin, MoreNeeded) or begin + member.compressed_size > len(data):
        return None
    data = data[begin : begin + member.compressed_size]
    if member.method == DEFLATED:
        return bytes(decode_whole(member, data, Wait(PATIENCE)))
    if len(data) != member.uncompressed_size:
        return None
    verify(member, isal_zlib.crc32(data))
    return bytes(data)
