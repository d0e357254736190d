"""A process that may have no more threads, for a moment: each job is run once, or told not to be.

An executor that can't start a thread raises, with the job in its queue already.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from s3zipfs.stores.threads import Threads

SECONDS = 30.0

Refuse = Callable[[str], None]


@pytest.fixture
def refuse(monkeypatch: pytest.MonkeyPatch) -> Refuse:
    """`refuse(prefix)`: the next thread of such a name is not started."""
    start, names = threading.Thread.start, set[str]()

    def refusing(self: threading.Thread) -> None:
        for prefix in names:
            if self.name.startswith(prefix):
                names.remove(prefix)
                raise RuntimeError("can't start new thread")
        start(self)

    monkeypatch.setattr(threading.Thread, "start", refusing)
    return names.add


def test_a_job_that_was_refused_is_not_run_later(refuse: Refuse) -> None:
    threads, gate, ran = Threads(2, name="fetch"), threading.Event(), list[str]()

    def first() -> None:
        assert gate.wait(SECONDS)

    assert threads.start(first)
    refuse("fetch")
    assert not threads.start(lambda: ran.append("refused"))
    assert threads.start(lambda: ran.append("next"))
    gate.set()
    threads._pool.shutdown(wait=True)
    assert ran == ["next"]
    assert threads._free._value == 2, "a place was given back twice, or never"


def test_a_job_that_a_thread_took_all_the_same_is_under_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    threads, ran = Threads(2, name="fetch"), list[str]()
    submit = threads._pool.submit

    def taken(*arguments: object) -> None:
        submit(*arguments).result(SECONDS)  # type: ignore[arg-type]
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threads._pool, "submit", taken)
    assert threads.start(lambda: ran.append("taken"))
    assert ran == ["taken"]
    assert threads._free._value == 2


def test_who_is_interrupted_as_he_starts_a_job_leaves_its_place_free(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    threads = Threads(1, name="fetch")
    with monkeypatch.context() as patch:
        patch.setattr(threads._pool, "submit", interrupted)
        with pytest.raises(KeyboardInterrupt):
            threads.start(lambda: None)
    assert threads.start(lambda: None)
    threads._pool.shutdown(wait=True)
