"""`s3zipfs warm`: what was warmed is read without a GET, counted between a mount and MinIO."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from commands import assert_one_line, keys_of, s3zipfs
from fakes3 import Request
from faults.px import Proxy, silent
from mounting import Mount, wait_until
from s3clients import put_many
from s3server import S3Server
from terminals import S3ZIPFS, Terminal
from trees import zipped
from zarrs import hierarchy, is_metadata

FAILED, USAGE, INTERRUPTED = 1, 2, 130
CACHE_SIZE = "256M"
MIB = 1 << 20

Members = dict[str, bytes]


def is_get(request: Request) -> bool:
    """Of bytes; a LIST is a GET as well."""
    return request.method == "GET" and "range" in request.headers


def fetched(px: Proxy) -> int:
    """Bytes that were asked for since `honest`."""
    ranges = [each.range for each in px.requests if is_get(each)]
    return sum(end - start for start, end in ranges)


@pytest.fixture
def px(s3server: S3Server) -> Iterator[Proxy]:
    with Proxy(s3server) as running:
        yield running


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def options(px: Proxy, cache: Path) -> list[str]:
    return [
        *("--endpoint-url", px.server.endpoint, "--cache-dir", str(cache)),
        *("--cache-size", CACHE_SIZE),
    ]


def warm(px: Proxy, cache: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return s3zipfs("warm", *options(px, cache), *arguments, environment=keys_of(px.server))


def document(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    found = json.loads(done.stdout)
    assert isinstance(found, dict)
    return found


def mounted(px: Proxy, cache: Path, bucket: str, *more: str) -> Mount:
    place = cache.parent / "mnt"
    cached = ["--cache-dir", str(cache), "--cache-size", CACHE_SIZE, *more]
    return Mount(place, px.server, [f"s3://{bucket}"], *cached)


def noise(size: int, seed: int) -> bytes:
    """Half of it is compressible: deflate leaves more than half of it."""
    data = np.random.default_rng(seed).integers(0, 256, size, np.uint8)
    data[::2] = 7
    return data.tobytes()


def mixed_archive(path: Path) -> Members:
    """Small members and a large one, stored and deflated; a directory of 150 kB."""
    members = {f"small/{number:04}": noise(300, number) for number in range(2000)}
    members |= {"large.bin": noise(20 * MIB, 1), "deflated.bin": noise(24 * MIB, 2)}
    with zipfile.ZipFile(path, "w") as archive:
        for number, (name, content) in enumerate(members.items()):
            is_deflated = name == "deflated.bin" or number % 2
            method = zipfile.ZIP_DEFLATED if is_deflated else zipfile.ZIP_STORED
            archive.writestr(name, content, method)
    return members


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, Members]:
    """An archive, and its members."""
    path = tmp_path_factory.mktemp("mixed") / "x.zip"
    members = mixed_archive(path)
    return path.read_bytes(), members


@pytest.fixture
def filled(s3client: Any, bucket: str, mixed: tuple[bytes, Members]) -> tuple[str, Members]:
    """A bucket with `runs/x.zip`, whose members are given, and `runs/plain.bin`."""
    content, members = mixed
    s3client.put_object(Bucket=bucket, Key="runs/x.zip", Body=content)
    s3client.put_object(Bucket=bucket, Key="runs/plain.bin", Body=noise(3 * MIB, 3))
    return bucket, members


def test_what_was_warmed_is_read_through_a_fresh_mount_without_a_get(
    px: Proxy, filled: tuple[str, Members], cache: Path
) -> None:
    bucket, members = filled
    done = warm(px, cache, f"s3://{bucket}/runs", "--json")
    assert done.returncode == 0, done.stderr
    found = document(done)
    assert found["warm"]
    assert found["objects"] == 2
    assert found["not_warm"] == []
    assert found["requests"] == px.count(is_get)
    assert found["fetched_bytes"] == fetched(px) == found["bytes"]
    assert found["requests"] < 20  # and not one for each of 2002 members
    px.honest()
    with mounted(px, cache, bucket) as mount:
        assert (mount.path / "runs/plain.bin").read_bytes() == noise(3 * MIB, 3)
        for name, content in members.items():
            assert (mount.path / "runs/x.zip" / name).read_bytes() == content, name
        with (mount.path / "runs/x.zip/deflated.bin").open("rb") as file:
            for at in (20 * MIB, 3 * MIB, 11 * MIB):
                file.seek(at)
                assert file.read(65536) == members["deflated.bin"][at : at + 65536]
    assert px.count(is_get) == 0
    assert px.requests  # names are asked for as ever


def test_what_is_there_is_not_fetched_again(
    px: Proxy, filled: tuple[str, Members], cache: Path
) -> None:
    bucket, _ = filled
    assert warm(px, cache, f"s3://{bucket}/runs/plain.bin").returncode == 0
    assert fetched(px) == 3 * MIB
    px.honest()
    done = warm(px, cache, f"s3://{bucket}/runs/plain.bin")
    assert done.returncode == 0
    assert px.count(is_get) == 0
    assert "fetched 0 bytes by 0 GETs" in done.stdout


def test_a_warm_that_is_interrupted_goes_on_where_it_was(
    px: Proxy, filled: tuple[str, Members], mixed: tuple[bytes, Members], cache: Path
) -> None:
    bucket, _ = filled
    url = f"s3://{bucket}/runs/x.zip"
    size = len(mixed[0])

    def is_unanswered(request: Request) -> bool:
        """In the second half, but for what measures the link."""
        start, end = request.range if is_get(request) else (0, 0)
        return start >= size // 2 and end - start > MIB

    px.tell(silent, is_unanswered)

    def answered() -> int:
        ranges = [each.range for each in px.requests if is_get(each) and not is_unanswered(each)]
        return sum(end - start for start, end in ranges)

    def is_kept() -> bool:
        missing = document(warm(px, cache, url, "--check", "--json"))["missing_bytes"]
        return bool(missing == size - answered())

    program = [sys.executable, "-m", "s3zipfs", "warm", *options(px, cache), url]
    environment = {**os.environ, **keys_of(px.server)}
    with subprocess.Popen(program, env=environment, stderr=subprocess.PIPE, text=True) as running:
        try:
            wait_until(px.silent.is_set, seconds=30, what="GETs that stay unanswered")
            wait_until(is_kept, seconds=60, what="all that was answered on disk")
            running.send_signal(signal.SIGINT)
            _, told = running.communicate(timeout=30)
        finally:
            running.kill()
    assert running.returncode == INTERRUPTED
    assert "are kept" in told
    before = answered()
    px.honest()
    done = warm(px, cache, url, "--json")
    assert done.returncode == 0, done.stderr
    assert document(done)["warm"]
    assert before > size // 3
    assert before + fetched(px) <= 1.05 * size


def test_members_that_were_chosen_are_read_without_a_get_and_nothing_was_fetched_of_others(
    px: Proxy, s3client: Any, bucket: str, cache: Path
) -> None:
    members = {f"{letter}/{n}": noise(200_000, n) for letter in "abc" for n in range(20)}
    s3client.put_object(Bucket=bucket, Key="x.zip", Body=zipped(members))
    s3client.put_object(Bucket=bucket, Key="y.zip", Body=zipped(members))
    done = warm(px, cache, f"s3://{bucket}", "--glob", "x.*/b", "--json")
    assert done.returncode == 0, done.stderr
    assert fetched(px) < 1.1 * 20 * 200_000
    px.honest()
    with mounted(px, cache, bucket) as mount:
        for number in range(20):
            name = f"b/{number}"
            assert (mount.path / "x.zip" / name).read_bytes() == members[name]
        assert px.count(is_get) == 0
        assert (mount.path / "x.zip/c/0").read_bytes() == members["c/0"]
        assert px.count(is_get) > 0


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_a_zarr_archive_that_was_warmed_is_opened_and_read_without_a_get(
    px: Proxy, s3client: Any, bucket: str, cache: Path, zarr_format: int
) -> None:
    s3client.put_object(Bucket=bucket, Key="x.zarr.zip", Body=zipped(hierarchy(zarr_format)))
    assert warm(px, cache, f"s3://{bucket}/x.zarr.zip").returncode == 0
    px.honest()
    with mounted(px, cache, bucket) as mount:
        root: Any = zarr.open_group(str(mount.path / "x.zarr"), mode="r")
        for number in (0, 17, 39):
            assert (root[f"g{number}/c"][:32] == number + 1).all()
            assert not root[f"g{number}/d"][32:].any()
    assert px.count(is_get) == 0


def test_metadata_alone_is_read_without_a_get(
    px: Proxy, s3client: Any, bucket: str, cache: Path
) -> None:
    members = hierarchy(3)
    s3client.put_object(Bucket=bucket, Key="x.zip", Body=zipped(members))
    done = warm(px, cache, f"s3://{bucket}", "--metadata", "--json")
    assert done.returncode == 0, done.stderr
    assert fetched(px) < 4 * MIB  # the fillers are as large
    px.honest()
    names = [name for name in members if is_metadata(name)]
    random.Random(1).shuffle(names)
    with mounted(px, cache, bucket) as mount:
        for name in names:
            assert (mount.path / "x.zip" / name).read_bytes() == members[name]
    assert px.count(is_get) == 0


@pytest.mark.parametrize("count", [3, 5000])
def test_indexes_alone_let_names_be_listed_without_a_get(
    px: Proxy, s3client: Any, bucket: str, cache: Path, count: int
) -> None:
    """The directory of few members is in the last 128 KiB; that of many has a file of its own."""
    members = {f"{number:05}": b"." * 100 for number in range(count)}
    s3client.put_object(Bucket=bucket, Key="x.zip", Body=zipped(members))
    done = warm(px, cache, f"s3://{bucket}/x.zip", "--index-only", "--json")
    assert done.returncode == 0, done.stderr
    assert document(done)["requests"] == px.count(is_get) == (1 if count == 3 else 2)
    assert document(done)["fetched_bytes"] == fetched(px)
    px.honest()
    with mounted(px, cache, bucket) as mount:
        assert sorted(os.listdir(mount.path / "x.zip")) == sorted(members)
    assert px.count(is_get) == 0


def test_a_cache_that_is_too_small_is_told_before_anything_is_fetched(
    px: Proxy, s3client: Any, bucket: str, cache: Path
) -> None:
    s3client.put_object(Bucket=bucket, Key="large.bin", Body=bytes(40 * MIB))
    done = s3zipfs(
        "warm",
        f"s3://{bucket}",
        *("--endpoint-url", px.server.endpoint, "--cache-dir", str(cache)),
        *("--cache-size", "64M"),
        environment=keys_of(px.server),
    )
    assert_one_line(done, "--cache-size 64M", "takes", code=USAGE)
    assert px.count(is_get) == 0


def test_without_a_cache_of_blocks_it_says_what_to_give(bucket: str, s3server: S3Server) -> None:
    done = s3zipfs(
        "warm",
        *(f"s3://{bucket}", "--endpoint-url", s3server.endpoint),
        environment=keys_of(s3server),
    )
    assert_one_line(done, "--cache-size", code=USAGE)


def test_check_tells_what_is_there_and_fetches_nothing(
    px: Proxy, filled: tuple[str, Members], cache: Path
) -> None:
    bucket, _ = filled
    assert warm(px, cache, f"s3://{bucket}/runs/x.zip").returncode == 0
    px.honest()
    done = warm(px, cache, f"s3://{bucket}", "--check", "--json")
    assert done.returncode == FAILED
    found = document(done)
    assert [each["path"] for each in found["not_warm"]] == ["runs/plain.bin"]
    assert found["missing_bytes"] == 3 * MIB
    assert warm(px, cache, f"s3://{bucket}/runs/x.zip", "--check").returncode == 0
    assert px.count(is_get) == 0


def test_an_object_that_is_no_zip_is_told_and_the_others_are_warm(
    px: Proxy, filled: tuple[str, Members], s3client: Any, cache: Path
) -> None:
    bucket, _ = filled
    s3client.put_object(Bucket=bucket, Key="runs/broken.zip", Body=b"not a zip" * 1000)
    done = warm(px, cache, f"s3://{bucket}", "--json")
    assert done.returncode == FAILED
    (broken,) = document(done)["not_warm"]
    assert broken["path"] == "runs/broken.zip"
    assert "not a zip" in broken["fault"]


def test_nothing_there_is_an_error(px: Proxy, filled: tuple[str, Members], cache: Path) -> None:
    bucket, _ = filled
    done = warm(px, cache, f"s3://{bucket}", "--glob", "none/**")
    assert_one_line(done, "--glob", code=FAILED)


def test_a_path_on_a_mount_is_warmed_for_that_mount_which_then_asks_for_nothing(
    px: Proxy, filled: tuple[str, Members], cache: Path
) -> None:
    bucket, members = filled
    with mounted(px, cache, bucket, "--ttl", "600") as mount:
        keys = keys_of(px.server)
        done = s3zipfs("warm", str(mount.path / "runs"), "--json", environment=keys)
        assert done.returncode == 0, done.stderr
        found = document(done)
        assert found["warm"]
        assert found["cache_dir"] == str(cache)
        px.honest()
        for name, content in members.items():
            assert (mount.path / "runs/x.zip" / name).read_bytes() == content
        assert (mount.path / "runs/plain.bin").read_bytes() == noise(3 * MIB, 3)
        assert px.requests == []
        member = mount.path / "runs/x.zip/large.bin"
        explained = s3zipfs("explain", str(member), "--json", environment=keys)
        assert explained.returncode == 0, explained.stderr
        told = json.loads(explained.stdout)
        assert told["path"] == "large.bin"
        assert [each["now"]["gets"] for each in told["readings"]] == [0, 0, 0]
        secrets = (mount.path / ".s3zipfs/settings.json").read_text()
        assert px.server.secret_key not in secrets


def test_a_path_on_no_mount_is_told(tmp_path: Path) -> None:
    for command in ("warm", "explain"):
        done = s3zipfs(command, str(tmp_path))
        assert_one_line(done, "not on a mount", code=USAGE)


def on_a_terminal(px: Proxy, cache: Path, answer: str, *arguments: str) -> tuple[int, str]:
    """Run it where it can ask, and answer; its exit code, and what it showed."""
    with Terminal(
        [*S3ZIPFS, "warm", *options(px, cache), *arguments],
        environment=keys_of(px.server),
        stdout=subprocess.DEVNULL,
    ) as terminal:
        if answer and terminal.shows("[y/N]", 60):
            terminal.type(answer)
        return terminal.end(90), terminal.shown


def test_much_is_asked_about_on_a_terminal(
    px: Proxy, s3server: S3Server, bucket: str, cache: Path
) -> None:
    names = [f"d/{number}" for number in range(1020)]
    asyncio.run(put_many(s3server, bucket, names, b"1"))
    url = f"s3://{bucket}/d"
    code, shown = on_a_terminal(px, cache, "n\n", url)
    assert code == FAILED
    assert "GETs, about" in shown
    assert px.count(is_get) == 8
    assert ", beside 8 bytes by 8 GETs to measure the link; " in shown
    code, shown = on_a_terminal(px, cache, "y\n", url)
    assert code == 0, shown
    assert fetched(px) == 1020
    code, shown = on_a_terminal(px, cache, "", url)
    assert code == 0, shown
    assert "[y/N]" not in shown
