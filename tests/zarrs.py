"""Zarr hierarchies for tests, as the members of an archive."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import zarr
from zarr.storage import MemoryStore

METADATA = {"zarr.json", ".zarray", ".zgroup", ".zattrs", ".zmetadata"}
FILLER = 3 << 19  # bytes of a member that stands between metadata: more than a request costs
GROUPS, ARRAYS = 40, 4  # in each


def is_metadata(name: str) -> bool:
    """Whether a member of that path is Zarr's metadata."""
    return name.rpartition("/")[2] in METADATA


def members_of(store: MemoryStore) -> dict[str, bytes]:
    """What a store holds, by key."""

    async def read() -> dict[str, bytes]:
        return {key: store._store_dict[key].to_bytes() async for key in store.list()}

    return asyncio.run(read())


def hierarchy(zarr_format: Any) -> dict[str, bytes]:
    """200 groups and arrays with their chunks in any order, and large members between them."""
    store = MemoryStore()
    root = zarr.open_group(store, mode="w", zarr_format=zarr_format)
    for number in range(GROUPS):
        group = root.create_group(f"g{number}", attributes={"number": number})
        for name in "abcd"[:ARRAYS]:
            array = group.create_array(
                name, shape=(64, 64), chunks=(32, 64), dtype="u2", compressors=None
            )
            array[:32] = number + 1  # the other chunk is missing
    found = list(members_of(store).items())
    random.Random(4).shuffle(found)
    for place in (30, 120, 210):
        found.insert(place, (f"filler/{place}", bytes(FILLER)))
    return dict(found)
