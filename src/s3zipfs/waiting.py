"""The one way in which a thread waits: for a future, up to a deadline, until interrupted."""

from __future__ import annotations

import contextlib
import queue
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

from s3zipfs.errors import DeadlineExceeded, Interrupted, TooManyWaiting

T = TypeVar("T")

# The store's own deadline is the same, and its error tells what was met until then.
GRACE_SECONDS = 0.5

# A reader under SIGKILL is freed only by our answer, so the question is asked often
# (measured: gone in 0.1 s).
POLL_SECONDS = 0.1

# Where whoever is interrupted says so, it is asked for the end of the mount only: 448 waiters that
# ask ten times a second took an eighth of a CPU, and the GIL from all others.
SELDOM_SECONDS = 0.5


def never_interrupted() -> bool:
    """For waits that nobody can interrupt (fsspec, command line)."""
    return False


class Transfer(Future[T]):
    """A future whose deadline counts from its last progress."""

    def __init__(self) -> None:
        super().__init__()
        self.progressed = 0.0  # by the monotonic clock; 0.0: not yet

    def progress(self) -> None:
        """Something of it has arrived."""
        self.progressed = time.monotonic()


class Places(Protocol):
    """How many may wait at once, where that has a bound."""

    def acquire(self) -> bool:
        """Take one; False where there is none left."""

    def release(self) -> None:
        """Give it back."""


@dataclass(frozen=True, slots=True)
class Wait:
    """How long one operation may wait, and how it learns that nobody wants the answer any more.

    `timeout` (seconds) counts from the start of each wait, or from the last part that arrived of
    a `Transfer`, so that an operation which keeps receiving keeps going: the deadline is one of
    progress.
    """

    timeout: float
    interrupted: Callable[[], bool] = never_interrupted
    places: Places | None = None  # where it may wait; None: anywhere
    # Told what to call, from any thread, once `interrupted` has changed; None: it must be asked.
    on_interrupt: Callable[[Callable[[], None]], None] | None = None
    since: float = 0.0  # monotonic seconds: where one wait goes on, when it began; 0.0: each anew

    def result(self, future: Future[T]) -> T:
        """The future's result.

        Raises:
            DeadlineExceeded, Interrupted, TooManyWaiting: or the future's own exception.
        """
        if future.done():
            return future.result()
        if self.places is None:
            return self._wait(future)
        if not self.places.acquire():
            raise TooManyWaiting("too many operations wait for the store already")
        try:
            return self._wait(future)
        finally:
            self.places.release()

    def telling(self, transfer: Transfer[T]) -> Wait:
        """This wait, for who brings what others wait for: they see that it goes on.

        Their deadline counts from when it last asked whether to go on; it has one of its own.
        """

        def interrupted() -> bool:
            transfer.progress()
            return self.interrupted()

        return replace(self, interrupted=interrupted)

    def pause(self, seconds: float) -> None:
        """Let that time pass, as if something were waited for; `timeout` does not matter.

        Raises:
            Interrupted, TooManyWaiting: see `result`.
        """
        nothing: Future[None] = Future()
        with contextlib.suppress(DeadlineExceeded):
            replace(self, timeout=seconds - GRACE_SECONDS).result(nothing)

    def _wait(self, future: Future[T]) -> T:
        begun, allowed = self.since or time.monotonic(), self.timeout + GRACE_SECONDS
        woken: queue.SimpleQueue[object] = queue.SimpleQueue()  # its `put` is reentrant
        poll = POLL_SECONDS
        if self.on_interrupt is not None:
            self.on_interrupt(lambda: woken.put(None))
            poll = SELDOM_SECONDS
        future.add_done_callback(woken.put)
        while not future.done():
            self.check()
            progressed = future.progressed if isinstance(future, Transfer) else 0.0
            remaining = max(begun, progressed) + allowed - time.monotonic()
            if remaining <= 0:
                raise DeadlineExceeded(f"no progress within {self.timeout:g} s")
            with contextlib.suppress(queue.Empty):
                woken.get(timeout=min(poll, remaining))
        return future.result()

    def check(self) -> None:
        """Raise `Interrupted` where the waiter is gone."""
        if self.interrupted():
            raise Interrupted("interrupted while waiting")
