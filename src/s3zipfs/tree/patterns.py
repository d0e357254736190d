"""Which objects are archives, by name alone. Pure."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Sequence

ALIAS_SUFFIX = ".zip"  # zarr 2 takes a *path* that ends like this for its ZipStore


class ArchivePatterns:
    """Case-insensitive shell patterns; one with a `/` is held against the whole key."""

    def __init__(self, archive: Sequence[str], exclude: Sequence[str]) -> None:
        self._archive = _compiled(archive)
        self._exclude = _compiled(exclude)

    def is_archive(self, key: str) -> bool:
        """Whether an object of this key is shown as a directory."""
        return self._archive(key) and not self._exclude(key)


def _compiled(patterns: Sequence[str]) -> _Match:
    return _Match(
        _any([p for p in patterns if "/" not in p]), _any([p for p in patterns if "/" in p])
    )


def _any(patterns: Sequence[str]) -> re.Pattern[str] | None:
    if not patterns:
        return None
    return re.compile("|".join(fnmatch.translate(p) for p in patterns), re.IGNORECASE)


class _Match:
    def __init__(self, name: re.Pattern[str] | None, key: re.Pattern[str] | None) -> None:
        self._name = name
        self._key = key

    def __call__(self, key: str) -> bool:
        if self._name is not None and self._name.match(key.rpartition("/")[2]):
            return True
        return self._key is not None and self._key.match(key) is not None
