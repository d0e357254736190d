"""The results as Markdown, JSON and a picture."""

from __future__ import annotations

import datetime as dt
import json
import os
import platform
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import picture
from mounts import OURS, PEERS
from rows import BETTER_PEER, MOST_MEMORY, Figure, Row

Result = Mapping[str, Any]  # `running.Result.as_json()`, as it comes back from the file
HEAD = """# Benchmarks

Made by `make bench`; `ROW=` runs some rows, by the beginnings of their names. Each row in one run
on the same MinIO, all on loopback: {machine}.

Every system is mounted anew with empty caches; the systems take turns three times, and the median
counts. "At 10 ms" is toxiproxy holding each answer back. Readers are processes that open, read
1 MiB at a time, and close; what they get is compared with the source. A star means: cut after
20 s, and run once. MB is 10⁶ bytes. Ratios, in brackets and under "to better peer", say how many
times as good ours is.

![Ours beside the better peer](ratios.svg)

"""
REFERENCES = """
*GETs* are obstore's range GETs without a mount: 8 at once of 8 MiB, or 16 at once of one member.
*isal alone* inflates from memory. *local* is the same data on the disk, in the page cache.
*ObjectStore* and *FsspecStore* are Zarr's own, on the unzipped tree in the same MinIO.

## What it costs

Requests and bytes of one more run of ours, the index of the archive included, counted by a proxy
before the server; where something is read again, from there on. Needed are the bytes, compressed,
that the archive has of what is read. CPU seconds (for each GB read) and memory (VmHWM, the highest
of all runs) are the daemon's.

"""


@dataclass(frozen=True)
class Verdict:
    """One thing that must hold, and whether it does."""

    text: str
    met: bool


def shown(value: float | None) -> str:
    """Three digits, or all before the point."""
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def times_as_good(figure: Figure, ours: float, other: float) -> float:
    """How many times as good ours is."""
    if not figure.higher:
        ours, other = other, ours
    return ours / other if other else float("inf")


def better_peer(figure: Figure, result: Result) -> float | None:
    """The best of the peers' values; None where there is none."""
    values = [
        values[figure.name]
        for system, values in result["figures"].items()
        if system in PEERS and figure.name in values
    ]
    return (max if figure.higher else min)(values) if values else None


def verdicts(figure: Figure, result: Result) -> Iterator[Verdict]:
    """What must hold of one figure."""
    ours = result["figures"][OURS][figure.name]
    for system, wanted in figure.times.items():
        if system == BETTER_PEER:
            other = better_peer(figure, result)
        else:
            other = result["figures"].get(system, {}).get(figure.name)
        if other is not None:  # a peer that was not built, or that failed, says nothing
            yield Verdict(f"≥ {wanted:g} ({system})", times_as_good(figure, ours, other) >= wanted)
    if figure.limit is not None:
        met = ours >= figure.limit if figure.higher else ours <= figure.limit
        yield Verdict(f"{'≥' if figure.higher else '≤'} {figure.limit:g}", met)


def cost_verdicts(row: Row, result: Result) -> Iterator[Verdict]:
    """What must hold of a row's requests and memory."""
    costs = result["costs"]
    if costs is not None and row.most_fetched is not None:
        met = costs["fetched"] <= row.most_fetched
        yield Verdict(f"fetched / needed ≤ {row.most_fetched:g}", met)
    if costs is not None and row.most_gets is not None:
        yield Verdict(f"GETs/MiB ≤ {row.most_gets:g}", costs["gets"] <= row.most_gets)
    if OURS in result["peaks"]:
        yield Verdict(f"RSS ≤ {MOST_MEMORY:g}", result["peaks"][OURS] <= MOST_MEMORY)


def _said(checked: list[Verdict]) -> str:
    return ", ".join(v.text if v.met else f"**missed: {v.text}**" for v in checked)


def _figure_line(row: Row, figure: Figure, result: Result) -> str:
    ours = result["figures"][OURS][figure.name]
    cells = [row.title if figure is row.figures[0] else "", figure.name, f"**{shown(ours)}**"]
    for system in PEERS:
        value = result["figures"].get(system, {}).get(figure.name)
        failed = "failed" if system in result["failed"] else ""
        cells.append(failed or shown(value) + ("*" if system in result["cut"] else ""))
    references = []
    for system in row.references:
        value = result["figures"].get(system, {}).get(figure.name)
        if value is not None and system != OURS:
            ratio = times_as_good(figure, ours, value)
            references.append(f"{system} {shown(value)} ({shown(ratio)})")
    peer = better_peer(figure, result)
    cells.append("" if peer is None else shown(times_as_good(figure, ours, peer)))
    cells += [", ".join(references), _said(list(verdicts(figure, result)))]
    return "| " + " | ".join(cells) + " |"


def _cost_line(row: Row, result: Result) -> str:
    costs = result["costs"] or {"requests": {}, "fetched": None, "gets": None}
    requests = ", ".join(f"{count} {verb}" for verb, count in costs["requests"].items() if count)
    if result["costs"] and not requests:
        requests = "none"
    cells = [row.name, requests, shown(costs["fetched"]), shown(costs["gets"])]
    cells.append(shown(result["cpu"].get(OURS)))
    cells += [shown(result["peaks"].get(system)) for system in (OURS, *PEERS)]
    cells.append(_said(list(cost_verdicts(row, result))))
    return "| " + " | ".join(cells) + " |"


def _table(*heads: str) -> str:
    return "| " + " | ".join(heads) + " |\n|" + "---|" * len(heads) + "\n"


def markdown(rows: Mapping[str, Row], results: Mapping[str, Result], machine: str) -> str:
    """The page: a table of figures, and one of costs."""
    text = HEAD.format(machine=machine)
    text += _table("Row", "", OURS, *PEERS, "to better peer", "References", "Must hold")
    done = [(row, results[name]) for name, row in rows.items() if name in results]
    for row, result in done:
        text += "".join(_figure_line(row, figure, result) + "\n" for figure in row.figures)
    text += REFERENCES
    heads = ["Row", "Requests", "Fetched / needed", "GETs/MiB", "CPU s/GB"]
    text += _table(*heads, *(f"{system}, MB" for system in (OURS, *PEERS)), "Must hold")
    return text + "".join(_cost_line(row, result) + "\n" for row, result in done)


def lines(row: Row, result: Result) -> Iterator[str]:
    """One row for the terminal."""
    for figure in row.figures:
        values = result["figures"].items()
        beside = ", ".join(f"{s} {shown(v[figure.name])}" for s, v in values if figure.name in v)
        yield f"{figure.name}: {beside}; {_said(list(verdicts(figure, result)))}"
    yield f"peaks, MB: {result['peaks']}; {_said(list(cost_verdicts(row, result)))}"
    if result["costs"] is not None:
        yield f"costs: {result['costs']}"


def describe_machine() -> str:
    """Date, processors and interpreter."""
    when = dt.datetime.now(tz=dt.UTC).date().isoformat()
    return f"{when}, {os.cpu_count()} cores of {platform.machine()} for the server, the mount and \
the readers, Python {platform.python_version()}"


def write(folder: Path, rows: Mapping[str, Row], new: Mapping[str, Result]) -> None:
    """Put results beside those of the rows that were not run now, and draw all of them anew."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "results.json"
    old = json.loads(path.read_text())["rows"] if path.exists() else {}
    results = {name: {**old, **new}[name] for name in rows if name in {**old, **new}}
    machine = describe_machine()
    path.write_text(json.dumps({"machine": machine, "rows": results}, indent=1) + "\n")
    (folder / "README.md").write_text(markdown(rows, results, machine))
    bars = []
    for name, result in results.items():
        for figure in rows[name].figures:
            peer = better_peer(figure, result)
            if peer is not None:
                ratio = times_as_good(figure, result["figures"][OURS][figure.name], peer)
                wanted = figure.times.get(BETTER_PEER)
                bars.append(picture.Bar(f"{name}: {figure.name}", ratio, wanted))
    (folder / "ratios.svg").write_text(picture.draw(bars))
