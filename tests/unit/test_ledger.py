"""What each process has asked, and who is let into how many archives."""

from __future__ import annotations

import math
import threading

import pytest

from s3zipfs.fuse import ledger as ledgers
from s3zipfs.fuse.crawl import Crawl
from s3zipfs.fuse.guard import limit_of
from s3zipfs.fuse.ledger import Account, Ledger
from s3zipfs.fuse.processes import NOBODY, Process
from s3zipfs.settings import MountSettings
from s3zipfs.telemetry.causes import request_sent, work_for
from s3zipfs.telemetry.figures import ProcessFigures


class World:
    """Threads and their processes: to begin with each is a process of its own."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.processes: dict[int, Process] = {}
        self.asked = 0

    def identify(self, thread: int) -> Process:
        self.asked += 1
        return self.processes.get(thread, Process(thread, 1, f"p{thread}"))

    def clock(self) -> float:
        return self.now


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def ledger(world: World) -> Ledger:
    return Ledger(world.identify, world.clock)


def told(ledger: Ledger) -> dict[int, tuple[str, int]]:
    return {each.pid: (each.name, each.operations) for each in ledger.snapshot()}


def open_archive(ledger: Ledger, account: Account, archive: int) -> None:
    with ledger.lock:
        before = len(account.crawl)
        account.crawl.list_directory(archive, account.limit, ledger.clock(), is_held=False)
        ledger.remembers(account, len(account.crawl) - before)


def test_threads_count_for_their_process(world: World, ledger: Ledger) -> None:
    process = Process(7, 1, "reader")
    world.processes = {7: process, 8: process}
    for thread in (7, 8, 8, 9):
        ledger.count(thread, ledger.clock())
    assert told(ledger) == {7: ("reader", 3), 9: ("p9", 1)}


def test_a_thread_is_asked_after_once_a_second(world: World, ledger: Ledger) -> None:
    for _ in range(100):
        ledger.count(7, ledger.clock())
    assert world.asked == 1
    world.now += ledgers.BELIEVED + 0.1
    ledger.count(7, ledger.clock())
    assert world.asked == 2


def test_a_number_that_is_used_again_is_another_process(world: World, ledger: Ledger) -> None:
    ledger.count(7, ledger.clock())
    world.processes[7] = Process(7, 2, "next")
    world.now += ledgers.BELIEVED + 0.1
    ledger.count(7, ledger.clock())
    assert sorted((each.name, each.operations) for each in ledger.snapshot()) == [
        ("next", 1),
        ("p7", 1),
    ]


def test_exec_changes_the_name_and_the_judgement(world: World, ledger: Ledger) -> None:
    ledger.judge_by(lambda process: 0.0 if process.name == "updatedb" else math.inf)
    assert ledger.count(7, ledger.clock()).limit == math.inf
    world.processes[7] = Process(7, 1, "updatedb")
    assert ledger.identify(7).limit == 0.0
    assert told(ledger) == {7: ("updatedb", 1)}


def test_all_that_is_told_of_a_process(world: World, ledger: Ledger) -> None:
    ledger.judge_by(lambda _process: 1)
    account = ledger.count(7, ledger.clock())
    account.bytes_given(100)
    account.bytes_given(20)
    open_archive(ledger, account, 1)
    open_archive(ledger, account, 2)
    work_for(account)
    request_sent()
    assert ledger.snapshot() == [
        ProcessFigures(
            name="p7",
            pid=7,
            operations=1,
            bytes_read=120,
            archives_opened=2,
            requests=1,
            state="refused",
        )
    ]


def test_requests_count_for_whom_a_thread_works(ledger: Ledger) -> None:
    one, other = ledger.count(1, ledger.clock()), ledger.count(2, ledger.clock())

    def work(account: Account, count: int) -> None:
        work_for(account)
        for _ in range(count):
            request_sent()

    threads = [
        threading.Thread(target=work, args=args) for args in ((one, 5), (other, 7), (one, 3))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (one.requests, other.requests) == (8, 7)


def test_the_busiest_come_first_and_only_so_many(ledger: Ledger) -> None:
    for thread in range(30):
        for _ in range(thread):
            ledger.count(thread, ledger.clock())
    assert [each.pid for each in ledger.snapshot(3)] == [29, 28, 27]


def test_processes_that_are_gone_for_long_are_forgotten(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledgers, "MOST_PROCESSES", 10)
    monkeypatch.setattr(ledgers, "MOST_THREADS", 5)
    for thread in range(1000):
        open_archive(ledger, ledger.count(thread, ledger.clock()), thread)
    assert {each.pid for each in ledger.snapshot(100)} == set(range(990, 1000))
    assert len(ledger._threads) == 5
    assert ledger._archives == 10


def test_archives_are_remembered_up_to_a_number_for_all_together(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledgers, "MOST_ARCHIVES", 10)
    one, other = ledger.count(1, ledger.clock()), ledger.count(2, ledger.clock())
    for archive in range(8):
        open_archive(ledger, one, archive)
    for archive in range(8):
        open_archive(ledger, other, archive)
    assert (len(one.crawl), len(other.crawl)) == (2, 8)
    assert not one.crawl.may_look(5, one.limit)
    assert one.crawl.may_look(6, one.limit)


def limit(name: str, *, pid: int = 7, **settings: object) -> float:
    return limit_of(Process(pid, 1, name), MountSettings.model_validate(settings))


@pytest.mark.parametrize(
    "name", ["updatedb", "updatedb.plocat", "tracker-miner-f", "localsearch-3", "baloo_file_extr"]
)
def test_indexers_are_let_into_nothing_by_the_names_that_the_kernel_cuts(name: str) -> None:
    assert limit(name) == 0.0


@pytest.mark.parametrize("name", ["find", "python3", "tumblerd", "my-updatedb", "baloo"])
def test_others_are_let_into_so_many(name: str) -> None:
    assert limit(name) == 1000
    assert limit(name, crawl_limit=3) == 3


def test_a_name_may_be_added_whole_or_by_a_pattern() -> None:
    assert limit("a-very-long-nam", crawlers="a-very-long-name-indeed") == 0.0
    assert limit("scanner-7", crawlers=["scanner-*"]) == 0.0
    assert limit("updatedb", crawlers=["scanner-*"]) == 0.0


def test_who_is_allowed_is_let_into_all_whatever_else_is_said() -> None:
    assert limit("updatedb", crawl_allow="updatedb") == math.inf
    assert limit("rsync", crawl_allow="du rsync", crawlers="rsync") == math.inf


def test_off_lets_all_into_all() -> None:
    assert limit("updatedb", crawl_guard="off") == math.inf
    assert limit("find", crawl_guard=False) == math.inf


def test_nobody_is_never_judged() -> None:
    assert limit_of(NOBODY, MountSettings(crawlers=("*",))) == math.inf


def test_no_judgement_is_an_endless_limit(ledger: Ledger) -> None:
    account = ledger.count(7, ledger.clock())
    for archive in range(2000):
        open_archive(ledger, account, archive)
    assert ledger.snapshot()[0].state == "free"
    assert isinstance(account.crawl, Crawl)
