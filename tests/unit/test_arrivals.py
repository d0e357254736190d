"""Who is told of a body's parts, and what is left of it afterwards."""

from __future__ import annotations

import gc
import weakref
from contextvars import copy_context

from s3zipfs.stores.arrivals import heard_by, tell


class Kept:
    """A listener that keeps what it is told."""

    def __init__(self) -> None:
        self.parts: list[memoryview] = []

    def hear(self, part: memoryview) -> None:
        self.parts.append(part)


def test_all_around_a_part_are_told_and_nobody_afterwards() -> None:
    outer, inner = Kept(), Kept()
    with heard_by(outer.hear):
        tell(memoryview(b"1"))
        with heard_by(inner.hear):
            tell(memoryview(b"2"))
        tell(memoryview(b"3"))
    tell(memoryview(b"4"))
    assert [bytes(part) for part in outer.parts] == [b"1", b"2", b"3"]
    assert [bytes(part) for part in inner.parts] == [b"2"]


def test_a_context_that_outlives_the_block_holds_no_body() -> None:
    outer, inner = Kept(), Kept()
    refs = [weakref.ref(outer), weakref.ref(inner)]
    with heard_by(outer.hear), heard_by(inner.hear):
        tell(memoryview(b"1"))
        context = copy_context()  # as a timer's, cancelled and not yet due
    del outer, inner
    gc.collect()
    assert [ref() for ref in refs] == [None, None]
    context.run(tell, memoryview(b"2"))  # and tells nobody
