"""The main job, from nothing: an S3 server, three zips in it, a mount, and everyday tools on it.

Run by `make demo`. Every command is shown as one would type it, with what it printed. Fails where
an answer differs from the source; unmounts and removes everything, unless told to `--keep`.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path
from types import FrameType
from typing import NoReturn

import boto3
import numpy as np
import zarr
from s3server import S3Server, ServerError

BUCKET = "demo"
COMMAND_SECONDS = 120.0
UNMOUNT_SECONDS = 10.0
BIN = Path(sys.executable).parent  # where `s3zipfs` was installed beside this Python


class DemoError(Exception):
    """A command failed, or its answer is not the source's; `str()` says which."""


def make_climate(target: Path, work: Path) -> float:
    """A Zarr v3 tree, zipped without compression (its chunks have their own); the array's sum."""
    day, latitude, longitude = np.ogrid[:365, -90:91:2, -180:180:2]
    season = 12 * np.sin(2 * np.pi * (day - 100) / 365) * np.sin(np.radians(latitude))
    noise = np.random.default_rng(1).normal(scale=2, size=(365, 91, 180))
    values = (30 * np.cos(np.radians(latitude)) + season + noise + 0 * longitude).astype("f4")
    group = zarr.open_group(work / "climate", mode="w", zarr_format=3)
    array = group.create_array(
        "temperature",
        shape=values.shape,
        chunks=(73, 46, 90),
        dtype=values.dtype,
        dimension_names=("day", "latitude", "longitude"),  # which xarray asks for
    )
    array[:] = values
    zip_folder(work / "climate", target)
    return float(values.sum(dtype="f8"))


def make_eeg(target: Path, work: Path) -> float:
    """A Zarr v2 tree in a zip whose name does not end in .zip; the array's sum."""
    values = np.random.default_rng(2).integers(-2000, 2000, size=(32, 60_000), dtype="i2")
    group = zarr.open_group(work / "eeg", mode="w", zarr_format=2)
    array = group.create_array("signals", shape=values.shape, chunks=(8, 10_000), dtype="i2")
    array[:] = values
    zip_folder(work / "eeg", target)
    return float(values.sum(dtype="f8"))


def make_notes(target: Path) -> int:
    """A year of text files, deflated; the number of lines that say `storm`."""
    storms = 0
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for day in range(1, 366):
            stormy = day % 61 == 0
            lines = [f"hour {hour:02}: calm sea, light wind" for hour in range(24)]
            if stormy:
                lines[day % 24] = f"hour {day % 24:02}: storm from the west"
            storms += stormy
            archive.writestr(f"2026/day-{day:03}.txt", "\n".join(lines) + "\n")
    return storms


def zip_folder(folder: Path, target: Path) -> None:
    """Zip a folder's content as it is, stored."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                archive.write(path, path.relative_to(folder))


def run(*command: str | Path, env: dict[str, str], show: int = 12) -> str:
    """Show a command and the first lines that it prints; returns all of them.

    Raises:
        DemoError: it failed, or took longer than two minutes.
    """
    words = [str(word) for word in command]
    print(f"\n$ {shlex.join(words)}", flush=True)
    try:
        done = subprocess.run(
            words,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=COMMAND_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise DemoError(f"{words[0]} did not end within {COMMAND_SECONDS:g} s") from None
    except OSError as error:
        raise DemoError(f"{words[0]}: {error}") from error
    lines = done.stdout.splitlines()
    for line in lines[:show]:
        print(line)
    if len(lines) > show:
        print(f"... and {len(lines) - show} lines more")
    if done.returncode:
        raise DemoError(f"{words[0]} ended with {done.returncode}")
    return done.stdout


def expect(what: str, found: object, expected: object) -> None:
    """Compare with the source, and say so."""
    if found != expected:
        raise DemoError(f"{what}: the mount says {found!r}, the source {expected!r}")
    print(f"ok: {what}")


def is_mounted(mountpoint: Path) -> bool:
    """Whether the kernel lists a mount there; asks nothing of the mount itself."""
    wanted = str(mountpoint).replace(" ", "\\040")  # as mountinfo writes it
    mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace")
    return any(line.split()[4] == wanted for line in mounts.splitlines())


def read_everything(mountpoint: Path, env: dict[str, str], sums: tuple[float, float, int]) -> None:
    """The everyday tools, each answer compared with what was zipped."""
    climate, eeg, storms = sums
    listing = run("ls", "-l", mountpoint, env=env)
    rows = [line.split() for line in listing.splitlines()[1:]]
    expect(
        "three zips, each a directory",
        {(row[-1], row[0][0]) for row in rows},
        {("climate.zarr.zip", "d"), ("sub-01_eeg.rkns", "d"), ("notes.zip", "d")},
    )

    found = run("grep", "-rn", "storm", mountpoint / "notes.zip", env=env, show=3)
    expect("as many lines as in the source", len(found.splitlines()), storms)

    for archive, array, total in (
        ("climate.zarr.zip", "temperature", climate),
        ("sub-01_eeg.rkns", "signals", eeg),
    ):
        code = (
            f'import zarr; a = zarr.open("{mountpoint / archive}", mode="r")["{array}"]; '
            'print(a.shape, a.dtype, a[:].sum(dtype="f8"))'
        )
        printed = run("python", "-c", code, env=env)
        expect("the sum is the source's", float(printed.split()[-1]), total)

    if "s3zipfs" not in run("df", "-hT", mountpoint, env=env):
        raise DemoError("df does not name s3zipfs")


def fill_bucket(server: S3Server, folder: Path) -> tuple[float, float, int]:
    """Make the bucket and the three zips in it, kept in `folder/data`; what they have to say."""
    data = folder / "data"
    data.mkdir()
    sums = (
        make_climate(data / "climate.zarr.zip", folder),
        make_eeg(data / "sub-01_eeg.rkns", folder),
        make_notes(data / "notes.zip"),
    )
    client = boto3.client(
        "s3",
        endpoint_url=server.endpoint,
        aws_access_key_id=server.access_key,
        aws_secret_access_key=server.secret_key,
        region_name="us-east-1",
    )
    client.create_bucket(Bucket=BUCKET)
    for path in data.iterdir():
        client.upload_file(str(path), BUCKET, path.name)
    return sums


def demo(folder: Path, server: S3Server, *, keep: bool) -> None:
    """Upload, mount, read, unmount."""
    mountpoint = folder / "mnt"
    mountpoint.mkdir()
    sums = fill_bucket(server, folder)
    print(f"Three zips in s3://{BUCKET}:")
    for path in sorted((folder / "data").iterdir()):
        with zipfile.ZipFile(path) as archive:
            members = len(archive.namelist())
        print(f"  {path.name:18} {path.stat().st_size / 1e6:5.1f} MB, {members} members")

    env = dict(os.environ)
    env["AWS_ACCESS_KEY_ID"], env["AWS_SECRET_ACCESS_KEY"] = server.access_key, server.secret_key
    print(f"\n$ export AWS_ACCESS_KEY_ID={server.access_key}", end=" ")
    print(f"AWS_SECRET_ACCESS_KEY={server.secret_key}", end="")
    url = ("--endpoint-url", server.endpoint)
    run("s3zipfs", "mount", f"s3://{BUCKET}", mountpoint, *url, env=env)
    if not is_mounted(mountpoint):
        raise DemoError("s3zipfs mount returned, and nothing is mounted")
    read_everything(mountpoint, env, sums)
    if keep:
        return
    run("s3zipfs", "umount", mountpoint, env=env)
    if is_mounted(mountpoint):
        raise DemoError("s3zipfs umount returned, and the mount is still there")


def clean(folder: Path) -> None:
    """Detach what is still mounted, whatever state it is in, and remove the folder."""
    mountpoint = folder / "mnt"
    if is_mounted(mountpoint):
        subprocess.run(["fusermount3", "-uz", mountpoint], check=False)
    deadline = time.monotonic() + UNMOUNT_SECONDS
    while is_mounted(mountpoint):
        if time.monotonic() > deadline:
            print(f"still mounted: fusermount3 -uz {mountpoint}", file=sys.stderr)
            return  # never delete through a mount
        time.sleep(0.05)
    shutil.rmtree(folder, ignore_errors=True)


def print_how_to_stop(folder: Path, server: S3Server) -> None:
    """What `--keep` left behind, and the lines that end it."""
    assert server.process is not None
    mountpoint = shlex.quote(str(folder / "mnt"))
    folders = shlex.join([str(folder), str(server.folder)])
    print("\nFor the scripts of examples/:")
    print(f"  export AWS_ENDPOINT_URL={server.endpoint}", end=" ")
    print(f"AWS_ACCESS_KEY_ID={server.access_key} AWS_SECRET_ACCESS_KEY={server.secret_key}")
    print(f"\nStill mounted: {mountpoint}, from {server.endpoint}. To end it:")
    print(f"  {shlex.quote(str(BIN / 's3zipfs'))} umount {mountpoint}")
    print(f"  kill {server.process.pid} && rm -r {folders}")


def prepare_environment() -> None:
    """This demo's own server and keys only: nothing of the user's settings, no proxy."""
    foreign = ("AWS_", "S3ZIPFS_", "STORAGE_", "ENDPOINT_")
    for name in [name for name in os.environ if name.startswith(foreign)]:
        if name != "S3ZIPFS_REQUIRE_MINIO":
            del os.environ[name]
    os.environ["AWS_CONFIG_FILE"] = os.environ["AWS_SHARED_CREDENTIALS_FILE"] = os.devnull
    os.environ["no_proxy"] = os.environ["NO_PROXY"] = "127.0.0.1"
    os.environ["PATH"] = f"{BIN}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    os.environ["LC_ALL"] = "C.UTF-8"


def leave(number: int, _frame: FrameType | None) -> NoReturn:
    """A signal ends the demo like a failure does: by way of the cleaning."""
    raise SystemExit(128 + number)


def main() -> None:
    """Run the demo; the exit status tells."""
    parser = argparse.ArgumentParser(description="Show s3zipfs on a local S3 server.")
    parser.add_argument("--keep", action="store_true", help="leave it mounted at the end")
    keep = parser.parse_args().keep
    prepare_environment()
    ending = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    for number in ending:
        signal.signal(number, leave)
    started = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="s3zipfs-demo-")).resolve()
    server = None
    done = False
    try:
        server = S3Server.start(own=True)
        print(f"S3 server: {server.kind} at {server.endpoint}")
        demo(folder, server, keep=keep)
        print(f"\nDemo passed in {time.monotonic() - started:.1f} s.")
        done = True
    except (DemoError, ServerError) as error:
        raise SystemExit(f"\nDemo FAILED: {error}") from None
    finally:
        for number in ending:
            signal.signal(number, signal.SIG_IGN)  # the cleaning is short, and is not cut short
        if done and keep and server is not None:
            print_how_to_stop(folder, server)
        else:
            clean(folder)
            if server is not None:
                server.stop()


if __name__ == "__main__":
    main()
