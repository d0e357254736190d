"""Parts of a body, told as they arrive to all who wait for the whole, through every store between.

A context variable, since the store that receives and the ones who wait are layers apart, and every
task has its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

Listener = Callable[[memoryview], None]


class _Hearing:
    """A listener and those around it; empty once its block is left.

    Timers hold the context they were made in until their time, even if they are cancelled: a body
    that a listener holds would stay for a minute.
    """

    __slots__ = ("listener", "outer")

    def __init__(self, listener: Listener, outer: _Hearing | None) -> None:
        self.listener: Listener | None = listener
        self.outer = outer


_hearing: ContextVar[_Hearing | None] = ContextVar("s3zipfs_hearing", default=None)


@contextmanager
def heard_by(listener: Listener) -> Iterator[None]:
    """Call `listener` for each part that this task receives within the block, in order."""
    hearing = _Hearing(listener, _hearing.get())
    token = _hearing.set(hearing)
    try:
        yield
    finally:
        _hearing.reset(token)
        hearing.listener = hearing.outer = None


def tell(part: memoryview) -> None:
    """A part of the body asked for is here; its version and place have been compared."""
    hearing = _hearing.get()
    while hearing is not None:
        if hearing.listener is not None:
            hearing.listener(part)
        hearing = hearing.outer
