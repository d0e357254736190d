"""What a check says, and running checks so that none is waited for beyond a deadline."""

from __future__ import annotations

import enum
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from s3zipfs.errors import S3ZipError


class Level(enum.IntEnum):
    """How bad it is; the worst is the highest."""

    OK = 0
    NOTE = 1  # good to know
    WARNING = 2  # works, and not as well or as safely as it could
    ERROR = 3  # a mount, or a part of it, fails


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: what was looked at, what is so, and what to do where it is not well."""

    level: Level
    about: str
    found: str
    remedy: str = ""


Check = Callable[[], Iterator[Finding]]


def ok(about: str, found: str) -> Finding:
    """All is well."""
    return Finding(Level.OK, about, found)


def note(about: str, found: str, remedy: str = "") -> Finding:
    """Nothing is wrong."""
    return Finding(Level.NOTE, about, found, remedy)


def warning(about: str, found: str, remedy: str) -> Finding:
    """It works, and should be mended."""
    return Finding(Level.WARNING, about, found, remedy)


def error(about: str, found: str, remedy: str) -> Finding:
    """It does not work."""
    return Finding(Level.ERROR, about, found, remedy)


class Checkup:
    """Runs checks side by side and tells their findings in the checks' order.

    Each finding may take `seconds`. A thread may still wait for something afterwards.
    """

    def __init__(self, checks: Sequence[tuple[str, Check]], *, seconds: float) -> None:
        self._checks = checks
        self._seconds = seconds

    def run(self) -> Iterator[Finding]:
        """All findings; what a check has not told in time is one.

        Time counts from a check's last finding, not from its turn: if all are stuck, it is once.
        """
        begun = time.monotonic()
        running = [(about, _start(about, check)) for about, check in self._checks]
        for about, told in running:
            heard = begun
            while True:
                left = heard + self._seconds - time.monotonic()
                try:
                    heard, finding = told.get(timeout=max(0.0, left))
                except queue.Empty:
                    yield error(
                        about, f"no answer within {self._seconds:g} s", "see what it waits for"
                    )
                    break
                if finding is None:
                    break
                yield finding


_Told = queue.SimpleQueue[tuple[float, Finding | None]]  # with when it was; None: that was all


def _start(about: str, check: Check) -> _Told:
    told: _Told = queue.SimpleQueue()

    def tell(finding: Finding | None) -> None:
        told.put((time.monotonic(), finding))

    def run() -> None:
        try:
            for finding in check():
                tell(finding)
        except (S3ZipError, OSError, ValueError) as failed:
            tell(error(about, " ".join(str(failed).split()), "mend that, and ask again"))
        except Exception as failed:  # noqa: BLE001 - a check that is wrong is a line, not the end
            tell(error(about, f"unexpected {type(failed).__name__}: {failed}", "report it"))
        finally:
            tell(None)

    threading.Thread(target=run, name=f"s3zipfs-doctor-{about}", daemon=True).start()
    return told
