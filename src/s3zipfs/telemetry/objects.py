"""Which objects are read and fetched most, in bounded memory."""

from __future__ import annotations

import heapq
import threading
from dataclasses import dataclass
from typing import Final

# Entries take 0.4 kB with a key of 100 characters. Where there are more, the half that was used
# less goes: one scan for each so many objects that are new.
MOST: Final = 2048


@dataclass(frozen=True, slots=True)
class ObjectFigures:
    """What was done with one object, in all of its versions, since it was noted first."""

    bucket: str
    key: str
    bytes_read: int  # of content, by readers
    bytes_fetched: int  # from the store
    requests: int  # GETs

    @property
    def heat(self) -> int:
        """What objects are ranked by."""
        return self.bytes_read + self.bytes_fetched


class ObjectMeter:
    """The objects that were used most; one that was dropped begins at 0. Safe for any thread."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._lock = threading.Lock()  # guards all below
        self._bytes_read = 0
        self._used: dict[tuple[str, str], list[int]] = {}  # bytes read, bytes fetched, requests

    @property
    def bytes_read(self) -> int:
        """Bytes of content that readers were given, of all objects."""
        return self._bytes_read

    def read(self, bucket: str, key: str, size: int) -> None:
        """Bytes of content were given to a reader."""
        with self._lock:
            self._bytes_read += size
            self._entry(bucket, key)[0] += size

    def fetched(self, bucket: str, key: str, size: int) -> None:
        """A GET has ended, which brought that many bytes."""
        with self._lock:
            entry = self._entry(bucket, key)
            entry[1] += size
            entry[2] += 1

    def hottest(self, count: int) -> tuple[ObjectFigures, ...]:
        """Those that were used most, the first one most."""
        with self._lock:
            found = [ObjectFigures(*name, *used) for name, used in self._used.items()]
        return tuple(heapq.nlargest(count, found, key=lambda each: each.heat))

    def _entry(self, bucket: str, key: str) -> list[int]:
        name = (bucket, key)
        entry = self._used.get(name)
        if entry is None:
            if len(self._used) >= self._most:
                self._drop_half()
            entry = self._used[name] = [0, 0, 0]
        return entry

    def _drop_half(self) -> None:
        by_heat = sorted(self._used.items(), key=lambda item: item[1][0] + item[1][1])
        self._used = dict(by_heat[len(by_heat) // 2 :])
