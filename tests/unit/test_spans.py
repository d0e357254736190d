"""Byte ranges that are fetched together."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from s3zipfs.cache.spans import merged

SPANS = st.lists(st.tuples(st.integers(0, 300), st.integers(0, 300)), max_size=20)


def test_spans_within_the_gap_are_one() -> None:
    spans = [(20, 30), (0, 10), (35, 40), (5, 8), (50, 50), (100, 101)]
    assert list(merged(spans, max_gap=0)) == [(0, 10), (20, 30), (35, 40), (100, 101)]
    assert list(merged(spans, max_gap=5)) == [(0, 10), (20, 40), (100, 101)]
    assert list(merged(spans, max_gap=10)) == [(0, 40), (100, 101)]
    assert list(merged([], max_gap=10)) == []


@given(SPANS, st.integers(0, 50))
def test_merged_spans_cover_what_was_asked_and_stand_apart(
    spans: list[tuple[int, int]], max_gap: int
) -> None:
    found = list(merged(spans, max_gap=max_gap))
    covered = {at for start, end in found for at in range(start, end)}
    assert {at for start, end in spans for at in range(start, end)} <= covered
    assert all(later[0] - earlier[1] > max_gap for earlier, later in pairwise(found))
    edges = {start for start, _ in spans}, {end for _, end in spans}
    assert all(start in edges[0] and end in edges[1] for start, end in found)
