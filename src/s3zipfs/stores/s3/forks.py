"""Where obstore can't be used: in a child that was forked after it was."""

from __future__ import annotations

import os


class FirstUser:
    """The first process that used something whose threads are started once.

    obstore's runtime is one for the process, and its threads are not in a forked child: there every
    request would end at its deadline (seen with obstore 0.12.1).
    """

    def __init__(self) -> None:
        self._process: int | None = None

    def is_here(self) -> bool:
        """Whether it is this process; it is, where there was none before."""
        if self._process is None:
            self._process = os.getpid()
        return self._process == os.getpid()


OBSTORE = FirstUser()
