"""Members found damaged lately, so that a retry gets the same answer."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict

from s3zipfs.errors import BadMember
from s3zipfs.stores.base import ObjectId

# A fault shows at the last read of a member, and the kernel asks for that page once more at once:
# by then nothing would be known of the parts before it. After this time all is read afresh, since
# a bit may have flipped on the wire alone.
SECONDS = 60.0
MOST = 10_000


class Faults:
    """What was wrong with which member; outlives the archives, which come and go."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards _found
        self._found: OrderedDict[tuple[ObjectId, int], tuple[str, float]] = OrderedDict()

    def remember(self, oid: ObjectId, number: int, error: BadMember) -> None:
        """The member's content is not what was zipped."""
        with self._lock:
            self._found[oid, number] = str(error), time.monotonic() + SECONDS
            self._found.move_to_end((oid, number))
            while len(self._found) > MOST:
                self._found.popitem(last=False)

    def check(self, oid: ObjectId, number: int) -> None:
        """Raise what was found, as long as it is remembered."""
        if not self._found:
            return
        with self._lock:
            text, until = self._found.get((oid, number), ("", 0.0))
        if time.monotonic() < until:
            raise BadMember(text)
