"""Whether a process opens one archive after another and reads none: pure, without a clock or names.

Only listings count. Who asks by name knows what there is to be read; a crawler has to list.
"""

from __future__ import annotations

import enum
import math
from typing import Final

# What was counted drains by the limit in this time: who lists an archive now and then never gets
# there, however long it lives.
DRAIN_SECONDS: Final = 3600.0
# All is forgotten when for so long no further archive was looked into, or asked for in vain.
CALM_SECONDS: Final = 60.0
# Reading from one archive pays for so many others: who looks for one kind of file, or lists ahead
# as rsync does, is a reader.
READING_PAYS: Final = 10
LONGEST_DELAY: Final = 1.0  # seconds


class State(enum.IntEnum):
    """How a process is let into archives that it has not opened yet."""

    FREE = 0
    SLOWED = 1
    REFUSED = 2


class _Known(enum.Enum):
    """What is known of an archive that a process has looked into."""

    HELD = enum.auto()  # its index was in memory: to look into it cost nothing
    OPENED = enum.auto()  # its index had to be loaded
    COUNTED = enum.auto()  # and a directory of it was listed
    READ = enum.auto()


class Crawl:
    """What one process has opened, listed and read. To be guarded, but for `may_…`.

    Archives are numbers. `limit` is how many may be listed and not read: beyond it each further one
    has to wait, the longer the more there are, and at twice as many no further one is opened. 0
    lets none pass, `math.inf` all. `now` is in seconds, and never goes back.

    Events are answered by the seconds for which they are to wait, or None: refused. `is_held`: the
    archive's index is in memory.
    """

    def __init__(self) -> None:
        self._archives: dict[int, _Known] = {}  # the oldest first
        self._level = 0.0  # archives listed and not read, at `_changed`
        self._changed = -math.inf
        self._last_further = -math.inf  # when an archive was met that it had not looked into
        self._is_refused = False
        self.opened = 0  # archives whose index had to be loaded for it

    def __len__(self) -> int:
        """How many archives are remembered."""
        return len(self._archives)

    def forget_oldest(self) -> None:
        """Forget the archive that was looked into first: the next look is the first again."""
        del self._archives[next(iter(self._archives))]

    # States

    def state(self, limit: float, now: float) -> State:
        """How it stands."""
        level = self._level_at(limit, now)
        if limit <= 0 or (level > limit and (self._is_refused or level >= 2 * limit)):
            return State.REFUSED
        return State.SLOWED if level > limit else State.FREE

    def unread(self, limit: float, now: float) -> int:
        """Archives listed and not read, less what reading and time have paid for."""
        return math.ceil(self._level_at(limit, now))

    def may_look(self, archive: int, limit: float) -> bool:
        """Whether a look into that archive would be no event."""
        return limit > 0 and archive in self._archives

    def may_list(self, archive: int, limit: float) -> bool:
        """Whether to list a directory of that archive would be no event."""
        return limit > 0 and self._archives.get(archive, _Known.OPENED) is not _Known.OPENED

    def may_read(self, archive: int, limit: float) -> bool:
        """Whether a read from that archive would be no event."""
        return limit > 0 and self._archives.get(archive) is _Known.READ

    # Events

    def look(self, archive: int, limit: float, now: float, *, is_held: bool) -> float | None:
        """It looks into an archive: asks for a name, or for a list that is no crawling."""
        if self.may_look(archive, limit):
            return 0.0
        self._meet_further(now)
        if self.state(limit, now) is State.REFUSED:
            return None
        self._archives[archive] = _Known.HELD if is_held else _Known.OPENED
        self.opened += not is_held
        return 0.0

    def list_directory(
        self, archive: int, limit: float, now: float, *, is_held: bool
    ) -> float | None:
        """It lists a directory of an archive."""
        if self.look(archive, limit, now, is_held=is_held) is None:
            return None
        if self.may_list(archive, limit):
            return 0.0
        self._archives[archive] = _Known.COUNTED
        self._change(self._level_at(limit, now) + 1, limit, now)
        return LONGEST_DELAY * min(1.0, max(0.0, self._level / limit - 1))

    def read(self, archive: int, limit: float, now: float, *, is_held: bool) -> float | None:
        """It reads from an archive, which is no crawling, and refused only where all is."""
        if limit <= 0:
            return None
        if archive not in self._archives:
            self._meet_further(now)
        known = self._archives.get(archive)
        if known is not _Known.READ:
            self._archives[archive] = _Known.READ
            self.opened += known is None and not is_held
            paid = READING_PAYS + (known is _Known.COUNTED)
            self._change(max(0.0, self._level_at(limit, now) - paid), limit, now)
        return 0.0

    def _meet_further(self, now: float) -> None:
        if now - self._last_further >= CALM_SECONDS:
            # Who goes the same round every day would come further each time.
            self._archives.clear()
            self._level, self._is_refused = 0.0, False
        self._last_further = now

    def _level_at(self, limit: float, now: float) -> float:
        if now - self._last_further >= CALM_SECONDS or limit == math.inf:
            return 0.0
        if self._is_refused:
            return self._level
        return max(0.0, self._level - (now - self._changed) * limit / DRAIN_SECONDS)

    def _change(self, level: float, limit: float, now: float) -> None:
        self._is_refused = level > limit and (self._is_refused or level >= 2 * limit)
        self._level, self._changed = level, now
