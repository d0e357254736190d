"""Whether an endpoint is worth asking: an outage costs one deadline, not one for each operation."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from s3zipfs.errors import (
    BadResponse,
    DeadlineExceeded,
    EndpointUnreachable,
    OutOfResources,
    S3ZipError,
    StoreUnavailable,
)
from s3zipfs.telemetry.figures import BreakerState

_log = logging.getLogger(__name__)

PAUSE_SECONDS = 1.0  # between two probes


class CircuitBreaker:
    """Opens when an operation met its deadline without an answer, and `probe` gets none either.

    The probe asks for no object, so objects that stall, however many readers they have, never
    open it. While it is open, operations fail at once; one that comes a second after the last
    probe asks again, and any answer closes it. Operations that began before go on to their own
    deadline: a server that restarts within it is noticed by nobody.

    Belongs to the network loop; `state` and `answered` are for any thread.
    """

    def __init__(
        self, endpoint: str, probe: Callable[[], Awaitable[object]], *, seconds: float
    ) -> None:
        self._endpoint = endpoint
        self._ask = probe
        self._seconds = seconds  # for a probe
        self._failures = 0
        self._failing_since = 0.0  # of the first of them, by the monotonic clock
        self._open = False
        self._probe: asyncio.Task[None] | None = None
        self._next_probe = 0.0
        self._reason = ""

    @property
    def state(self) -> BreakerState:
        """`closed`: all is asked; `open`: nothing is; `half_open`: a probe is under way."""
        if not self._open:
            return "closed"
        return "half_open" if self._is_probing else "open"

    @property
    def failing_for(self) -> float:
        """Seconds since the first of the failures that no answer has followed; 0.0: none."""
        return time.monotonic() - self._failing_since if self._failures else 0.0

    @property
    def _is_probing(self) -> bool:
        return self._probe is not None and not self._probe.done()

    async def admit(self) -> None:
        """Return where an operation may begin.

        Raises:
            EndpointUnreachable: the endpoint is known to be out of reach.
        """
        if not self._open:
            return
        if not self._is_probing and time.monotonic() >= self._next_probe:
            await asyncio.shield(self._start_probe())
        if self._open:
            raise EndpointUnreachable(
                f"{self._endpoint}: out of reach for {self.failing_for:.0f} s ({self._reason})"
            )

    def answered(self) -> None:
        """Something was answered, whatever it was."""
        self._failures = 0
        if self._open:
            self._open = False
            _log.info("%s: answers again", self._endpoint)

    def failed(self, error: S3ZipError) -> None:
        """An attempt ended without an answer."""
        if self._failures == 0:
            self._failing_since = time.monotonic()
        self._failures += 1
        self._reason = str(error).removeprefix(f"{self._endpoint}: ")

    def gave_up(self) -> None:
        """An operation met its deadline; unless others were answered, the endpoint is asked."""
        if self._failures == 0 or self._open or self._is_probing:
            return
        if time.monotonic() >= self._next_probe:
            self._start_probe()

    async def close(self) -> None:
        """End a probe that is under way."""
        if self._probe is not None:
            self._probe.cancel()
            await asyncio.gather(self._probe, return_exceptions=True)

    def _start_probe(self) -> asyncio.Task[None]:
        self._probe = asyncio.ensure_future(self._probe_once())
        return self._probe

    async def _probe_once(self) -> None:
        try:
            async with asyncio.timeout(self._seconds):
                await self._ask()
        except BadResponse:
            self.answered()
        except (TimeoutError, StoreUnavailable, DeadlineExceeded):
            if not self._open:
                self._open = True
                _log.warning("%s: out of reach: %s", self._endpoint, self._reason)
        except OutOfResources:
            _log.debug("%s: not asked, for lack of resources", self._endpoint)
        except S3ZipError:  # refused: an answer
            self.answered()
        except Exception:  # noqa: BLE001 - a mistake of ours over an answer shuts nobody out
            _log.exception("%s: answers, and the answer was not understood", self._endpoint)
            self.answered()
        else:
            self.answered()
        finally:
            self._next_probe = time.monotonic() + PAUSE_SECONDS
