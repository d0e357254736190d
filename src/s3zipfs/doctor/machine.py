"""What a mount needs of the machine: the kernel, the device, limits, and what others do to it."""

from __future__ import annotations

import errno
import importlib.metadata
import os
import platform
import re
import shlex
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from s3zipfs.archive import libz
from s3zipfs.doctor.findings import Check, Finding, error, note, ok, warning
from s3zipfs.doctor.host import Host
from s3zipfs.errors import MountError
from s3zipfs.fuse.mountpoint import TYPE, MountEntry, errno_of_statfs, parse_mountinfo
from s3zipfs.settings import Settings

KERNEL = (5, 4)  # FUSE 7.31, as a mount speaks it
OLDEST_KERNEL = (4, 20)  # FUSE 7.28
FILES_BESIDE = 256  # descriptors of caches, logs and libraries, beside those of requests
ANSWER_SECONDS = 3.0  # statfs of a live mount never waits for the network
_UPDATEDB = "/etc/updatedb.conf"
_MOUNTS = "/proc/self/mountinfo"
_LIBRARIES = ("s3zipfs", "obstore", "s3fs", "aiobotocore", "mfusepy", "isal", "numpy", "uvloop")
# Of a mount without a daemon; of one whose connection was aborted.
_DEAD = (errno.ENOTCONN, errno.ECONNABORTED)


def checks(host: Host, settings: Settings) -> list[tuple[str, Check]]:
    """All of them, in the order in which they are told."""
    return [
        ("versions", lambda: versions(host)),
        ("kernel", lambda: kernel(host)),
        ("fuse device", lambda: device(host)),
        ("fusermount3", lambda: fusermount(host)),
        ("other users", lambda: other_users(host, settings)),
        ("read-ahead", lambda: read_ahead(host)),
        ("open files", lambda: open_files(host, settings)),
        ("core dumps", lambda: core_dumps(host)),
        ("updatedb", lambda: updatedb(host, settings)),
        ("mounts", lambda: mounts(host)),
    ]


def versions(host: Host) -> Iterator[Finding]:
    """Python, the libraries that matter, libfuse3, and the system's libz."""
    del host
    found = [f"Python {platform.python_version()}"]
    for name in _LIBRARIES:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            yield error("versions", f"{name} is not installed", "install s3zipfs anew")
    yield ok("versions", ", ".join(found))
    try:
        from s3zipfs.fuse import lowlevel  # noqa: PLC0415 - which loads the library
    except MountError as failed:
        yield error("libfuse3", str(failed), "without it nothing is mounted; ls and cat work")
    else:
        yield ok("libfuse3", ".".join(map(str, lowlevel.version)))
    if libz.is_available():
        yield ok("libz", "there: random reads of large deflated members are fast")
    else:
        yield warning(
            "libz",
            "the system's libz is not found: random reads of large members begin at their start",
            "apt install zlib1g",
        )


def kernel(host: Host) -> Iterator[Finding]:
    """Its version, which tells that of FUSE, and whether it knows FUSE at all."""
    release = (host.text("/proc/sys/kernel/osrelease") or "").strip()
    numbers = re.match(r"(\d+)\.(\d+)", release)
    found = (int(numbers[1]), int(numbers[2])) if numbers else (0, 0)
    if found < OLDEST_KERNEL:
        yield error("kernel", f"Linux {release or 'unknown'}", "4.20 or later is needed")
    elif found < KERNEL:
        yield warning("kernel", f"Linux {release}: FUSE before 7.31", "5.4 or later is better")
    else:
        yield ok("kernel", f"Linux {release}: FUSE 7.31 or later, with READDIRPLUS")
    known = (host.text("/proc/filesystems") or "").split()
    if "fuse" not in known:
        yield error("kernel", "it does not know FUSE", "modprobe fuse")


def device(host: Host) -> Iterator[Finding]:
    """Whether /dev/fuse can be opened."""
    path = host.path("/dev/fuse")
    container = "give it to the container (--device /dev/fuse --cap-add SYS_ADMIN)"
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CLOEXEC))
    except FileNotFoundError:
        yield error("fuse device", "/dev/fuse is missing", f"modprobe fuse, or {container}")
    except OSError as failed:
        found = f"/dev/fuse can't be opened ({failed.strerror})"
        # EPERM, for root too, is a container's device policy.
        remedy = container if failed.errno == errno.EPERM else _group(path)
        yield error("fuse device", found, remedy)
    else:
        yield ok("fuse device", "/dev/fuse can be opened")


def _group(path: Path) -> str:
    found = path.stat()
    if found.st_mode & stat.S_IWGRP and not found.st_mode & stat.S_IWOTH:
        return f"become a member of its group {found.st_gid}: usermod -aG GROUP USER, log in anew"
    return "chmod 666 /dev/fuse"


def fusermount(host: Host) -> Iterator[Finding]:
    """How a mount is made: by mount(2), or by the setuid program."""
    if host.may_mount:
        yield ok("fusermount3", "not needed: mount(2) is permitted")
        return
    if host.uid == 0:
        yield error("fusermount3", "root may not mount here", "--cap-add SYS_ADMIN")
        return
    program = shutil.which("fusermount3", path=host.environment.get("PATH", os.defpath))
    if program is None:
        yield error("fusermount3", "is missing, and only root mounts without", "apt install fuse3")
    elif not Path(program).stat().st_mode & stat.S_ISUID:
        yield error("fusermount3", f"{program} is not setuid", f"chmod u+s {program}, as root")
    else:
        yield ok("fusermount3", program)


def other_users(host: Host, settings: Settings) -> Iterator[Finding]:
    """Whether `--allow-other` is possible for whoever asks."""
    lines = (host.text("/etc/fuse.conf") or "").splitlines()
    remedy = "add the line user_allow_other to /etc/fuse.conf"
    if host.may_mount or any(line.strip() == "user_allow_other" for line in lines):
        yield ok("other users", "can be let in (--allow-other)")
    elif settings.allow_other:
        yield error("other users", "allow_other is set, and not permitted here", remedy)
    else:
        yield note("other users", "only you will see your mounts", f"for --allow-other {remedy}")


def read_ahead(host: Host) -> Iterator[Finding]:
    """Whether a mount may set the kernel's read-ahead."""
    settable = list(host.path("/sys/class/bdi").glob("*/read_ahead_kb"))
    if settable and os.access(settable[0], os.W_OK):
        yield ok("read-ahead", "a mount sets the kernel's to 1 MiB")
    else:
        yield note(
            "read-ahead",
            "stays at the kernel's 128 KiB: large files in order cost more requests",
            "as root: echo 1024 > /sys/class/bdi/DEVICE/read_ahead_kb",
        )


def open_files(host: Host, settings: Settings) -> Iterator[Finding]:
    """RLIMIT_NOFILE beside what requests and caches take."""
    limit, needed = host.limit("Max open files"), settings.max_requests * 2 + FILES_BESIDE
    if limit is None:
        yield note("open files", "the limit is not told (/proc/self/limits)")
    elif limit < needed:
        yield warning(
            "open files",
            f"at most {limit}, and {settings.max_requests} requests may take {needed}",
            f"ulimit -n {needed}, or LimitNOFILE= of the unit",
        )
    else:
        yield ok("open files", f"at most {limit}, of which {needed} are enough")


def core_dumps(host: Host) -> Iterator[Finding]:
    """Whether a crash would write the secret key to a disk."""
    limit = host.limit("Max core file size")
    pattern = (host.text("/proc/sys/kernel/core_pattern") or "").strip()
    mask = (host.text("/proc/self/coredump_filter") or "").strip()
    # A program that cores are piped to gets one whatever the limit is (core(5)).
    if pattern.startswith("|") and mask.strip("0"):
        program = pattern[1:].split()[0]
        found = f"{program} is given cores with memory, and so the secret key, in them"
        yield warning("core dumps", found, "see that /proc/self/coredump_filter can be written")
    elif limit != 0 and not pattern.startswith("|"):
        yield warning("core dumps", "a core would hold the secret key", "ulimit -c 0")
    else:
        yield ok("core dumps", "none with memory in it, so no secret is in one")


def updatedb(host: Host, settings: Settings) -> Iterator[Finding]:
    """Whether locate's daily job would walk all buckets."""
    text = host.text(_UPDATEDB)
    if text is None:
        yield ok("updatedb", "there is none here")
        return
    types, paths = (_words(text, name) for name in ("PRUNEFS", "PRUNEPATHS"))
    if TYPE in (each.lower() for each in types):
        yield ok("updatedb", f"passes mounts over ({TYPE} in PRUNEFS)")
        return
    places = [each.path for each in _ours(host)]
    places += [settings.mountpoint] if settings.mountpoint is not None else []
    if places and all(any(each.is_relative_to(path) for path in paths) for each in places):
        yield ok("updatedb", f"passes {', '.join(map(str, places))} over (PRUNEPATHS)")
        return
    yield warning(
        "updatedb",
        f"walks every mount once a day: {TYPE} is not in PRUNEFS",
        f"add {TYPE} to PRUNEFS in {_UPDATEDB}",
    )


def _words(text: str, name: str) -> list[str]:
    """The value of `NAME = "words…"` (updatedb.conf(5)); the last one counts."""
    found = re.findall(rf"^\s*{name}\s*=\s*(.*)$", text, re.MULTILINE)
    return " ".join(shlex.split(found[-1], comments=True)).split() if found else []


def mounts(host: Host) -> Iterator[Finding]:
    """Our mounts that no process serves any more, or that do not answer."""
    if host.text(_MOUNTS) is None:
        yield error("mounts", f"{_MOUNTS} can't be read: no mount can be made", "mount /proc")
        return
    ours = _ours(host)
    if not ours:
        yield ok("mounts", "none of s3zipfs on this machine")
    for each in ours:
        number = errno_of_statfs(each.path, ANSWER_SECONDS)
        if number in _DEAD:
            remedy = f"s3zipfs umount {each.path}, or mount there again"
            yield error("mounts", f"{each.path} is dead: its process was killed", remedy)
        elif number == errno.ETIMEDOUT:
            found = f"{each.path} does not answer"
            yield error("mounts", found, f"end its process, then umount -l {each.path}")
        elif number == errno.EACCES:
            yield ok("mounts", f"{each.path} is another user's ({each.source})")
        else:
            yield ok("mounts", f"{each.path} answers ({each.source})")


def _ours(host: Host) -> list[MountEntry]:
    try:
        text = host.path(_MOUNTS).read_bytes()
    except OSError:
        return []
    return [entry for entry in parse_mountinfo(text) if entry.type == TYPE]
