"""`python benchmarks [ROW…]`: each row side by side with its peers, in one run, as Markdown."""

from __future__ import annotations

import datetime as dt
import json
import os
import platform
import sys
import time
from pathlib import Path

import million
import ten_million
from s3server import REPOSITORY, S3Server

ROWS = {"million": million.run, "ten_million": ten_million.run}
DATA = REPOSITORY / ".benchmarks"  # what takes long to make, kept between runs
RESULTS = REPOSITORY / "docs" / "benchmarks"


def table(results: dict[str, dict[str, float]]) -> str:
    """A Markdown table: a line for each figure, a column for each system."""
    systems = list(results)
    lines = ["| | " + " | ".join(systems) + " |", "|---|" + "---|" * len(systems)]
    for figure in results[systems[0]]:
        values = [results[system].get(figure) for system in systems]
        lines.append(f"| {figure} | " + " | ".join(map(_shown, values)) + " |")
    return "\n".join(lines) + "\n"


def _shown(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def main() -> None:
    """Run the rows that are named, or all."""
    chosen = sys.argv[1:] or list(ROWS)
    DATA.mkdir(exist_ok=True)
    RESULTS.mkdir(parents=True, exist_ok=True)
    for name in chosen:
        if name not in ROWS:
            sys.exit(f"no row {name}; there are: {' '.join(ROWS)}")
        start = time.monotonic()
        with S3Server.start(own=True) as server:
            if server.kind != "minio":
                sys.exit("the figures mean nothing without a MinIO: make tools")
            results = ROWS[name](server, DATA)
        when = dt.datetime.now(tz=dt.UTC).date().isoformat()
        machine = (
            f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
        )
        text = (
            f"# {name}\n\n{when}, {machine}, real MinIO on loopback, one run.\n\n{table(results)}"
        )
        (RESULTS / f"{name}.md").write_text(text)
        (RESULTS / f"{name}.json").write_text(json.dumps(results, indent=2) + "\n")
        print(f"{text}\n({time.monotonic() - start:.0f} s)")


if __name__ == "__main__":
    if not Path(__file__).is_relative_to(REPOSITORY):
        sys.exit("run it from the checkout")
    main()
