"""Who crawls: the state of one process, by a clock that is told."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from s3zipfs.fuse.crawl import (
    CALM_SECONDS,
    DRAIN_SECONDS,
    LONGEST_DELAY,
    READING_PAYS,
    Crawl,
    State,
)

LIMIT = 20.0


@dataclass
class Process:
    """A process that goes on from archive to archive, with a limit of `LIMIT`."""

    limit: float = LIMIT
    now: float = 1000.0
    crawl: Crawl = field(default_factory=Crawl)

    def state(self) -> State:
        return self.crawl.state(self.limit, self.now)

    def list(self, archive: int, *, is_held: bool = False) -> float | None:
        return self.crawl.list_directory(archive, self.limit, self.now, is_held=is_held)

    def look(self, archive: int) -> float | None:
        return self.crawl.look(archive, self.limit, self.now, is_held=False)

    def read(self, archive: int) -> float | None:
        return self.crawl.read(archive, self.limit, self.now, is_held=False)

    def list_until_refused(self, first: int = 0) -> int:
        """Goes from the first one on; the archive that is refused."""
        archive = first
        while self.list(archive) is not None:
            archive += 1
        return archive


def test_who_lists_and_never_reads_is_slowed_and_then_refused() -> None:
    process = Process()
    delays = [process.list(archive) for archive in range(45)]
    assert delays[:20] == [0.0] * 20
    waits = [delay for delay in delays[20:40] if delay is not None]
    assert len(waits) == 20
    assert waits == sorted(waits)
    assert 0 < waits[0] < LONGEST_DELAY / 10
    assert waits[-1] == LONGEST_DELAY
    assert delays[40:] == [None] * 5
    assert process.state() is State.REFUSED


def test_it_is_slowed_from_the_first_archive_above_the_limit() -> None:
    process = Process()
    for archive in range(20):
        process.list(archive)
    assert process.state() is State.FREE
    process.list(20)
    assert process.state() is State.SLOWED


def test_who_is_refused_lists_looks_into_and_reads_what_it_has_opened() -> None:
    process = Process()
    last = process.list_until_refused()
    for archive in range(last):
        assert process.look(archive) == 0.0
        assert process.list(archive) == 0.0
    assert process.look(last) is None
    assert process.list(last) is None
    for archive in range(last):
        assert process.read(archive) == 0.0


def test_reading_frees_who_is_refused() -> None:
    process = Process()
    process.list_until_refused()
    process.read(0)
    assert process.state() is State.REFUSED
    process.read(1)
    assert process.state() is State.FREE
    assert process.list(1000) == 0.0


def test_a_calm_time_frees_and_asking_in_vain_is_no_calm() -> None:
    process = Process()
    last = process.list_until_refused()
    for _ in range(10):
        process.now += CALM_SECONDS - 1
        assert process.look(last) is None
    process.now += CALM_SECONDS
    assert process.state() is State.FREE
    assert process.list_until_refused(last) == 2 * last


def test_the_same_round_every_day_comes_no_further_for_being_repeated() -> None:
    process = Process()
    for _ in range(30):
        assert process.list_until_refused() <= 2 * (2 * LIMIT)
        process.now += 86_400


def test_what_is_held_in_memory_costs_nothing_and_does_not_count() -> None:
    process = Process()
    assert [process.list(archive, is_held=True) for archive in range(1000)] == [0.0] * 1000
    assert process.crawl.opened == 0


def test_asking_by_name_does_not_count_and_listing_then_does() -> None:
    process = Process()
    assert [process.look(archive) for archive in range(1000)] == [0.0] * 1000
    assert process.state() is State.FREE
    assert process.crawl.opened == 1000
    for archive in range(1000):
        process.list(archive)
    assert process.state() is State.REFUSED


def test_one_archive_may_be_listed_for_ever() -> None:
    process = Process()
    assert [process.list(7) for _ in range(1000)] == [0.0] * 1000


def test_who_lists_now_and_then_never_gets_there() -> None:
    process = Process(limit=500)
    for archive in range(5000):
        assert process.list(archive) == 0.0
        process.now += DRAIN_SECONDS / 500
    assert DRAIN_SECONDS / 500 < CALM_SECONDS, "it was never calm"


def test_a_limit_of_nothing_lets_nothing_pass_and_an_endless_one_all() -> None:
    barred, free = Process(limit=0), Process(limit=math.inf)
    assert barred.state() is State.REFUSED
    assert [barred.list(1), barred.look(1), barred.read(1)] == [None, None, None]
    assert len(barred.crawl) == 0
    assert [free.list(archive) for archive in range(1000)] == [0.0] * 1000
    assert free.state() is State.FREE


def test_another_limit_counts_at_once() -> None:
    process = Process()
    last = process.list_until_refused()
    process.limit = math.inf
    assert process.list(last) == 0.0
    process.limit = 0
    assert process.look(last) is None


@given(
    st.lists(st.integers(1, READING_PAYS), min_size=1, max_size=300),
    st.floats(0, 5, allow_nan=False),
)
def test_who_reads_one_in_ten_of_what_it_lists_is_never_slowed(
    listed: list[int], seconds: float
) -> None:
    """`listed`: how many archives are listed before one of them is read."""
    process, archive = Process(), 0
    for count in listed:
        for _ in range(count):
            archive += 1
            assert process.list(archive) == 0.0
            process.now += seconds
        process.read(archive)


class AnyProcess(RuleBasedStateMachine):
    """Whatever a process does, in whatever order and time."""

    def __init__(self) -> None:
        super().__init__()
        self.process = Process()
        self.listed: set[int] = set()  # since it was calm
        self.entered: set[int] = set()  # what it was let into
        self.last_entered = -math.inf

    archives = st.integers(0, 200)

    def met(self, archive: int, answer: float | None) -> None:
        if answer is None:
            assert archive not in self.entered
            assert len(self.listed) >= 2 * LIMIT, "nobody is refused before"
            return
        assert 0 <= answer <= LONGEST_DELAY
        if archive not in self.entered:
            if self.process.now - self.last_entered >= CALM_SECONDS:
                self.entered.clear()
            self.last_entered = self.process.now
        self.entered.add(archive)

    @rule(archive=archives, is_held=st.booleans())
    def list(self, archive: int, is_held: bool) -> None:
        known = archive in self.entered
        answer = self.process.list(archive, is_held=is_held)
        if known:
            assert answer is not None
        self.met(archive, answer)
        self.listed.add(archive)
        if answer:
            assert len(self.listed) > LIMIT, "nobody waits before"

    @rule(first=archives, count=st.integers(1, 60))
    def list_many(self, first: int, count: int) -> None:
        for archive in range(first, first + count):
            self.list(archive, is_held=False)

    @rule(archive=archives)
    def look(self, archive: int) -> None:
        self.met(archive, self.process.look(archive))

    @rule(archive=archives)
    def read(self, archive: int) -> None:
        assert self.process.read(archive) == 0.0
        self.met(archive, 0.0)

    @rule(seconds=st.floats(0, 30))
    def work(self, seconds: float) -> None:
        self.process.now += seconds

    @rule()
    def pause(self) -> None:
        before = self.process.now
        self.process.now += CALM_SECONDS
        while self.process.now - before < CALM_SECONDS:  # the sum may have been rounded down
            self.process.now = math.nextafter(self.process.now, math.inf)
        assert self.process.state() is State.FREE
        self.listed.clear()

    @invariant()
    def it_is_free_until_it_has_listed_enough(self) -> None:
        if len(self.listed) <= LIMIT:
            assert self.process.state() is State.FREE


TestAnyProcess = AnyProcess.TestCase
