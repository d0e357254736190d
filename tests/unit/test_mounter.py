"""Who mounts, and what becomes of its privileges."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from s3zipfs.cli.mounting import PATH_MAX, _shown_source
from s3zipfs.errors import MountError
from s3zipfs.fuse import mounter, mountpoint, privileges
from s3zipfs.fuse.mounter import Plan
from s3zipfs.settings import Settings, Source

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="takes root")


def test_options_hold_a_source_with_commas() -> None:
    options = mounter.libfuse_options(Plan(Path("/mnt"), "s3://a,b\\c", allow_other=True))
    assert "fsname=s3://a\\,b\\\\c" in options
    assert {"ro", "nosuid", "nodev", "default_permissions", "allow_other"} <= set(options)
    private = mounter.libfuse_options(Plan(Path("/mnt"), "s3://a", allow_other=False))
    assert not {"allow_other", "noexec"} & set(private)
    assert "noexec" in mounter.libfuse_options(
        Plan(Path("/mnt"), "a", allow_other=False, exec=False)
    )


def test_what_libfuse_prints_is_the_cause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    class Refused:
        def __init__(self, _options: list[str]) -> None:
            pass

        def mount(self, _path: str) -> bool:
            os.write(2, b"fuse: mount failed: No space left on device\n")
            return False

    from s3zipfs.fuse import lowlevel

    monkeypatch.setattr(lowlevel, "Mount", Refused)
    monkeypatch.setattr(mountpoint, "prepare", lambda *_, **__: None)
    monkeypatch.setattr(privileges, "may_mount", lambda: False)
    mounting = mounter.mounter(Plan(tmp_path, "s3://lab", allow_other=False))
    with pytest.raises(MountError, match=r"could not be mounted \(fuse: mount failed: No space"):
        mounting.mount()
    assert capfd.readouterr().err == ""


def test_more_sources_than_the_kernels_table_has_room_for_are_a_number() -> None:
    few = tuple(Source(url=f"s3://bucket-{number}") for number in range(3))
    assert _shown_source(Settings(sources=few)) == "s3://bucket-0 s3://bucket-1 s3://bucket-2"
    numbers = range(PATH_MAX // len("s3://bucket"))
    many = tuple(Source(url=f"s3://bucket-{number}") for number in numbers)
    assert _shown_source(Settings(sources=many)) == f"s3://bucket-0 and {len(many) - 1} more"


def test_libfuse_that_cannot_be_loaded_is_named() -> None:
    program = "from s3zipfs.fuse import lowlevel"
    done = subprocess.run(
        [sys.executable, "-c", program],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "FUSE_LIBRARY_PATH": "/nowhere/libfuse3.so"},
    )
    assert "MountError: libfuse3 can't be loaded" in done.stderr
    assert "apt install fuse3" in done.stderr


def test_threads_that_run_already_would_keep_their_privileges() -> None:
    end = threading.Event()
    running = threading.Thread(target=end.wait)
    running.start()
    try:
        with pytest.raises(MountError, match="threads run already"):
            privileges.drop()
    finally:
        end.set()
        running.join()


# As a unit with User= and AmbientCapabilities= starts it; in a mount namespace, which vanishes with
# all that is mounted in it, and with a /dev/fuse for everybody, as udev makes it.
NAMESPACE = """
set -eu
mount --make-rprivate /
mkdir "$0/dev" "$0/mnt"
mount -t tmpfs -o mode=755 tmpfs "$0/dev"
mknod -m 666 "$0/dev/fuse" c 10 229
mount --bind "$0/dev/fuse" /dev/fuse
chmod 711 "$0"
caps=+sys_admin,+dac_read_search"$2"  # the second one: Python may be in a home that is closed
exec setpriv --reuid 65534 --regid 65534 --clear-groups --inh-caps "$caps" \\
  --ambient-caps "$caps" -- "$1" -c "$3" "$0/mnt"
"""
MOUNTING = """
import os, sys, threading
from pathlib import Path
from s3zipfs.fuse import mountpoint, privileges
from s3zipfs.fuse.mounter import Plan, mounter
path = Path(sys.argv[1])
assert privileges.may_mount()
asking = threading.Thread(target=int)  # as it is asked whether a mount is dead
asking.start()
asking.join()  # the kernel may list it a moment longer
mounting = mounter(Plan(path, "s3://a,b", allow_other=True))
assert not privileges.may_mount() and not privileges.may_unmount()
assert mountpoint.mount_at(path) is None
device = mounting.mount()
mounted = mountpoint.mount_at(path)
assert (mounted.source, mounted.type) == ("s3://a,b", "fuse.s3zipfs"), mounted
try:
    os.waitpid(-1, 0)
except ChildProcessError:
    print("alone")
print("".join(line for line in open("/proc/self/status") if line.startswith(("Cap", "NoNew"))))
line = next(line for line in open("/proc/self/mountinfo") if f" {path} " in line)
print(line.split()[5], line.split()[-1])
try:
    mountpoint.unmount(path)
except Exception as error:
    print(error)
os.close(device)
try:
    os.listdir(path)
except OSError as error:
    print(error.strerror)
"""


def in_namespace(folder: Path, program: str, *, also: str = "") -> list[str]:
    """What a user with CAP_SYS_ADMIN prints; `also` are more capabilities."""
    for each in (folder, *folder.parents):  # pytest's are for root alone
        if each.stat().st_mode & 0o777 == 0o700:
            each.chmod(0o711)
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", NAMESPACE, str(folder), sys.executable, also, program],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split("\n")


@as_root
def test_a_user_with_the_capability_mounts_and_has_none_afterwards(tmp_path: Path) -> None:
    lines = in_namespace(tmp_path, MOUNTING)
    assert lines[0] == "alone"  # the child that mounted has ended
    held = dict(line.split(":\t") for line in lines if ":\t" in line)
    for name in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
        assert int(held[name], 16) == 0, held
    assert held["NoNewPrivs"] == "1"
    flags, options = next(line for line in lines if "user_id" in line).split()
    assert {"ro", "nosuid", "nodev"} <= set(flags.split(","))
    assert {"user_id=65534", "default_permissions", "allow_other"} <= set(options.split(","))
    assert any("given up the right to unmount" in line for line in lines)
    assert "Transport endpoint is not connected" in lines  # never an empty directory


@as_root
def test_with_cap_setpcap_the_bounding_set_is_empty_as_well(tmp_path: Path) -> None:
    lines = in_namespace(tmp_path, MOUNTING, also=",+setpcap")
    held = dict(line.split(":\t") for line in lines if ":\t" in line)
    assert {
        name: int(mask, 16) for name, mask in held.items() if name != "NoNewPrivs"
    } == dict.fromkeys(("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"), 0)


REFUSED = """
import os, sys
from pathlib import Path
from s3zipfs.errors import MountError
from s3zipfs.fuse.mounter import Plan, mounter
path = Path(sys.argv[1])
mounting = mounter(Plan(path / "missing", "s3://lab", allow_other=False))
try:
    mounting.mount()
except MountError as error:
    print(error)
"""


@as_root
def test_what_the_child_meets_is_the_error(tmp_path: Path) -> None:
    lines = in_namespace(tmp_path, REFUSED)
    assert lines[0] == f"{tmp_path}/mnt/missing: no such directory; create it first"


ABANDONED = """
import os, sys
from pathlib import Path
from s3zipfs.fuse import mountpoint
from s3zipfs.fuse.mounter import Plan, mounter
reading, writing = os.pipe()
path = Path(sys.argv[1])
if os.fork() == 0:
    os.close(reading)
    mounter(Plan(path, "s3://lab", allow_other=False))
    os._exit(0)  # as by kill -9, before it is ready
os.close(writing)
os.read(reading, 1)  # its end: the child has ended too
print(mountpoint.mount_at(path))
"""


@as_root
def test_a_child_that_is_never_told_ends_with_its_parent_and_mounts_nothing(tmp_path: Path) -> None:
    assert in_namespace(tmp_path, ABANDONED)[0] == "None"
