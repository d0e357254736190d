"""The fsspec door: the tree as `s3zip://bucket/key.zip/member`, without a mount."""

from __future__ import annotations

import datetime as dt
import errno
import io
import os
import threading
from typing import Any

from fsspec.spec import AbstractBufferedFile, AbstractFileSystem

from s3zipfs import errors
from s3zipfs.build import build_tree
from s3zipfs.settings import Settings, load_settings
from s3zipfs.tree.nodes import Kind, Node
from s3zipfs.tree.tree import Tree
from s3zipfs.waiting import Wait

PIECE = 8 << 20  # bytes read of the tree at once
_TYPES = {Kind.DIRECTORY: "directory", Kind.FILE: "file", Kind.SYMLINK: "link"}

# What Python programs expect of a filesystem; all else is an OSError with its own text.
_EXCEPTIONS: dict[type[errors.S3ZipError], type[OSError]] = {
    errors.NotFound: FileNotFoundError,
    errors.AccessDenied: PermissionError,
    errors.NotADirectory: NotADirectoryError,
    errors.IsADirectory: IsADirectoryError,
    errors.DeadlineExceeded: TimeoutError,
}


class S3ZipFileSystem(AbstractFileSystem):  # type: ignore[misc] # fsspec has no types
    """Buckets of one endpoint, in which each archive is a directory. Read-only.

    Keywords are those of `s3zipfs.settings.Settings` (`endpoint_url`, `profile`, `ca_bundle`,
    `archive`, …); what is not given comes from the environment, as for a mount. `key` and
    `secret` are accepted as s3fs has them; pickles and `to_json()` hold them in the clear, so
    prefer the credentials of the environment.

    Instances are cached by fsspec and safe for threads. A process that inherits one by fork or
    pickle opens connections of its own.
    """

    protocol = "s3zip"
    root_marker = ""
    async_impl = False

    def __init__(
        self, *, key: str | None = None, secret: str | None = None, **options: Any
    ) -> None:
        names = Settings.model_fields.keys()
        given = {name: options.pop(name) for name in list(options) if name in names}
        super().__init__(**options)
        self._settings = load_settings(access_key=key, secret_key=secret, **given)
        self._lock = threading.Lock()  # guards _tree
        self._tree: tuple[int, Tree] | None = None

    @property
    def tree(self) -> Tree:
        """The tree of this process."""
        with self._lock:
            if self._tree is None or self._tree[0] != os.getpid():
                self._tree = os.getpid(), build_tree(self._settings)
            return self._tree[1]

    def close(self) -> None:
        """Close this process's connections; the next use opens new ones."""
        with self._lock:
            tree, self._tree = self._tree, None
        if tree is not None and tree[0] == os.getpid():
            tree[1].close()

    def to_dict(self, *, include_password: bool = True) -> dict[str, Any]:
        """What it was made of; the secret key is fsspec's "password"."""
        made_of: dict[str, Any] = super().to_dict(include_password=include_password)
        if not include_password:
            made_of.pop("secret", None)
        return made_of

    @property
    def _wait(self) -> Wait:
        return Wait(self._settings.timeout)

    @property
    def fsid(self) -> str:
        """Which endpoint's objects these are."""
        return f"s3zip-{self._settings.endpoint_url or 'aws'}"

    # Names

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        """`name`, `size` (None for directories), `type`, `mtime` (seconds), `mode`."""
        path = self._strip_protocol(path)
        with _Translated(path):
            return self._info(path, self._resolve(path))

    def ls(self, path: str, detail: bool = True, **_: Any) -> list[Any]:  # noqa: FBT001, FBT002
        """The names below a directory; of a file, itself."""
        path = self._strip_protocol(path)
        with _Translated(path):
            node = self._resolve(path)
            if self.tree.getattr(node, self._wait).kind is not Kind.DIRECTORY:
                found = [(path, node)]
            else:
                prefix = f"{path}/" if path else ""
                found = [
                    (prefix + os.fsdecode(entry.name), entry.node)
                    for entry in self.tree.entries(node, self._wait)
                ]
            return [self._info(*each) if detail else each[0] for each in found]

    def _resolve(self, path: str) -> Node:
        return self.tree.resolve(os.fsencode(path), self._wait)

    def _info(self, path: str, node: Node) -> dict[str, Any]:
        attributes = self.tree.getattr(node, self._wait)
        is_directory = attributes.kind is Kind.DIRECTORY
        return {
            "name": path,
            "size": None if is_directory else attributes.size,
            "type": _TYPES[attributes.kind],
            "mtime": attributes.modified,
            "mode": attributes.mode,
            "islink": attributes.kind is Kind.SYMLINK,
        }

    # fsspec's own take any error for "no": a store that is down must not look empty.

    def exists(self, path: str, **_: Any) -> bool:
        """Whether there is such a name."""
        return self._type(path) is not None

    def isfile(self, path: str) -> bool:
        """Whether it is a file."""
        return self._type(path) == "file"

    def isdir(self, path: str) -> bool:
        """Whether it is a directory, archives included."""
        return self._type(path) == "directory"

    def _type(self, path: str) -> str | None:
        try:
            return str(self.info(path)["type"])
        except (FileNotFoundError, NotADirectoryError):
            return None

    def walk(self, path: str, *arguments: Any, on_error: Any = "missing", **options: Any) -> Any:
        """As fsspec's; by default only a path that does not exist is passed over."""
        if on_error == "missing":
            on_error = _pass_over_missing
        return super().walk(path, *arguments, on_error=on_error, **options)

    # Bytes

    def cat_file(
        self, path: str, start: int | None = None, end: int | None = None, **_: Any
    ) -> bytes:
        """The bytes `[start, end)` of a file; negative positions count from its end."""
        path = self._strip_protocol(path)
        with _Translated(path):
            return self._read(self._resolve(path), start, end)

    def _read(self, node: Node, start: int | None, end: int | None) -> bytes:
        size = self.tree.getattr(node, self._wait).size
        first, last, _ = slice(start, end).indices(size)
        whole = io.BytesIO()
        for at in range(first, last, PIECE):  # piece by piece: what is in flight is bounded
            for part in self.tree.read(node, at, min(at + PIECE, last), self._wait):
                whole.write(part)
        return whole.getvalue()

    def _open(self, path: str, mode: str = "rb", **options: Any) -> MemberFile:
        if mode != "rb":
            raise OSError(f"{path}: s3zip is read-only; mode {mode!r} is not possible")
        with _Translated(path):
            node = self._resolve(path)
            self.tree.check_open(node, self._wait)
            size = self.tree.getattr(node, self._wait).size
        options = {"cache_type": "readahead", **options}
        return MemberFile(self, path, node, size=size, **options)

    def created(self, path: str) -> Any:
        """Not known: S3 has no time of creation."""
        raise NotImplementedError

    def modified(self, path: str) -> Any:
        """When the object or member was last modified, as an aware datetime."""
        return dt.datetime.fromtimestamp(self.info(path)["mtime"], tz=dt.UTC)


class MemberFile(AbstractBufferedFile):  # type: ignore[misc] # fsspec has no types
    """An open file; all its bytes are of the version that was opened."""

    DEFAULT_BLOCK_SIZE = 256 << 10  # bytes; the tree behind it reads ahead by itself

    def __init__(
        self,
        fs: S3ZipFileSystem,
        path: str,
        node: Node,
        *,
        size: int,
        block_size: int | str = "default",
        **options: Any,
    ) -> None:
        self._node = node
        super().__init__(fs, path, "rb", block_size=block_size, size=size, **options)

    def __reduce__(self) -> tuple[Any, ...]:
        options = {
            "size": self.size,
            "block_size": self.blocksize,
            "cache_type": self.cache.name,
        }
        return _reopened, (self.fs, self.path, self._node, options, self.loc)

    def _fetch_range(self, start: int, end: int) -> bytes:
        with _Translated(self.path):
            return bytes(self.fs._read(self._node, start, end))  # noqa: SLF001 - one door


def _reopened(
    fs: S3ZipFileSystem, path: str, node: Node, options: dict[str, Any], position: int
) -> MemberFile:
    """A file as it was pickled: of the same version, at the same place."""
    file = MemberFile(fs, path, node, **options)
    file.seek(position)
    return file


def _pass_over_missing(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        raise error


class _Translated:
    """Raises our errors as the OSErrors that Python programs catch."""

    def __init__(self, path: str) -> None:
        self._path = path

    def __enter__(self) -> None: ...

    def __exit__(self, _type: object, error: BaseException | None, _traceback: object) -> None:
        if not isinstance(error, errors.S3ZipError):
            return
        for kind in type(error).__mro__:
            if kind in _EXCEPTIONS:
                raise _EXCEPTIONS[kind](f"{self._path}: {error}") from error
        text = f"{self._path}: {error}"
        if isinstance(error, errors.ObjectChanged):
            raise OSError(errno.ESTALE, text) from error
        raise OSError(text) from error
