"""How many listings of crawlers wait at once."""

from __future__ import annotations

import threading
from typing import Any, cast

from mounting import wait_until

from s3zipfs.fuse.guard import MOST_DELAYED, CrawlGuard
from s3zipfs.fuse.ledger import Ledger
from s3zipfs.fuse.processes import Process
from s3zipfs.fuse.session import Request
from s3zipfs.settings import MountSettings
from s3zipfs.stores.base import ObjectId, ObjectInfo
from s3zipfs.tree.nodes import Folder, Member, Sources


class Tree:
    """Archives whose indexes are not in memory."""

    root = Sources()

    def is_held(self, _info: ObjectInfo) -> bool:
        return False

    def place(self, info: ObjectInfo) -> tuple[Folder, bytes]:
        return Folder(info.id.endpoint, info.id.bucket, ""), info.id.key.encode()


class Wait:
    """Pauses until it is told to go on."""

    def __init__(self) -> None:
        self.pausing = threading.Semaphore(0)
        self.go_on = threading.Event()

    def pause(self, _seconds: float) -> None:
        self.pausing.release()
        self.go_on.wait(60)


def test_no_more_than_some_wait_at_once_and_the_others_go_on_undelayed() -> None:
    ledger = Ledger(lambda thread: Process(thread, 1, "fd"))
    guard = CrawlGuard(cast("Any", Tree()), ledger, MountSettings(crawl_limit=100))
    wait = Wait()

    def list_archive(number: int) -> None:
        oid = ObjectId("http://127.0.0.1:9000", "lab", f"{number}.zip", '"1"')
        header = (0, 0, 1, (number + 1) << 32, 0, 0, 7, 0)
        request = Request(cast("Any", None), header, memoryview(b""))
        request.account = ledger.count(7, 1000.0)
        guard.list(request, Member(ObjectInfo(oid, 10, 0.0), 0), cast("Any", wait))

    for number in range(100):
        list_archive(number)  # below the limit none waits
    threads = [
        threading.Thread(target=list_archive, args=(100 + number,), daemon=True)
        for number in range(MOST_DELAYED + 10)
    ]
    try:
        for thread in threads:
            thread.start()
        for _ in range(MOST_DELAYED):
            assert wait.pausing.acquire(timeout=60)
        wait_until(
            lambda: sum(thread.is_alive() for thread in threads) == MOST_DELAYED,
            seconds=60,
            what="all others gone on",
        )
        assert not wait.pausing.acquire(blocking=False)
    finally:
        wait.go_on.set()
        for thread in threads:
            thread.join(60)
