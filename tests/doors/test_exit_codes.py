"""Each exit code that the manual has, met by who runs the program."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import manual
from commands import keys_of, s3zipfs
from s3server import S3Server


def test_each_exit_code_of_the_manual_is_met(
    s3server: S3Server, filled: str, tmp_path: Path
) -> None:
    def check(key: str, *more: str) -> int:
        where = [f"s3://{filled}/{key}", "--endpoint-url", s3server.endpoint, *more]
        return s3zipfs("check", *where, environment=keys_of(s3server)).returncode

    codes = [
        check("x.zip"),
        check("none.zip"),
        check("x.zip", "--timeout", "0"),
        interrupted(tmp_path),
    ]
    status = manual.pages()["s3zipfs.1"].partition(".SH EXIT STATUS")[2].partition(".SH")[0]
    assert codes == [int(code) for code in re.findall(r"^\.B (\d+)$", status, re.MULTILINE)]


def interrupted(home: Path) -> int:
    """Of a command that waits for an endpoint while Ctrl-C is pressed."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        process = subprocess.Popen(
            [sys.executable, "-m", "s3zipfs", "ls", "s3://lab", "--endpoint-url", endpoint],
            env={"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "HOME": str(home)},
            stderr=subprocess.DEVNULL,
        )
        try:
            silent.settimeout(60)
            connection, _ = silent.accept()  # it has asked, and waits
            with connection:
                process.send_signal(signal.SIGINT)
                return process.wait(60)
        finally:
            process.kill()


def test_the_version_is_the_first_line_and_its_surroundings_the_second() -> None:
    first, second = s3zipfs("--version").stdout.splitlines()
    assert re.fullmatch(r"s3zipfs, version \d+\.\d+\.\d+\S*", first)
    assert re.fullmatch(r"Python 3\.\S+, libfuse 3\.\d+, Linux \S+", second)
