"""What `s3zipfs status` shows of documents: figures, rates, and names that are anyone's."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from rich.console import Console, RenderableType

from s3zipfs.cli import status as command
from s3zipfs.cli.statusview import (
    Look,
    MountState,
    ahead_used,
    answered_at_once,
    overview,
    page,
    parse_status,
)

MB = 1_000_000


def document(times: int = 1, **other: Any) -> dict[str, Any]:
    """A status of a mount that has done something so many times."""
    return {
        "version": "1.2.3",
        "pid": 4321,
        "mountpoint": "/mnt/lab",
        "sources": ["s3://lab", "s3://other/in"],
        "endpoints": {"http://one:9000": {"breaker": "closed"}, "http://two": {"breaker": "open"}},
        "started": "2026-11-21T20:00:00+00:00",
        "uptime_seconds": 90061.5,
        "operations": {
            "read": {
                "count": 2000 * times,
                "errors": 3,
                "waited": 500 * times,
                "seconds": 4.0 * times,
            },
            "readlink": {"count": 0, "errors": 0, "waited": 0, "seconds": 0.0},
        },
        "requests": {"get": {"ok": 90 * times, "timeout": 10 * times}, "head": {}},
        "retries": 10 * times,
        "bytes": {
            "read": 100 * MB * times,
            "from_memory": 60 * MB * times,
            "from_disk": 15 * MB * times,
            "fetched": 75 * MB * times,
            "read_ahead": 50 * MB * times,
            "read_ahead_used": 36 * MB * times,
            "read_ahead_wasted": 4 * MB * times,
        },
        "indexes": {"loaded": 7, "from_disk": 2, "seconds": 0.5},
        "memory": {"budget_bytes": 256 * MB, "used_bytes": 64 * MB, "rss_bytes": 150 * MB},
        "cache": {"directory": "/var/cache/s3zipfs", "bytes": None, "limit_bytes": 10_000 * MB},
        "open_handles": 4,
        "under_way": 2,
        "archives": [
            {"bucket": "lab", "key": "a/x.zip", "bytes_read": 9 * MB, "bytes_fetched": 8 * MB,
             "requests": 7}
        ],
        "processes": [
            {"name": "updatedb", "pid": 77, "operations": 5000, "bytes_read": 0, "requests": 60,
             "state": "refused"},
            {"name": "python", "pid": 78, "operations": 10, "bytes_read": 3 * MB, "requests": 1,
             "state": "free"},
        ],
    } | other  # fmt: skip


def shown(what: RenderableType, *, colours: bool = False) -> str:
    out = io.StringIO()
    console = Console(
        file=out,
        width=200,
        force_terminal=colours,
        color_system="standard" if colours else None,
        highlight=False,
        markup=False,
    )
    console.print(what)
    return out.getvalue()


def row(text: str, name: str) -> list[str]:
    """The cells of the line that begins with a name."""
    (line,) = [each for each in text.splitlines() if each.strip().startswith(f"{name}  ")]
    return [each.strip() for each in line.split("  ") if each.strip()][1:]


def test_a_look_tells_all_that_was_counted() -> None:
    text = shown(page(Look(document(), 5.0)))
    assert "/mnt/lab  s3://lab s3://other/in" in text
    assert "s3zipfs 1.2.3, process 4321, up 1 day, 1:01:01" in text
    assert "http://one:9000  answers" in text
    assert "http://two  does not answer: requests fail at once" in text
    assert "memory 64.0 MB of 256.0 MB, process 150.0 MB" in text
    assert row(text, "read by programs") == ["100.0 MB"]
    assert row(text, "fetched from the store") == ["75.0 MB"]
    assert row(text, "get requests") == ["100 (10 timeout)"]
    assert row(text, "indexes loaded") == ["7 (2 from disk) in 0.5 s"]
    assert row(text, "read") == ["2,000", "3", "500", "2.00 ms"]
    assert "readlink" not in text
    assert row(text, "lab/a/x.zip") == ["9.0 MB", "8.0 MB", "7"]
    assert row(text, "updatedb") == ["77", "5,000", "0 bytes", "60", "refused"]
    assert row(text, "python") == ["78", "10", "3.0 MB", "1"]


def test_rates_are_of_the_time_between_two_looks() -> None:
    text = shown(page(Look(document(3), 14.0), Look(document(1), 10.0)))
    assert row(text, "read by programs") == ["50.0 MB/s", "300.0 MB"]
    assert row(text, "get requests") == ["50.0/s", "300 (30 timeout)"]
    assert row(text, "head requests") == ["0.0/s", "0"]
    assert row(text, "asked again") == ["5.0/s", "30"]
    assert row(text, "read") == ["1,000.0/s", "6,000", "3", "1,500", "2.00 ms"]


def test_of_a_daemon_that_was_started_since_there_is_no_rate() -> None:
    later = document(1, started="2026-11-21T21:00:00+00:00")
    text = shown(page(Look(later, 14.0), Look(document(3), 10.0)))
    assert text == shown(page(Look(later, 14.0)))


@pytest.mark.parametrize(("share", "value"), [(answered_at_once, 0.75), (ahead_used, 0.9)])
def test_shares_are_of_what_happened_since(share: Any, value: float) -> None:
    assert share(document()) == value
    assert share(document(2), document(1)) == value
    assert share(document(1), document(1)) is None
    assert share({}) is None


def test_shares_are_told_where_there_are_any() -> None:
    text = shown(page(Look(document(3), 1.0), Look(document(1), 0.0)))
    assert row(text, "reads answered at once") == ["75.0%", "75.0%"]
    assert row(text, "of what was read ahead, used") == ["90.0%", "90.0%"]
    assert "answered" not in shown(page(Look({"bytes": {}}, 0.0)))


def test_where_there_is_little_room_the_first_are_shown() -> None:
    many = [{"bucket": "lab", "key": f"{n}.zip"} for n in range(9)]
    text = shown(page(Look(document(archives=many), 0.0), rows=3))
    assert [f"lab/{n}.zip" in text for n in range(5)] == [True, True, True, False, False]


def test_names_move_no_cursor_and_are_no_markup() -> None:
    evil = "\x1b[2J\r\n[red]x[/red]\u202e :smile: \x9b1m"
    archives = [{"bucket": "lab", "key": evil}]
    processes = [{"name": evil, "pid": 1, "state": evil}]
    told = document(
        archives=archives, processes=processes, mountpoint=evil, sources=[evil], version=evil
    )
    mounts = [MountState(evil, evil, evil, told, None), MountState(evil, evil, "dead", None, evil)]
    for text in (shown(page(Look(told, 0.0))), shown(overview(mounts))):
        assert "\\x1b[2J\\r\\n[red]x[/red]\\u202e :smile: \\x9b1m" in text
        assert all(each.isprintable() for each in text.replace("\n", ""))


@pytest.mark.parametrize(
    "told", [{}, {"version": "0.1.0", "bytes": {}, "operations": {"read": {}}}]
)
def test_what_a_mount_of_another_version_lacks_is_left_out(told: dict[str, Any]) -> None:
    assert "s3zipfs" in shown(page(Look(told, 1.0), Look(told, 0.0)))


def with_figures(told: Any, figure: Any) -> Any:
    """A document, all of whose figures are that one."""
    if isinstance(told, dict):
        return {name: with_figures(each, figure) for name, each in told.items()}
    if isinstance(told, list):
        return [with_figures(each, figure) for each in told]
    return figure if isinstance(told, int | float) else told


@pytest.mark.parametrize("figure", [1e300, -1e300, (1 << 63) - 1, 10**400, "x", [], {}, None, True])
def test_figures_that_no_counter_can_reach_are_shown_as_something(figure: Any) -> None:
    strange = json.dumps(with_figures(document(), figure)).replace("1e+300", "1e999")
    status = parse_status(strange.encode())
    mounts = [MountState("/mnt/lab", "s3://lab", "serving", status, None)]
    for look in (page(Look(status, 2.0), Look(document(), 1.0)), overview(mounts)):
        assert "/mnt/lab" in shown(look)


def test_all_mounts_are_a_line_each_and_a_line_for_each_that_tells_nothing() -> None:
    why = "/mnt/gone: dead: its process is gone"
    mounts = [
        MountState("/mnt/lab", "s3://lab", "serving", document(), None),
        MountState("/mnt/gone", "s3://gone", "dead", None, why),
    ]
    lines = shown(overview(mounts)).splitlines()
    assert lines[1].split() == [
        "/mnt/lab", "s3://lab", "serving", "1", "day,", "1:01:01", "100.0", "MB", "75.0", "MB",
        "4321",
    ]  # fmt: skip
    assert lines[2].split() == ["/mnt/gone", "s3://gone", "dead"]
    assert lines[-1].strip() == why


def test_colours_tell_what_is_wrong() -> None:
    text = shown(page(Look(document(), 0.0)), colours=True)
    assert "\x1b[32manswers" in text
    assert "\x1b[31mdoes not answer" in text
    assert "\x1b[31mrefused" in text


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("out", "environment", "is_coloured"),
    [
        (Terminal(), {}, True),
        (Terminal(), {"NO_COLOR": "1"}, False),
        (io.StringIO(), {}, False),
        (io.StringIO(), {"FORCE_COLOR": "1"}, False),
    ],
)
def test_colours_are_for_terminals_whose_owner_wants_them(
    monkeypatch: pytest.MonkeyPatch,
    out: io.StringIO,
    environment: dict[str, str],
    is_coloured: bool,
) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"TERM": "xterm", **environment}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("sys.stdout", out)
    command._console().print(page(Look(document(), 0.0)))
    assert ("\x1b[32m" in out.getvalue()) == is_coloured


def test_what_is_no_document_is_an_error() -> None:
    assert parse_status(json.dumps(document()).encode()) == document()
    for content in (b"", b"{", b"[]", b"\xff"):
        with pytest.raises(ValueError, match=r"."):
            parse_status(content)
