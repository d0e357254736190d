"""Archives as people make them of a Zarr tree, in both formats, read by zarr 3 over the mount."""

from __future__ import annotations

import errno
import shutil
import struct
import subprocess
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
import pytest
import zarr
from environments import Serve, Served, find_program, skip_without
from hierarchies import zip_folder
from zarr.storage import LocalStore, ZipStore

WRITTEN = "Archives as written"
VALUES = np.random.default_rng(5).normal(size=(90, 60, 40)).astype("f4")

Format = Literal[2, 3]
FORMATS: tuple[Format, ...] = (2, 3)
Writer = Callable[[Path, Path, Format], None]  # of a folder's tree, an archive, and its format


def fill(store: LocalStore | ZipStore, zarr_format: Format) -> zarr.Array[Any]:
    group = zarr.open_group(store, mode="w", zarr_format=zarr_format, attributes={"title": "test"})
    array = group.create_array(
        "deep/values", shape=VALUES.shape, chunks=(30, 20, 40), dtype="f4", fill_value=0
    )
    array[...] = VALUES
    return array


def zip_store_stored(_: Path, target: Path, zarr_format: Format) -> None:
    with ZipStore(target, mode="w") as store:
        fill(store, zarr_format)


def zip_store_deflated(_: Path, target: Path, zarr_format: Format) -> None:
    with ZipStore(target, mode="w", compression=zipfile.ZIP_DEFLATED) as store:
        fill(store, zarr_format)


def zip_store_overwritten(_: Path, target: Path, zarr_format: Format) -> None:
    with warnings.catch_warnings(action="ignore"), ZipStore(target, mode="w") as store:
        array = fill(store, zarr_format)
        array[...] = -1
        array[...] = VALUES
    chunk = "deep/values/0.0.0" if zarr_format == 2 else "deep/values/c/0/0/0"
    with zipfile.ZipFile(target) as archive:
        assert archive.namelist().count(chunk) == 3


def by_7z(tree: Path, target: Path, _: Format) -> None:
    run("7z", "a", "-tzip", str(target), f"{tree.name}/.", folder=tree.parent)


def by_zip_stored(tree: Path, target: Path, _: Format) -> None:
    run("zip", "-q", "-r", "-0", str(target), ".", folder=tree)


def by_zipfile(tree: Path, target: Path, _: Format) -> None:
    zip_folder(tree, target)


def by_make_archive(tree: Path, target: Path, _: Format) -> None:
    shutil.make_archive(str(target.with_suffix("")), "zip", tree)


def by_ditto(tree: Path, target: Path, _: Format, top: str = "") -> None:
    """As macOS's ditto has it: sizes after the data, extra fields, and `__MACOSX` beside the tree.

    `UX` is that of the Info-ZIP list of extra fields: two times, and in the local header the owner.
    """
    seconds = 1_700_000_000
    with target.open("wb") as file, zipfile.ZipFile(_Unseekable(file), "w") as archive:
        for path in sorted(tree.rglob("*")):
            name = top + path.relative_to(tree).as_posix() + ("/" if path.is_dir() else "")
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.extra = struct.pack("<HHIIHH", 0x5855, 12, seconds, seconds, 501, 20)
            info.external_attr = (0o40755 if path.is_dir() else 0o100644) << 16
            archive.writestr(info, b"" if path.is_dir() else path.read_bytes())
            if path.is_file():
                double = zipfile.ZipInfo(f"__MACOSX/{top}{name.rpartition('/')[0]}/._{path.name}")
                archive.writestr(double, struct.pack(">II16xH", 0x00051607, 0x00020000, 0))


def by_ditto_keeping_the_parent(tree: Path, target: Path, zarr_format: Format) -> None:
    by_ditto(tree, target, zarr_format, top=f"{tree.name}/")


class _Unseekable:
    """What zipfile writes to as to a pipe."""

    def __init__(self, file: BinaryIO) -> None:
        self.write, self.flush, self.close = file.write, file.flush, file.close


def by_zip_with_the_folder(tree: Path, target: Path, _: Format) -> None:
    run("zip", "-q", "-r", "-0", str(target), tree.name, folder=tree.parent)


def run(*command: str, folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


PROGRAMS = {by_7z: "7z", by_zip_stored: "zip", by_zip_with_the_folder: "zip"}
ROWS: dict[Writer, str] = {
    zip_store_stored: "`ZipStore` of zarr 3",
    zip_store_deflated: "`ZipStore` of zarr 3, deflated",
    zip_store_overwritten: "`ZipStore` of zarr 3, chunks written again: the last one counts",
    by_7z: "`7z a -tzip x.zarr.zip x.zarr/.`",
    by_zip_stored: "`zip -r -0 x.zarr.zip .`",
    by_zipfile: "Python `zipfile`",
    by_make_archive: "Python `shutil.make_archive`",
    by_ditto: "As by `ditto -c -k`: extra fields, sizes after the data, `__MACOSX`",
    by_ditto_keeping_the_parent: "The same with `--keepParent`, at `x.zarr.zip/x.zarr`",
    by_zip_with_the_folder: "`zip -r -0 x.zarr.zip x.zarr`, at `x.zarr.zip/x.zarr`",
}
BELOW = {by_ditto_keeping_the_parent, by_zip_with_the_folder}


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory, serve: Serve) -> Served:
    """`WRITER-FORMAT.zarr.zip` by all writers whose programs are there, and one never closed."""
    folder = tmp_path_factory.mktemp("archives")
    for zarr_format in FORMATS:
        tree = tmp_path_factory.mktemp(f"v{zarr_format}") / "x.zarr"
        fill(LocalStore(tree), zarr_format)
        for writer in ROWS:
            if writer not in PROGRAMS or find_program(PROGRAMS[writer]) is not None:
                writer(tree, folder / f"{writer.__name__}-{zarr_format}.zarr.zip", zarr_format)
    leave_unclosed(folder / "unclosed.zarr.zip")
    return serve(folder)


def leave_unclosed(target: Path) -> None:
    """What is left of a `ZipStore` whose process died."""
    written = target.with_suffix(".part")
    with ZipStore(written, mode="w") as store:
        fill(store, 3)
        assert store._zf.fp is not None
        store._zf.fp.flush()
        shutil.copyfile(written, target)
    written.unlink()


@pytest.mark.parametrize(
    "writer",
    [
        pytest.param(writer, id=writer.__name__, marks=pytest.mark.row(WRITTEN, name))
        for writer, name in ROWS.items()
    ],
)
@pytest.mark.filterwarnings("ignore:Object at")  # __MACOSX is no part of the hierarchy
def test_zarr_3_reads_archives(archives: Served, writer: Writer) -> None:
    if writer in PROGRAMS and find_program(PROGRAMS[writer]) is None:
        skip_without(f"no {PROGRAMS[writer]}: make test")
    for zarr_format in FORMATS:
        path = archives.path / f"{writer.__name__}-{zarr_format}.zarr.zip"
        store = LocalStore(path / "x.zarr" if writer in BELOW else path, read_only=True)
        group = zarr.open_group(store, mode="r")
        assert group.metadata.zarr_format == zarr_format
        assert dict(group.attrs) == {"title": "test"}
        assert {name for name, _ in group.members(max_depth=None)} == {"deep", "deep/values"}
        array = group["deep/values"]
        assert isinstance(array, zarr.Array)
        np.testing.assert_array_equal(array[...], VALUES)
        assert array.nchunks_initialized == array.nchunks == 9


@pytest.mark.row(WRITTEN, "`ZipStore` that was never closed", reason="no central directory: `EIO`")
def test_an_archive_that_was_never_closed_is_an_error(archives: Served) -> None:
    path = archives.path / "unclosed.zarr.zip"
    for attempt in (path.iterdir, (path / "zarr.json").read_bytes):
        with pytest.raises(OSError, match="Input/output error") as raised:
            list(attempt())
        assert raised.value.errno == errno.EIO
    with pytest.raises(OSError, match="Input/output error"):
        zarr.open_group(LocalStore(path, read_only=True), mode="r")
