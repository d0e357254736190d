"""Completion in real shells, by the scripts that `s3zipfs completion` prints."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from commands import assert_one_line, keys_of, s3zipfs
from environments import skip_without
from mounting import Mount
from s3server import S3Server
from terminals import Terminal
from trees import zipped

SECONDS = 120.0
ATTEMPT_SECONDS = 40.0  # the program gives up after five: on a busy machine one has to ask again


class Shell(Terminal):
    """An interactive shell, with the completion loaded."""

    def __init__(self, name: str, folder: Path, server: S3Server) -> None:
        program = shutil.which(name)
        if program is None:
            skip_without(f"no {name}: apt install {name}")
        options = {"bash": ["--norc", "-i"], "zsh": ["-f", "-i"]}[name]
        super().__init__(
            [program, *options],
            cwd=folder,
            environment={**reaching(server), "TERM": "dumb", "HOME": str(folder)},
            columns=300,
        )
        if name == "zsh":
            # -D: no file of what is known, which the next shell here would not find by its name.
            self.type("autoload -Uz compinit && compinit -u -D; unsetopt zle_bracketed_paste\n")
        self.type(f"source <(s3zipfs completion {name}); PS1='rea''dy> '\n")
        assert self.shows("ready> ", SECONDS)

    def completes(self, line: str, to: str) -> bool:
        """Whether TAB behind a line makes it another."""
        give_up = time.monotonic() + SECONDS
        while time.monotonic() < give_up:
            self.type(f"{line}\t")
            found = self.shows(to, ATTEMPT_SECONDS)
            # Ctrl-U. What goes on is ended before the next try: of a line that was shown by then
            # no shell draws more than what is new.
            self.type("\x15echo en''ded\n")
            assert self.shows("ended", SECONDS)
            if found:
                return True
        return False


def reaching(server: S3Server) -> dict[str, str]:
    """The program by its name, and the server."""
    return {
        **keys_of(server),
        "AWS_ENDPOINT_URL": server.endpoint,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("completion")
    (folder / "only.zarr.zip").touch()
    return folder


@pytest.fixture(params=["bash", "zsh"])
def shell(request: pytest.FixtureRequest, place: Path, s3server: S3Server) -> Iterator[Shell]:
    with Shell(request.param, place, s3server) as running:
        yield running


@pytest.mark.timeout(600)
def test_commands_options_values_and_paths_are_completed(shell: Shell) -> None:
    assert shell.completes("s3zipfs umo", "s3zipfs umount ")
    assert shell.completes("s3zipfs mount --endp", "s3zipfs mount --endpoint-url ")
    assert shell.completes("s3zipfs mount --log-format js", "--log-format json ")
    assert shell.completes("s3zipfs config sh", "s3zipfs config show ")
    assert shell.completes("s3zipfs check onl", "s3zipfs check only.zarr.zip")
    assert shell.completes("s3zipfs ls s3:", "s3zipfs ls s3://")


@pytest.mark.timeout(600)
def test_buckets_keys_and_members_are_completed(shell: Shell, s3client: Any, bucket: str) -> None:
    body = zipped({"deep/er/file.txt": b"1", "deep/er/one": b"2"})
    s3client.put_object(Bucket=bucket, Key="runs/x.zarr.zip", Body=body)
    s3client.put_object(Bucket=bucket, Key="runs/date=1, a b.txt", Body=b"")
    where = f"s3://{bucket}"
    assert shell.completes(f"s3zipfs ls {where[:-4]}", f"s3zipfs ls {where}/")
    assert shell.completes(f"s3zipfs ls {where}/r", f"{where}/runs/")
    assert shell.completes(f"s3zipfs ls {where}/runs/x", f"{where}/runs/x.zarr.zip")
    assert shell.completes(f"s3zipfs ls {where}/runs/x.zarr.zip/", "x.zarr.zip/deep/")
    assert shell.completes(f"s3zipfs cat {where}/runs/x.zarr.zip/deep/er/f", "er/file.txt ")
    assert shell.completes(f"s3zipfs cat {where}/runs/date=", r"\ a\ b.txt ")


@pytest.mark.timeout(300)
def test_mounts_are_completed_for_who_unmounts(
    place: Path, s3server: S3Server, bucket: str, tmp_path: Path
) -> None:
    with (
        Mount(tmp_path / "mnt", s3server, [f"s3://{bucket}"]) as mount,
        Shell("bash", place, s3server) as shell,
    ):
        line = f"s3zipfs umount {str(mount.path)[:-2]}"
        assert shell.completes(line, f"s3zipfs umount {mount.path}")


def fish(place: Path, server: S3Server, line: str) -> list[str]:
    """What fish offers for a line."""
    program = shutil.which("fish")
    if program is None:
        skip_without("no fish: apt install fish")
    commands = f"s3zipfs completion fish | source; complete -C '{line}'"
    done = subprocess.run(
        [program, "--no-config", "-c", commands],
        cwd=place,
        env={**os.environ, **reaching(server), "HOME": str(place)},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=True,
    )
    return [each.partition("\t")[0] for each in done.stdout.splitlines()]


@pytest.mark.timeout(600)
def test_fish_is_offered_the_same(
    place: Path, s3server: S3Server, s3client: Any, bucket: str
) -> None:
    s3client.put_object(Bucket=bucket, Key="runs/date=1, a b.txt", Body=b"")
    offered = {
        "s3zipfs umo": ["umount"],
        "s3zipfs mount --log-format js": ["json"],
        "s3zipfs check onl": ["only.zarr.zip"],
        f"s3zipfs ls s3://{bucket[:-4]}": [f"s3://{bucket}/"],
        f"s3zipfs ls s3://{bucket}/": [f"s3://{bucket}/runs/"],
        f"s3zipfs ls s3://{bucket}/runs/d": [f"s3://{bucket}/runs/date=1, a b.txt"],
    }
    for line, names in offered.items():
        give_up = time.monotonic() + SECONDS
        while fish(place, s3server, line) != names:
            assert time.monotonic() < give_up, line


def test_an_endpoint_that_is_silent_keeps_nobody_waiting(place: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        line = f"s3zipfs ls --endpoint-url http://127.0.0.1:{port} s3://lab/x"
        done = s3zipfs(
            environment={
                "_S3ZIPFS_COMPLETE": "bash_complete",
                "COMP_LINE": line,
                "COMP_POINT": str(len(line)),
                "AWS_ACCESS_KEY_ID": "a",
                "AWS_SECRET_ACCESS_KEY": "b",
            }
        )
    assert (done.returncode, done.stdout.strip()) == (0, "")


def test_what_is_wrong_is_not_told_in_the_middle_of_a_line() -> None:
    for line in (
        "s3zipfs nonsense x",
        "s3zipfs ls http://lab/",
        "s3zipfs ls s3://lab/ --timeout soon s3://",
    ):
        variables = {"COMP_LINE": line, "COMP_POINT": str(len(line))}
        done = s3zipfs(environment={"_S3ZIPFS_COMPLETE": "bash_complete", **variables})
        assert (done.returncode, done.stdout.strip()) == (0, ""), line


def test_a_shell_that_is_not_known_is_one_line() -> None:
    assert_one_line(s3zipfs("completion", "tcsh"), "tcsh", "bash", code=2)
