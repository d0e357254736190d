"""`s3zipfs.ZipFileSystem` beside fsspec's own: the same questions, the same answers."""

from __future__ import annotations

import io
import zipfile
from typing import Any

import pytest
from fsspec.implementations.zip import ZipFileSystem as Original
from fsspec.mapping import FSMap
from hypothesis import given, settings
from hypothesis import strategies as st
from trees import zipped

from s3zipfs import ZipFileSystem

KEYS = ("name", "size", "type")
OF_FILES = ("CRC", "compress_size", "file_size", "compress_type", "header_offset", "filename")
FILE_KEYS = (*KEYS, *OF_FILES, "date_time", "flag_bits")


def told(info: dict[str, Any]) -> dict[str, Any]:
    """What users rely on."""
    keys = FILE_KEYS if info["type"] == "file" else KEYS
    return {key: info[key] for key in keys}


def answers(filesystem: Any, paths: list[str]) -> dict[str, Any]:
    """What a filesystem says of these paths, errors included."""
    found: dict[str, Any] = {}

    def ask(name: str, question: Any) -> None:
        try:
            found[name] = question()
        except (OSError, ValueError) as error:
            found[name] = type(error)

    for path in paths:
        ask(f"info {path}", lambda p=path: told(filesystem.info(p)))
        ask(f"ls {path}", lambda p=path: [told(each) for each in filesystem.ls(p)])
        ask(f"names {path}", lambda p=path: filesystem.ls(p, detail=False))
        ask(f"exists {path}", lambda p=path: filesystem.exists(p))
        ask(f"isdir {path}", lambda p=path: filesystem.isdir(p))
        ask(f"isfile {path}", lambda p=path: filesystem.isfile(p))
        ask(f"find {path}", lambda p=path: filesystem.find(p))
        ask(f"find dirs {path}", lambda p=path: filesystem.find(p, withdirs=True))
        for depth in (0, 1, 2):
            ask(f"find {depth} {path}", lambda p=path, d=depth: filesystem.find(p, maxdepth=d))
        ask(f"details {path}", lambda p=path: sorted(filesystem.find(p, detail=True)))
        ask(f"du {path}", lambda p=path: filesystem.du(p))
        if filesystem.isfile(path):
            ask(f"cat {path}", lambda p=path: filesystem.cat(p))
            ask(f"tail {path}", lambda p=path: filesystem.tail(p, 3))
            ask(f"part {path}", lambda p=path: filesystem.cat_file(p, 1, -1))
            ask(f"seek {path}", lambda p=path: seek_and_read(filesystem, p))
    for pattern in ("*", "**", "*/*", "a*", "**/b", "*/"):
        ask(f"glob {pattern}", lambda p=pattern: filesystem.glob(p))
    ask("walk", lambda: [(p, sorted(d), sorted(f)) for p, d, f in filesystem.walk("")])
    mapping = FSMap("", filesystem)
    ask("keys", lambda: sorted(mapping))
    ask("values", lambda: {key: mapping[key] for key in mapping})
    return found


def seek_and_read(filesystem: Any, path: str) -> tuple[bytes, ...]:
    with filesystem.open(path) as file:
        first = file.read(2)
        file.seek(-1 if file.size else 0, 2)
        last = file.read()
        file.seek(0)
        return first, last, file.read()


def compare(content: bytes, paths: list[str]) -> None:
    original, ours = Original(io.BytesIO(content)), ZipFileSystem(io.BytesIO(content))
    try:
        expected, found = answers(original, paths), answers(ours, paths)
        assert found == expected
    finally:
        ours.close()


def test_a_plain_zip_gives_the_same_answers() -> None:
    members = {
        "a.txt": b"hello",
        "d/b": bytes(range(256)) * 300,
        "d/e/c.txt": b"deep",
        "empty": b"",
    }
    paths = ["", *members, "d", "d/e", "d/", "nothing", "d/nothing", "a.txt/below"]
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        compare(zipped(members, method), paths)


def test_explicit_directories_and_a_name_written_twice_give_the_same_answers() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.mkdir("empty")
        archive.writestr("d/a", b"1")
        archive.mkdir("d/e")
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("d/a", b"second")
        archive.comment = b"a comment"
    compare(b"#!/bin/sh\n" + buffer.getvalue(), ["", "empty", "d", "d/a", "d/e", "empty/x"])


def test_names_beyond_ascii_give_the_same_answers() -> None:
    names = ["ünï/cödé.txt", "汉字/文件", "emoji-🎈", "with space/and'quote", "a-b", "a.b", "a/b"]
    compare(zipped({name: name.encode() for name in names}), ["", *names, "a", "ünï"])


NAME = st.sampled_from(["a", "b", "ab", "c.d", "é"])


@st.composite
def trees(draw: st.DrawFn) -> dict[str, bytes]:
    """Files by path, of which none is a directory of another."""
    found: dict[str, bytes] = {}
    directories: set[str] = set()
    for parts in draw(st.lists(st.lists(NAME, min_size=1, max_size=4), max_size=8)):
        path = "/".join(parts)
        above = {"/".join(parts[:n]) for n in range(1, len(parts))}
        if path in directories or above & found.keys():
            continue
        directories |= above
        found[path] = draw(st.binary(max_size=40))
    return found


@settings(max_examples=40, deadline=None)
@given(trees(), st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]))
def test_any_tree_gives_the_same_answers(members: dict[str, bytes], method: int) -> None:
    if not members:  # fsspec's has no root where there is nothing; ours is an empty directory
        ours = ZipFileSystem(io.BytesIO(zipped({})))
        assert ours.ls("") == []
        ours.close()
        return
    above = {name.rpartition("/")[0] for name in members}
    compare(zipped(members, method), sorted({"", "a", "b", "a/b", *members, *above}))
