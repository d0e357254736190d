"""Rows that run in another environment: one start of its Python serves all of them.

Such a script needs nothing but the standard library and what its environment has:

    from rowscript import Given, row, run

    @row
    def directory_store(given: Given) -> None: ...

    if __name__ == "__main__":
        run()

`environments.Environment.run` starts it and reads what each row came to.
"""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

Given = dict[str, Any]
Row = Callable[[Given], None]

_rows: list[Row] = []


def row(function: Row) -> Row:
    """A row is a function; what it raises is its failure."""
    _rows.append(function)
    return function


def run() -> None:
    """Run all rows, given the JSON of the file named first; the second gets a line for each."""
    given = json.loads(Path(sys.argv[1]).read_text())
    with Path(sys.argv[2]).open("w") as results:
        for function in _rows:
            failure = None
            try:
                function(given)
            except Exception:  # noqa: BLE001 - any is that row's failure, and the others go on
                failure = traceback.format_exc()
            results.write(json.dumps({"row": function.__name__, "failure": failure}) + "\n")
            results.flush()  # if the next one hangs or kills the process, this one has been told
