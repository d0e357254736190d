"""Archives as `zipfile` writes them, and strategies that make them."""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

# By path: content and method; None: a directory.
Members = dict[str, tuple[bytes, int] | None]

COMPONENTS = st.text(
    st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=12
).filter(lambda name: name not in (".", ".."))
PATHS = st.lists(COMPONENTS, min_size=1, max_size=4).map("/".join)
CONTENTS: st.SearchStrategy[tuple[bytes, int] | None] = st.tuples(
    st.binary(max_size=200) | st.just(b"x" * 5000),
    st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]),
)
# No comment that holds a record of its own.
COMMENTS = st.binary(max_size=50).filter(lambda comment: b"PK" not in comment)


def _without_clashes(tree: Members) -> Members:
    """Without the files that are also directories of other members."""
    parents = {path[:at] for path in tree for at, c in enumerate(path) if c == "/"}
    return {p: content for p, content in tree.items() if content is None or p not in parents}


TREES = st.dictionaries(PATHS, CONTENTS, max_size=20).map(_without_clashes)
TREES_WITH_DIRECTORIES = st.dictionaries(PATHS, CONTENTS | st.none(), max_size=20).map(
    _without_clashes
)


@dataclass(frozen=True)
class Manner:
    """How an archive is written."""

    comment: bytes = b""
    member_comment: bytes = b""
    prefix: bytes = b""
    zip64: bool = False  # in each local header, though nothing needs it
    streamed: bool = False  # to what cannot seek: data descriptors


MANNERS = st.builds(
    Manner,
    comment=COMMENTS,
    member_comment=COMMENTS,
    prefix=st.binary(max_size=50),
    zip64=st.booleans(),
    streamed=st.booleans(),
)


class _Pipe(io.RawIOBase):
    """Takes bytes, and can go nowhere."""

    def __init__(self, target: io.BytesIO) -> None:
        self._target = target

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        return self._target.write(data)


def write(tree: Members, manner: Manner | None = None) -> bytes:
    """The archive; an empty one never has a prefix, as no reader could tell it from junk."""
    manner = manner or Manner()
    out = io.BytesIO()
    out.write(manner.prefix if tree else b"")
    target = _Pipe(out) if manner.streamed else out
    with zipfile.ZipFile(target, "w") as archive:
        archive.comment = manner.comment
        for path, content in tree.items():
            info = zipfile.ZipInfo(path if content else f"{path}/", (2024, 2, 29, 1, 2, 4))
            info.comment = manner.member_comment
            data, info.compress_type = content or (b"", zipfile.ZIP_STORED)
            with archive.open(info, "w", force_zip64=manner.zip64) as member:
                member.write(data)
    return out.getvalue()
