"""A line of the log: what it looks like, how often one is written, and where none can be."""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from mounting import small_disk, wait_until

from s3zipfs.cli.logs import formats, rate
from s3zipfs.cli.logs.formats import formatter, is_journal
from s3zipfs.cli.logs.rate import MOST_OF_ONE, MOST_OF_TEMPLATE, SECONDS, RateLimit
from s3zipfs.cli.logs.writer import Descriptor, RotatedFile, Written

READING = "%s: %s: %s"
SOON = 60.0


def record(
    level: int = logging.WARNING, message: str = READING, *arguments: object, **fields: object
) -> logging.LogRecord:
    told = {
        "name": "s3zipfs.test",
        "levelno": level,
        "levelname": logging.getLevelName(level),
        "msg": message,
        "args": arguments,
    }
    return logging.makeLogRecord({**told, **fields})


def failing_read(key: str) -> logging.LogRecord:
    cause = "connection reset"
    return record(
        logging.WARNING,
        READING,
        "read",
        "EIO",
        cause,
        bucket="lab",
        key=key,
        etag="e1",
        cause=cause,
    )


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Gathered:
    """A sink that keeps lines; `broken` refuses them, and while `open` is not set none ends."""

    def __init__(self) -> None:
        self.data = b""
        self.broken: OSError | None = None
        self.open = threading.Event()
        self.open.set()

    def write(self, data: bytes) -> None:
        self.open.wait()
        if self.broken is not None:
            raise self.broken
        self.data += data

    @property
    def lines(self) -> list[str]:
        return self.data.decode().splitlines()


@contextlib.contextmanager
def written(sink: Gathered | RotatedFile | Descriptor, wanted: formats.Format) -> Iterator[Written]:
    handler = Written(sink, RateLimit())
    handler.setFormatter(formatter(wanted))
    try:
        yield handler
    finally:
        handler.close()


# --- what a line looks like


def test_the_journal_gets_a_level_for_each_line_and_no_time() -> None:
    shown = formatter("text", for_journal=True)
    levels = {
        logging.DEBUG: "<7>",
        logging.INFO: "<6>",
        logging.WARNING: "<4>",
        logging.ERROR: "<3>",
        logging.CRITICAL: "<2>",
    }
    for level, prefix in levels.items():
        assert shown.format(record(level, "ready")) == f"{prefix}ready"
    assert (
        shown.format(record(logging.ERROR, "stacks:\none\n\ntwo")) == "<3>stacks:\n<3>one\n<3>two"
    )


def test_a_level_for_the_journal_leaves_json_as_it_is() -> None:
    line = formatter("json", for_journal=True).format(failing_read("x.zip"))
    assert line.startswith("<4>{")
    assert json.loads(line.removeprefix("<4>"))["key"] == "x.zip"


def test_only_the_descriptor_that_systemd_names_is_the_journal(tmp_path: Path) -> None:
    with (tmp_path / "stream").open("w") as stream, (tmp_path / "other").open("w") as other:
        found = os.fstat(stream.fileno())
        environment = {"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}"}
        assert is_journal(stream.fileno(), environment)
        assert not is_journal(other.fileno(), environment)
        assert not is_journal(stream.fileno(), {})
        closed = stream.fileno()
    assert not is_journal(closed, environment)


def test_a_line_of_json_has_the_fields_of_the_fault() -> None:
    told = json.loads(formatter("json").format(failing_read("a\nb\udcff.zip")))
    assert told["level"] == "WARNING"
    assert told["message"] == "read: EIO: connection reset"
    assert (told["bucket"], told["key"], told["etag"]) == ("lab", "a\nb\udcff.zip", "e1")
    assert told["cause"] == "connection reset"
    assert told["time"].endswith("+00:00")


def test_an_error_with_its_traceback_is_one_line_of_json() -> None:
    with pytest.raises(ZeroDivisionError) as raised:
        1 // 0  # noqa: B018
    error = raised.value
    told = record(
        logging.ERROR, "unexpected error", exc_info=(type(error), error, error.__traceback__)
    )
    (line,) = formatter("json").format(told).splitlines()
    shown = json.loads(line)["exception"]
    assert "ZeroDivisionError" in shown
    assert "test_cli_log_lines" in shown


def test_a_command_that_fails_in_a_unit_says_so_as_an_error(tmp_path: Path) -> None:
    shown = tmp_path / "stderr"
    with shown.open("wb") as stderr:
        found = os.fstat(stderr.fileno())
        done = subprocess.run(
            [sys.executable, "-m", "s3zipfs", "umount", str(tmp_path)],
            check=False,
            stderr=stderr,
            env={**os.environ, "JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}"},
        )
    assert done.returncode == 1
    assert shown.read_text().startswith("<3>s3zipfs: ")


# --- how often


def test_ten_thousand_failing_reads_are_a_few_lines_and_a_number() -> None:
    clock, sink = Clock(), Gathered()
    limit = RateLimit(clock)
    handler = Written(sink, limit)
    handler.setFormatter(formatter("json"))
    for number in range(10_000):
        handler.handle(failing_read(f"{number % 3}.zip"))
    handler.close()
    told = [json.loads(line) for line in sink.lines]
    assert len([each for each in told if "suppressed" not in each]) == 3 * MOST_OF_ONE
    summaries = [each for each in told if "suppressed" in each]
    assert sum(each["suppressed"] for each in summaries) == 10_000 - 3 * MOST_OF_ONE
    assert {(each["bucket"], each["etag"]) for each in told} == {("lab", "e1")}
    assert {each["key"] for each in summaries} == {"0.zip", "1.zip", "2.zip"}
    assert all(each["message"].startswith("… ") for each in summaries)
    assert all("more suppressed" in each["message"] for each in summaries)


def test_ten_thousand_objects_that_fail_are_a_few_lines_too() -> None:
    limit = RateLimit(Clock())
    admitted = sum(limit.admits(failing_read(f"{number}.zip")) for number in range(10_000))
    assert admitted == MOST_OF_TEMPLATE
    (summary,) = limit.summaries(everything=True)
    assert summary.getMessage().startswith(f"… {10_000 - MOST_OF_TEMPLATE} more suppressed")


def test_an_object_that_fails_often_leaves_room_for_the_first_fault_of_another() -> None:
    limit = RateLimit(Clock())
    for _ in range(10 * MOST_OF_TEMPLATE):
        limit.admits(failing_read("x.zip"))
    assert limit.admits(failing_read("y.zip"))


def test_a_fault_is_told_again_when_its_minute_is_over() -> None:
    clock = Clock()
    limit = RateLimit(clock)
    for _ in range(MOST_OF_ONE + 2):
        limit.admits(failing_read("x.zip"))
    assert not limit.admits(failing_read("x.zip"))
    assert limit.admits(failing_read("y.zip"))  # another object
    assert limit.admits(record(logging.ERROR, "another template", bucket="lab", key="x.zip"))
    assert limit.summaries() == []
    clock.now += SECONDS
    assert [each.args[0] for each in limit.summaries() if isinstance(each.args, tuple)] == [3]
    assert limit.summaries() == []
    assert limit.admits(failing_read("x.zip"))


def test_what_verbose_asks_for_is_not_limited() -> None:
    limit = RateLimit(Clock())
    assert all(limit.admits(record(logging.DEBUG, "step")) for _ in range(1000))


def test_a_quiet_log_tells_what_was_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate, "SECONDS", 0.0)  # over at once
    monkeypatch.setattr("s3zipfs.cli.logs.writer.LOOK_SECONDS", 0.01)
    sink = Gathered()
    sink.open.clear()  # the thread looks for summaries once all is said
    with written(sink, "text") as handler:
        for _ in range(MOST_OF_ONE + 1):
            handler.handle(failing_read("x.zip"))
        sink.open.set()
        wait_until(lambda: "1 more suppressed" in sink.data.decode(), seconds=SOON, what="told")


# --- where nothing can be written


def test_lines_that_could_not_be_written_are_counted_once_it_works_again() -> None:
    sink = Gathered()
    with written(sink, "text") as handler:
        sink.broken = OSError(errno.ENOSPC, "No space left on device")
        for number in range(3):
            handler.handle(record(logging.INFO, "lost %d", number))
        handler.flush()
        sink.broken = None
        handler.handle(record(logging.INFO, "back"))
        handler.flush()
    lost, back = sink.lines
    assert lost.endswith("WARNING 3 lines of the log were lost: No space left on device")
    assert back.endswith("INFO back")


def test_a_record_that_has_no_text_is_told_and_the_log_goes_on() -> None:
    sink = Gathered()
    with written(sink, "text") as handler:
        handler.handle(record(logging.INFO, "%d of %s", "many"))
        handler.handle(record(logging.INFO, "the next"))
        handler.flush()
    first, second = sink.lines
    assert "WARNING '%d of %s' could not be logged: TypeError(" in first
    assert second.endswith("the next")


def test_a_log_that_nobody_reads_blocks_nobody() -> None:
    reading, writing = os.pipe()
    filled = 0
    os.set_blocking(writing, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            filled += os.write(writing, bytes(4096))
    os.set_blocking(writing, True)
    handler = Written(Descriptor(writing), RateLimit())
    handler.setFormatter(formatter("text"))
    for number in range(20_000):  # more than may wait
        handler.handle(record(logging.DEBUG, "%d %s", number, "x" * 300))
    with os.fdopen(reading, "rb") as pipe:
        while filled:
            filled -= len(pipe.read(min(filled, 4096)))
        first = pipe.readline()
        handler.handle(record(logging.DEBUG, "the last"))
        told: list[str] = []
        while not told or "the last" not in told[-1]:
            told.append(pipe.readline().decode())
            if len(told) == 1000:
                handler.handle(record(logging.DEBUG, "the last"))
    handler.close()
    os.close(writing)
    assert b" 0 xxx" in first
    assert any("lines of the log were lost: written too slowly" in line for line in told)


def test_a_pipe_that_does_not_block_loses_no_line() -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    text = "x" * 300
    with written(Descriptor(writing), "text") as handler:
        os.close(writing)
        for number in range(1000):  # 4 times what the pipe holds
            handler.handle(record(logging.DEBUG, "%d %s", number, text))
        with os.fdopen(reading, "rb") as pipe:
            lines = [pipe.readline().split()[3] for _ in range(1000)]
    assert lines == [str(number).encode() for number in range(1000)]


@pytest.fixture
def tiny(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB."""
    with small_disk(tmp_path / "tiny", "64k") as path:
        yield path


def test_a_full_disk_leaves_whole_lines_and_the_log_goes_on(tiny: Path) -> None:
    path, ballast = tiny / "mnt.log", tiny / "ballast"
    with written(RotatedFile(path), "text") as handler:
        handler.handle(record(logging.DEBUG, "begun"))
        handler.flush()
        with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(4096))
        for number in range(100):
            handler.handle(record(logging.DEBUG, "%d %s", number, "x" * 300))
        handler.flush()
        ballast.unlink()
        handler.handle(record(logging.DEBUG, "back"))
        handler.flush()
    lines = path.read_text().splitlines()
    assert lines[0].endswith("begun")
    assert "No space left on device" in lines[-2]
    assert lines[-1].endswith("back")
    assert all(line[:4].isdigit() for line in lines)  # each begins with its time
