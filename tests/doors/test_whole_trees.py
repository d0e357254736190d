"""Ordinary programs over the mount, byte for byte, as root and as an ordinary user."""

from __future__ import annotations

import hashlib
import io
import os
import random
import subprocess
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from identities import Identity, current_identity, ordinary_identity
from mounting import Mount
from s3server import S3Server

MEMBERS = 1000
READERS = 64


def mixed_archive() -> bytes:
    """1,000 members: stored and deflated, empty to megabytes, nested, with odd names and times."""
    generator, buffer = random.Random(7), io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for number in range(MEMBERS):
            size = generator.choice([0, 1, 100, 4095, 4096, 4097, 20_000, 70_000])
            if number % 100 == 0:
                size = 1_500_000 + number
            content = generator.randbytes(size // 2) + b"words " * (size // 12)
            depth = [f"d{generator.randrange(8)}" for _ in range(generator.randrange(4))]
            name = generator.choice(["{}.bin", "{} space.txt", "ünïcode-{}", "{}.tar.gz", "-{}"])
            info = zipfile.ZipInfo("/".join([*depth, name.format(number)]), (2001, 2, 3, 4, 5, 6))
            info.compress_type = generator.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
            info.external_attr = 0o100644 << 16
            archive.writestr(info, content)
        # Larger than what is inflated whole, and than one transfer.
        for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            large = b"".join(b"%d," % generator.getrandbits(50) for _ in range(1_300_000))
            archive.writestr(zipfile.ZipInfo(f"large/{method}.csv"), large, method)
    return buffer.getvalue()


@dataclass
class World:
    """One archive, mounted; and beside it what `unzip` made of it."""

    identity: Identity
    mounted: Path
    extracted: Path

    def files(self) -> list[str]:
        """The paths of all members, relative."""
        return [
            str(path.relative_to(self.extracted))
            for path in sorted(self.extracted.rglob("*"))
            if path.is_file()
        ]


@pytest.fixture(scope="module", params=["root", "user"])
def world(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    s3server: S3Server,
    s3client: Any,
) -> Iterator[World]:
    if request.param == "root" and os.geteuid() != 0:
        pytest.skip("not root; the other half runs as the present user")
    bucket = f"trees-{request.param}"
    s3client.create_bucket(Bucket=bucket)
    archive = mixed_archive()
    s3client.put_object(Bucket=bucket, Key="deep/er/tree.zip", Body=archive)
    base = tmp_path_factory.mktemp("trees")
    (base / "tree.zip").write_bytes(archive)
    identified = ordinary_identity() if request.param == "user" else current_identity(base)
    with identified as identity:
        extracted = identity.folder / "extracted"
        identity.run("mkdir", str(extracted), str(identity.folder / "mnt"))
        subprocess.run(["unzip", "-q", str(base / "tree.zip"), "-d", str(extracted)], check=True)
        subprocess.run(["chmod", "-R", "a+rX", str(extracted)], check=True)
        mount = Mount(
            identity.folder / "mnt",
            s3server,
            [f"s3://{bucket}"],
            python=identity.python,
            prefix=identity.prefix,
            environment=identity.environment,
        )
        with mount:
            yield World(identity, mount.path / "deep/er/tree.zip", extracted)
    s3client.delete_object(Bucket=bucket, Key="deep/er/tree.zip")
    s3client.delete_bucket(Bucket=bucket)


def test_diff_finds_no_difference(world: World) -> None:
    assert len(world.files()) == MEMBERS + 2
    assert world.identity.run("diff", "-r", str(world.extracted), str(world.mounted)) == ""


READ_ALL = """
import hashlib, sys
for line in sys.stdin:
    path = line.rstrip("\\n")
    with open(path, "rb") as file:
        print(hashlib.file_digest(file, "sha256").hexdigest(), flush=True)
"""


def test_64_parallel_readers_read_every_byte_right(world: World) -> None:
    files = world.files()
    expected = {
        name: hashlib.sha256((world.extracted / name).read_bytes()).hexdigest() for name in files
    }

    def read(reader: int) -> None:
        order = list(files)
        random.Random(reader).shuffle(order)
        order = order[:: 4 if reader else 1]
        paths = "".join(f"{world.mounted / name}\n" for name in order)
        found = world.identity.run(world.identity.python, "-c", READ_ALL, input=paths)
        assert found.split() == [expected[name] for name in order]

    with ThreadPoolExecutor(READERS) as pool:
        list(pool.map(read, range(READERS)))


def test_rsync_copies_all_and_finds_nothing_to_do_the_second_time(world: World) -> None:
    target = world.identity.folder / "rsynced"
    world.identity.run("rsync", "-a", f"{world.mounted}/", str(target))
    world.identity.run("diff", "-r", str(world.extracted), str(target))
    again = world.identity.run("rsync", "-ai", f"{world.mounted}/", str(target))
    assert again == ""
    world.identity.run("chmod", "-R", "u+w", str(target))


def test_tar_archives_all(world: World) -> None:
    packed, target = world.identity.folder / "x.tar", world.identity.folder / "untarred"
    world.identity.run("tar", "-c", "-f", str(packed), "-C", str(world.mounted), ".")
    world.identity.run("mkdir", str(target))
    world.identity.run("tar", "-x", "-f", str(packed), "-C", str(target))
    world.identity.run("diff", "-r", str(world.extracted), str(target))


def test_cp_copies_all(world: World) -> None:
    target = world.identity.folder / "copied"
    world.identity.run("cp", "-r", str(world.mounted), str(target))
    world.identity.run("diff", "-r", str(world.extracted), str(target))


def test_find_sees_every_file_with_its_size(world: World) -> None:
    def listing(base: Path) -> list[str]:
        found = world.identity.run("find", str(base), "-type", "f", "-printf", "%P %s\\n")
        return sorted(found.splitlines())

    assert listing(world.mounted) == listing(world.extracted)
    directories = world.identity.run("find", str(world.mounted), "-type", "d", "-printf", "%P\\n")
    expected = world.identity.run("find", str(world.extracted), "-type", "d", "-printf", "%P\\n")
    assert sorted(directories.split()) == sorted(expected.split())


def test_grep_finds_the_same_lines(world: World) -> None:
    def matches(base: Path) -> list[str]:
        found = world.identity.run("grep", "-rlae", "words words", ".", cwd=base)
        return sorted(found.splitlines())

    assert matches(world.mounted) == matches(world.extracted)
    assert len(matches(world.mounted)) > MEMBERS / 4


def test_md5sum_agrees(world: World) -> None:
    names = world.files()[:200]
    sums = world.identity.run("md5sum", "--", *names, cwd=world.extracted)
    assert world.identity.run("md5sum", "--", *names, cwd=world.mounted) == sums


MAP_ALL = """
import hashlib, mmap, os, sys
for line in sys.stdin:
    path, flags = line.rstrip("\\n").rsplit("\\t", 1)
    with open(path, "rb") as file:
        if not os.fstat(file.fileno()).st_size:
            continue
        with mmap.mmap(file.fileno(), 0, flags=getattr(mmap, flags), prot=mmap.PROT_READ) as view:
            print(hashlib.sha256(view).hexdigest())
"""


@pytest.mark.parametrize("flags", ["MAP_SHARED", "MAP_PRIVATE"])
def test_mmap_reads_all(world: World, flags: str) -> None:
    names = [name for name in world.files() if (world.extracted / name).stat().st_size]
    paths = "".join(f"{world.mounted / name}\t{flags}\n" for name in names)
    found = world.identity.run(world.identity.python, "-c", MAP_ALL, input=paths).split()
    assert found == [
        hashlib.sha256((world.extracted / name).read_bytes()).hexdigest() for name in names
    ]


def test_nothing_can_be_written(world: World) -> None:
    name = world.mounted / world.files()[0]
    for command in (
        ["touch", str(world.mounted / "new")],
        ["rm", "-f", str(name)],
        ["mkdir", str(world.mounted / "dir")],
        ["mv", str(name), str(world.mounted / "moved")],
    ):
        done = subprocess.run(
            [*world.identity.prefix, *command], check=False, capture_output=True, text=True
        )
        assert done.returncode != 0
        assert "Read-only file system" in done.stderr


def test_du_counts_what_is_there(world: World) -> None:
    def apparent(base: Path) -> int:
        files = world.identity.run("find", str(base), "-type", "f", "-printf", "%s\\n")
        return sum(map(int, files.split()))

    shown = world.identity.run("du", "-s", "--block-size=1", str(world.mounted)).split()[0]
    assert abs(int(shown) - apparent(world.extracted)) <= 512 * (MEMBERS + 2)
