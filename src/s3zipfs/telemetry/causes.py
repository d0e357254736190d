"""On whose behalf requests are sent.

What a thread begins on the network's loop, and on threads that keep the context, is on behalf of
whom that thread works for; what is read ahead as well. What is begun for all, as a pass that finds
checkpoints, is on nobody's.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Final, Protocol


class Cause(Protocol):
    """Whose requests are to be counted; for any thread."""

    def request_sent(self) -> None:
        """One more."""


_CAUSE: Final[ContextVar[Cause | None]] = ContextVar("s3zipfs_cause", default=None)


def work_for(cause: Cause) -> None:
    """This thread, or this coroutine, works on behalf of that from now on."""
    if _CAUSE.get() is not cause:
        _CAUSE.set(cause)


def request_sent() -> None:
    """A request is being sent by this thread or coroutine."""
    if (cause := _CAUSE.get()) is not None:
        cause.request_sent()
