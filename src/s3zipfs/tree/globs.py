"""Patterns of paths, followed name by name, so that what can't match is not looked into. Pure."""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

_ANY: Final = "**"  # any number of names, none too

_Place = tuple[tuple[str, ...], int]  # a pattern, and how many names of it were met


@dataclass(frozen=True, slots=True)
class Globs:
    """Where some patterns stand, after some names.

    A pattern is names separated by slashes; `*`, `?` and `[…]` stand for what a shell lets them
    stand for, `**` for any number of names. What matches is taken with all that is below it.
    """

    places: frozenset[_Place]
    takes_all: bool  # of what is here and below
    may_match: bool  # something here or below may be taken

    def enter(self, name: bytes) -> Globs:
        """Where they stand after one more name."""
        if self.takes_all:
            return self
        text = os.fsdecode(name)
        return _at(frozenset(new for place in self.places for new in _step(place, text)))


def parse_globs(patterns: Sequence[str]) -> Globs:
    """Before the first name. No pattern takes everything."""
    if not patterns:
        return Globs(frozenset(), takes_all=True, may_match=True)
    parts = (tuple(part for part in each.split("/") if part) for each in patterns)
    return _at(frozenset((each, 0) for each in parts))


def _at(places: frozenset[_Place]) -> Globs:
    """Patterns whose end is reached take all; `**` may stand for nothing."""
    takes_all = any(all(part == _ANY for part in parts[met:]) for parts, met in places)
    return Globs(places, takes_all=takes_all, may_match=bool(places))


def _step(place: _Place, name: str) -> Iterator[_Place]:
    parts, met = place
    if met == len(parts):
        return
    if parts[met] == _ANY:
        yield place
        yield from _step((parts, met + 1), name)
    elif fnmatch.fnmatchcase(name, parts[met]):
        yield parts, met + 1
