"""Archives of other names and shapes, read by zarr 3 over both doors: `.ozx`, `.rkns`, one root."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from commands import keys_of, s3zipfs
from environments import Served
from faults.px import Proxy, gets
from hierarchies import Place, array_of, assert_whole, write_hierarchy, zip_folder
from numcodecs import Blosc
from s3server import S3Server
from zarr.storage import FsspecStore, LocalStore

WRITTEN = "Archives as written"
DOORS = ["mount", "s3zip"]


def opened(place: Place, door: str, **options: str) -> zarr.Group:
    if door == "mount":
        return zarr.open_group(LocalStore(place.path, read_only=True), mode="r")
    given = {**place.options, **options}
    by_url = FsspecStore.from_url(place.url, storage_options=given, read_only=True)
    return zarr.open_group(by_url, mode="r")


# --- OME-Zarr in one file, RFC-9 ----------------------------------------------------------------

# RFC-9, "Zipped OME-Zarr files": JSON in UTF-8, ended by a null byte; `jsonFirst` says that all
# `zarr.json` come first, breadth first.
JSON_FIRST = {"ome": {"version": "0.5", "zipFile": {"centralDirectory": {"jsonFirst": True}}}}
COMMENT = json.dumps(JSON_FIRST).encode() + b"\0"
LEVELS = 30
IMAGE = np.random.default_rng(2).integers(0, 4096, (256, 256), dtype="u2")


def json_first(name: str) -> tuple[bool, int, str]:
    return not name.endswith("zarr.json"), name.count("/"), name


def json_last(name: str) -> tuple[bool, int, str]:
    return name.endswith("zarr.json"), -name.count("/"), name


OZX: dict[str, tuple[Callable[[str], Any], bytes]] = {
    "json-first.ozx": (json_first, COMMENT),
    "no-comment.ozx": (json_last, b""),
    "false-comment.ozx": (json_last, COMMENT),
}


def write_image(folder: Path) -> None:
    """A multiscale image, as OME-Zarr 0.5 has them; all levels are of one size here."""
    group = zarr.open_group(folder, mode="w")
    levels = [{"path": str(level)} for level in range(LEVELS)]
    group.attrs["ome"] = {"version": "0.5", "multiscales": [{"datasets": levels}]}
    for level in range(LEVELS):
        array = group.create_array(
            str(level), shape=IMAGE.shape, chunks=(128, 128), dtype="u2", compressors=None
        )
        array[:] = IMAGE + level


def read_levels(group: zarr.Group) -> list[zarr.Array[Any]]:
    ome: Any = group.attrs["ome"]
    return [array_of(group, each["path"]) for each in ome["multiscales"][0]["datasets"]]


@pytest.fixture(scope="module")
def places(
    tmp_path_factory: pytest.TempPathFactory, serve: Callable[[Path], Served]
) -> dict[str, Place]:
    """The image in each of `OZX`, and `night.rkns`."""
    folder = tmp_path_factory.mktemp("archives")
    (folder / "served").mkdir()
    write_image(folder / "image")
    for name, (key, comment) in OZX.items():
        zip_folder(folder / "image", folder / f"served/{name}", key=key, comment=comment)
    write_signals(folder / "night")
    zip_folder(folder / "night", folder / "served/night.rkns")
    at = serve(folder / "served")
    names = [*OZX, "night.rkns"]
    return {name: Place.of(at.path, at.bucket, at.server, name) for name in names}


@pytest.mark.row(WRITTEN, "`.ozx`: OME-Zarr in one file, RFC-9")
@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("name", OZX)
def test_an_ozx_is_read_whole_whatever_its_comment_says(
    places: dict[str, Place], name: str, door: str
) -> None:
    levels = read_levels(opened(places[name], door))
    assert len(levels) == LEVELS
    for level in (0, LEVELS - 1):
        np.testing.assert_array_equal(levels[level][...], IMAGE + level)


@pytest.mark.row(WRITTEN, "`.ozx` with `jsonFirst`: all metadata by a few GETs")
def test_the_metadata_of_a_json_first_ozx_take_a_few_gets(
    places: dict[str, Place], s3server: S3Server
) -> None:
    place = places["json-first.ozx"]
    with Proxy(s3server) as px:
        options = {**place.options, "endpoint_url": px.endpoint, "cache_dir": "none"}
        store = FsspecStore.from_url(place.url, storage_options=options, read_only=True)
        levels = read_levels(zarr.open_group(store, mode="r"))
        assert len(levels) == LEVELS
        assert px.count(gets("json-first.ozx")) <= 4  # one of them for the directory


# --- EEG recordings ------------------------------------------------------------------------------

SIGNALS = np.random.default_rng(4).integers(-2000, 2000, (4, 256 * 600), dtype="i2")


def write_signals(folder: Path) -> None:
    group = zarr.open_group(folder, mode="w", zarr_format=2)
    for number, signal in enumerate(SIGNALS):
        array = group.create_array(
            f"signals/fg_{number}",
            shape=signal.shape,
            chunks=(256 * 60,),
            dtype="i2",
            compressors=Blosc(cname="zstd", clevel=5, shuffle=Blosc.SHUFFLE),
            attributes={"sfreq": 256},
        )
        array[:] = signal


@pytest.mark.row(WRITTEN, "`.rkns`: an EEG recording, a Zarr v2 tree")
@pytest.mark.parametrize("door", DOORS)
def test_an_rkns_is_an_archive_and_reads_as_zarr_2(places: dict[str, Place], door: str) -> None:
    signals = opened(places["night.rkns"], door)["signals"]
    assert isinstance(signals, zarr.Group)
    for number, expected in enumerate(SIGNALS):
        array = array_of(signals, f"fg_{number}")
        assert array.attrs["sfreq"] == 256
        np.testing.assert_array_equal(array[256 * 59 : 256 * 130], expected[15104:33280])


# --- One directory that holds all ----------------------------------------------------------------


@pytest.fixture(scope="module")
def wrapped(tmp_path_factory: pytest.TempPathFactory, serve: Callable[..., Served]) -> Place:
    """`x.zarr.zip` holds `x.zarr/…`, mounted with `--single-root unwrap`."""
    folder = tmp_path_factory.mktemp("wrapped")
    (folder / "served").mkdir()
    write_hierarchy(folder / "tree", 3)
    zip_folder(folder / "tree", folder / "served/x.zarr.zip", top="x.zarr")
    at = serve(folder / "served", "--single-root", "unwrap")
    return Place.of(at.path, at.bucket, at.server, "x.zarr.zip")


@pytest.mark.row(WRITTEN, "below one top-level directory, with `--single-root unwrap`")
@pytest.mark.parametrize("door", DOORS)
def test_a_wrapped_tree_opens_as_if_it_were_not(wrapped: Place, door: str) -> None:
    assert_whole(opened(wrapped, door, single_root="unwrap"))


def test_what_is_shown_is_walked_and_read_like_any_directory(wrapped: Place) -> None:
    root = Path(wrapped.path)
    assert sorted(path.name for path in root.iterdir()) == [
        "deep", "empty", "sparse", "values", "zarr.json",
    ]  # fmt: skip
    assert (root / "deep/../zarr.json").read_bytes() == (root / "zarr.json").read_bytes()
    assert not (root / "x.zarr").exists()
    files = [path for path in root.rglob("*") if path.is_file()]
    assert len(files) == 8 + 18  # zarr.json and chunks
    assert all(path.stat().st_size == len(path.read_bytes()) for path in files)


def test_without_the_option_the_directory_is_there(wrapped: Place, s3server: S3Server) -> None:
    listed = s3zipfs(
        "ls", wrapped.url.replace("s3zip", "s3"), "--endpoint-url", s3server.endpoint,
        environment=keys_of(s3server),
    )  # fmt: skip
    assert listed.stdout.split() == ["x.zarr"], listed
    unwrapped = s3zipfs(
        "ls", wrapped.url.replace("s3zip", "s3"), "--endpoint-url", s3server.endpoint,
        "--single-root", "unwrap", environment=keys_of(s3server),
    )  # fmt: skip
    assert unwrapped.stdout.split() == ["deep", "empty", "sparse", "values", "zarr.json"]
