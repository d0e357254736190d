"""An open file of this door."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fsspec.spec import AbstractBufferedFile

from s3zipfs.filesystem.translated import Translated
from s3zipfs.tree.nodes import Node

if TYPE_CHECKING:
    from s3zipfs.filesystem.readonly import ReadOnlyFileSystem


class MemberFile(AbstractBufferedFile):  # type: ignore[misc] # fsspec has no types
    """An open file; all its bytes are of the version that was opened."""

    DEFAULT_BLOCK_SIZE = 256 << 10  # bytes; the tree behind it reads ahead by itself

    def __init__(
        self,
        fs: ReadOnlyFileSystem,
        path: str,
        node: Node,
        *,
        size: int,
        block_size: int | str | None = "default",
        **options: Any,
    ) -> None:
        self._node = node
        super().__init__(fs, path, "rb", block_size=block_size, size=size, **options)

    @property
    def name(self) -> str:
        """Its path, as files of `zipfile` have it."""
        return str(self.path)

    def __reduce__(self) -> tuple[Any, ...]:
        options = {
            "size": self.size,
            "block_size": self.blocksize,
            "cache_type": self.cache.name,
        }
        return _reopened, (self.fs, self.path, self._node, options, self.loc)

    def _fetch_range(self, start: int, end: int) -> bytes:
        fs = self.fs
        with Translated(self.path):
            return bytes(fs._read(self._node, start, min(end, self.size), fs._wait))  # noqa: SLF001 - one door


def _reopened(
    fs: ReadOnlyFileSystem, path: str, node: Node, options: dict[str, Any], position: int
) -> MemberFile:
    """A file as it was pickled: of the same version, at the same place."""
    file = MemberFile(fs, path, fs.same_node(path, node), **options)
    file.seek(position)
    return file
