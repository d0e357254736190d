"""The README's table of figures, from docs/benchmarks/results.json.

`python benchmarks/readme.py` writes it; with `--check` it says whether it is as it should be.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
RESULTS = ROOT / "docs" / "benchmarks" / "results.json"
BEGIN, END = "<!-- figures: made by make pictures -->\n", "<!-- end of figures -->\n"
OURS = "s3zipfs"
RCLONE = ("rclone", "rclone, cache off")  # two ways to run one peer: its better one counts


@dataclass(frozen=True)
class Line:
    """A line of the table: a figure of a row, and what it is compared with beside the peers."""

    title: str
    row: str
    figure: str
    higher: bool = True
    reference: str = ""


LINES = (
    Line("1 GiB member, stored: read, MB/s", "stored_cold", "MB/s", reference="GETs"),
    Line("… with 10 ms between here and the store", "stored_cold_10ms", "MB/s", reference="GETs"),
    Line("585 MB member, deflated: read, MB/s", "deflated_cold", "MB/s"),
    Line("… 64 KiB somewhere in it, ms", "deflated_random", "ms each", higher=False),
    Line("64 KiB members in order, files/s", "small_in_order_1", "files/s"),
    Line("… at random by 16 readers, files/s", "small_random", "files/s", reference="GETs"),
    Line("20,000 members: open and ls, s", "small_in_order_1", "open + ls, s", higher=False),
    Line("A million members: open and ls, s", "million", "first ls, s", higher=False),
    Line("… walk all of them, entries/s", "million", "walk, entries/s"),
    Line("Zarr 3, 512 MiB: whole array, MB/s", "zarr", "whole, MB/s", reference="ObjectStore"),
    Line(
        "… one point of it, ms", "zarr_points", "point, ms", higher=False, reference="ObjectStore"
    ),
    Line("… whole, without a mount, MB/s", "zarr_s3zip", "whole, MB/s", reference="ObjectStore"),
    Line("… whole, by `FSMap`, MB/s", "fsspec_chain", "whole, MB/s", reference="s3fs chain"),
    Line("… by 16 threads, files/s", "fsspec_chain", "16 threads, files/s", reference="s3fs chain"),
)
REFERENCES = {
    "GETs": "plain GETs",
    "ObjectStore": "Zarr's `ObjectStore`, unzipped",
    "s3fs chain": "fsspec's `ZipFileSystem`",
}


def table(results: Mapping[str, Any]) -> str:
    """The table, in Markdown; the best of the three systems is bold."""
    lines = [f"| | {OURS} | rclone | ratarmount | for comparison |", "|---|--:|--:|--:|---|"]
    lines += [_line(each, results["rows"][each.row]) for each in LINES]
    lines.append("| Peak memory in all of this, MB |" + _peaks(results) + " |")
    when = results["machine"].partition(",")[0]
    told = (
        f"Measured on {when}. Bold is the best of the three; of rclone with and without its cache "
        "the better one counts."
    )
    return "\n".join([*lines, "", told, ""])


def _line(line: Line, result: Mapping[str, Any]) -> str:
    figures = result["figures"]
    best_of = max if line.higher else min
    rclone = [figures[name][line.figure] for name in RCLONE if line.figure in figures.get(name, {})]
    values = {
        OURS: figures[OURS][line.figure],
        "rclone": best_of(rclone) if rclone else None,
        "ratarmount": figures.get("ratarmount", {}).get(line.figure),
    }
    best = best_of(value for value in values.values() if value is not None)
    is_alone = sum(value is not None for value in values.values()) == 1
    cells = [
        f"**{_shown(value)}**" if value == best and not is_alone else _shown(value)
        for value in values.values()
    ]
    beside = figures.get(line.reference, {}).get(line.figure)
    told = "" if beside is None else f"{REFERENCES[line.reference]}: {_shown(beside)}"
    return "| " + " | ".join([line.title, *cells, told]) + " |"


def _peaks(results: Mapping[str, Any]) -> str:
    rows = [results["rows"][each.row]["peaks"] for each in LINES]
    systems = ((OURS,), RCLONE, ("ratarmount",))
    peaks = [max(row.get(name, 0) for row in rows for name in names) for names in systems]
    return " |".join(f" **{p:,}**" if p == min(peaks) else f" {p:,}" for p in peaks) + " |"


def _shown(value: float | None) -> str:
    """Three digits, or all before the point."""
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def with_table(readme: str) -> str:
    """The README with the table that the results make."""
    before, _, rest = readme.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{table(json.loads(RESULTS.read_text()))}\n{END}{after}"


def write() -> None:
    """Put the table into the README."""
    README.write_text(with_table(README.read_text(encoding="utf-8")), encoding="utf-8")


def main() -> None:
    """Write or check."""
    if "--check" not in sys.argv:
        write()
    elif with_table(README.read_text(encoding="utf-8")) != README.read_text(encoding="utf-8"):
        sys.exit("README.md: the figures are not those of docs/benchmarks: make pictures")


if __name__ == "__main__":
    main()
