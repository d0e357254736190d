"""Passes over large deflated members, from the start to the end, that leave checkpoints behind.

One thread runs them, one at a time, whoever waits or goes. A pass goes on when nobody waits any
more: whoever reads at random comes back within seconds, and half a GiB is done in two. Of a huge
member that nobody comes back to the rest is not fetched; its pass stands by where it stopped.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from s3zipfs.archive.checkpointing import CheckpointingDeflate
from s3zipfs.archive.checkpoints import Checkpoints
from s3zipfs.archive.inflate import STREAM_COST, Decoding, RawRead
from s3zipfs.errors import DeadlineExceeded, Interrupted, OutOfResources, S3ZipError
from s3zipfs.waiting import POLL_SECONDS, Transfer, Wait
from s3zipfs.zipformat.member import Member

log = logging.getLogger(__name__)

LINGER_SECONDS: Final = 20.0  # for which a pass goes on that nobody waits for
TURN: Final = 64 << 20  # bytes of content, 0.2 s: where several members want a pass each has a turn
# Nothing comes: the others have their turn meanwhile. Longer than a GET's latency: where memory is
# short they would take what comes for it.
SILENT_SECONDS: Final = 0.3
CLOSE_SECONDS: Final = 5.0

PASS_COST: Final = STREAM_COST + CheckpointingDeflate.memory  # bytes of memory


class IndexingPass:
    """One member on its way. Its `Indexer` guards what is not said to be free."""

    def __init__(
        self,
        member: Member,
        checkpoints: Checkpoints,
        *,
        turned: Callable[[], None],
        completed: Callable[[], None],
    ) -> None:
        self.size = member.uncompressed_size
        self.decoding = Decoding(member, CheckpointingDeflate(checkpoints))  # the thread's
        self.turned = turned  # told that there are more checkpoints
        self.completed = completed  # told that all is what was zipped
        self.reached = 0  # bytes of content, `verdict` at the end; free to read
        self.error: Exception | None = None  # why it can't go on
        self.read_raw: RawRead | None = None  # of who came last; None while it stands by
        self.timeout = 0.0  # likewise
        self.waiting: list[tuple[int, Transfer[None]]] = []  # until what is reached
        self.wanted = 0.0  # monotonic seconds: when somebody waited last
        # The thread's: since when bytes are awaited, over its turns; 0.0: it has all it asked for.
        self.awaits = 0.0

    @property
    def verdict(self) -> int:
        """What is reached once the member is known to be whole."""
        return self.size + 1

    @property
    def is_running(self) -> bool:
        """Whether it is at work, or has a turn soon; free to read."""
        return self.read_raw is not None


class Indexer:
    """The thread for passes; there is one while there is something to do."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards all below, and the passes
        self._turns: deque[IndexingPass] = deque()  # the first is at work
        self._thread: threading.Thread | None = None
        self._closing = False
        self._moved = 0.0  # the thread's: monotonic seconds, when the pass at work got on last

    def wait(self, job: IndexingPass, until: int, read_raw: RawRead, wait: Wait) -> None:
        """Let it run until it has reached that much. The deadline counts from the last progress.

        Raises:
            BadMember: the member is damaged.
            S3ZipError: its bytes can't be had, or no thread; the next who waits goes on from there.
        """
        give_up = time.monotonic() + wait.timeout
        while True:
            try:
                return self._wait(job, until, read_raw, wait)
            except DeadlineExceeded:
                # It may be the deadline of bytes that were asked for before this reader came.
                left = give_up - time.monotonic()
                if left <= POLL_SECONDS:
                    raise
                time.sleep(POLL_SECONDS)
                wait = replace(wait, timeout=left)

    def _wait(self, job: IndexingPass, until: int, read_raw: RawRead, wait: Wait) -> None:
        with self._lock:
            if job.error is not None:
                raise job.error
            if job.reached >= until:
                return
            if self._closing:
                raise Interrupted("the mount is stopping")
            self._need_thread()
            ticket = until, Transfer[None]()
            job.waiting.append(ticket)
            job.wanted = time.monotonic()
            job.read_raw, job.timeout = read_raw, wait.timeout
            if job not in self._turns:
                self._turns.append(job)
        try:
            wait.result(ticket[1])
        finally:
            with self._lock:
                job.wanted = time.monotonic()
                if ticket in job.waiting:
                    job.waiting.remove(ticket)

    def _need_thread(self) -> None:
        """Start it where there is none; it finds what is in the queue once the lock is free."""
        if self._thread is not None:
            return
        thread = threading.Thread(target=self._run, name="s3zipfs-indexing", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            raise OutOfResources(f"no thread for a pass over a member: {error}") from None
        self._thread = thread

    def close(self) -> None:
        """Stop; who waits is told so. The passes are of no further use."""
        with self._lock:
            self._closing = True
            thread = self._thread
        if thread is not None:
            thread.join(timeout=CLOSE_SECONDS)

    # The thread

    def _run(self) -> None:
        while (job := self._next()) is not None:
            try:
                self._take_turn(job)
            except Interrupted as error:
                self._pause(job, error)
            except Exception as error:
                if not isinstance(error, S3ZipError):
                    log.exception("a pass over a member: unexpected error")
                self._stop(job, error)

    def _next(self) -> IndexingPass | None:
        """The pass whose turn it is; None, and the thread is no more, where there is none."""
        with self._lock:
            if self._turns:
                return self._turns[0]
            self._thread = None
            return None

    def _take_turn(self, job: IndexingPass) -> None:
        decoding, read_raw = job.decoding, job.read_raw
        assert read_raw is not None  # noqa: S101 - it is in the queue
        until = decoding.position + TURN
        self._moved = time.monotonic()
        job.awaits = job.awaits or self._moved
        while decoding.position < until:
            wait = Wait(job.timeout, lambda: self._interrupts(job), since=job.awaits)
            decoding.advance(read_raw, wait)
            self._moved = job.awaits = time.monotonic()
            self._tell(job)
            if decoding.finished:
                job.completed()
                self._stop(job, None)
                return
        job.awaits = 0.0
        self._end_turn(job)

    def _end_turn(self, job: IndexingPass) -> None:
        job.turned()
        with self._lock:
            self._turns.rotate(-1)

    def _interrupts(self, job: IndexingPass) -> bool:
        """Whether the pass is to stop. It is asked while bytes are awaited: a sign of life."""
        with self._lock:
            self._show_life()
            return (
                self._closing
                or self._is_silent()
                or (not job.waiting and time.monotonic() - job.wanted > LINGER_SECONDS)
            )

    def _is_silent(self) -> bool:
        """Whether others are to have their turn, since nothing comes. The lock is held."""
        return len(self._turns) > 1 and time.monotonic() - self._moved > SILENT_SECONDS

    def _show_life(self) -> None:
        """Progress for all who wait, whosever turn it is. The lock is held."""
        for job in self._turns:
            for _, future in job.waiting:
                future.progress()

    def _tell(self, job: IndexingPass) -> None:
        """Some more is done: progress for all, and the end of waiting for some."""
        with self._lock:
            job.reached = job.verdict if job.decoding.finished else job.decoding.position
            self._show_life()
            done = [ticket for ticket in job.waiting if ticket[0] <= job.reached]
            if done:
                job.wanted = time.monotonic()
            for ticket in done:
                job.waiting.remove(ticket)
        for _, future in done:
            future.set_result(None)

    def _pause(self, job: IndexingPass, error: Interrupted) -> None:
        """It was to stop; unless it is only silent, or somebody has come meanwhile."""
        with self._lock:
            goes_on = not self._closing and (bool(job.waiting) or self._is_silent())
        if goes_on:
            self._end_turn(job)  # what it asked for is on its way
        else:
            self._stop(job, error)

    def _stop(self, job: IndexingPass, error: Exception | None) -> None:
        """It stands by, or has ended; who waits gets the error."""
        with self._lock:
            self._turns.remove(job)
            job.read_raw, job.awaits = None, 0.0
            if not job.decoding.usable:
                job.error = error
            waiting, job.waiting = job.waiting, []
        for _, future in waiting:
            future.set_exception(error or Interrupted("the pass ended"))
