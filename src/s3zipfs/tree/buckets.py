"""Which buckets there are: those that are listed, and those that are asked for by name."""

from __future__ import annotations

import re
import threading
import time
from collections import OrderedDict
from collections.abc import Callable

from s3zipfs.errors import AccessDenied, NotFound
from s3zipfs.stores.base import BucketInfo, ObjectStore
from s3zipfs.stores.network import Network
from s3zipfs.waiting import Wait

# The rules of S3, with the older ones, which allowed more; a file manager's
# `.Trash`, say, which it asks for in every directory, should cost no request.
_NAME = re.compile(rb"[A-Za-z0-9][A-Za-z0-9._-]{1,61}[A-Za-z0-9]")
MAX_NAMES = 10_000  # remembered


class BucketList:
    """The buckets of one endpoint. `ttl` tells for how many seconds an answer is believed.

    A name that is not listed is asked for by itself: it may be new, and whoever may read below one
    prefix only may often not list buckets at all.
    """

    def __init__(self, store: ObjectStore, network: Network, ttl: Callable[[], float]) -> None:
        self._store = store
        self._network = network
        self._ttl = ttl
        self._lock = threading.Lock()  # guards _listed, _asked
        self._listed: tuple[tuple[BucketInfo, ...], float] = ((), 0.0)
        self._asked: OrderedDict[bytes, tuple[bool, float]] = OrderedDict()

    def all(self, wait: Wait) -> tuple[tuple[BucketInfo, ...], float]:
        """Those that are listed, and for how many seconds more that is believed."""
        with self._lock:
            known, until = self._listed
        if (now := time.monotonic()) < until:
            return known, until - now
        known = wait.result(self._network.submit(self._store.list_buckets()))
        with self._lock:
            self._listed = known, now + self._ttl()
        return known, max(0.0, now + self._ttl() - time.monotonic())

    def find(self, name: bytes, wait: Wait) -> float:
        """For how many seconds it is believed that there is a bucket of that name.

        Raises:
            NotFound: there is none.
        """
        with self._lock:
            exists, until = self._asked.get(name, (False, 0.0))
        if until <= time.monotonic():
            try:
                known, valid_for = self.all(wait)
            except AccessDenied:
                known, valid_for = (), self._ttl()
            if any(bucket.name.encode() == name for bucket in known):
                return valid_for
            exists, until = self._ask(name, wait)
        valid_for = max(0.0, until - time.monotonic())
        if not exists:
            raise NotFound(f"no bucket {name!r}", valid_for=valid_for)
        return valid_for

    def _ask(self, name: bytes, wait: Wait) -> tuple[bool, float]:
        until = time.monotonic() + self._ttl()
        exists = False
        if _NAME.fullmatch(name):
            page = self._store.list_page(name.decode(), "", max_keys=1)
            try:
                wait.result(self._network.submit(page))
                exists = True
            except AccessDenied:
                exists = True  # what may be read below it is another question
            except NotFound:
                pass
        with self._lock:
            self._asked[name] = exists, until
            self._asked.move_to_end(name)
            while len(self._asked) > MAX_NAMES:
                self._asked.popitem(last=False)
        return exists, until
