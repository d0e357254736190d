"""Reading behind a proxy, and what is compared."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest
from faults.cases import CONTENT, Case
from mounting import wait_until

BODY = 1 << 18  # GETs of at least so much are for members, not for the directory
SOON = 30.0  # for what comes by itself, within seconds


def failure(perform: Callable[[], Any]) -> int:
    """The errno that it fails with."""
    with pytest.raises(OSError) as raised:  # noqa: PT011 - the number is compared
        perform()
    assert raised.value.errno is not None
    return raised.value.errno


def opened(case: Case) -> Case:
    """The archive's directory is known, and no member of it."""
    assert {entry.name for entry in os.scandir(case.archive)} == set(CONTENT)
    return case


def healed(case: Case) -> None:
    """All of it is read right, once the error of a moment ago is forgotten."""

    def is_whole() -> bool:
        try:
            assert_whole(case)
        except OSError:
            return False
        return True

    wait_until(is_whole, seconds=SOON, what="the archive is read whole")


def assert_whole(case: Case) -> None:
    for name, content in CONTENT.items():
        assert (case.archive / name).read_bytes() == content
