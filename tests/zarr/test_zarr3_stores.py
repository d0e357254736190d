"""Every store of zarr 3 that reads: over the mount, and by `s3zip://` without one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np
import obstore
import pytest
import zarr
import zarr.abc.store
from environments import Served
from hierarchies import (
    ARRAYS,
    ATTRIBUTES,
    GROUPS,
    Place,
    array_of,
    assert_whole,
    write_hierarchy,
    zip_folder,
)
from zarr.core.buffer import default_buffer_prototype
from zarr.storage import (
    FsspecStore,
    GpuMemoryStore,
    LocalStore,
    LoggingStore,
    MemoryStore,
    ObjectStore,
    StorePath,
    WrapperStore,
)

Opens = Callable[[Place], Any]
ZarrFormat = Literal[2, 3]
FORMATS: tuple[ZarrFormat, ...] = (2, 3)


def local(place: Place) -> LocalStore:
    return LocalStore(place.path, read_only=True)


def by_url(place: Place) -> FsspecStore:
    return FsspecStore.from_url(place.url, storage_options=place.options, read_only=True)


# By the names that docs/compatibility.md has.
STORES: dict[str, Opens] = {
    "`LocalStore(path, read_only=True)`": local,
    '`FsspecStore.from_url("file://…")`': lambda place: FsspecStore.from_url(
        f"file://{place.path}", read_only=True
    ),
    '`FsspecStore.from_url("s3zip://…")`': by_url,
    "`ObjectStore` of obstore's `LocalStore`": lambda place: ObjectStore(
        obstore.store.LocalStore(prefix=place.path), read_only=True
    ),
    "`StorePath`": lambda place: StorePath(local(place)),
    "`StorePath` of `s3zip://…`": lambda place: StorePath(by_url(place)),
    "`LoggingStore`": lambda place: LoggingStore(local(place)),
    "`LoggingStore` of `s3zip://…`": lambda place: LoggingStore(by_url(place)),
    "`WrapperStore`": lambda place: WrapperStore(local(place)),
    "`WrapperStore` of `s3zip://…`": lambda place: WrapperStore(by_url(place)),
}
DOORS: dict[str, Opens] = {"mount": local, "s3zip": by_url}


def rows(of: dict[str, Opens]) -> list[Any]:
    return [
        pytest.param(opens, id=name, marks=pytest.mark.row("zarr 3", name))
        for name, opens in of.items()
    ]


@pytest.fixture(scope="module")
def places(
    tmp_path_factory: pytest.TempPathFactory, serve: Callable[[Path], Served]
) -> dict[str, Place]:
    """Archives `v2`, `v3` and, with consolidated metadata, `c2` and `c3`."""
    folder = tmp_path_factory.mktemp("zarr3")
    (folder / "served").mkdir()
    for zarr_format in FORMATS:
        tree = folder / f"tree{zarr_format}"
        write_hierarchy(tree, zarr_format)
        zip_folder(tree, folder / f"served/v{zarr_format}.zarr.zip")
        zarr.consolidate_metadata(LocalStore(tree))
        zip_folder(tree, folder / f"served/c{zarr_format}.zarr.zip")
    at = serve(folder / "served")
    names = [f"{kind}{zarr_format}" for kind in "vc" for zarr_format in FORMATS]
    return {name: Place.of(at.path, at.bucket, at.server, f"{name}.zarr.zip") for name in names}


@pytest.fixture(params=FORMATS, ids=["format 2", "format 3"])
def zarr_format(request: pytest.FixtureRequest) -> ZarrFormat:
    return 2 if request.param == 2 else 3


@pytest.fixture
def place(places: dict[str, Place], zarr_format: ZarrFormat) -> Place:
    return places[f"v{zarr_format}"]


@pytest.mark.row("zarr 3", "`zarr.open(path)`")
def test_a_path_is_read_whole(place: Place) -> None:
    group = zarr.open(place.path, mode="r")
    assert isinstance(group, zarr.Group)
    assert_whole(group)


@pytest.mark.row("zarr 3", '`zarr.open("s3zip://…")`')
def test_a_url_is_read_whole(place: Place) -> None:
    group = zarr.open(place.url, mode="r", storage_options=place.options)
    assert isinstance(group, zarr.Group)
    assert_whole(group)


@pytest.mark.parametrize("opens", rows(STORES))
def test_a_store_is_read_whole(place: Place, opens: Opens) -> None:
    assert_whole(zarr.open_group(opens(place), mode="r"))


@pytest.mark.parametrize("opens", DOORS.values(), ids=DOORS)
def test_a_part_of_the_hierarchy_opens_by_its_path(place: Place, opens: Opens) -> None:
    array = zarr.open_array(StorePath(opens(place), "deep/er/counts"), mode="r")
    np.testing.assert_array_equal(array[150:850:7], ARRAYS["deep/er/counts"][150:850:7])
    group = zarr.open_group(opens(place), path="deep", mode="r")
    assert set(dict(group.members(max_depth=None))) == {"er", "er/counts", "scalar"}
    with pytest.raises(KeyError):
        group["nothing"]
    with pytest.raises(FileNotFoundError):
        zarr.open_array(opens(place), path="deep/nothing", mode="r")


@pytest.mark.parametrize("opens", STORES.values(), ids=STORES)
def test_a_read_only_store_refuses_to_write(place: Place, opens: Opens) -> None:
    group = zarr.open_group(opens(place), mode="r")
    with pytest.raises(ValueError, match="read-only"):
        array_of(group, "values")[0] = 0
    with pytest.raises(ValueError, match="read-only"):
        group.create_group("new")


def test_what_was_opened_for_writing_fails_at_the_first_write(place: Place) -> None:
    mounted = zarr.open_group(place.path, mode="r+")
    with pytest.raises(OSError, match="Read-only file system"):
        array_of(mounted, "values")[0] = 0
    by_url = zarr.open_group(place.url, mode="r+", storage_options=place.options)
    with pytest.raises(OSError, match="read-only"):
        array_of(by_url, "values")[0] = 0
    assert_whole(zarr.open_group(place.path, mode="r"))


def test_a_logging_store_counts_what_was_asked(place: Place) -> None:
    store = LoggingStore(local(place))
    assert_whole(zarr.open_group(store, mode="r"))
    assert store.counter["get"] > len(ARRAYS)


@pytest.mark.row("zarr 3", "copies into `MemoryStore`")
@pytest.mark.parametrize("opens", DOORS.values(), ids=DOORS)
def test_every_key_is_copied_into_memory(place: Place, opens: Opens) -> None:
    target = MemoryStore()
    asyncio.run(copy(opens(place), target))
    assert_whole(zarr.open_group(target, mode="r"))


async def copy(source: zarr.abc.store.Store, target: MemoryStore | GpuMemoryStore) -> None:
    async for key in source.list():
        value = await source.get(key, prototype=default_buffer_prototype())
        assert value is not None
        await target.set(key, value)


@pytest.mark.row(
    "zarr 3", "copies into `GpuMemoryStore`", reason="zarr asks for cupy, and that for a GPU"
)
@pytest.mark.skipif(find_spec("cupy") is not None, reason="with cupy it takes values")
def test_a_store_of_the_gpu_takes_nothing_without_cupy(place: Place) -> None:
    with pytest.raises(ImportError, match="cupy"):
        asyncio.run(copy(local(place), GpuMemoryStore()))


@pytest.mark.row("zarr 3", "`zarr.from_array` into `MemoryStore`")
@pytest.mark.parametrize("opens", DOORS.values(), ids=DOORS)
def test_an_array_is_copied_into_memory_in_other_chunks(place: Place, opens: Opens) -> None:
    group = zarr.open_group(opens(place), mode="r")
    copied = zarr.from_array(MemoryStore(), data=array_of(group, "values"), chunks=(7, 50, 9))
    np.testing.assert_array_equal(copied[...], ARRAYS["values"])


@pytest.mark.row("zarr 3", "groups made by `create_hierarchy`")
@pytest.mark.parametrize("opens", DOORS.values(), ids=DOORS)
def test_groups_of_create_hierarchy_are_found_implied_ones_too(place: Place, opens: Opens) -> None:
    group = zarr.open_group(opens(place), mode="r")
    found = {name for name, node in group.members(max_depth=None) if isinstance(node, zarr.Group)}
    assert found == GROUPS
    assert dict(group.attrs) == ATTRIBUTES
    assert sorted(group.group_keys()) == ["deep", "empty"]
    assert sorted(group.array_keys()) == ["sparse", "values"]


@pytest.mark.row("zarr 3", "consolidated metadata")
@pytest.mark.parametrize("opens", DOORS.values(), ids=DOORS)
def test_consolidated_metadata_is_all_that_is_read_of_metadata(
    places: dict[str, Place], zarr_format: ZarrFormat, opens: Opens
) -> None:
    store = LoggingStore(opens(places[f"c{zarr_format}"]))
    group = zarr.open_consolidated(store, mode="r")
    opened = store.counter["get"]
    assert set(dict(group.members(max_depth=None))) == GROUPS | set(ARRAYS)
    assert store.counter["get"] == opened  # nothing more
    assert_whole(group)
