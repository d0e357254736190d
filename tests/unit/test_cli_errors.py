"""Wrong input that needs no server: one clear line, and exit code 2 for usage."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from commands import assert_one_line, s3zipfs

FAILED, USAGE = 1, 2
CLOSED = ["--endpoint-url", "http://127.0.0.1:1"]


@pytest.mark.parametrize(
    ("arguments", "words", "code"),
    [
        (["--nonsense"], ["--nonsense"], USAGE),
        (["nonsense"], ["nonsense"], USAGE),
        (["mount"], ["MOUNTPOINT"], USAGE),
        (["mount", "MNT", "--nonsense"], ["--nonsense"], USAGE),
        (["mount", "s3://lab", "MNT", "--timeout", "soon"], ["--timeout", "soon"], USAGE),
        (["mount", "s3://lab", "MNT", "--timeout", "0"], ["timeout", "greater than 0"], USAGE),
        (["mount", "s3://lab", "MNT", "--memory", "plenty"], ["plenty", "256M"], USAGE),
        (["mount", "s3://lab", "MNT", "--memory", "1M"], ["memory", "33554432"], USAGE),
        (["mount", "s3://lab", "MNT", "--env-file", "nothing.env"], ["nothing.env"], USAGE),
        (["mount", "s3://lab", "nowhere/at/all"], ["nowhere/at/all", "no such directory"], FAILED),
        (["mount", "s3://lab", "FILE"], ["FILE", "not a directory"], FAILED),
        (["mount", "s3://lab", "FULL"], ["FULL", "not empty"], FAILED),
        (["mount", "gs://lab", "MNT", "-f"], ["gs://lab", "s3://bucket"], USAGE),
        (["mount", "s3://", "MNT", "-f"], ["no bucket"], USAGE),
        (["mount", "s3://lab", "MNT", "-f", "--endpoint-url", "minio:9000"], ["minio:9000"], USAGE),
        (["mount", "s3://lab", "MNT", "-f", "--ca-bundle", "no.crt"], ["no.crt"], USAGE),
        (["mount", "s3://lab", "MNT", "-f", "--profile", "nobody"], ["nobody"], USAGE),
        (["umount", "MNT"], ["MNT", "nothing is mounted"], FAILED),
        (["umount", "/proc"], ["/proc", "not s3zipfs"], FAILED),
        (["ls"], ["PATH_OR_URL"], USAGE),
        (["ls", "nowhere"], ["nowhere", "No such file"], FAILED),
        (["ls", "http://lab"], ["http://lab"], USAGE),
        (["ls", "--json", "nowhere"], ["nowhere", "No such file"], FAILED),
        (["cat", "nowhere"], ["nowhere", "No such file"], FAILED),
        (["check"], ["PATH_OR_URL"], USAGE),
        (["check", "nowhere"], ["nowhere", "No such file"], FAILED),
        (["check", "FILE"], ["FILE", "not on a mount", "s3://BUCKET/KEY"], USAGE),
        (["check", "--json", "FULL"], ["FULL", "not on a mount"], USAGE),
        (["check", "http://lab"], ["http://lab"], USAGE),
        (["check", "s3://lab/x.zip", "--anonymous", *CLOSED], ["127.0.0.1:1", "refused"], FAILED),
    ],
)
def test_wrong_input_is_one_clear_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    words: list[str],
    code: int,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "MNT").mkdir()
    (tmp_path / "FULL").mkdir()
    (tmp_path / "FULL" / "file").touch()
    (tmp_path / "FILE").touch()
    assert_one_line(s3zipfs(*arguments), *words, code=code)


def test_version_and_help() -> None:
    assert s3zipfs("--version").stdout.startswith("s3zipfs, version 0.")
    for arguments in (
        ["--help"],
        ["mount", "-h"],
        ["umount", "-h"],
        ["ls", "-h"],
        ["cat", "-h"],
        ["check", "-h"],
    ):
        done = s3zipfs(*arguments)
        assert done.returncode == 0
        assert "Usage" in done.stdout
        assert not re.search("--(secret-key|session-token|access-key)[ =]", done.stdout)


def test_paths_are_listed_and_written_without_a_server(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"\xff\x00binary")
    assert s3zipfs("ls", str(tmp_path)).stdout == "a\n"
    assert "-rw" in s3zipfs("ls", "-l", str(tmp_path)).stdout
    (tmp_path / "a").write_text("text\n")
    assert s3zipfs("cat", str(tmp_path / "a")).stdout == "text\n"
