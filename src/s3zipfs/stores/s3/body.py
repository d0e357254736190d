"""Receiving a body: in parts whose arrival is told, each within a time, never more than asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from time import monotonic
from typing import TYPE_CHECKING, Any

from s3zipfs.errors import BadResponse
from s3zipfs.stores.arrivals import tell
from s3zipfs.stores.s3.translate import Asked, stalled

if TYPE_CHECKING:
    from obstore import GetResult

# On a fast link the largest GET, of 8 MiB or up to half as much again, is one part: 1 GiB by 8 MiB
# takes 0.42 s of CPU, by 8 parts of 1 MiB each that are joined 0.62 s. Of two parts each byte is
# cleared once and copied twice more.
LARGE_PART = 12 << 20
SMALL_PART = 64 << 10
FAST = 1 << 20  # bytes/s; the slowest at which a large part arrives well within 20 s
TELLING = 512 << 10  # bytes; the time of less than that is mostly latency
CAREFUL_SECONDS = 60.0  # with small parts, after a link was slow or broke


class BodyReader:
    """Reads bodies from one endpoint; `seconds` are allowed for each part.

    So a part in that time is the least throughput, and a link below it is a stall: at the default
    of 20 s, 3 KiB/s. Parts are small on a link that was slow or broke within the last minute, since
    of a part that does not arrive all is lost.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._careful_until = 0.0  # by the monotonic clock

    @property
    def is_careful(self) -> bool:
        """Whether the link was slow, or broke, within the last minute."""
        return monotonic() < self._careful_until

    @property
    def _part(self) -> int:
        return SMALL_PART if self.is_careful else LARGE_PART

    async def read(self, asked: Asked, answer: GetResult, length: int) -> memoryview:
        """The body of obstore's answer.

        Raises:
            BadResponse: it is not of that length.
            DeadlineExceeded: a part did not arrive in time.
        """
        part = self._part
        parts = _whole(answer) if length <= part else aiter(answer.stream(part))
        return await self._collect(asked, parts, length)

    async def read_by_client(self, asked: Asked, body: Any, length: int) -> memoryview:
        """The body of an answer to the client that s3fs made; errors as above."""
        return await self._collect(asked, _gathered(body, self._part), length)

    async def _collect(self, asked: Asked, parts: AsyncIterator[Any], length: int) -> memoryview:
        begun, arrived = monotonic(), 0
        kept: list[memoryview] = []
        while (part := await self._next(asked, parts)) is not None:
            arrived += len(part)
            if arrived > length:
                break
            kept.append(part)
            tell(part)
        if arrived != length:
            more = "or more " if arrived > length else ""
            raise BadResponse(f"{asked.name}: {arrived} {more}bytes came, {length} were announced")
        if length >= TELLING and length < FAST * (monotonic() - begun):
            self.be_careful()
        return kept[0] if len(kept) == 1 else memoryview(b"".join(kept))

    async def _next(self, asked: Asked, parts: AsyncIterator[Any]) -> memoryview | None:
        try:
            async with asyncio.timeout(self._seconds):
                return memoryview(await anext(parts))
        except StopAsyncIteration:
            return None
        except TimeoutError:
            self.be_careful()
            raise stalled(asked) from None
        except Exception:
            self.be_careful()
            raise

    def be_careful(self) -> None:
        """The link was slow, or broke."""
        self._careful_until = monotonic() + CAREFUL_SECONDS


async def _whole(answer: GetResult) -> AsyncIterator[Any]:
    yield await answer.bytes_async()


async def _gathered(body: Any, size: int) -> AsyncIterator[bytes]:
    """Parts of that size; aiohttp gives what has arrived, down to single bytes."""
    gathered: list[bytes] = []
    left = size
    while data := await body.read(left):
        gathered.append(data)
        left -= len(data)
        if left == 0:
            yield b"".join(gathered)
            gathered, left = [], size
    if gathered:
        yield b"".join(gathered)
