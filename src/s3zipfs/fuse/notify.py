"""What systemd is told of a mount that it started (sd_notify(3)); nothing where it did not."""

from __future__ import annotations

import contextlib
import os
import socket
import time


class Notifier:
    """Speaks to the socket that the environment names. Nothing is raised: nobody may listen."""

    def __init__(self, address: str = "", *, watchdog: float | None = None) -> None:
        # A leading "@" stands for the NUL byte of an abstract name.
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        # Open from the start: who has no descriptor left, for a time, is not to be ended for it.
        self._sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) if address else None
        self.watchdog = watchdog  # seconds within which a word is expected, again and again

    @classmethod
    def from_environment(cls) -> Notifier:
        """Of this process; its variables are taken away, since children are not asked."""
        address = os.environ.pop("NOTIFY_SOCKET", "")
        usec, pid = os.environ.pop("WATCHDOG_USEC", ""), os.environ.pop("WATCHDOG_PID", "")
        is_ours = usec.isdecimal() and pid in ("", str(os.getpid()))
        return cls(address, watchdog=int(usec) / 1e6 if is_ours and address else None)

    def ready(self, status: str) -> None:
        """The mount can be used, or a reload is done."""
        self._send("READY=1", f"STATUS={status}")

    def waiting(self, status: str, seconds: float) -> None:
        """It is not ready yet, and will say more within that time."""
        self._send(f"STATUS={status}", f"EXTEND_TIMEOUT_USEC={int(seconds * 1e6)}")

    def reloading(self) -> None:
        """`ready` is to follow."""
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._send("RELOADING=1", f"MONOTONIC_USEC={now}", "STATUS=reloading")

    def stopping(self) -> None:
        """The mount ends."""
        self._send("STOPPING=1", "STATUS=ending")

    def alive(self) -> None:
        """For the watchdog."""
        self._send("WATCHDOG=1")

    def _send(self, *lines: str) -> None:
        if self._sender is None:
            return
        text = "\n".join(line.replace("\n", " ") for line in lines).encode(errors="replace")
        with contextlib.suppress(OSError):  # a manager that is stuck does not stop us
            self._sender.sendto(text, socket.MSG_DONTWAIT, self._address)
