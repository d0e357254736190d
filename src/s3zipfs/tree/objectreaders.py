"""The readers of plain objects: one for each version, so that its streams are recognised."""

from __future__ import annotations

import threading
from collections import OrderedDict

from s3zipfs.cache.reader import Fetcher, ObjectReader
from s3zipfs.stores.base import ObjectId, ObjectInfo

READERS = 1024  # plain objects whose streams are remembered


class ObjectReaders:
    """Readers by `ObjectId`; the least recently used go. Safe for any number of threads."""

    def __init__(self, fetcher: Fetcher) -> None:
        self._fetcher = fetcher
        self._lock = threading.Lock()  # guards _readers
        self._readers: OrderedDict[ObjectId, ObjectReader] = OrderedDict()

    def reader(self, info: ObjectInfo) -> ObjectReader:
        """The one of that version."""
        with self._lock:
            reader = self._readers.get(info.id)
            if reader is None:
                reader = self._readers[info.id] = ObjectReader(info, self._fetcher)
                while len(self._readers) > READERS:
                    self._readers.popitem(last=False)
            self._readers.move_to_end(info.id)
            return reader
