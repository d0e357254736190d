"""Parts of a body, told as they arrive to all who wait for the whole, through every store between.

A context variable, since the store that receives and the ones who wait are layers apart, and every
task has its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

Listener = Callable[[memoryview], None]

_listeners: ContextVar[tuple[Listener, ...]] = ContextVar("s3zipfs_listeners", default=())


@contextmanager
def heard_by(listener: Listener) -> Iterator[None]:
    """Call `listener` for each part that this task receives within the block, in order."""
    token = _listeners.set((*_listeners.get(), listener))
    try:
        yield
    finally:
        _listeners.reset(token)


def tell(part: memoryview) -> None:
    """A part of the body asked for is here; its version and place have been compared."""
    for listener in _listeners.get():
        listener(part)
