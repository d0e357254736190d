"""`s3zipfs check` and the long forms of `s3zipfs ls` against a real server."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from commands import assert_one_line, keys_of, s3zipfs
from corpus.raw_zip import Entry, write_zip
from fakes3 import Answer, FakeS3, Request, Silence, listing
from mounting import Mount
from s3server import S3Server
from terminals import S3ZIPFS, Terminal

FAILED, INTERRUPTED = 1, 130

GOOD = write_zip([Entry(b"d/a.txt", b"hello\n"), Entry(b"b\xff", b"2", flags=1 << 11)])
FAULTY = write_zip([Entry(b"bad\x1b", b"data", crc=1), Entry(b"fine", b"fine")])
LOCKED = write_zip([Entry(b"locked", b"data", flags=1), Entry(b"x/../y", b"n"), Entry(b"a", b"1")])


@pytest.fixture
def archives(s3client: Any, bucket: str) -> str:
    """`good.zip`, `in/faulty.zip`, `in/none.zip`, `locked.zip` and `plain.txt`."""
    objects = {
        "good.zip": GOOD,
        "in/faulty.zip": FAULTY,
        "in/none.zip": b"not a zip",
        "locked.zip": LOCKED,
        "plain.txt": b"plain\n",
    }
    for key, body in objects.items():
        s3client.put_object(Bucket=bucket, Key=key, Body=body)
    return bucket


def run(server: S3Server, *arguments: str) -> subprocess.CompletedProcess[str]:
    return s3zipfs(*arguments, "--endpoint-url", server.endpoint, environment=keys_of(server))


def document(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(done.stdout)
    assert done.stderr == ""
    return found


def test_a_good_archive_is_exit_code_0_and_a_summary(s3server: S3Server, archives: str) -> None:
    done = run(s3server, "check", f"s3://{archives}/good.zip")
    assert (done.returncode, done.stderr) == (0, "")  # no progress on a pipe
    first, second = done.stdout.splitlines()
    assert first.startswith("1 archive, 2 members, 7 bytes, 7 compressed bytes in ")
    assert second == "0 faults, 0 not checked, 0 hidden, 0 duplicates, 0 other objects"
    found = document(run(s3server, "check", "--json", f"s3://{archives}/good.zip"))
    assert found.pop("seconds") > 0
    assert found.pop("megabytes_per_second") >= 0
    assert found == {
        "where": f"s3://{archives}/good.zip",
        "findings": [],
        "archives": 1,
        "members": 2,
        "bytes": 7,
        "compressed_bytes": 7,
        "faults": 0,
        "not_checked": 0,
        "hidden": 0,
        "duplicates": 0,
        "other_objects": 0,
        "error": None,
    }


def test_faults_of_a_prefix_are_lines_and_exit_code_1(s3server: S3Server, archives: str) -> None:
    done = run(s3server, "check", f"s3://{archives}")
    assert (done.returncode, done.stderr) == (FAILED, "")
    bad, none, first, second = done.stdout.splitlines()
    assert bad.startswith(f"s3://{archives}/in/faulty.zip/bad")
    assert "\x1b" not in bad  # a terminal would obey it
    assert "CRC-32" in bad
    assert none.startswith(f"s3://{archives}/in/none.zip: ")
    assert first.startswith("4 archives, 6 members, ")
    assert second == "2 faults, 1 not checked (1 encrypted), 1 hidden, 0 duplicates, 1 other object"

    done = run(s3server, "check", "--json", f"s3://{archives}/in")
    assert done.returncode == FAILED
    found = document(done)
    assert (found["faults"], found["bytes"], found["error"]) == (2, 4, None)
    kinds = [(each["member"], each["fault"], each["kind"]) for each in found["findings"]]
    assert kinds == [("bad\x1b", True, "content"), (None, True, "archive")]
    assert {each["archive"].rpartition("/")[2] for each in found["findings"]} == {
        "faulty.zip",
        "none.zip",
    }


def test_what_cannot_be_checked_is_a_fault_only_if_asked(s3server: S3Server, archives: str) -> None:
    url = f"s3://{archives}/locked.zip"
    done = run(s3server, "check", "--json", url)
    assert done.returncode == 0
    found = document(done)
    assert [(each["member"], each["fault"]) for each in found["findings"]] == [("locked", False)]
    assert (found["faults"], found["not_checked"], found["hidden"]) == (0, 1, 1)
    assert run(s3server, "check", "--strict", url).returncode == FAILED
    assert run(s3server, "check", "--strict", f"s3://{archives}/good.zip").returncode == 0


def test_what_cannot_be_read_at_all_is_one_line(s3server: S3Server, archives: str) -> None:
    for where, words in {
        f"s3://{archives}/no.zip": ["no b'no.zip'"],
        "s3://no-such-bucket-here/x.zip": ["no-such-bucket-here"],
        f"s3://{archives}/in/faulty.zip/no": ["no b'no'"],
    }.items():
        assert_one_line(run(s3server, "check", "--json", where), *words, code=FAILED)
    plain = run(s3server, "check", f"s3://{archives}/plain.txt")
    assert_one_line(plain, "not an archive by its name", "--archive 'plain.txt'", code=2)


def test_progress_is_shown_on_a_terminal_only(s3server: S3Server, archives: str) -> None:
    with Terminal(
        [*S3ZIPFS, "check", "--json", f"s3://{archives}/in/faulty.zip"],
        environment={**keys_of(s3server), "AWS_ENDPOINT_URL": s3server.endpoint},
        stdout=subprocess.PIPE,
    ) as terminal:
        told, _ = terminal.process.communicate(timeout=60)
        shown = terminal.shown
    assert "100%" in shown
    assert "2 members" in shown
    assert json.loads(told)["faults"] == 1


def test_a_mount_is_checked_by_reading_it(
    s3server: S3Server, archives: str, tmp_path: Path
) -> None:
    with Mount(tmp_path / "mnt", s3server, [f"s3://{archives}"]) as mounted:
        found = document(s3zipfs("check", "--json", str(mounted.path / "good.zip")))
        assert (found["members"], found["bytes"], found["faults"]) == (2, 7, 0)
        assert found["archives"] is found["hidden"] is found["duplicates"] is None
        for _ in range(2):  # what the kernel kept of the first reading is not believed
            done = s3zipfs("check", "--json", str(mounted.path))
            assert done.returncode == FAILED
            found = document(done)
            kinds = {(each["archive"], each["kind"]) for each in found["findings"]}
            assert kinds == {
                (f"{mounted.path}/in/faulty.zip/bad\x1b", "content"),
                (f"{mounted.path}/in/none.zip", "archive"),
                (f"{mounted.path}/locked.zip/locked", "unsupported"),
            }
            assert (found["faults"], found["not_checked"]) == (2, 1)
        done = s3zipfs("check", str(mounted.path / "in/faulty.zip/fine"))
        assert (done.returncode, done.stdout[:18]) == (0, "1 member, 4 bytes ")
        done = s3zipfs("ls", "--json", str(mounted.path / "good.zip/d"))
        (line,) = done.stdout.splitlines()
        listed = json.loads(line)
        assert (listed["name"], listed["kind"], listed["size"]) == ("a.txt", "file", 6)
        assert listed["compressed_size"] is listed["crc32"] is listed["etag"] is None


@contextlib.contextmanager
def silent_from_the_first_get() -> Iterator[FakeS3]:
    contents = (
        "<Contents><Key>x.zip</Key><Size>1000</Size><ETag>&quot;e&quot;</ETag>"
        "<LastModified>2026-11-21T08:00:00.000Z</LastModified></Contents>"
    )

    def answer(request: Request) -> Answer | Silence:
        return Answer(200, listing(contents)) if "list-type=2" in request.query else Silence()

    with FakeS3() as fake:
        fake.answer = answer
        yield fake


def test_ctrl_c_ends_it_at_once() -> None:
    with silent_from_the_first_get() as fake:
        command = ["env", "--default-signal=INT", sys.executable, "-m", "s3zipfs", "check"]
        process = subprocess.Popen(
            [*command, "s3://lab/x.zip", "--anonymous", "--endpoint-url", fake.endpoint],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            assert fake.silent.wait(60)
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=20)  # the store is given 60
        finally:
            process.kill()
        assert (process.returncode, out, err.strip()) == (INTERRUPTED, "", "s3zipfs: interrupted")


def test_long_listings(s3server: S3Server, archives: str, s3client: Any) -> None:
    etag = s3client.head_object(Bucket=archives, Key="good.zip")["ETag"].strip('"')
    objects = {
        each["name"]: each
        for each in map(
            json.loads, run(s3server, "ls", "--json", f"s3://{archives}").stdout.splitlines()
        )
    }
    assert {name: each["kind"] for name, each in objects.items()} == {
        "good.zip": "archive",
        "in": "directory",
        "locked.zip": "archive",
        "plain.txt": "file",
    }
    good = objects["good.zip"]
    assert (good["size"], good["etag"], good["crc32"]) == (len(GOOD), etag, None)
    assert good["modified"].endswith("Z")

    done = run(s3server, "ls", "--json", f"s3://{archives}/good.zip")
    directory, odd = (json.loads(line) for line in reversed(done.stdout.splitlines()))
    assert "\\udcff" in done.stdout
    assert odd == {
        "name": "b\udcff",
        "kind": "file",
        "size": 1,
        "compressed_size": 1,
        "method": "stored",
        "encrypted": False,
        "crc32": "1ad5be0d",
        "modified": "2024-05-17T12:34:56.000Z",
        "etag": None,
    }
    assert (directory["name"], directory["kind"], directory["size"]) == ("d", "directory", None)

    lines = run(s3server, "ls", "-l", f"s3://{archives}/locked.zip").stdout.splitlines()
    fields = [line.split() for line in lines]
    assert fields[0] == ["-r--r--r--", "1", "1", "stored", "2024-05-17", "12:34:56", "a"]
    assert fields[1][3::3] == ["encrypted", "locked"]
    assert len({line.index("2024") for line in lines}) == 1  # aligned
    names = run(s3server, "ls", f"s3://{archives}").stdout
    assert names.split() == ["good.zip", "locked.zip", "plain.txt", "in"]
