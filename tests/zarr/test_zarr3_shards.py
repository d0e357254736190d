"""Sharded arrays: what one inner chunk costs, in bytes and requests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from faults.px import Proxy, gets
from hierarchies import Place, array_of, zip_folder
from mounting import Mount
from s3server import S3Server
from zarr.abc.store import Store
from zarr.storage import FsspecStore, LocalStore

KEY = "sharded.zarr.zip"
INNER = 256 << 10  # bytes of an inner chunk, which is not compressed
SIDE = 64  # inner chunks of a shard: 16 MiB
INDEX = SIDE * 16 + 4  # bytes: offset and length of each, and a CRC-32C
# What else a member is read for: its local header (30 bytes, its name, an extra), and page borders.
HEADER = 1 << 10
PAGES = 4 * 4096
VALUES = np.random.default_rng(3).integers(0, 255, 2 * SIDE * INNER, dtype="u1")


@pytest.fixture
def px(s3server: S3Server) -> Iterator[Proxy]:
    with Proxy(s3server) as running:
        yield running


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sharded")
    group = zarr.open_group(folder / "tree", mode="w")
    array = group.create_array(
        "values", shape=VALUES.shape, chunks=(INNER,), shards=(SIDE * INNER,), dtype="u1",
        compressors=None,
    )  # fmt: skip
    array[:] = VALUES
    zip_folder(folder / "tree", folder / KEY)
    return folder / KEY


@pytest.fixture(params=["mount", "s3zip"])
def store(
    request: pytest.FixtureRequest,
    archive: Path,
    px: Proxy,
    s3client: Any,
    tmp_path: Path,
    bucket: str,
) -> Iterator[Store]:
    """The archive, which nobody has read yet, behind a proxy that counts."""
    s3client.upload_file(str(archive), bucket, KEY)
    if request.param == "mount":
        with Mount(tmp_path / "mnt", px.server, [f"s3://{bucket}"]) as mount:
            yield LocalStore(mount.path / KEY, read_only=True)
    else:
        place = Place.of(tmp_path, bucket, px.server, KEY)
        yield FsspecStore.from_url(place.url, storage_options=place.options, read_only=True)


def fetched(px: Proxy) -> list[int]:
    """Bytes of each GET of the archive."""
    ranges = [request.range for request in list(px.requests) if gets(KEY)(request)]
    return [end - start for start, end in ranges]


@pytest.mark.row("zarr 3", "sharded arrays: one inner chunk fetches one inner chunk")
def test_one_inner_chunk_fetches_one_inner_chunk_and_the_shards_index(
    store: Store, px: Proxy
) -> None:
    array = array_of(zarr.open_group(store, mode="r"), "values")
    pages = PAGES if isinstance(store, LocalStore) else 0
    for at in (29, SIDE + 44):  # one in each shard
        px.honest()
        np.testing.assert_array_equal(
            array[at * INNER : (at + 1) * INNER], VALUES[at * INNER : (at + 1) * INNER]
        )
        assert sum(fetched(px)) <= INNER + INDEX + HEADER + pages
        assert len(fetched(px)) <= 3
        px.honest()
        assert array[at * INNER + 5] == VALUES[at * INNER + 5]
        assert fetched(px) == []  # it is in memory


def test_a_whole_sharded_array_is_fetched_once(store: Store, px: Proxy, archive: Path) -> None:
    array = array_of(zarr.open_group(store, mode="r"), "values")
    np.testing.assert_array_equal(array[:], VALUES)
    assert sum(fetched(px)) <= 1.05 * archive.stat().st_size
