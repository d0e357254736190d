"""The log of a mount, and the line that an error becomes."""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from s3zipfs.cli import logs
from s3zipfs.cli.errors import code_of, is_expected, line_of
from s3zipfs.cli.logs import writer
from s3zipfs.errors import DeadlineExceeded, MountError, NotFound, SettingsError

log = logging.getLogger("s3zipfs.test")


def flush() -> None:
    """All that was logged is written."""
    for handler in logging.getLogger().handlers:
        handler.flush()


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    hooks = threading.excepthook, sys.unraisablehook
    yield
    for handler in root.handlers[:]:
        if handler not in handlers:
            handler.close()
    root.handlers[:], root.level = handlers, level
    threading.excepthook, sys.unraisablehook = hooks


def test_the_log_is_for_its_owner_only_after_rotation_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "FILE_BYTES", 2000)
    before = os.umask(0)
    try:
        path = tmp_path / "state" / "mnt.log"
        logs.mount_to_file(path, verbose=True, log_format="text")
        for number in range(200):
            log.debug("line %d", number)
        flush()
    finally:
        os.umask(before)
    files = sorted(path.parent.iterdir())
    assert [each.name for each in files] == ["mnt.log", "mnt.log.1", "mnt.log.2"]
    assert {each.stat().st_mode & 0o777 for each in files} == {0o600}
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert all(each.stat().st_size <= 2000 for each in files)
    assert path.read_text().endswith("line 199\n")


def test_stderr_follows_a_log_that_begins_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "FILE_BYTES", 100)
    path = tmp_path / "mnt.log"
    descriptor = logs.open_file(path)
    monkeypatch.setattr(writer, "STDERR", descriptor)
    logs.mount_to_file(path, verbose=True, log_format="text")
    for number in range(5):
        log.debug("a line long enough to fill the log, %d", number)
    flush()
    os.write(descriptor, b"from C\n")
    os.close(descriptor)
    assert "from C" in path.read_text()


def test_what_led_to_a_failure_is_held_back(capsys: pytest.CaptureFixture[str]) -> None:
    logs.to_stderr(verbose=False)
    release = logs.hold()
    log.warning("tried again")
    assert capsys.readouterr().err == ""
    release()
    log.info("ready")
    first, second = capsys.readouterr().err.splitlines()
    assert first.endswith("WARNING tried again")
    assert second.endswith("INFO ready")
    logs.to_stderr(verbose=False)
    logs.hold()
    log.error("tried again")
    logging.shutdown()
    assert capsys.readouterr().err == ""


def test_libraries_that_show_headers_stay_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    logs.to_stderr(verbose=True)
    for name in ("botocore.auth", "aiobotocore.endpoint", "urllib3.connectionpool", "s3fs"):
        logging.getLogger(name).info("Authorization: secret")
    log.debug("shown")
    assert capsys.readouterr().err.count("\n") == 1


def test_errors_of_threads_and_callbacks_are_logged(capsys: pytest.CaptureFixture[str]) -> None:
    logs.to_stderr(verbose=False)
    thread = threading.Thread(target=lambda: 1 // 0)
    thread.start()
    thread.join()
    assert "ERROR unexpected error in a thread" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("mountpoint", "name"),
    [("/mnt/data", "mnt-data.log"), ("/", "root.log"), ("/mnt/ü ", "mnt-ü .log")],
)
def test_a_log_is_named_after_its_mountpoint(
    mountpoint: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert logs.default_file(Path(mountpoint)) == tmp_path / "s3zipfs" / name
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    expected = tmp_path / ".local" / "state" / "s3zipfs" / name
    assert logs.default_file(Path(mountpoint)) == expected


def test_the_longest_mountpoint_has_a_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    paths = [logs.default_file(Path("/" + "é" * 120 + first + "/b" * 900)) for first in "xy"]
    assert len(set(paths)) == 2
    for path in paths:
        os.close(logs.open_file(path.with_name(path.name + ".2")))


@pytest.mark.parametrize(
    ("error", "line", "code"),
    [
        (MountError("/mnt: not empty"), "/mnt: not empty", 1),
        (NotFound("no\n\x1b[31m'x'\u202e"), "no \ufffd[31m'x'\ufffd", 1),
        (SettingsError("timeout: too small"), "timeout: too small", 2),
        (DeadlineExceeded("no progress within 3 s"), "no progress within 3 s: does the", 1),
        (FileNotFoundError(2, "No such file", b"\xff"), "\ufffd: No such file", 1),
        (OSError(28, "No space left"), "No space left", 1),
        (click.UsageError("Missing it."), "Missing it.", 2),
        (click.UsageError("No such.", click.Context(click.Command("do"))), "No such; see", 2),
        (ZeroDivisionError("division\nby zero"), "unexpected ZeroDivisionError: division by", 1),
        (MountError(""), "MountError", 1),
    ],
)
def test_every_error_is_one_line_and_a_code(error: Exception, line: str, code: int) -> None:
    said = line_of(error)
    assert said.startswith(line)
    assert said.isprintable()
    assert code_of(error) == code
    assert is_expected(error) is not isinstance(error, ZeroDivisionError)
