"""Byte ranges that are fetched together. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator


def merged(spans: Iterable[tuple[int, int]], *, max_gap: int) -> Iterator[tuple[int, int]]:
    """The spans `[start, end)` in order, as one where at most `max_gap` bytes lie between them.

    Empty ones are left out.
    """
    start = end = -1
    for first, last in sorted(span for span in spans if span[0] < span[1]):
        if start >= 0 and first - end <= max_gap:
            end = max(end, last)
            continue
        if start >= 0:
            yield start, end
        start, end = first, last
    if start >= 0:
        yield start, end
