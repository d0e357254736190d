"""The threads of this door: many reads at once."""

from __future__ import annotations

import os
import threading
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
            BaseException: of the first call, by their order, that raised; the others have ended.
        """
        results: list[Future[T]] = [Future() for _ in calls]
        waiting = iter(zip(calls, results, strict=True))
        lock = threading.Lock()  # guards waiting

        def work() -> None:
            while True:
                with lock:
                    call, result = next(waiting, (None, None))
                if call is None or result is None:
                    return
                try:
                    result.set_result(call())
                except BaseException as error:  # noqa: BLE001 - raised to the caller of `run`
                    result.set_exception(error)

        others = [self._submit(work) for _ in range(min(AT_ONCE, len(calls)) - 1)]
        work()
        for other in others:
            if not other.cancel():
                other.result()
        return [result.result() for result in results]


POOL = Threads()
os.register_at_fork(after_in_child=POOL.forget)
