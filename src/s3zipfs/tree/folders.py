"""Directories of the store: buckets and prefixes, listed and looked up with few requests."""

from __future__ import annotations

import itertools
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import replace

from s3zipfs.budget import MemoryBudget
from s3zipfs.errors import AccessDenied, NotFound
from s3zipfs.stores.base import ListPage, ObjectInfo, ObjectStore
from s3zipfs.stores.network import Network
from s3zipfs.stores.routing import RoutedStores
from s3zipfs.tree.buckets import BucketList
from s3zipfs.tree.listing import Listing, Row, Shadowed
from s3zipfs.tree.names import decode_component, encode_component
from s3zipfs.tree.nodes import FOREVER, DirEntry, Folder, Found, Member, Node, ObjectFile
from s3zipfs.tree.patterns import ALIAS_SUFFIX, ArchivePatterns
from s3zipfs.tree.pins import Pins
from s3zipfs.waiting import Wait

MAX_NAMES = 100_000  # single look-ups remembered
MAX_KEYS = 1000  # of one LIST page, by S3's definition
NARROW_KEYS = 100  # a single look-up asks for what begins with the name: rarely more than that


class Folders:
    """What stands below buckets and prefixes.

    A name in a directory that was not listed is looked up alone: one LIST of what begins with it
    answers whether there is an object, a prefix, or an archive that it abbreviates. The second
    such look-up fetches the first page of the directory instead; where that page is all, no
    further request is needed until the TTL is over.
    """

    def __init__(
        self,
        stores: RoutedStores,
        network: Network,
        budget: MemoryBudget,
        patterns: ArchivePatterns,
        *,
        ttl: float,
        immutable: bool,
        strip_suffix: bool,
    ) -> None:
        self._stores = stores
        self._network = network
        self._budget = budget
        self._patterns = patterns
        self.ttl = ttl  # seconds
        self._immutable = immutable
        self._strip_suffix = strip_suffix
        self._lock = threading.Lock()  # guards all below
        self._listings: OrderedDict[Folder, Listing] = OrderedDict()
        self._names: OrderedDict[tuple[Folder, bytes], tuple[Node | None, float]] = OrderedDict()
        self._asked: OrderedDict[Folder, float] = OrderedDict()  # looked into lately, not listed
        self._pins = Pins(stores, network, patterns)
        self.buckets = BucketList(stores.all[0], network, lambda: self.ttl)
        budget.add_reclaimer(self._reclaim)

    # Listings

    def entries(
        self, folder: Folder, listing: Listing, offset: int, wait: Wait
    ) -> Iterator[DirEntry]:
        """The names in a listing from `offset` on; fetches pages as they are reached."""
        for following, row in listing.rows(offset, wait):
            name, node = self._entry(folder, row, listing)
            until = self._believed_until(node, listing.valid_until)
            yield DirEntry(name, node, following, max(0.0, until - time.monotonic()))

    def listing(self, folder: Folder) -> Listing:
        """The listing in force, or a new one that has fetched nothing yet."""
        now = time.monotonic()
        folder = _listed(folder)
        store = _store_of(self._stores, folder)
        stale = None
        with self._lock:
            listing = self._listings.get(folder)
            if listing is None or now >= listing.valid_until:
                stale = listing

                def fetch(token: str | None) -> Future[ListPage]:
                    page = store.list_page(folder.bucket, folder.prefix, token=token)
                    return self._network.submit(page)

                listing = Listing(
                    fetch, self._budget, prefix=folder.prefix, valid_until=now + self.ttl
                )
                self._listings[folder] = listing
            self._listings.move_to_end(folder)
        if stale is not None:
            stale.close()
        return listing

    def _entry(self, folder: Folder, row: Row, listing: Listing) -> tuple[bytes, Node]:
        if isinstance(row, str):
            component = row[len(folder.prefix) : -1]
            return encode_component(component), replace(folder, prefix=row)
        shadowed = isinstance(row, Shadowed)
        info = row.info if isinstance(row, Shadowed) else row
        component = info.id.key[len(folder.prefix) :]
        node = self._node(folder, info)
        if self._strip_suffix and not shadowed and self._abbreviated(info, node, listing):
            component = component.removesuffix(ALIAS_SUFFIX)
        return encode_component(component, shadowed=shadowed), node

    def _abbreviated(self, info: ObjectInfo, node: Node, listing: Listing) -> bool:
        key = info.id.key
        short = key.removesuffix(ALIAS_SUFFIX)
        if not isinstance(node, Member) or short == key or short.endswith("/"):
            return False
        return listing.find_object(short) is None and not listing.has_prefix(short + "/")

    def _node(self, folder: Folder, info: ObjectInfo) -> Node:
        is_archive = not folder.raw and self._patterns.is_archive(info.id.key)
        return Member(info, 0) if is_archive else ObjectFile(info)

    # Look-up

    def lookup(self, folder: Folder, name: bytes, wait: Wait) -> Found:
        """The node of that name.

        Raises:
            NotFound: neither a key, nor a prefix, nor an archive less its `.zip`, nor one with a
                version; remembered for the TTL.
            ObjectChanged: it is `x.zip@ETAG`, and that is not the archive's version.
        """
        try:
            return self._look_up(folder, name, wait)
        except NotFound:
            pinned = self._pins.find(_listed(folder), name, self._look_up, wait)
            if pinned is None:
                raise
            return Found(ObjectFile(pinned.info) if folder.raw else pinned, FOREVER)

    def _look_up(self, folder: Folder, name: bytes, wait: Wait) -> Found:
        """The node that is in the store under that name."""
        now = time.monotonic()
        with self._lock:
            node, until = self._names.get((folder, name), (None, 0.0))
            listing = self._listings.get(_listed(folder))
        if listing is None or now >= listing.valid_until:
            listing = self._first_page(folder, wait) if now >= until else None
        if listing is not None and listing.complete:
            node = self._find(folder, name, _Listed(listing))
            until = self._believed_until(node, listing.valid_until)
            if until > listing.valid_until:
                self._remember(folder, name, node, until)
        elif now >= until:
            node, until = self._lookup_alone(folder, name, wait)
        valid_for = max(0.0, until - time.monotonic())
        if node is None:
            raise NotFound(
                f"s3://{folder.bucket}/{folder.prefix}: no {name!r}", valid_for=valid_for
            )
        return Found(node, valid_for)

    def _first_page(self, folder: Folder, wait: Wait) -> Listing | None:
        """The listing with its first page, where this is not the first name asked for."""
        now = time.monotonic()
        with self._lock:
            asked = self._asked.get(folder, 0.0) > now
            self._asked[folder] = now + self.ttl
            self._asked.move_to_end(folder)
            while len(self._asked) > MAX_NAMES:
                self._asked.popitem(last=False)
        if not asked:
            return None
        listing = self.listing(folder)
        try:
            listing.load_next(0, wait)
        except AccessDenied:  # of all; what begins with one name may be allowed
            return None
        return listing

    def _lookup_alone(self, folder: Folder, name: bytes, wait: Wait) -> tuple[Node | None, float]:
        until = time.monotonic() + self.ttl
        known = _Asked(_store_of(self._stores, folder), self._network, folder, wait)
        node = self._find(folder, name, known)
        until = self._believed_until(node, until)
        self._remember(folder, name, node, until)
        return node, until

    def _remember(self, folder: Folder, name: bytes, node: Node | None, until: float) -> None:
        with self._lock:
            self._names[folder, name] = node, until
            self._names.move_to_end((folder, name))
            while len(self._names) > MAX_NAMES:
                self._names.popitem(last=False)

    def _believed_until(self, node: Node | None, until: float) -> float:
        """For ever, where archives are said never to change; a 412 ends that too (`expire`)."""
        for_ever = self._immutable and isinstance(node, Member)
        return time.monotonic() + FOREVER if for_ever else until

    def _find(self, folder: Folder, name: bytes, known: _Listed | _Asked) -> Node | None:
        decoded = decode_component(name)
        if decoded is None:
            return None
        component, shadowed, partial = decoded
        key = folder.prefix + component
        if partial:
            return self._find_long(folder, name, key, known)
        info, is_prefix = known.object(key), known.has_prefix(key + "/")
        if shadowed:
            return self._node(folder, info) if info is not None and is_prefix else None
        if is_prefix:
            return replace(folder, prefix=key + "/")
        if info is not None and not (component == "" and info.size == 0):
            return self._node(folder, info)
        if component and not folder.raw and self._patterns.is_archive(key + ALIAS_SUFFIX):
            info = known.object(key + ALIAS_SUFFIX)
            return self._node(folder, info) if info is not None else None
        return None

    def _find_long(
        self, folder: Folder, name: bytes, key: str, known: _Listed | _Asked
    ) -> Node | None:
        for row in known.beginning_with(key):
            key = row if isinstance(row, str) else row.id.key
            component = key[len(folder.prefix) :].removesuffix("/")
            if isinstance(row, str):
                if encode_component(component) == name:
                    return replace(folder, prefix=row)
                continue
            shadowed = known.has_prefix(row.id.key + "/")
            if encode_component(component, shadowed=shadowed) == name:
                return self._node(folder, row)
        return None

    # Forgetting

    def place(self, info: ObjectInfo) -> tuple[Folder, bytes]:
        """The directory that an object stands in, and its name there."""
        folder, component = _place(info)
        return folder, encode_component(component)

    def expire(self, info: ObjectInfo) -> None:
        """A version turned out to be gone: believe nothing that still names it.

        What was learned since is kept, so that an old reader costs new ones no request.
        """
        folder, names = _place(info)[0], names_of(info)
        stale = None
        with self._lock:
            listing = self._listings.get(folder)
            if listing is not None and _names_version(listing.find_object(info.id.key), info):
                stale = self._listings.pop(folder)
            for known in itertools.product((folder, replace(folder, raw=True)), names):
                node, _ = self._names.get(known, (None, 0.0))
                if isinstance(node, ObjectFile | Member) and _names_version(node.info, info):
                    del self._names[known]
        if stale is not None:
            stale.close()

    def is_superseded(self, info: ObjectInfo) -> bool:
        """Whether what is known now, without a request, names another version of that key."""
        folder, component = _place(info)
        now = time.monotonic()
        with self._lock:
            listing = self._listings.get(folder)
            node, until = self._names.get((folder, encode_component(component)), (None, 0.0))
        if now < until and not isinstance(node, Folder):  # a directory may stand beside the object
            return not isinstance(node, ObjectFile | Member) or node.info.id != info.id
        if listing is None or now >= listing.valid_until:
            return False
        complete = listing.complete  # before the look: a page may be added in between
        current = listing.find_object(info.id.key)
        return complete if current is None else current.id != info.id

    def _reclaim(self, size: int) -> int:
        freed = 0
        while freed < size:
            with self._lock:
                if not self._listings:
                    break
                listing = self._listings.popitem(last=False)[1]
            freed += listing.close()
        return freed


def names_of(info: ObjectInfo) -> set[bytes]:
    """Every name that an object may have been found by in its directory, but for pinned ones."""
    component = _place(info)[1]
    short = component.removesuffix(ALIAS_SUFFIX)
    full, shadowed = encode_component(component), encode_component(component, shadowed=True)
    return {full, shadowed, encode_component(short)}


def _place(info: ObjectInfo) -> tuple[Folder, str]:
    """The directory that an object stands in, and the last component of its key."""
    prefix, slash, component = info.id.key.rpartition("/")
    return Folder(info.id.endpoint, info.id.bucket, prefix + slash), component


def _listed(folder: Folder) -> Folder:
    """The directory whose listing tells of this one: where archives are files it is the same."""
    return replace(folder, raw=False) if folder.raw else folder


def _store_of(stores: RoutedStores, folder: Folder) -> ObjectStore:
    return stores.of(folder.endpoint, folder.bucket, folder.prefix)


def _names_version(known: ObjectInfo | None, gone: ObjectInfo) -> bool:
    return known is not None and known.id == gone.id


class _Listed:
    """What a complete listing knows."""

    def __init__(self, listing: Listing) -> None:
        self._listing = listing
        self.object = listing.find_object
        self.has_prefix = listing.has_prefix

    def beginning_with(self, key: str) -> Iterator[ObjectInfo | str]:
        return self._listing.beginning_with(key)


class _Asked:
    """What single LIST requests tell; each is made when a question needs it, and only once."""

    def __init__(self, store: ObjectStore, network: Network, folder: Folder, wait: Wait) -> None:
        self._store = store
        self._network = network
        self._folder = folder
        self._wait = wait
        self._pages: dict[str, ListPage] = {}

    def _page(self, beginning: str) -> ListPage:
        page = self._pages.get(beginning)
        if page is None:
            page = self._fetch(beginning, None, NARROW_KEYS)
            # S3 may give fewer keys than were asked for, even none, and go on.
            while page.next_token is not None and not page.objects and not page.prefixes:
                page = self._fetch(beginning, page.next_token, NARROW_KEYS)
            self._pages[beginning] = page
        return page

    def _fetch(self, beginning: str, token: str | None, max_keys: int) -> ListPage:
        bucket = self._folder.bucket
        request = self._store.list_page(bucket, beginning, token=token, max_keys=max_keys)
        return self._wait.result(self._network.submit(request))

    def _page_reaching(self, key: str) -> ListPage:
        """A page whose answer on `key` is certain: one that was fetched, or one for it alone."""
        for beginning, page in self._pages.items():
            last = max((o.id.key for o in page.objects[-1:]), default="")
            last = max((last, *page.prefixes[-1:]))
            if key.startswith(beginning) and (page.next_token is None or key <= last):
                return page
        return self._page(key)

    def object(self, key: str) -> ObjectInfo | None:
        page = self._page_reaching(key)
        return next((info for info in page.objects if info.id.key == key), None)

    def has_prefix(self, prefix: str) -> bool:
        page = self._page_reaching(prefix)
        keys = (*page.prefixes, *(info.id.key for info in page.objects))
        return any(key.startswith(prefix) for key in keys)

    def beginning_with(self, key: str) -> Iterator[ObjectInfo | str]:
        page = self._page(key)
        while True:
            yield from page.objects
            yield from page.prefixes
            if page.next_token is None:
                return
            page = self._fetch(key, page.next_token, MAX_KEYS)
