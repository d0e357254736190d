"""Values before they are checked, each with the place that it came from."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from s3zipfs.errors import SettingsError


@dataclass(frozen=True, slots=True)
class Given:
    """A value as it was written.

    `place`: a variable, option or word, which says what is set; or file and line (`is_line`),
    which does not. `inner` has the lines of what stands in a list of tables, by number and key;
    the key of a table itself is empty.
    """

    value: Any = field(repr=False)  # which may be the secret key
    place: str
    is_line: bool = False
    inner: Mapping[tuple[int, str], str] = field(default_factory=dict)

    def called(self, name: str, within: Sequence[int | str] = ()) -> str:
        """How an error calls the setting `name`, or what is wrong within its list."""
        if self.is_line and len(within) > 1 and isinstance(within[0], int):
            number, key = within[0], str(within[1])
            table = self.inner.get((number, ""), self.place)
            return f"{self.inner.get((number, key), table)}: source: {key}"
        return f"{self.place}: {name}" if self.is_line else self.place


def unknown(name: str, known: Iterable[str], *, place: str = "") -> SettingsError:
    """There is no setting of that name; which may have been meant."""
    names = {each.lower(): each for each in known}
    close = difflib.get_close_matches(name.lower().replace("-", "_"), names, n=1)
    meant = f"; did you mean {names[close[0]]}?" if close else ""
    return SettingsError(f"{place}{name}: no such setting{meant}")
