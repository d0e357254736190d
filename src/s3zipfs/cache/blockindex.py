"""The index of the blocks on disk: which record stands where, and what was used when; SQLite.

`FOLDER/index.db` in WAL mode, so that readers and one writer of any number of processes do not wait
for each other, and a process that is killed leaves it whole. Nothing is synced: after a power cut
the index may be damaged, and is replaced. Nor is it believed: a record says itself what it is, so
that a wrong index costs a request and never a wrong byte.

Opening reads no more than the schema, and a look-up no more than the rows it returns.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Self

from s3zipfs.cache.privatefolder import check_private, make_private
from s3zipfs.cache.records import FORMAT, LARGEST, Place

FILE: Final = "index.db"
SEGMENT_SUFFIX: Final = ".seg"

# Rows of one look-up: an extent in more pieces than that is fetched rather than put together.
MOST_PLACES: Final = 1024

# The log beside the file is taken into it at this many pages of 4 KiB, and cut to twice as much.
_LOG_PAGES: Final = 1000

_SCHEMA: Final = f"""
PRAGMA journal_mode = WAL;
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS segments (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    length INTEGER NOT NULL,    -- bytes of records that are committed
    reserved INTEGER NOT NULL,  -- bytes that the file may have
    used INTEGER NOT NULL       -- grows with each use: the least is the least recently used
);
CREATE INDEX IF NOT EXISTS by_use ON segments (used);
CREATE TABLE IF NOT EXISTS records (
    object INTEGER NOT NULL,
    start INTEGER NOT NULL,
    "end" INTEGER NOT NULL,
    segment INTEGER NOT NULL,
    offset INTEGER NOT NULL,
    PRIMARY KEY (object, start)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS by_segment ON records (segment);
PRAGMA user_version = {FORMAT};
COMMIT;
"""

# Records of one object do not overlap, but for a race of two processes, which costs a request.
_LOOKUP: Final = """
SELECT start, "end", segment, offset FROM records WHERE object = ?1 AND start < ?3 AND start >=
    coalesce((SELECT start FROM records WHERE object = ?1 AND start <= ?2
              ORDER BY start DESC LIMIT 1), ?2)
ORDER BY start LIMIT ?4
"""


class DamagedIndexError(Exception):
    """The index can't be what was written."""


class OtherFormatError(Exception):
    """The index is of another version of this program; `is_newer` tells of which side."""

    def __init__(self, version: int) -> None:
        super().__init__(f"format {version}, not {FORMAT}")
        self.is_newer = version > FORMAT


class BlockIndex:
    """One connection; used by one thread at a time. Errors are `sqlite3.Error` where not named."""

    def __init__(self, folder: Path, *, timeout: float) -> None:
        """Open the index that is there, waiting at most `timeout` seconds for other processes.

        Raises:
            FileNotFoundError: there is none.
            PermissionError: the folder is not ours alone.
            OtherFormatError: see there.
            DamagedIndexError: it is no index.
        """
        check_private(folder)
        self._path = folder / FILE
        self._file = _file_id(self._path)
        # The driver's own transactions are switched off: they begin too late for us.
        self._db = sqlite3.connect(
            f"{self._path.as_uri()}?mode=rw",
            uri=True,
            timeout=timeout,
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            with _damage_told():
                self._prepare()
        except BaseException:
            self._db.close()
            raise

    def _prepare(self) -> None:
        version = self._one("PRAGMA user_version")
        if version != FORMAT:
            raise OtherFormatError(version)
        self._db.execute("PRAGMA synchronous = OFF")
        self._db.execute("PRAGMA cache_size = -512")  # KiB, of each connection
        self._db.execute(f"PRAGMA wal_autocheckpoint = {_LOG_PAGES}")
        self._db.execute(f"PRAGMA journal_size_limit = {2 * _LOG_PAGES * 4096}")
        self._db.execute("SELECT id FROM segments LIMIT 1").fetchone()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._db.close()

    def is_current(self) -> bool:
        """Whether the file that is open is still the one at its path."""
        try:
            return _file_id(self._path) == self._file
        except OSError:
            return False

    # Reading

    def lookup(self, object_key: int, start: int, end: int) -> list[Place]:
        """The records of an object that touch `[start, end)`, in order.

        Raises:
            DamagedIndexError: also where a row makes no sense.
        """
        with _damage_told():
            rows = self._db.execute(_LOOKUP, (object_key, start, end, MOST_PLACES)).fetchall()
        for row in rows:
            is_sane = all(isinstance(number, int) and number >= 0 for number in row)
            if not (is_sane and row[0] < row[1] <= row[0] + LARGEST):
                raise DamagedIndexError(f"a record of {row[0]} to {row[1]}")
        return [Place(*row) for row in rows if row[1] > start]

    def used_bytes(self) -> int:
        """Bytes of disk that segments may take and the index takes."""
        return self._one("SELECT coalesce(sum(reserved), 0) FROM segments") + self._own_bytes()

    def totals(self) -> tuple[int, int, int]:
        """Segments, objects and records; counts them all."""
        segments = self._one("SELECT count(*) FROM segments")
        objects = self._one("SELECT count(DISTINCT object) FROM records")
        return segments, objects, self._one("SELECT count(*) FROM records")

    def newest_segments(self, count: int) -> list[int]:
        """The newest segments, the newest first."""
        query = "SELECT id FROM segments ORDER BY id DESC LIMIT ?"
        return [row[0] for row in self._db.execute(query, (count,))]

    def length(self, segment: int) -> int | None:
        """Bytes of a segment that are committed; None where there is no such segment."""
        found = self._db.execute("SELECT length FROM segments WHERE id = ?", (segment,)).fetchone()
        return None if found is None else int(found[0])

    def least_used(self, *, excepting: int | None) -> int | None:
        """The segment to go next."""
        query = "SELECT id FROM segments WHERE id IS NOT ? ORDER BY used LIMIT 1"
        found = self._db.execute(query, (excepting,)).fetchone()
        return None if found is None else int(found[0])

    def _own_bytes(self) -> int:
        total = 0
        for suffix in ("", "-wal", "-shm"):
            try:
                total += os.stat(f"{self._path}{suffix}").st_size  # noqa: PTH116 - no path made
            except FileNotFoundError:
                continue
        return total

    def _one(self, query: str) -> int:
        return int(self._db.execute(query).fetchone()[0])

    # Writing

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Be the only writer of all processes; what is raised inside undoes all."""
        with _damage_told():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    def add_segment(self) -> int:
        """The number of a new, empty segment."""
        added = self._db.execute("INSERT INTO segments (length, reserved, used) VALUES (0, 0, 0)")
        number = int(added.lastrowid or 0)
        self.touch([number])
        return number

    def drop_segment(self, segment: int) -> None:
        """Forget a segment and its records."""
        self._db.execute("DELETE FROM records WHERE segment = ?", (segment,))
        self._db.execute("DELETE FROM segments WHERE id = ?", (segment,))

    def reserve(self, segment: int, size: int) -> bool:
        """Note what the file may have; whether there still is such a segment."""
        query = "UPDATE segments SET reserved = ? WHERE id = ?"
        return self._db.execute(query, (size, segment)).rowcount == 1

    def set_length(self, segment: int, length: int) -> bool:
        """Note what is written, and that it was just used; whether there is such a segment."""
        self.touch([segment])
        query = "UPDATE segments SET length = ? WHERE id = ?"
        return self._db.execute(query, (length, segment)).rowcount == 1

    def add_records(self, records: Iterable[tuple[int, Place]]) -> None:
        """Note records, each with its object's key."""
        self._db.executemany(
            "INSERT OR REPLACE INTO records VALUES (?, ?, ?, ?, ?)",
            [(key, p.start, p.end, p.segment, p.offset) for key, p in records],
        )

    def drop_range(self, object_key: int, start: int, end: int) -> None:
        """Forget the records of an object that touch `[start, end)`."""
        self._db.execute(
            'DELETE FROM records WHERE object = ? AND start > ? AND start < ? AND "end" > ?',
            (object_key, start - LARGEST, end, start),
        )

    def drop_within(self, object_key: int, start: int, end: int) -> None:
        """Forget the records of an object that lie in `[start, end)`."""
        self._db.execute(
            'DELETE FROM records WHERE object = ? AND start >= ? AND start < ? AND "end" <= ?',
            (object_key, start, end, end),
        )

    def drop_record(self, object_key: int, place: Place) -> None:
        """Forget one record, unless another has taken its place."""
        self._db.execute(
            "DELETE FROM records WHERE object = ? AND start = ? AND segment = ? AND offset = ?",
            (object_key, place.start, place.segment, place.offset),
        )

    def touch(self, segments: Iterable[int]) -> None:
        """Note that these were just used."""
        query = "UPDATE segments SET used = (SELECT max(used) + 1 FROM segments) WHERE id = ?"
        self._db.executemany(query, [(segment,) for segment in segments])

    def shrink(self) -> None:
        """Give the space of dropped rows back to the disk, where nobody is in the way."""
        self._db.execute("VACUUM")
        self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def create_index(folder: Path, *, timeout: float) -> None:
    """Make the folder, mode 0700, and an empty index in it, where there is none."""
    make_private(folder)
    check_private(folder)
    path = folder / FILE
    # Made by us, since SQLite gives what it makes a mode of its own. And never opened a second
    # time: closing any descriptor of a file ends all of a process's POSIX locks on it.
    flags = os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        os.close(os.open(path, flags, 0o600))
    except FileExistsError:
        pass
    else:
        for orphan in folder.glob(f"*{SEGMENT_SUFFIX}"):  # of an index that somebody removed
            orphan.unlink(missing_ok=True)
    db = sqlite3.connect(path, timeout=timeout, isolation_level=None)
    try:
        with _damage_told():
            if db.execute("PRAGMA user_version").fetchone()[0] == 0:
                db.executescript(_SCHEMA)
    finally:
        db.close()


def _file_id(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino


@contextmanager
def _damage_told() -> Iterator[None]:
    try:
        yield
    except sqlite3.DatabaseError as error:
        damage = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
        primary = (getattr(error, "sqlite_errorcode", 0) or 0) & 0xFF  # sqlite.org/rescode.html
        is_misfit = "no such table" in str(error) or "no such column" in str(error)
        if primary in damage or is_misfit:
            raise DamagedIndexError(str(error)) from error
        raise
