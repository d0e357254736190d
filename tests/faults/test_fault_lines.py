"""Each fault that a reader meets is a line that names version and bytes; a good read is none."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import struct
import termios
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from faults.cases import CONTENT, SIZE, archive_bytes, next_case
from faults.px import Proxy, everything, gets
from faults.reading import assert_whole, failure, opened
from mounting import Mount, mounted_type, small_disk, wait_until

pytestmark = pytest.mark.timeout(300)

SECONDS = 60.0
TIMEOUT = "3"
READS = 10_000


@contextlib.contextmanager
def mounted(px: Proxy, bucket: str, path: Path, *options: str) -> Iterator[Mount]:
    options = ("--timeout", TIMEOUT, "--cache-dir", "none", *options)
    with Mount(path, px.server, [f"s3://{bucket}"], *options) as running:
        yield running


def told(mount: Mount) -> list[dict[str, Any]]:
    return [json.loads(line) for line in mount.log.read_text().splitlines()]


def test_a_fault_is_one_line_of_json_with_version_member_and_range(
    px: Proxy, faults_bucket: str, numbers: Iterator[int], tmp_path: Path
) -> None:
    with mounted(px, faults_bucket, tmp_path / "mnt", "--log-format", "json") as mount:
        case = opened(next_case(mount.path, numbers))
        px.tell(px.refusing(403, "AccessDenied"), gets(case.key))
        assert failure((case.archive / "deflated").read_bytes)
        wait_until(
            lambda: any("errno" in each for each in told(mount)), seconds=SECONDS, what="the line"
        )
        line = next(each for each in told(mount) if "errno" in each)
        expected = ("read", "EACCES", faults_bucket, case.key, "deflated", 0)
        names = ("operation", "errno", "bucket", "key", "member", "start")
        assert tuple(line[name] for name in names) == expected
        assert line["end"] > 0
        assert line["etag"]
        assert '"' not in line["etag"]
        assert "ccess" in line["cause"]
        assert line["level"] == "WARNING"


def test_the_journal_gets_levels(
    px: Proxy, faults_bucket: str, numbers: Iterator[int], tmp_path: Path
) -> None:
    # As systemd does it: the variable names what stderr is.
    say = 'exec env JOURNAL_STREAM=$(stat -L -c %d:%i /proc/self/fd/2) "$@"'
    options = ("--timeout", TIMEOUT, "--cache-dir", "none")
    with Mount(
        tmp_path / "mnt",
        px.server,
        [f"s3://{faults_bucket}"],
        *options,
        prefix=("sh", "-c", say, "sh"),
    ) as mount:
        case = opened(next_case(mount.path, numbers))
        px.tell(px.refusing(403, "AccessDenied"), gets(case.key))
        assert failure((case.archive / "deflated").read_bytes) == errno.EACCES
        wait_until(lambda: case.key in mount.log.read_text(), seconds=SECONDS, what="the line")
    first, *_ = lines = mount.log.read_text().splitlines()
    assert first.startswith("<6>ready: ")
    assert any(line.startswith(f"<4>read: EACCES: s3://{faults_bucket}/") for line in lines)
    assert all(line.startswith("<") for line in lines)


def test_ten_thousand_failing_reads_are_a_few_lines_and_honest_ones_none(
    px: Proxy, faults_bucket: str, numbers: Iterator[int], s3client: Any, tmp_path: Path
) -> None:
    broken = bytearray(archive_bytes())
    broken[SIZE * 3 // 2] ^= 1  # within the second member, which is deflated
    s3client.put_object(Bucket=faults_bucket, Key="broken/x.zip", Body=bytes(broken))
    with mounted(px, faults_bucket, tmp_path / "mnt") as mount:
        case = opened(next_case(mount.path, numbers))
        assert_whole(case)
        descriptor = os.open(mount.path / "broken/x.zip/deflated", os.O_RDONLY)
        try:
            for _ in range(READS):
                with pytest.raises(OSError, match="Input/output error"):
                    os.pread(descriptor, 4096, 0)
        finally:
            os.close(descriptor)
    log = mount.log.read_text()
    assert case.key not in log
    lines = [line for line in log.splitlines() if "broken/x.zip" in line]
    assert len(lines) < READS // 100
    assert " EIO: " in lines[0]
    assert any("more suppressed" in line for line in lines)  # at the mount's end at the latest


@pytest.fixture
def tiny(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB."""
    with small_disk(tmp_path / "tiny", "256k") as path:
        yield path


@pytest.mark.parametrize("to_file", [True, False])
def test_a_mount_goes_on_where_its_log_is_on_a_full_disk(
    px: Proxy, faults_bucket: str, numbers: Iterator[int], tiny: Path, to_file: bool
) -> None:
    log = tiny / "mnt.log"
    to_log = ["sh", "-c", f'exec 2>>"{log}"; exec "$@"', "sh"]
    options = ("--timeout", TIMEOUT, "--cache-dir", "none", "--verbose")
    with Mount(
        tiny / "mnt",
        px.server,
        [f"s3://{faults_bucket}"],
        *(*options, *(("--log-file", str(log)) if to_file else ())),
        prefix=() if to_file else to_log,
    ) as mount:
        case = opened(next_case(mount.path, numbers))
        fill(tiny / "ballast", 4096)
        fill(log, 1)  # its last page has room
        px.tell(px.refusing(403, "AccessDenied"), gets(case.key))
        for name in CONTENT:
            assert failure((case.archive / name).read_bytes) == errno.EACCES
        px.honest()
        assert_whole(case)
        (tiny / "ballast").unlink()
        another = opened(next_case(mount.path, numbers))
        px.tell(px.refusing(403, "AccessDenied"), everything)
        assert failure((another.archive / "deflated").read_bytes) == errno.EACCES
        wait_until(lambda: another.key in log.read_text(), seconds=SECONDS, what="a line again")
    told = log.read_text()
    assert "lines of the log were lost: No space left on device" in told
    assert case.key not in told


def fill(path: Path, step: int) -> None:
    with path.open("ab", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x" * step)


PIPE_BYTES = 4096


class Unheard(Mount):
    """One whose stderr goes elsewhere than to its log."""

    def _ready(self) -> bool:
        return mounted_type(self.path) == "fuse.s3zipfs"


def test_a_mount_goes_on_where_nobody_reads_its_stderr(
    px: Proxy, faults_bucket: str, numbers: Iterator[int], tmp_path: Path
) -> None:
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    to_pipe = ["sh", "-c", f'exec 2>/proc/{os.getpid()}/fd/{writing}; exec "$@"', "sh"]
    options = ("--timeout", TIMEOUT, "--cache-dir", "none")
    with Unheard(
        tmp_path / "mnt", px.server, [f"s3://{faults_bucket}"], *options, prefix=to_pipe
    ) as mount:
        os.close(writing)
        cases = [opened(next_case(mount.path, numbers)) for _ in range(12)]
        px.tell(px.refusing(403, "AccessDenied"), everything)
        for each in cases:
            for name in CONTENT:
                assert failure((each.archive / name).read_bytes) == errno.EACCES
        px.honest()
        wait_until(lambda: waiting(reading) > PIPE_BYTES * 3 // 4, seconds=SECONDS, what="full")
        for each in cases:
            assert_whole(each)
    os.close(reading)


def waiting(descriptor: int) -> int:
    """Bytes that can be read from a pipe."""
    (size,) = struct.unpack("i", fcntl.ioctl(descriptor, termios.FIONREAD, bytes(4)))
    return int(size)
