"""Where obstore can't be used: in a child that was forked after it was, by whomever."""

from __future__ import annotations

import asyncio
import os
from typing import Final

from obstore.store import MemoryStore

ANSWER_SECONDS: Final = 3.0  # mostly 2 ms the first time


class Runtime:
    """Whether obstore works in this process.

    Its runtime is one for the process and begins with its first use; its threads are not in a
    forked child, where every request would end at its deadline (seen with obstore 0.12.1). It does
    not tell whether somebody used it before the fork, so it is asked for what needs no network.
    """

    def __init__(self) -> None:
        self._found: tuple[int, bool] | None = None  # the process that asked first, and the answer

    async def is_here(self) -> bool:
        """Whether it is; only the first call of all waits."""
        if self._found is None:
            self._found = os.getpid(), await _answers()
        return self.is_known_here

    @property
    def is_known_here(self) -> bool:
        """The same where it was asked before, and else no."""
        return self._found == (os.getpid(), True)


async def _answers() -> bool:
    try:
        await asyncio.wait_for(MemoryStore().put_async("key", b""), ANSWER_SECONDS)
    except TimeoutError:
        return False
    return True


OBSTORE = Runtime()
