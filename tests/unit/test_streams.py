"""The plan of what to read ahead."""

from __future__ import annotations

import random
from itertools import pairwise

from s3zipfs.cache.streams import (
    BEYOND,
    FIRST_WINDOW,
    LARGEST_GET,
    LEAST_BEYOND,
    MAX_WINDOW,
    StreamTable,
)

SIZE = 1 << 30
READ = 128 << 10


def test_a_single_read_fetches_nothing_ahead() -> None:
    assert StreamTable(SIZE).observe(5 << 20, (5 << 20) + READ) is None


def test_reads_in_order_fetch_ahead_in_growing_windows_without_gaps() -> None:
    streams = StreamTable(SIZE)
    reached, windows = 0, []
    for offset in range(0, 256 << 20, READ):
        ahead = streams.observe(offset, offset + READ)
        if ahead is not None:
            assert ahead[0] == (reached or offset + READ)
            reached = ahead[1]
            windows.append(ahead[1] - offset - READ)
        assert not reached or reached >= offset + READ, "the reader overtook what was fetched"
    assert windows[0] == FIRST_WINDOW * READ
    assert windows[-1] == MAX_WINDOW
    assert windows == sorted(windows)


def test_a_window_of_two_of_the_largest_gets_is_made_up_for_by_one_of_them() -> None:
    streams = StreamTable(SIZE, window=2 * LARGEST_GET)
    asked, reached = [], 0
    for offset in range(0, SIZE, READ):
        ahead = streams.observe(offset, offset + READ)
        if ahead is not None:
            asked.append(ahead[1] - ahead[0])
            reached = ahead[1]
        elif len(asked) > 20:
            left = reached - offset - READ
            assert left > LARGEST_GET or reached == SIZE, "less than one GET was under way"
    assert set(asked[20:-1]) == {LARGEST_GET}


def test_nothing_is_fetched_past_the_end() -> None:
    streams = StreamTable(1 << 20)
    reached = [streams.observe(offset, offset + READ) for offset in range(0, 1 << 20, READ)]
    assert max(ahead[1] for ahead in reached if ahead) == 1 << 20


def test_random_reads_fetch_nothing_ahead() -> None:
    streams, generator = StreamTable(SIZE), random.Random(1)
    reads = [generator.randrange(0, SIZE - 65536) for _ in range(500)]
    guesses = [ahead for offset in reads if (ahead := streams.observe(offset, offset + 65536))]
    assert sum(end - start for start, end in guesses) <= 0.1 * 500 * 65536


def test_what_was_asked_for_together_tells_of_no_stream() -> None:
    """Every other chunk of 64 KiB, read in order: between them nothing is wanted."""
    streams, chunks = StreamTable(SIZE), range(0, 64 << 20, 128 << 10)
    for start in chunks:
        streams.ask(start, start + 65536)
    assert not any(streams.observe(start, start + 65536) for start in chunks)
    behind = chunks[-1] + 65536
    assert streams.observe(behind, behind + READ) is None
    assert streams.observe(behind + READ, behind + 2 * READ), "who reads on is a stream"


def test_several_readers_are_told_apart() -> None:
    streams = StreamTable(SIZE)
    starts = [number * (200 << 20) for number in range(4)]
    for step in range(64):
        for start in starts:
            streams.observe(start + step * READ, start + (step + 1) * READ)
    for start in starts:
        reached = start + 64 * READ
        ahead = streams.observe(reached, reached + READ)
        assert ahead is None or ahead[1] - reached >= FIRST_WINDOW * READ


def test_the_kernels_reads_of_one_window_may_come_in_any_order() -> None:
    streams, generator = StreamTable(SIZE), random.Random(2)
    ahead = []
    for base in range(0, 32 << 20, 2 * READ):
        pair = [base, base + READ]
        generator.shuffle(pair)
        ahead += [found for at in pair if (found := streams.observe(at, at + READ))]
    assert ahead, "it was not taken for a stream"
    assert all(one[1] == other[0] for one, other in pairwise(ahead))


def test_what_was_refused_is_asked_for_again_in_a_smaller_window() -> None:
    streams = StreamTable(SIZE)
    ahead = None
    offset = 0
    while ahead is None or ahead[1] - ahead[0] < 4 << 20:
        ahead = streams.observe(offset, offset + READ) or ahead
        offset += READ
    streams.refuse(*ahead)
    again = streams.observe(offset, offset + READ)
    while again is None:
        offset += READ
        again = streams.observe(offset, offset + READ)
    assert again[1] < ahead[1]
    assert again[0] <= max(ahead[0], offset + READ)


def test_past_the_end_of_what_is_read_only_a_part_of_it_is_fetched_ahead() -> None:
    streams = StreamTable(SIZE)
    member, reached, asked = 64 << 10, 0, []
    for start in range(0, 256 << 20, member):
        ahead = streams.observe(start, start + member, start + member)
        if ahead is not None:
            reached = ahead[1]
            asked.append(ahead[1] - ahead[0])
            read = start + member
            assert reached - read <= max(read // BEYOND, LEAST_BEYOND)
    assert (256 << 20) < reached <= (256 << 20) * 1.05
    assert len(asked) <= 256, "small requests"


def test_threads_that_share_a_stream_and_drift_apart_remain_one() -> None:
    streams, generator = StreamTable(SIZE), random.Random(3)
    members = list(range(0, 64 << 20, 64 << 10))
    for base in range(0, len(members), 16):
        part = members[base : base + 16]
        generator.shuffle(part)
        members[base : base + 16] = part
    asked = [a for at in members if (a := streams.observe(at, at + (64 << 10), at + (64 << 10)))]
    assert len(asked) <= 96
    assert sum(end - start for start, end in asked) <= 1.1 * (64 << 20)


def test_what_another_stream_has_read_is_not_fetched_again() -> None:
    streams, size, readers = StreamTable(64 << 20), 16 << 20, 4
    fetched = 0
    for offset in range(0, size, READ):
        for base in range(0, readers * size, size):
            ahead = streams.observe(base + offset, base + offset + READ)
            fetched += ahead[1] - ahead[0] if ahead else 0
    assert fetched <= readers * size


def test_what_failed_and_is_read_again_in_small_pieces_is_a_stream_of_its_own() -> None:
    streams, piece = StreamTable(SIZE), 4096
    for start, end in ((0, READ), (READ, 9 * READ)):
        streams.observe(start, end)
    streams.forget(READ, 9 * READ)
    ahead = [streams.observe(at, at + piece) for at in range(READ, 9 * READ, piece)]
    assert ahead[0] is None
    assert ahead[1] is not None
    assert sum(each is not None for each in ahead) < 20  # of 256
