"""Threads for jobs that begin at once, or not at all."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial


class Once:
    """A job that is run by the first who takes it.

    An executor puts a job into its queue before it makes a thread for it: where it can't make one
    it raises, and one of the threads that are there may run the job all the same.
    """

    def __init__(self, job: Callable[[], None]) -> None:
        self._job = job
        self._taken = threading.Lock()

    def take(self) -> bool:
        """Whether it is the caller's: nobody has it, and nobody will run it."""
        return self._taken.acquire(blocking=False)

    def __call__(self) -> None:
        """Run it, unless somebody has taken it."""
        if self.take():
            self._job()


class Threads:
    """At most that many, made when they are needed; no job waits for one. For any thread."""

    def __init__(self, most: int, *, name: str) -> None:
        self._free = threading.Semaphore(most)
        self._pool = ThreadPoolExecutor(max(1, most), thread_name_prefix=name)

    def start(self, job: Callable[[], None]) -> bool:
        """Run it in a thread, in the caller's context; it must not fail. False: none is free."""
        if not self._free.acquire(blocking=False):
            return False
        once = Once(partial(self._run, job))
        try:
            self._pool.submit(copy_context().run, once)
        except BaseException as error:
            is_ours = once.take()
            if is_ours:
                self._free.release()
            if isinstance(error, RuntimeError):  # closed, or the process may have no more threads
                return not is_ours
            raise
        return True

    def _run(self, job: Callable[[], None]) -> None:
        try:
            job()
        finally:
            self._free.release()

    def close(self) -> None:
        """Begin nothing more; what is under way goes on."""
        self._pool.shutdown(wait=False)
