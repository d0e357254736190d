"""What `s3zipfs status` shows of a `status.json`, in rich's terms.

A mount may be of another version than the command: what its document lacks is left out.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from rich.console import Group, RenderableType
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from s3zipfs.errors import printable

Status = Mapping[str, Any]

_BEYOND = 1 << 63
_LONGEST = timedelta.max // timedelta(seconds=1)

_COLOURS = {"closed": "green", "half_open": "yellow", "open": "red", "slowed": "yellow"}
_COLOURS |= {"refused": "red", "serving": "green"}
_BREAKERS = {
    "closed": "answers",
    "half_open": "asked whether it answers again",
    "open": "does not answer: requests fail at once",
}
_BYTES = {
    "read": "read by programs",
    "fetched": "fetched from the store",
    "from_memory": "found in memory",
    "from_disk": "read from disk",
    "read_ahead": "fetched or inflated ahead",
}


@dataclass(frozen=True, slots=True)
class Look:
    """A document, and when it was read (monotonic seconds)."""

    status: Status
    at: float


@dataclass(frozen=True, slots=True)
class MountState:
    """One mount of several."""

    mountpoint: str
    source: str
    state: str  # serving, or a word on why it tells nothing
    status: Status | None
    why: str | None  # there is none, and what to do


def parse_status(content: bytes) -> Status:
    """The document.

    Raises:
        ValueError: it is none.
    """
    try:
        status = json.loads(content)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(status, dict):
        raise ValueError("not an object")  # noqa: TRY004 - as of what is no JSON
    return status


# Figures


def number(status: Status, *path: str) -> float:
    """The figure at a path of keys; 0 where there is none, or what no counter can reach."""
    found: Any = status
    for key in path:
        found = found.get(key) if isinstance(found, dict) else None
    return found if isinstance(found, int | float) and 0 <= found < _BEYOND else 0


def rate(now: Look, before: Look | None, *path: str) -> float | None:
    """By how much a figure grows in a second; None: there was no look before."""
    if before is None:
        return None
    return _grown(now.status, before.status, *path) / max(now.at - before.at, 1e-3)


def answered_at_once(now: Status, before: Status | None = None) -> float | None:
    """Of the reads since `before`, or ever, those that did not wait; None: there were none."""
    reads = _grown(now, before, "operations", "read", "count")
    waited = _grown(now, before, "operations", "read", "waited")
    return 1 - waited / reads if reads > 0 else None


def ahead_used(now: Status, before: Status | None = None) -> float | None:
    """Of what was read ahead and is so no more, what was asked for. None: there was nothing."""
    used = _grown(now, before, "bytes", "read_ahead_used")
    wasted = _grown(now, before, "bytes", "read_ahead_wasted")
    return used / (used + wasted) if used + wasted > 0 else None


def _grown(now: Status, before: Status | None, *path: str) -> float:
    return number(now, *path) - (number(before, *path) if before is not None else 0)


_SHARES = {"reads answered at once": answered_at_once, "of what was read ahead, used": ahead_used}


# One mount


def page(now: Look, before: Look | None = None, *, rows: int | None = None) -> Group:
    """All that is known of one mount; with rates where there was a look at its daemon before.

    At most so many `rows` are of what was read most, and as many of who reads most.
    """
    if before is not None and before.status.get("started") != now.status.get("started"):
        before = None
    tables = (
        *_operations(now, before),
        *_archives(now.status, rows),
        *_processes(now.status, rows),
    )
    return Group(*_head(now.status), *_figures(now, before), *tables)


def _head(status: Status) -> Iterator[RenderableType]:
    sources = " ".join(_words(status.get("sources"))) or "all buckets"
    yield Text.assemble((_shown(status.get("mountpoint")), "bold"), f"  {sources}")
    daemon = f"s3zipfs {_shown(status.get('version'))}, process {_shown(status.get('pid'))}"
    yield Text(f"{daemon}, up {_duration(number(status, 'uptime_seconds'))}")
    for endpoint, told in _items(status.get("endpoints")):
        state = str(told.get("breaker", "")) if isinstance(told, dict) else ""
        words = _BREAKERS.get(state, printable(state))
        yield Text.assemble(f"{printable(endpoint)}  ", (words, _COLOURS.get(state, "")))
    if uses := list(_uses(status)):
        yield Text(", ".join(uses))
    if status.get("metrics"):
        yield Text(f"status page {_shown(status['metrics'])}")


def _uses(status: Status) -> Iterator[str]:
    if "memory" in status:
        used, budget = (number(status, "memory", f"{key}_bytes") for key in ("used", "budget"))
        yield f"memory {_bytes(used)} of {_bytes(budget)}"
        yield f"process {_bytes(number(status, 'memory', 'rss_bytes'))}"
    if limit := number(status, "cache", "limit_bytes"):
        yield f"disk {_bytes(number(status, 'cache', 'bytes'))} of {_bytes(limit)}"
    for key, words in (("open_handles", "open"), ("under_way", "under way")):
        if key in status:
            yield f"{number(status, key):,.0f} {words}"


def _figures(now: Look, before: Look | None) -> Iterator[RenderableType]:
    table = _table("", *_now(before), "since the start", right=range(1, 3))
    status = now.status

    def add(words: str, latest: str, ever: str) -> None:
        table.add_row(words, *([latest] if before else []), ever)

    for key, words in _BYTES.items() if "bytes" in status else ():
        speed = rate(now, before, "bytes", key)
        add(words, _speed(speed), _bytes(number(status, "bytes", key)))
    for words, share in _SHARES.items():
        if (ever := share(status)) is not None:
            latest = share(status, before.status) if before else None
            add(words, _percent(latest), _percent(ever))
    for verb, outcomes in _items(status.get("requests")):
        speeds = [rate(now, before, "requests", verb, each) or 0 for each, _ in _items(outcomes)]
        told = sum(speeds) if before else None
        count = sum(number(status, "requests", verb, each) for each, _ in _items(outcomes))
        add(f"{printable(verb)} requests", _often(told), f"{count:,.0f}{_bad(outcomes)}")
    if "retries" in status:
        again = _often(rate(now, before, "retries"))
        add("asked again", again, f"{number(status, 'retries'):,.0f}")
    if "indexes" in status:
        add("indexes loaded", "", _indexes(status))
    if table.rows:
        yield from (Text(), table)


def _indexes(status: Status) -> str:
    loaded, from_disk = (number(status, "indexes", key) for key in ("loaded", "from_disk"))
    seconds = number(status, "indexes", "seconds")
    return f"{loaded:,.0f} ({from_disk:,.0f} from disk) in {seconds:,.1f} s"


def _bad(outcomes: Any) -> str:
    bad = [
        f"{number(outcomes, each):,.0f} {printable(each)}"
        for each, _ in _items(outcomes)
        if each != "ok"
    ]
    return f" ({', '.join(bad)})" if bad else ""


def _operations(now: Look, before: Look | None) -> Iterator[RenderableType]:
    names = ("operation", *_now(before), "count", "errors", "waited", "mean")
    table = _table(*names, right=range(1, 6))
    for kind, told in _items(now.status.get("operations")):
        count, seconds = number(told, "count"), number(told, "seconds")
        if count:
            counts = (f"{number(told, key):,.0f}" for key in ("count", "errors", "waited"))
            latest = [_often(rate(now, before, "operations", kind, "count"))] if before else []
            mean = f"{1000 * seconds / count:,.2f} ms"
            table.add_row(printable(kind), *latest, *counts, mean)
    if table.rows:
        yield from (Text(), table)


def _archives(status: Status, rows: int | None) -> Iterator[RenderableType]:
    table = _table("archive or file", "read", "fetched", "requests", right=range(1, 4))
    for each in _rows(status.get("archives"))[:rows]:
        name = f"{_shown(each.get('bucket'))}/{_shown(each.get('key'))}"
        read, fetched = (_bytes(number(each, key)) for key in ("bytes_read", "bytes_fetched"))
        table.add_row(Text(name), read, fetched, f"{number(each, 'requests'):,.0f}")
    if table.rows:
        yield from (Text(), table)


def _processes(status: Status, rows: int | None) -> Iterator[RenderableType]:
    table = _table("process", "pid", "operations", "read", "requests", "", right=range(1, 5))
    for each in _rows(status.get("processes"))[:rows]:
        state = str(each.get("state", ""))
        table.add_row(
            Text(_shown(each.get("name"))),
            _shown(each.get("pid")),
            f"{number(each, 'operations'):,.0f}",
            _bytes(number(each, "bytes_read")),
            f"{number(each, 'requests'):,.0f}",
            Text("" if state == "free" else printable(state), _COLOURS.get(state, "")),
        )
    if table.rows:
        yield from (Text(), table)


# All mounts


def overview(mounts: Sequence[MountState]) -> Group:
    """A line for each mount of a machine, and one for each that tells nothing."""
    table = _table("mountpoint", "source", "", "up", "read", "fetched", "pid", right=range(3, 7))
    for each in mounts:
        status = each.status
        told = ("", "", "", "")
        if status is not None:
            told = (
                _duration(number(status, "uptime_seconds")),
                _bytes(number(status, "bytes", "read")),
                _bytes(number(status, "bytes", "fetched")),
                _shown(status.get("pid")),
            )
        state = Text(printable(each.state), _COLOURS.get(each.state, "red"))
        table.add_row(Text(printable(each.mountpoint)), Text(printable(each.source)), state, *told)
    why = [Text(printable(each.why)) for each in mounts if each.why is not None]
    return Group(table, *([Text()] if why else []), *why)


# Words


def _table(*columns: str, right: range) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for place, name in enumerate(columns):
        justify = "right" if place in right else "left"
        table.add_column(Text(name), justify=justify, overflow="fold")  # type: ignore[arg-type]
    return table


def _now(before: Look | None) -> list[str]:
    """The column that only a look before makes."""
    return ["now"] if before else []


def _items(found: Any) -> list[tuple[str, Any]]:
    return list(found.items()) if isinstance(found, dict) else []


def _rows(found: Any) -> list[dict[str, Any]]:
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def _words(found: Any) -> list[str]:
    return [_shown(each) for each in found] if isinstance(found, list) else []


def _shown(value: Any) -> str:
    return "?" if value is None else printable(str(value))


def _bytes(count: float) -> str:
    return decimal(int(count))


def _speed(speed: float | None) -> str:
    return "" if speed is None else f"{_bytes(speed)}/s"


def _often(often: float | None) -> str:
    return "" if often is None else f"{often:,.1f}/s"


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.1%}"


def _duration(seconds: float) -> str:
    return str(timedelta(seconds=min(int(seconds), _LONGEST)))
