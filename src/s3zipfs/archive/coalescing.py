"""Which small ranges of one object to fetch by one request. Pure: offsets in, groups out."""

from __future__ import annotations

from collections.abc import Sequence


def plan_groups(
    starts: Sequence[int], ends: Sequence[int], *, gap: int, largest: int, cost: int
) -> list[tuple[int, int]]:
    """Neighbours put together, from the first one on, until they are no longer worth it.

    Args:
        starts: where each range begins, in the order in which they are wanted; mostly ascending.
        ends: where each ends.
        gap: what a request costs, told in bytes. Bytes between two ranges are fetched with them
            where they are no more than that.
        largest: most bytes of a group; a single range may be larger.
        cost: most bytes that all groups cost together, with `gap` for each. One is always made.

    Returns:
        The groups, each as the positions `[first, stop)` of its ranges.
    """
    groups: list[tuple[int, int]] = []
    first = spent = 0
    while first < len(starts):
        stop, end = first + 1, ends[first]
        while stop < len(starts) and _belongs(starts[first], end, starts[stop], gap):
            if max(end, ends[stop]) - starts[first] > largest:
                break
            end = max(end, ends[stop])
            stop += 1
        spent += end - starts[first] + gap
        if groups and spent > cost:
            break
        groups.append((first, stop))
        first = stop
    return groups


def _belongs(start: int, end: int, following: int, gap: int) -> bool:
    return start <= following <= end + gap
