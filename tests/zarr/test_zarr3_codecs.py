"""Every codec that zarr 3 ships, over both doors."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
import zarr.codecs
import zarr.codecs.numcodecs as nc
from environments import Served
from hierarchies import Place, zip_folder
from numpy.typing import NDArray
from zarr.codecs import (
    BloscCodec,
    BytesCodec,
    Crc32cCodec,
    GzipCodec,
    ShardingCodec,
    TransposeCodec,
    VLenBytesCodec,
    VLenUTF8Codec,
    ZstdCodec,
)
from zarr.errors import ZarrUserWarning
from zarr.storage import FsspecStore, LocalStore

# Each codec says once more that it is not in the specification.
pytestmark = pytest.mark.filterwarnings("ignore::zarr.errors.ZarrUserWarning")

FLOATS = np.linspace(-100, 100, 30 * 20 * 10).reshape(30, 20, 10)
INTEGERS = np.arange(30 * 20 * 10, dtype="i4").reshape(30, 20, 10)
WORDS = np.array(["", "a", "ünïcode", "long " * 500, "\0"] * 20, dtype=object)


@dataclass(frozen=True)
class Case:
    """An array as it is written. `loss` is the largest difference that its codec makes."""

    values: NDArray[Any]
    options: dict[str, Any]
    loss: float = 0.0
    chunks: tuple[int, ...] = field(default=(10, 10, 5))


def compressed(*codecs: Any, **options: Any) -> Case:
    return Case(INTEGERS, {"compressors": codecs, **options})


def filtered(codec: Any, values: NDArray[Any] = FLOATS, loss: float = 0.0) -> Case:
    return Case(values, {"filters": [codec]}, loss)


def made() -> dict[str, Case]:
    """By the names that arrays' metadata have."""
    sharding = ShardingCodec(chunk_shape=(5, 5, 5), index_location="start")
    return {
        "bytes": compressed(serializer=BytesCodec(endian="big")),
        "blosc": compressed(BloscCodec(cname="lz4", shuffle="bitshuffle", typesize=4)),
        "gzip": compressed(GzipCodec(level=5)),
        "zstd": compressed(ZstdCodec(level=3, checksum=True)),
        "crc32c": compressed(GzipCodec(), Crc32cCodec()),
        "sharding_indexed": Case(INTEGERS, {"serializer": sharding, "compressors": None}),
        "transpose": Case(INTEGERS, {"filters": [TransposeCodec(order=(2, 0, 1))]}),
        "vlen-utf8": Case(WORDS, {"dtype": str, "serializer": VLenUTF8Codec()}, chunks=(7,)),
        "vlen-bytes": Case(
            np.array([word.encode() for word in WORDS], dtype=object),
            {"dtype": "variable_length_bytes", "serializer": VLenBytesCodec()},
            chunks=(7,),
        ),
        "numcodecs.adler32": compressed(nc.Adler32()),
        "numcodecs.astype": filtered(
            nc.AsType(encode_dtype="float32", decode_dtype="float64"), loss=1e-5
        ),
        "numcodecs.bitround": filtered(nc.BitRound(keepbits=10), loss=0.1),
        "numcodecs.blosc": compressed(nc.Blosc(cname="zstd", clevel=3, shuffle=1)),
        "numcodecs.bz2": compressed(nc.BZ2(level=5)),
        "numcodecs.crc32": compressed(nc.CRC32()),
        "numcodecs.crc32c": compressed(nc.CRC32C()),
        "numcodecs.delta": filtered(nc.Delta(dtype="int32"), INTEGERS),
        "numcodecs.fixedscaleoffset": filtered(
            nc.FixedScaleOffset(offset=0, scale=1000, dtype="float64", astype="int32"), loss=1e-3
        ),
        "numcodecs.fletcher32": compressed(nc.Fletcher32()),
        "numcodecs.gzip": compressed(nc.GZip(level=5)),
        "numcodecs.jenkins_lookup3": compressed(nc.JenkinsLookup3(initval=1)),
        "numcodecs.lz4": compressed(nc.LZ4(acceleration=2)),
        "numcodecs.lzma": compressed(nc.LZMA(preset=1)),
        "numcodecs.packbits": filtered(nc.PackBits(), INTEGERS % 3 == 0),
        "numcodecs.quantize": filtered(nc.Quantize(digits=2, dtype="float64"), loss=0.01),
        "numcodecs.shuffle": compressed(nc.Shuffle(elementsize=4), nc.Zlib()),
        "numcodecs.zlib": compressed(nc.Zlib(level=5)),
        "numcodecs.zstd": compressed(nc.Zstd(level=5)),
    }


with warnings.catch_warnings():
    warnings.simplefilter("ignore", ZarrUserWarning)
    CASES = made()
ELSEWHERE = {"PCodec", "ZFPY"}  # need packages that zarr does not bring: in the ecosystem


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, serve: Callable[[Path], Served]) -> Place:
    """One archive with an array for each codec."""
    folder = tmp_path_factory.mktemp("codecs")
    (folder / "served").mkdir()
    group = zarr.open_group(folder / "tree", mode="w")
    for name, case in CASES.items():
        options = {"dtype": case.values.dtype, **case.options}
        array = group.create_array(name, shape=case.values.shape, chunks=case.chunks, **options)
        array[...] = case.values
    zip_folder(folder / "tree", folder / "served/codecs.zarr.zip")
    at = serve(folder / "served")
    return Place.of(at.path, at.bucket, at.server, "codecs.zarr.zip")


@pytest.fixture(scope="module")
def groups(place: Place) -> list[zarr.Group]:
    """The archive by both doors."""
    by_url = FsspecStore.from_url(place.url, storage_options=place.options, read_only=True)
    stores = LocalStore(place.path, read_only=True), by_url
    return [zarr.open_group(store, mode="r") for store in stores]


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.row("zarr 3, codecs", f"`{name}`")) for name in CASES],
)
def test_what_a_codec_wrote_is_read(groups: list[zarr.Group], name: str) -> None:
    case = CASES[name]
    for group in groups:
        array = group[name]
        assert isinstance(array, zarr.Array)
        told = array.metadata.to_dict()["codecs"]
        assert name in str(told)
        read = np.asarray(array[...])
        if case.loss:
            np.testing.assert_allclose(read, case.values, atol=case.loss)
        else:
            np.testing.assert_array_equal(read, case.values)


def test_no_codec_of_zarr_is_forgotten() -> None:
    shipped = {name for name in zarr.codecs.__all__ if name.endswith("Codec")}
    shipped |= {name for name in nc.__all__ if not name.startswith("_")}
    used = {
        type(codec).__name__
        for case in CASES.values()
        for given in case.options.values()
        for codec in (given if isinstance(given, list | tuple) else [given])
    }
    assert shipped - used == ELSEWHERE
