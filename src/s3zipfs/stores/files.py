"""Open files as objects: each is one version, read by position from any thread."""

from __future__ import annotations

import asyncio
import io
import itertools
import os
import threading
import uuid
import weakref
from typing import Any, Protocol

from s3zipfs.errors import NotFound, ObjectChanged, StoreUnavailable
from s3zipfs.stores.base import BucketInfo, ListPage, ObjectId, ObjectInfo

BUCKET = "files"


class _Held(Protocol):
    etag: str
    size: int  # bytes
    modified: float  # seconds since the epoch, UTC

    def read(self, start: int, end: int) -> bytes:
        """Exactly these bytes, or an error of any kind."""


class _Descriptor:
    """A file of the operating system: no position is shared, so nothing is locked."""

    def __init__(self, descriptor: int) -> None:
        # Closed by the last who reads it, never while somebody does.
        self._file = open(os.dup(descriptor), "rb", buffering=0)  # noqa: SIM115, PTH123
        found = os.fstat(descriptor)
        self.etag, self.size, self.modified = self._version(), found.st_size, found.st_mtime

    def _version(self) -> str:
        found = os.fstat(self._file.fileno())
        return f'"{found.st_dev}-{found.st_ino}-{found.st_size}-{found.st_mtime_ns}"'

    def read(self, start: int, end: int) -> bytes:
        parts = []
        while start < end:
            part = os.pread(self._file.fileno(), end - start, start)
            if not part:
                break
            parts.append(part)
            start += len(part)
        if start < end or self._version() != self.etag:
            raise ObjectChanged("the file was written to since it was opened")
        return parts[0] if len(parts) == 1 else b"".join(parts)


class _Position:
    """The one position of a file, shared by all who opened it."""

    def __init__(self, file: Any) -> None:
        self.file = file  # held, so that its id is no other's while this is known by it
        self.lock = threading.Lock()  # guards the file's position; held while it is read


class _Positions:
    """Those of the files that are open now. A forked child begins with none."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """In a forked child: a thread that is not here may have held a lock."""
        self._lock = threading.Lock()  # guards _by_id
        # By the id of the file, since not all can be hashed or weakly referenced.
        self._by_id: weakref.WeakValueDictionary[int, _Position] = weakref.WeakValueDictionary()

    def of(self, file: Any) -> _Position:
        """The one of that file."""
        with self._lock:
            position = self._by_id.get(id(file))
            if position is None:
                position = self._by_id[id(file)] = _Position(file)
            return position


_POSITIONS = _Positions()
os.register_at_fork(after_in_child=_POSITIONS.forget)


class _Positioned:
    """Anything that seeks and reads. It has one position: who reads it has it alone."""

    def __init__(self, file: Any) -> None:
        self._position = _POSITIONS.of(file)
        self.etag = f'"{uuid.uuid4().hex}"'
        with self._position.lock:
            self.size = int(file.seek(0, io.SEEK_END))
        self.modified = 0.0

    def read(self, start: int, end: int) -> bytes:
        parts = []
        file = self._position.file
        with self._position.lock:
            file.seek(start)
            while start < end:
                part = bytes(file.read(end - start))
                if not part:
                    raise StoreUnavailable(f"the file ends at {start}, and had {self.size} bytes")
                parts.append(part)
                start += len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)


class FileStore:
    """Files that somebody has opened, as the objects of one bucket, by numbers.

    For coroutines of any loop. A file of the operating system, where `file` is exactly that, is
    read by its descriptor, so that it may be closed, moved or read by others; one that was written
    to since is `ObjectChanged`. Any other is read under a lock, and must be left alone.
    """

    endpoint = "file:"

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._held: dict[str, _Held] = {}  # single operations only: they are atomic

    def add(self, file: Any) -> ObjectInfo:
        """Its version.

        Raises:
            OSError: it can't be looked at.
        """
        descriptor = _descriptor_of(file)
        held: _Held = _Positioned(file) if descriptor is None else _Descriptor(descriptor)
        key = str(next(self._numbers))
        self._held[key] = held
        return ObjectInfo(ObjectId(self.endpoint, BUCKET, key, held.etag), held.size, held.modified)

    def knows_version(self, info: ObjectInfo) -> bool:
        """Whether its ETag is the file's own, the same wherever the file is opened."""
        return isinstance(self._held.get(info.id.key), _Descriptor)

    def remove(self, info: ObjectInfo) -> None:
        """Forget it; what is being read is read to its end."""
        self._held.pop(info.id.key, None)

    async def list_buckets(self) -> tuple[BucketInfo, ...]:
        """See `ObjectStore`; the one bucket."""
        return (BucketInfo(BUCKET, 0.0),)

    async def list_page(
        self, bucket: str, prefix: str, *, token: str | None = None, max_keys: int = 1000
    ) -> ListPage:
        """See `ObjectStore`; no file is listed, since none has a name."""
        del bucket, prefix, token, max_keys
        return ListPage((), (), None)

    async def head(self, bucket: str, key: str) -> ObjectInfo:
        """See `ObjectStore`."""
        held = self._held.get(key)
        if bucket != BUCKET or held is None:
            raise NotFound(f"{bucket}/{key}: no such file is open")
        return ObjectInfo(ObjectId(self.endpoint, BUCKET, key, held.etag), held.size, held.modified)

    async def get_range(self, oid: ObjectId, start: int, end: int) -> memoryview:
        """See `ObjectStore`."""
        held = self._held.get(oid.key)
        if held is None or held.etag != oid.etag:
            raise ObjectChanged("the file was closed")
        if end > held.size:
            raise ObjectChanged(f"asked up to {end}, has {held.size} bytes")
        try:
            return memoryview(await asyncio.to_thread(held.read, start, end))
        except (ObjectChanged, StoreUnavailable):
            raise
        except Exception as error:  # whoever wrote the file-like chose its errors
            raise StoreUnavailable(f"the file can't be read: {error}") from error

    def try_range(self, oid: ObjectId, start: int, end: int) -> memoryview | None:
        """See `ObjectStore`; files of the system only: any other may hang."""
        held = self._held.get(oid.key)
        if not isinstance(held, _Descriptor) or held.etag != oid.etag or end > held.size:
            return None
        try:
            return memoryview(held.read(start, end))
        except (ObjectChanged, OSError):
            return None

    def version_id(self, oid: ObjectId) -> str | None:
        """See `ObjectStore`."""
        return oid.version_id

    async def close(self) -> None:
        """Nothing to close: files are their owners'."""


def _descriptor_of(file: Any) -> int | None:
    """Its descriptor, where what it reads is what the descriptor reads."""
    inner = getattr(file, "f", file)  # fsspec's LocalFileOpener
    if type(inner) not in {io.BufferedReader, io.BufferedRandom, io.FileIO}:
        return None  # gzip.GzipFile has a descriptor too: of what is compressed
    if type(inner) is not io.FileIO and type(inner.raw) is not io.FileIO:
        return None
    if "r" not in inner.mode and "+" not in inner.mode:
        return None
    return int(inner.fileno())
