"""The threads of this door: many reads at once."""

from __future__ import annotations

import contextlib
import os
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")

THREADS = 32  # of all calls together; who calls works as well
AT_ONCE = 8  # reads of one call: their GETs are under way before, and the GIL is one


class Threads:
    """One bounded pool for the process, made on first use. A forked child gets its own."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """In a forked child: the parent's threads are not here."""
        self._lock = threading.Lock()  # guards _pool
        self._pool: ThreadPoolExecutor | None = None

    def _submit(self, call: Callable[[], None]) -> Future[None]:
        with self._lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(THREADS, "s3zipfs-fsspec")
            return self._pool.submit(call)

    def run(self, calls: Sequence[Callable[[], T]]) -> list[T]:
        """What each call gives, in order; several at once, one of them in this thread.

        This thread works as well, and waits for what others have begun only: however many call at
        once, nobody waits for a thread.

        Raises:
            Exception: of the first call, by their order, that raised; the others have ended.
            BaseException: what is to end this thread, as Ctrl-C; at once, and nothing more begins.
        """
        results: list[Future[T]] = [Future() for _ in calls]
        waiting = deque(zip(calls, results, strict=True))  # its methods are atomic
        others: list[Future[None]] = []

        def work() -> None:
            while (each := _next_of(waiting)) is not None:
                call, result = each
                try:
                    result.set_result(call())
                except Exception as error:  # noqa: BLE001 - raised to the caller of `run`
                    result.set_exception(error)

        try:
            with contextlib.suppress(RuntimeError):  # no more threads: this one does it all
                others.extend(self._submit(work) for _ in range(min(AT_ONCE, len(calls)) - 1))
            work()
            for other in others:
                if not other.cancel():
                    other.result()
        except BaseException:
            waiting.clear()  # what others have begun may take a minute
            raise
        return [result.result() for result in results]


def _next_of(waiting: deque[T]) -> T | None:
    try:
        return waiting.popleft()
    except IndexError:
        return None


POOL = Threads()
os.register_at_fork(after_in_child=POOL.forget)
