"""A writer beside the readers of a test."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def replacing(replace: Callable[[int], None], *, period: float) -> Iterator[None]:
    """Call `replace` with 1, 2, … each `period` seconds; its failure is one of the test."""
    stop = threading.Event()
    failures: list[Exception] = []

    def write() -> None:
        try:
            for version in itertools.count(1):
                replace(version)
                if stop.wait(period):
                    return
        except Exception as error:  # noqa: BLE001 - raised below
            failures.append(error)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
    assert not failures, failures
