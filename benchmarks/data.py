"""The archives that are read, made once into a folder, and put into a bucket for each."""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import zarr
from mounts import Store
from readers import Part

BIG = 1 << 30
CSV = 585_000_000
SMALL, SMALL_SIZE = 20_000, 64 << 10
SMALL_DEFLATED_SIZE = 20_000
SHAPE, CHUNK = (512, 512, 512), (64, 64, 64)
MILLION = 1_000_000
TREE = "tree"  # the bucket of the unzipped Zarr array
WHEN = (2020, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class Member:
    """A member, and where its bytes are in the archive's `source`."""

    name: str
    truth: int
    size: int
    packed: int  # bytes in the archive: compressed


@dataclass(frozen=True)
class Archive:
    """A zip, the file that has its members' bytes (itself, where they are stored), its members."""

    name: str
    path: Path
    source: Path
    members: tuple[Member, ...]

    @property
    def key(self) -> str:
        """Its name in the bucket, which is called `name`."""
        return self.path.name

    def parts(self, root: Path, numbers: Iterator[int] | range | None = None) -> list[Part]:
        """Whole members, under the bucket's content at `root`; all in archive order, or these."""
        chosen = range(len(self.members)) if numbers is None else numbers
        members = [self.members[number] for number in chosen]
        return [Part(f"{root}/{self.key}/{m.name}", m.truth, m.size) for m in members]


NOTHING = Archive("", Path(), Path(), ())  # of a row that makes its own


def make_big(target: Path) -> None:
    """One stored member of random bytes."""
    random = np.random.default_rng(1)
    with zipfile.ZipFile(target, "w") as archive:
        info = zipfile.ZipInfo("big.bin", WHEN)
        info.file_size = BIG
        with archive.open(info, "w") as member:
            for _ in range(BIG >> 24):
                member.write(random.bytes(1 << 24))


def make_csv(target: Path) -> None:
    """The text itself, `.csv`: a time, a station, four readings; it deflates 2.8 times."""
    random = np.random.default_rng(2)
    widths = (9, 3, 5, 5, 4, 6)
    line = sum(widths) + len(widths)
    with target.open("wb") as file:
        for first in range(0, CSV // line + 1, 1 << 20):
            rows = np.full((1 << 20, line), ord(","), np.uint8)
            steps = random.integers(0, 3800, (1 << 20, len(widths)), dtype=np.int64)
            steps[:, 0] = first + np.arange(1 << 20)
            steps[:, 1] %= 24
            at = 0
            for column, width in enumerate(widths):
                powers = 10 ** np.arange(width - 1, -1, -1)
                rows[:, at : at + width] = steps[:, column, None] // powers % 10 + ord("0")
                at += width + 1
            rows[:, -1] = ord("\n")
            file.write(rows.tobytes()[: CSV - file.tell()])


def _deflate(text: Path, target: Path, name: Callable[[int], str], size: int, count: int) -> None:
    with text.open("rb") as source, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(count):
            info = zipfile.ZipInfo(name(number), WHEN)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.file_size = size
            with archive.open(info, "w") as member:
                for at in range(0, size, 1 << 20):
                    member.write(source.read(min(1 << 20, size - at)))


def make_small(target: Path) -> None:
    """20,000 stored members of 64 KiB, `a/c/I/J` as chunks of an array are called."""
    random = np.random.default_rng(3)
    with zipfile.ZipFile(target, "w") as archive:
        for number in range(SMALL):
            info = zipfile.ZipInfo(f"a/c/{number // 200}/{number % 200}", WHEN)
            archive.writestr(info, random.bytes(SMALL_SIZE))


def make_million(target: Path) -> None:
    """A million stored members of a few bytes."""
    with zipfile.ZipFile(target, "w") as archive:
        for number in range(MILLION):
            archive.writestr(zipfile.ZipInfo(million_name(number), WHEN), b"%d" % number)


def million_name(number: int) -> str:
    """`x/12/34/123456.dat`."""
    return f"x/{number // 10_000:02}/{number // 100 % 100:02}/{number:06}.dat"


def field() -> np.ndarray[Any, np.dtype[np.float32]]:
    """The array of the Zarr rows: waves and noise, 512³ float32."""
    axes = [np.linspace(0, 20, n, dtype=np.float32) for n in SHAPE]
    x, y, z = np.meshgrid(*axes, indexing="ij", sparse=True)
    noise = np.random.default_rng(4).integers(0, 256, SHAPE, dtype=np.uint8)
    waves: np.ndarray[Any, np.dtype[np.float32]] = np.sin(x) * np.cos(y) + np.sin(z)
    waves += noise / np.float32(1024)
    return waves


def make_tree(target: Path) -> None:
    """A Zarr 3 tree with 64³ chunks, zstd."""
    array = zarr.create_array(store=target, shape=SHAPE, chunks=CHUNK, dtype="f4", zarr_format=3)
    array[...] = field()


def zip_tree(tree: Path, target: Path) -> None:
    """The tree's files, stored."""
    with zipfile.ZipFile(target, "w") as archive:
        for path in sorted(path for path in tree.rglob("*") if path.is_file()):
            archive.write(path, path.relative_to(tree))


def _members(path: Path, *, stored: bool) -> tuple[Member, ...]:
    """Where each member's bytes are: in the zip, or one after another in the text."""
    members, at = [], 0
    with zipfile.ZipFile(path) as archive, path.open("rb") as file:
        for info in archive.infolist():
            if stored:
                file.seek(info.header_offset + 26)  # APPNOTE 4.3.7: lengths of name and extra field
                at = info.header_offset + 30 + sum(struct.unpack("<2H", file.read(4)))
            members.append(Member(info.filename, at, info.file_size, info.compress_size))
            at += info.file_size
    return tuple(members)


class Data:
    """The archives by name, each made at its first use and kept in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._uploaded: set[str] = set()

    def archive(self, name: str) -> Archive:
        """The archive called `name`: big, csv, small, smalldef, zarr or million."""
        path = self._zip(name)
        source = self.text() if name in ("csv", "smalldef") else path
        # A million names take seconds, and that row has its own.
        members = _members(path, stored=source == path) if name != "million" else ()
        return Archive(name, path, source, members)

    def tree(self) -> Path:
        """The Zarr tree in a folder."""
        return self._made("tree.zarr", make_tree)

    def text(self) -> Path:
        """The CSV that was deflated."""
        return self._made("text.csv", make_csv)

    def truth(self) -> Path:
        """The Zarr array as `.npy`."""

        def save(target: Path) -> None:
            with target.open("wb") as file:
                np.save(file, field())

        return self._made("field.npy", save)

    def upload(self, name: str, store: Store) -> None:
        """Put an archive, and the tree of the `zarr` one, into a bucket of its name; once."""
        if name in self._uploaded:
            return
        client: Any = boto3.client(
            "s3",
            endpoint_url=store.endpoint,
            aws_access_key_id=store.access_key,
            aws_secret_access_key=store.secret_key,
            region_name="us-east-1",
        )
        archive = self.archive(name)
        client.create_bucket(Bucket=name)
        client.upload_file(str(archive.path), name, archive.key)
        if name == "zarr":
            client.create_bucket(Bucket=TREE)
            tree = self.tree()
            for path in tree.rglob("*"):
                if path.is_file():
                    key = str(path.relative_to(tree))
                    client.put_object(Bucket=TREE, Key=key, Body=path.read_bytes())
        self._uploaded.add(name)

    def _zip(self, name: str) -> Path:
        text = self.text
        makers: dict[str, Callable[[Path], None]] = {
            "big": make_big,
            "csv": lambda target: _deflate(text(), target, lambda _: "big.csv", CSV, 1),
            "small": make_small,
            "smalldef": lambda target: _deflate(
                text(), target, lambda n: f"t/{n // 200}/{n}.csv", SMALL_DEFLATED_SIZE, SMALL
            ),
            "zarr": lambda target: zip_tree(self.tree(), target),
            "million": make_million,
        }
        key = {"small": "small.zarr.zip", "zarr": "field.zarr.zip"}.get(name, f"{name}.zip")
        return self._made(key, makers[name])

    def _made(self, name: str, make: Callable[[Path], None]) -> Path:
        path = self._folder / name
        if not path.exists():
            print(f"making {path}, once", flush=True)
            making = path.with_name(f"making-{name}")
            make(making)
            making.rename(path)
        return path


def deflated(archive: Archive) -> bytes:
    """The raw deflate stream of the first member."""
    with zipfile.ZipFile(archive.path) as opened, archive.path.open("rb") as file:
        info = opened.infolist()[0]
        file.seek(info.header_offset + 26)
        file.seek(sum(struct.unpack("<2H", file.read(4))), 1)
        data = file.read(info.compress_size)
    assert zlib.decompressobj(-15).decompress(data, 100), "a deflate stream begins there"
    return data
