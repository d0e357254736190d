"""Crawlers on a real mount: slowed, refused, and let in again; and all that is no crawling."""

from __future__ import annotations

import errno
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Self

import pytest
from mounting import Mount
from s3clients import make_s3client
from s3server import S3Server
from trees import zipped

from s3zipfs.fuse.crawl import LONGEST_DELAY

ARCHIVES = 40
LIMIT = 6
SLOWED, REFUSED, BY_NAME = "further ones open later", "no further ones are opened", "by its name"
MEMBERS = {"zarr.json": b"{}", "c/0/0": b"chunk of numbers", "notes.txt": b"words\n"}


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    """A server with nothing else in it: a mount of all buckets shows all there are."""
    with S3Server.start(own=True) as started:
        client = make_s3client(started)
        for bucket in ("lab", "scans"):
            client.create_bucket(Bucket=bucket)
            for number in range(ARCHIVES):
                body = zipped(MEMBERS | {"number": f"{number}\n".encode()})
                client.put_object(Bucket=bucket, Key=f"{number:03}.zip", Body=body)
        yield started


def mounted(path: Path, server: S3Server, sources: Sequence[str], *options: str) -> Mount:
    return Mount(path, server, sources, "--crawl-limit", str(LIMIT), *options)


@pytest.fixture
def mount(tmp_path: Path, server: S3Server) -> Iterator[Mount]:
    """All buckets, with the guard."""
    with mounted(tmp_path / "mnt", server, []) as started:
        yield started


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)


def told(mount: Mount, *texts: str) -> list[str]:
    """Lines of the log that have one of the texts, by default any that the guard writes."""
    wanted = texts or (SLOWED, REFUSED, BY_NAME)
    return [line for line in mount.log.read_text().splitlines() if any(t in line for t in wanted)]


class Program:
    """A Python process that lists and reads what it is told to, one path after another."""

    CODE = """
import os, sys
for line in sys.stdin:
    what, path = line.rstrip("\\n").split(" ", 1)
    try:
        if what == "list":
            os.listdir(path)
        elif what == "stat":
            os.stat(path)
        else:
            with open(path, "rb", buffering=0) as file:
                file.readall()
    except OSError as error:
        print(error.errno, flush=True)
    else:
        print(0, flush=True)
"""

    def __init__(self) -> None:
        command = [sys.executable, "-c", self.CODE]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def __call__(self, what: str, path: Path) -> int:
        """The errno."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(what, path, file=self._process.stdin, flush=True)
        return int(self._process.stdout.readline())


def listed_until_refused(program: Program, bucket: Path) -> list[Path]:
    """The archives whose insides it listed; the next one was refused."""
    entered: list[Path] = []
    for number in range(ARCHIVES):
        archive = bucket / f"{number:03}.zip"
        if found := program("list", archive / "c"):
            assert found == errno.EACCES
            return entered
        entered.append(archive)
    raise AssertionError("it was not refused")


def test_a_crawler_is_slowed_and_then_refused_with_one_line_each(mount: Mount) -> None:
    began = time.monotonic()
    found = run("find", mount.path / "lab")
    took = time.monotonic() - began
    entered = found.stdout.count("/notes.txt\n")
    assert entered >= 2 * LIMIT  # time pays for some, on a slow machine
    refused = [line for line in found.stderr.splitlines() if "Permission denied" in line]
    assert len(refused) == len(found.stderr.splitlines()) == ARCHIVES - entered
    # One sixth of the longest delay, two sixths, and so on up to the whole of it.
    assert took > LONGEST_DELAY * (LIMIT + 1) / 2 * 0.9
    mount.wait_for_line(REFUSED)
    slowed, lines = told(mount, SLOWED), told(mount, REFUSED)
    assert (len(slowed), len(lines)) == (1, 1)
    assert " INFO find (pid " in slowed[0]
    assert " WARNING find (pid " in lines[0]
    assert "--crawl-allow find lets it, --no-crawl-guard everybody" in lines[0]
    assert "opendir" not in mount.log.read_text(), "a line for each refusal"


def test_others_go_on_while_one_is_refused(mount: Mount) -> None:
    with Program() as crawler, Program() as reader:
        entered = listed_until_refused(crawler, mount.path / "lab")
        for number in range(ARCHIVES):
            archive = mount.path / f"lab/{number:03}.zip"
            assert crawler("list", archive / "c") == (0 if archive in entered else errno.EACCES)
            assert reader("read", archive / "zarr.json") == 0
            assert reader("list", archive / "c") == 0
    assert len(told(mount, REFUSED)) == 1


def test_who_is_refused_reads_what_it_has_opened_and_is_free_again_by_reading(
    mount: Mount,
) -> None:
    bucket = mount.path / "lab"
    with Program() as crawler:
        entered = listed_until_refused(crawler, bucket)
        assert len(entered) >= 2 * LIMIT
        further = bucket / f"{ARCHIVES - 1:03}.zip"
        # Names and attributes of archives are free; each look inside is refused.
        assert crawler("list", bucket) == 0
        assert crawler("stat", further) == 0
        assert crawler("list", further) == errno.EACCES
        assert crawler("stat", further / "c") == errno.EACCES
        assert crawler("read", further / "notes.txt") == errno.EACCES
        for archive in entered:
            assert crawler("list", archive / "c/0") == 0
            assert crawler("read", archive / "notes.txt") == 0
        assert crawler("list", further / "c") == 0
        assert crawler("read", further / "notes.txt") == 0


def test_a_reload_lets_in_whom_the_settings_allow_by_then(tmp_path: Path, server: S3Server) -> None:
    config = tmp_path / "lab.toml"
    config.touch(mode=0o600)
    options = ("--config", str(config))
    with mounted(tmp_path / "mnt", server, [], *options) as mount, Program() as one:
        entered = listed_until_refused(one, mount.path / "lab")
        further = mount.path / f"lab/{len(entered):03}.zip"
        name = Path(sys.executable).name[:15]
        config.write_text(f'crawl_allow = ["{name}"]\n')
        mount.process.send_signal(signal.SIGHUP)
        mount.wait_for_line("reloaded: ")
        assert one("list", further) == 0
        assert one("list", mount.path / "scans/000.zip/c") == 0


def copied(program: str, path: Path) -> Path:
    """A program by another name."""
    found = shutil.which(program)
    assert found is not None
    return Path(shutil.copy(found, path))


def test_an_indexer_is_let_into_no_archive_and_sees_all_names(tmp_path: Path, mount: Mount) -> None:
    found = run(copied("find", tmp_path / "updatedb.plocate"), mount.path / "lab")
    paths = {f"{mount.path}/lab/{number:03}.zip" for number in range(ARCHIVES)}
    assert set(found.stdout.splitlines()) == {f"{mount.path}/lab", *paths}
    assert found.stderr.count("Permission denied") == ARCHIVES
    mount.wait_for_line(BY_NAME)
    lines = told(mount)
    assert len(lines) == 1
    assert " WARNING updatedb.plocat (pid " in lines[0]
    assert run("ls", mount.path / "lab/000.zip").returncode == 0, "it keeps out nobody else"


def test_one_word_lets_all_in(tmp_path: Path, server: S3Server) -> None:
    with mounted(tmp_path / "mnt", server, [], "-o", "no_crawl_guard") as mount:
        found = run(copied("find", tmp_path / "updatedb"), mount.path)
        assert (found.returncode, found.stderr) == (0, "")
        assert found.stdout.count("/notes.txt\n") == 2 * ARCHIVES
        assert told(mount) == []


@pytest.mark.parametrize("sources", [[], ["s3://lab"], ["s3://lab", "s3://scans"]])
def test_two_levels_of_a_mount_are_listed_as_often_as_one_likes(
    tmp_path: Path, server: S3Server, sources: list[str]
) -> None:
    with mounted(tmp_path / "mnt", server, sources) as mount:
        for _ in range(2):
            found = run("find", mount.path, "-maxdepth", "2")
            assert (found.returncode, found.stderr) == (0, "")
        inside = found.stdout.count("/notes.txt\n")
        assert inside == (ARCHIVES if len(sources) == 1 else 0)
        assert told(mount) == []


def test_a_crawl_of_a_bucket_at_the_root_is_refused_below_the_roots_of_archives(
    tmp_path: Path, server: S3Server
) -> None:
    with mounted(tmp_path / "mnt", server, ["s3://lab"]) as mount:
        found = run("du", "-s", mount.path)
        assert found.returncode != 0
        mount.wait_for_line(REFUSED)
        assert len(told(mount, REFUSED)) == 1


@pytest.mark.parametrize(
    "command",
    [
        ["cp", "-r", "{source}", "{target}"],
        ["tar", "-cf", "{target}", "{source}"],
        ["grep", "-r", "numbers", "{source}"],
    ],
    ids=lambda command: command[0],
)
def test_who_reads_what_it_lists_is_no_crawler(
    tmp_path: Path, mount: Mount, command: list[str]
) -> None:
    places = {"source": str(mount.path / "lab"), "target": str(tmp_path / "copy")}
    found = run(*(word.format(**places) for word in command))
    assert found.returncode == 0, found.stderr
    assert told(mount) == []


def test_rsync_is_no_crawler_though_it_lists_ahead(tmp_path: Path, server: S3Server) -> None:
    # 1,000 names ahead, which are all there are here: reading pays for that afterwards.
    with mounted(tmp_path / "mnt", server, [], "--crawl-limit", str(2 * ARCHIVES)) as mount:
        found = run("rsync", "-a", f"{mount.path}/", f"{tmp_path}/copy/")
        assert found.returncode == 0, found.stderr
        assert told(mount) == []
        assert (tmp_path / "copy/scans/007.zip/number").read_bytes() == b"7\n"


def test_who_asks_for_names_in_any_number_of_archives_is_no_crawler(mount: Mount) -> None:
    with Program() as zarr:
        for bucket in ("lab", "scans"):
            for number in range(ARCHIVES):
                archive = mount.path / bucket / f"{number:03}.zip"
                assert zarr("stat", archive / ".zgroup") == errno.ENOENT
                assert zarr("read", archive / "zarr.json") == 0
                assert zarr("list", archive) == 0
    with Program() as prober:
        for number in range(ARCHIVES):
            assert prober("stat", mount.path / f"lab/{number:03}.zip/.directory") == errno.ENOENT
    assert told(mount) == []


def test_all_of_one_archive_may_be_listed(mount: Mount) -> None:
    for _ in range(3 * LIMIT):
        assert run("ls", "-lR", mount.path / "lab/000.zip").returncode == 0
    assert told(mount) == []
