"""Threads for jobs that begin at once, or not at all."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context


class Threads:
    """At most that many, made when they are needed; no job waits for one. For any thread."""

    def __init__(self, most: int, *, name: str) -> None:
        self._free = threading.Semaphore(most)
        self._pool = ThreadPoolExecutor(max(1, most), thread_name_prefix=name)

    def start(self, job: Callable[[], None]) -> bool:
        """Run it in a thread, in the caller's context; it must not fail. False: none is free."""
        if not self._free.acquire(blocking=False):
            return False
        try:
            self._pool.submit(copy_context().run, self._run, job)
        except RuntimeError:  # closed, or the process may have no more threads
            self._free.release()
            return False
        return True

    def _run(self, job: Callable[[], None]) -> None:
        try:
            job()
        finally:
            self._free.release()

    def close(self) -> None:
        """Begin nothing more; what is under way goes on."""
        self._pool.shutdown(wait=False)
