"""From settings to a tree: the only place where the rooms are put together."""

from __future__ import annotations

from collections.abc import Sequence

from s3zipfs.archive.registry import Archives
from s3zipfs.budget import MemoryBudget
from s3zipfs.cache.disk import DiskCache
from s3zipfs.cache.extents import ExtentCache
from s3zipfs.cache.indexes import PersistedIndexes
from s3zipfs.cache.reader import LARGEST_GET, Fetcher
from s3zipfs.errors import SettingsError
from s3zipfs.settings import Settings
from s3zipfs.stores.base import ObjectStore
from s3zipfs.stores.network import Network
from s3zipfs.stores.retrying import RetryingStore
from s3zipfs.stores.s3 import S3Store
from s3zipfs.tree.folders import Folders
from s3zipfs.tree.nodes import Folder
from s3zipfs.tree.patterns import ArchivePatterns
from s3zipfs.tree.tree import Tree
from s3zipfs.zipformat.names import check_encoding

SCHEMES = ("s3", "s3zip")


def build_tree(
    settings: Settings,
    sources: Sequence[str] = (),
    *,
    store: ObjectStore | None = None,
    kept: int = 1,
    largest_get: int = LARGEST_GET,
) -> Tree:
    """The tree of these sources (`s3://bucket[/prefix]`; none: all buckets). No request is made.

    `store` takes the place of S3 (tests). Of the memory one part in `kept` may hold what was read
    to its end. No GET is of more than `largest_get` bytes.

    Raises:
        SettingsError: a source is not a bucket's URL, or there is no such encoding.
    """
    check_encoding(settings.encoding)
    reload_credentials = None
    if store is None:
        s3 = S3Store(settings)
        reload_credentials = s3.reload_credentials
        store = RetryingStore(s3, timeout=settings.timeout)
    network = Network()
    budget = MemoryBudget(settings.memory)
    cache = ExtentCache(budget, most_read=settings.memory // kept)
    disk = DiskCache(settings.cache_dir, max_bytes=settings.block_cache_size, budget=budget)
    fetcher = Fetcher(
        store,
        network,
        cache,
        disk,
        in_threads=settings.requests_in_threads,
        on_loop=settings.requests_on_loop,
        largest_get=largest_get,
    )
    folders = Folders(
        store,
        network,
        budget,
        ArchivePatterns(settings.archive_patterns, settings.exclude),
        ttl=settings.ttl,
        immutable=settings.immutable,
        strip_suffix=settings.strip_suffix,
    )
    archives = Archives(
        fetcher,
        cache,
        budget,
        PersistedIndexes(
            settings.cache_dir, max_bytes=settings.index_cache_size, encoding=settings.encoding
        ),
        encoding=settings.encoding,
        max_directory_bytes=settings.max_directory_bytes,
        on_changed=folders.expire,
        unwrap=settings.single_root == "unwrap",
    )
    return Tree(folders, archives, fetcher, _named(sources), reload_credentials=reload_credentials)


def _named(sources: Sequence[str]) -> dict[str, Folder]:
    """A name for each source: its last component, or all of it where that is taken."""
    folders = [parse_source(source) for source in sources]
    lasts = [(f.prefix.rstrip("/").rpartition("/")[2] or f.bucket) for f in folders]
    named: dict[str, Folder] = {}
    for folder, last in zip(folders, lasts, strict=True):
        whole = f"{folder.bucket}/{folder.prefix}".rstrip("/").replace("/", "-")
        name = last if lasts.count(last) == 1 else whole
        if name in named:
            raise SettingsError(f"s3://{folder.bucket}/{folder.prefix}: given twice")
        named[name] = folder
    return named


def parse_source(source: str) -> Folder:
    """The bucket and prefix of `s3://bucket[/prefix]` or `bucket[/prefix]`."""
    scheme, found, rest = source.partition("://")
    if found and scheme not in SCHEMES:
        raise SettingsError(f"{source}: a source is s3://bucket or s3://bucket/prefix")
    bucket, _, prefix = (rest if found else source).partition("/")
    if not bucket:
        raise SettingsError(f"{source}: no bucket in it; a source is s3://bucket/prefix")
    prefix = prefix.rstrip("/")
    return Folder(bucket, f"{prefix}/" if prefix else "")
