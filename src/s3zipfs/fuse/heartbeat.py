"""Tells systemd's watchdog that requests are answered, as long as that is so."""

from __future__ import annotations

import threading

from s3zipfs.fuse.crew import Crew
from s3zipfs.fuse.notify import Notifier

BEATS = 4  # in the time after which systemd takes the mount for dead


class Heartbeat:
    """Looks at the threads that read requests.

    Not by a call of our own mount: a process that waits for its own answer can't be killed.
    """

    def __init__(self, crew: Crew, notifier: Notifier) -> None:
        self._crew = crew
        self._notifier = notifier
        self._read = -1

    def start(self) -> None:
        """Beat in a thread of its own, where somebody listens."""
        if (within := self._notifier.watchdog) is None:
            return
        pause = threading.Event()  # never set: the process ends it

        def go_on() -> None:
            while not pause.wait(within / BEATS):
                self.beat()

        threading.Thread(target=go_on, name="s3zipfs-heartbeat", daemon=True).start()

    def beat(self) -> None:
        """Say so if a thread waits for requests, or some were read since the last time."""
        reading, read = self._crew.progress()
        if reading or read != self._read:
            self._notifier.alive()
        self._read = read
