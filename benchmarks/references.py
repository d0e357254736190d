"""What no mount can be faster than: the client library alone, the inflater alone, a local file."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import obstore
import zarr
from data import TREE, Archive, deflated
from isal import isal_zlib
from mounts import Store
from obstore.store import S3Store
from readers import Part, Read, WrongBytes, read_parts, together
from zarr.storage import ObjectStore

WAYS_BIG, SIZE_BIG = 8, 8 << 20
WAYS_SMALL = 16


def client(store: Store, bucket: str) -> S3Store:
    """obstore's client of a bucket."""
    return S3Store(
        bucket,
        endpoint=store.endpoint,
        access_key_id=store.access_key,
        secret_access_key=store.secret_key,
        region="us-east-1",
        virtual_hosted_style_request=False,
        client_options={"allow_http": True},
    )


def _ranges(store: Store, archive: Archive, ranges: list[tuple[int, int]], ways: int) -> Read:
    """Range GETs of `(start, length)`, so many at once, and nothing done with the bytes."""

    def job(_number: int) -> int:
        bucket = client(store, archive.name)

        def get(piece: tuple[int, int]) -> int:
            return len(obstore.get_range(bucket, archive.key, start=piece[0], length=piece[1]))

        with ThreadPoolExecutor(ways) as pool:
            return sum(pool.map(get, ranges))

    read = together(job)
    (read.size,) = read.answers
    if read.size != sum(length for _, length in ranges):
        raise WrongBytes(f"obstore: {read.size} bytes")
    read.files = len(ranges)
    return read


def get_big(store: Store, archive: Archive) -> Read:
    """The first member by GETs of 8 MiB, 8 at once."""
    member = archive.members[0]
    starts = range(member.truth, member.truth + member.size, SIZE_BIG)
    return _ranges(store, archive, [(start, SIZE_BIG) for start in starts], WAYS_BIG)


def get_small(store: Store, archive: Archive, numbers: list[int]) -> Read:
    """A GET for each member, 16 at once."""
    ranges = [(archive.members[n].truth, archive.members[n].size) for n in numbers]
    return _ranges(store, archive, ranges, WAYS_SMALL)


def inflate(archive: Archive) -> Read:
    """isal on the first member's stream, 1 MiB at a time, from memory."""
    stream = deflated(archive)

    def job(_number: int) -> int:
        inflater, size = isal_zlib.decompressobj(-15), 0
        for at in range(0, len(stream), 1 << 18):
            size += len(inflater.decompress(stream[at : at + (1 << 18)]))
        return size

    read = together(job)
    (read.size,) = read.answers
    return read


def read_local(archive: Archive) -> Read:
    """The zip itself in the page cache, read as the members are."""
    part = Part(str(archive.path), 0, archive.path.stat().st_size)
    read_parts(archive.path, [part])
    return read_parts(archive.path, [part])


def local(tree: Path) -> Callable[[], Any]:
    """Opens the Zarr array in a folder."""
    return lambda: zarr.open_array(tree, mode="r")


def object_store(store: Store) -> Callable[[], Any]:
    """Opens the unzipped array by Zarr's ObjectStore."""
    return lambda: zarr.open_array(ObjectStore(client(store, TREE), read_only=True), mode="r")


def s3zip(store: Store, archive: Archive) -> Callable[[], Any]:
    """Opens the zipped array by our fsspec door, without a mount."""
    options = {
        "key": store.access_key,
        "secret": store.secret_key,
        "endpoint_url": store.endpoint,
        "cache_dir": None,
    }
    url = f"s3zip://{archive.name}/{archive.key}"
    return lambda: zarr.open_array(url, mode="r", storage_options=options)


def fsspec_store(store: Store) -> Callable[[], Any]:
    """Opens the unzipped array by Zarr's FsspecStore, on s3fs."""
    options = {
        "key": store.access_key,
        "secret": store.secret_key,
        "endpoint_url": store.endpoint,
        "skip_instance_cache": True,
    }
    return lambda: zarr.open_array(f"s3://{TREE}", mode="r", storage_options=options)
