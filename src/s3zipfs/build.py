"""From settings to a tree: the only place where the rooms are put together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final
from urllib.parse import urlsplit

from s3zipfs.archive.registry import Archives
from s3zipfs.budget import MemoryBudget
from s3zipfs.cache.disk import DiskCache
from s3zipfs.cache.extents import ExtentCache
from s3zipfs.cache.indexes import PersistedIndexes
from s3zipfs.cache.reader import Fetcher
from s3zipfs.cache.streams import MAX_WINDOW
from s3zipfs.errors import SettingsError
from s3zipfs.mcaliases import split_alias
from s3zipfs.settings import Place, Settings, Source, parse_source
from s3zipfs.stores.base import ObjectInfo, ObjectStore, RangeStore
from s3zipfs.stores.network import Network
from s3zipfs.stores.offline import OfflineStore
from s3zipfs.stores.retrying import RetryingStore
from s3zipfs.stores.routing import Route, RoutedStores
from s3zipfs.stores.s3 import S3Store
from s3zipfs.telemetry.objects import ObjectMeter
from s3zipfs.telemetry.requests import RequestMeter
from s3zipfs.tree.folders import Folders
from s3zipfs.tree.meters import Meters
from s3zipfs.tree.names import CONTROL
from s3zipfs.tree.nodes import Folder
from s3zipfs.tree.patterns import ArchivePatterns
from s3zipfs.tree.tree import Reload, Tree
from s3zipfs.zipformat.names import check_encoding

KEPT_BY_MOUNT: Final = 8  # `kept` of a mount: the kernel has what was read too


@dataclass(frozen=True, slots=True)
class _Reached:
    """A source, and the store that its objects are asked from."""

    source: Source
    route: Route

    @property
    def folder(self) -> Folder:
        return Folder(self.route.store.endpoint, self.route.bucket, self.route.prefix)


def build_tree(
    settings: Settings,
    sources: Sequence[str | Source] = (),
    *,
    store: ObjectStore | None = None,
    kept: int = 1,
    window: int = MAX_WINDOW,
    reread: Callable[[], Settings] | None = None,
    offline: bool = False,
) -> Tree:
    """The tree of these sources (`s3://bucket[/prefix]`; none: all buckets). No request is made.

    `store` takes the place of S3 (tests). Of the memory one part in `kept` may hold what was read
    to its end; of one stream at most `window` bytes are read ahead. `reread` gives the settings as
    they are by now, with their sources, for new credentials. `offline`: names are asked for, and
    no bytes; what is not on disk is `NotKeptError`.

    Raises:
        SettingsError: a source is not a bucket's URL, or there is no such encoding.
    """
    check_encoding(settings.encoding)
    connections = _Connections(settings, store, reread)
    stores, named = _stores(connections, sources)
    budget = MemoryBudget(settings.memory)
    ranges = OfflineStore(stores) if offline else stores
    fetcher = _fetcher(settings, ranges, budget, kept=kept, window=window)
    folders = _folders(settings, stores, fetcher.network, budget)
    archives = _archives(settings, fetcher, budget, on_changed=folders.expire)
    meters = _meters(settings, connections, budget, fetcher, archives)
    return Tree(
        stores, folders, archives, fetcher, named, meters=meters, reloads=connections.reloads
    )


def check_settings(settings: Settings) -> None:
    """Whether a tree can be built of settings and their sources. No request is made.

    Raises:
        SettingsError: as `build_tree` would.
    """
    check_encoding(settings.encoding)
    _stores(_Connections(settings, None, None), settings.sources)


def _stores(
    connections: _Connections, sources: Sequence[str | Source]
) -> tuple[RoutedStores, dict[str, Folder]]:
    """The store of every object, and the directory of each source by its name."""
    whole, below = _resolved(sources)
    reached = [connections.reach(each) for each in below]
    named = _named(reached)
    first = reached[0].route.store if reached else connections.store_of(whole)
    return RoutedStores(first, [each.route for each in reached]), named


def _fetcher(
    settings: Settings, store: RangeStore, budget: MemoryBudget, *, kept: int, window: int
) -> Fetcher:
    """What brings bytes: the network's thread, and the caches in memory and on disk."""
    return Fetcher(
        store,
        Network(),
        ExtentCache(budget, most_read=settings.memory // kept),
        DiskCache(settings.cache_dir, max_bytes=settings.block_cache_size, budget=budget),
        in_threads=settings.requests_in_threads,
        on_loop=settings.requests_on_loop,
        window=window,
    )


def _folders(
    settings: Settings, stores: RoutedStores, network: Network, budget: MemoryBudget
) -> Folders:
    """Names in buckets, and what of them is an archive."""
    return Folders(
        stores,
        network,
        budget,
        ArchivePatterns(settings.archive_patterns, settings.exclude),
        ttl=settings.ttl,
        immutable=settings.immutable,
        strip_suffix=settings.strip_suffix,
    )


def _archives(
    settings: Settings,
    fetcher: Fetcher,
    budget: MemoryBudget,
    *,
    on_changed: Callable[[ObjectInfo], None],
) -> Archives:
    """Names in archives, and their members' bytes."""
    indexes = PersistedIndexes(
        settings.cache_dir, max_bytes=settings.index_cache_size, encoding=settings.encoding
    )
    return Archives(
        fetcher,
        fetcher.cache,
        budget,
        indexes,
        encoding=settings.encoding,
        max_directory_bytes=settings.max_directory_bytes,
        on_changed=on_changed,
        unwrap=settings.single_root == "unwrap",
    )


def _meters(
    settings: Settings,
    connections: _Connections,
    budget: MemoryBudget,
    fetcher: Fetcher,
    archives: Archives,
) -> Meters:
    """What is counted in all of them."""
    return Meters(
        asked=connections.made,
        requests=connections.requests,
        objects=connections.objects,
        budget=budget,
        cache=fetcher.cache,
        disk=fetcher.disk,
        archives=archives,
        cache_dir=settings.cache_dir,
        cache_limit=settings.block_cache_size if settings.cache_dir is not None else 0,
    )


class _Connections:
    """The stores of a tree: one for all sources that are reached in the same way."""

    def __init__(
        self,
        settings: Settings,
        store: ObjectStore | None,
        reread: Callable[[], Settings] | None,
    ) -> None:
        self._settings = settings
        self._given = store
        self._reread = reread
        self._stores: dict[Settings, RetryingStore] = {}
        self.objects = ObjectMeter()
        self.requests = RequestMeter(self.objects)
        self.reloads: list[Reload] = []

    @property
    def made(self) -> Sequence[RetryingStore]:
        """All stores of S3, once they were asked for."""
        return list(self._stores.values())

    def reach(self, source: Source) -> _Reached:
        bucket, prefix = _place(source.url)
        return _Reached(source, Route(self.store_of(source), bucket, prefix))

    def store_of(self, source: Source | None) -> ObjectStore:
        """Of a source, or of the mount as a whole."""
        if self._given is not None:
            return self._given
        settings = self._settings if source is None else self._settings.of(source)
        if settings not in self._stores:
            reread = self._reread
            now = None
            if reread is not None:
                now = partial(_by_now, reread, source, settings.endpoint_url)
            s3 = S3Store(settings, now, self.requests)
            self.reloads.append((s3.endpoint, s3.reload_credentials))
            self._stores[settings] = RetryingStore(s3, timeout=settings.timeout)
        return self._stores[settings]


def _by_now(
    reread: Callable[[], Settings], source: Source | None, endpoint_url: str | None
) -> Settings:
    """The settings of a source, or of the mount as a whole, as they are by now.

    Raises:
        SettingsError: they name the source no more.
    """
    settings = reread()
    if source is None:
        return settings
    for each in map(source_of, settings.sources):
        by_now = settings.of(each)
        if (each.url, each.name, by_now.endpoint_url) == (source.url, source.name, endpoint_url):
            return by_now
    raise SettingsError(f"{source.url}: is no source of that endpoint any more; mount again")


def _resolved(sources: Sequence[str | Source]) -> tuple[Source | None, list[Source]]:
    """The source that stands for all buckets, as an alias of mc alone does; else all sources."""
    found = [source_of(each) for each in sources]
    return (found[0], []) if len(found) == 1 and not found[0].url else (None, found)


def source_of(given: str | Source) -> Source:
    """A source with what mc's alias stands for, where its URL begins with one."""
    source = given
    if isinstance(source, str):
        _place(source)
        source = Source(url=source)
    alias, rest = split_alias(source.url)
    return source if alias is None else source.model_copy(update={"url": rest, "mc_alias": alias})


def _place(url: str) -> Place:
    try:
        return parse_source(url)
    except ValueError as error:
        raise SettingsError(str(error)) from None


def _named(reached: Sequence[_Reached]) -> dict[str, Folder]:
    """A name for each source: its own, or its last component, or as much as tells it apart."""
    for number, each in enumerate(reached):
        if any(each.folder == other.folder for other in reached[:number]):
            raise SettingsError(f"{each.source.url}: given twice")
    unnamed = [each for each in reached if each.source.name is None]
    taken = [each.source.name for each in reached if each.source.name is not None]
    named: dict[str, Folder] = {}
    for each in reached:
        name = each.source.name or next(
            name
            for way in (_last, _whole, _with_endpoint)
            if [*taken, *map(way, unnamed)].count(name := way(each)) == 1 or way is _with_endpoint
        )
        if name == CONTROL.decode() and len(reached) > 1:
            raise SettingsError(f"{each.source.url}: {name} is the mount's own; give another name")
        if name in named:
            raise SettingsError(f"{each.source.url}: another source is called {name} as well")
        named[name] = each.folder
    return named


def _last(reached: _Reached) -> str:
    route = reached.route
    return route.prefix.rstrip("/").rpartition("/")[2] or route.bucket


def _whole(reached: _Reached) -> str:
    return f"{reached.route.bucket}/{reached.route.prefix}".rstrip("/").replace("/", "-")


def _with_endpoint(reached: _Reached) -> str:
    host = urlsplit(reached.route.store.endpoint).netloc
    return f"{host}-{_whole(reached)}"
