"""The place to mount at: what is there, whether it may be used, and how it is given back."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import re
import shutil
import stat
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from s3zipfs.errors import MountError
from s3zipfs.fuse import privileges

TYPE = "fuse.s3zipfs"
_AUTOMOUNT = "autofs"
DEVICE = Path("/dev/fuse")
_FUSE_CONF = Path("/etc/fuse.conf")
_MNT_DETACH = 2  # linux/fs.h
_ESCAPE = re.compile(rb"\\([0-7]{3})")
_MAX_LINKS = 40  # path_resolution(7)
# Of a mount without a daemon; of one whose connection was aborted (fuse_abort_conn, Linux 4.20).
_DEAD = frozenset({errno.ENOTCONN, errno.ECONNABORTED})
ANSWER_SECONDS = 5.0  # statfs of a live mount of ours never waits for the network
UNMOUNT_SECONDS = 2.0  # fusermount3 -z waits for nobody
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class MountEntry:
    """A line of /proc/self/mountinfo (proc(5))."""

    path: Path
    type: str
    source: str
    device: str  # "major:minor": one mount of ours from the next at the same path


def parse_mountinfo(text: bytes) -> list[MountEntry]:
    """The mounts of a process, the topmost of one path last."""
    entries = []
    for line in filter(None, text.split(b"\n")):
        before, _, after = line.partition(b" - ")
        kind, source = (_unescape(field) for field in after.split(b" ")[:2])
        fields = before.split(b" ")
        path, device = Path(_unescape(fields[4])), fields[2].decode()
        entries.append(MountEntry(path, kind, source, device))
    return entries


def mount_table() -> list[MountEntry]:
    """The mounts that this process sees, by the kernel; none of them is touched."""
    return parse_mountinfo(Path("/proc/self/mountinfo").read_bytes())


def _unescape(field: bytes) -> str:
    return os.fsdecode(_ESCAPE.sub(lambda found: bytes([int(found.group(1), 8)]), field))


def mount_at(path: Path) -> MountEntry | None:
    """The topmost mount at exactly this path, which is not touched to find out."""
    found = None
    for entry in mount_table():
        if entry.path == path:
            found = entry
    return found


def is_automount(path: Path) -> bool:
    """Whether a mount is awaited there (autofs): who looks at it waits, the one that mounts too."""
    return any(entry.path == path and entry.type == _AUTOMOUNT for entry in mount_table())


def absolute(path: str | Path) -> Path:
    """The path without symbolic links, as the kernel's table shows it.

    A mount at its end is not touched: it may be dead, or its daemon stopped.
    """
    if not os.fspath(path):
        raise MountError("the mountpoint is empty; name a directory")
    for _ in range(_MAX_LINKS):
        try:
            whole = Path(os.path.abspath(path))  # noqa: PTH100 - Path.absolute keeps ".."
        except FileNotFoundError:
            raise MountError(f"{path}: the current directory was removed") from None
        place = Path(os.path.realpath(whole.parent)) / whole.name
        if mount_at(place) is not None or not os.path.islink(place):  # noqa: PTH114
            return place
        path = place.parent / os.readlink(place)  # noqa: PTH115
    raise MountError(f"{path}: too many symbolic links")


def check(path: Path, *, allow_other: bool) -> None:
    """See that a mount can be made here, as far as that shows; nothing is changed.

    A dead mount of our own hides what is below it.

    Raises:
        MountError: says what stands in the way, and what to do.
    """
    _check_system(allow_other=allow_other)
    mounted = mount_at(path)
    if mounted is None:
        _check_directory(path)
    elif mounted.type != _AUTOMOUNT:
        _refuse_unless_dead(mounted)


def prepare(path: Path, *, allow_other: bool) -> None:
    """The same, and take dead mounts of our own away: to be called just before the new one.

    Readers of a dead mount are told so (ENOTCONN). Without it they see an empty directory.

    Raises:
        MountError: as for `check`.
    """
    _check_system(allow_other=allow_other)
    while (mounted := mount_at(path)) is not None:
        if mounted.type == _AUTOMOUNT:
            return
        _refuse_unless_dead(mounted)
        unmount(path)
    _check_directory(path)


def _check_directory(path: Path) -> None:
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        raise MountError(f"{path}: no such directory; create it first") from None
    except OSError as error:
        raise MountError(f"{path}: {error.strerror}") from error
    if not stat.S_ISDIR(found.st_mode):
        raise MountError(f"{path}: not a directory")
    try:
        with os.scandir(path) as entries:
            empty = next(entries, None) is None
    except OSError as error:
        raise MountError(f"{path}: {error.strerror}") from error
    if not empty:
        raise MountError(f"{path}: not empty; mount on an empty directory")
    if not privileges.may_mount() and not os.access(path, os.W_OK):
        raise MountError(f"{path}: not yours to mount on (no write permission, uid {found.st_uid})")


@contextlib.contextmanager
def claimed(path: Path) -> Iterator[None]:
    """While a mount is made there: of two commands at once the second is refused, not stacked."""
    if is_automount(path):  # whose owner asks once
        yield
        return
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with contextlib.suppress(OSError):  # some network file systems lock nothing
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        if (mounted := mount_at(path)) is not None:
            raise MountError(_already(mounted))
        yield
    finally:
        os.close(descriptor)


def _already(mounted: MountEntry) -> str:
    return f"{mounted.path}: {mounted.source} ({mounted.type}) is already mounted there"


def _refuse_unless_dead(mounted: MountEntry) -> None:
    path = mounted.path
    number = errno_of_statfs(path, ANSWER_SECONDS) if mounted.type.startswith("fuse") else 0
    if number in _DEAD and mounted.type == TYPE:
        return
    if number in _DEAD:
        what = f"{mounted.source} ({mounted.type})"
        raise MountError(f"{path}: {what} is mounted there and dead; clear it: umount -l {path}")
    if number == errno.ETIMEDOUT:
        raise MountError(
            f"{_already(mounted)} and does not answer; if its process is stuck, end it and clear "
            f"the mount: umount -l {path}"
        )
    raise MountError(_already(mounted))


def errno_of_statfs(path: Path, seconds: float) -> int:
    """That of statfs, which the kernel answers from no cache; 0: well; ETIMEDOUT: no answer.

    In a thread: a caller blocked by a stopped daemon can't be called back.
    """
    answer: list[int] = []

    def ask() -> None:
        try:
            os.statvfs(path)
        except OSError as error:
            answer.append(error.errno or errno.EIO)
        else:
            answer.append(0)

    thread = threading.Thread(target=ask, name="s3zipfs-statfs", daemon=True)
    thread.start()
    thread.join(seconds)
    return answer[0] if answer else errno.ETIMEDOUT


def _check_system(*, allow_other: bool) -> None:
    if not DEVICE.exists():
        raise MountError(
            f"{DEVICE} is missing: load the module (modprobe fuse), or give it to the container "
            "(--device /dev/fuse --cap-add SYS_ADMIN)"
        )
    try:
        os.close(os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        # EPERM, for root too, is a container's device policy.
        remedy = (
            "give it to the container (--device /dev/fuse --cap-add SYS_ADMIN)"
            if error.errno == errno.EPERM
            else f"chmod 666 {DEVICE}"
        )
        raise MountError(f"{DEVICE} may not be opened ({error.strerror}): {remedy}") from error
    if privileges.may_mount():
        return
    if os.geteuid() == 0:
        raise MountError(
            "root may not mount here: give the container CAP_SYS_ADMIN (--cap-add SYS_ADMIN)"
        )
    if shutil.which("fusermount3") is None:
        raise MountError("fusermount3 is missing, and only root mounts without: apt install fuse3")
    if allow_other and not _user_allow_other():
        raise MountError(f"--allow-other needs the line user_allow_other in {_FUSE_CONF}")


def _user_allow_other() -> bool:
    try:
        lines = _FUSE_CONF.read_text().splitlines()
    except OSError:
        return False
    return any(line.strip() == "user_allow_other" for line in lines)


def unmount(path: Path, *, device: str | None = None) -> None:
    """Take our mount away at once, in use or not (MNT_DETACH).

    With `device` no other mount than that one: its place may have been taken meanwhile.

    Raises:
        MountError: nothing of ours is mounted there, or it may not be unmounted.
    """
    mounted = mount_at(path)
    if mounted is None:
        raise MountError(f"{path}: nothing is mounted there")
    if device not in (None, mounted.device):
        raise MountError(f"{path}: another mount has taken the place of ours")
    if mounted.type != TYPE:
        raise MountError(f"{path}: {mounted.type} is mounted there, not s3zipfs; use umount")
    detach(path)


def detach(path: Path) -> None:
    """Unmount what is there, by umount2(2) or by fusermount3.

    Raises:
        MountError: it may not be unmounted, or is no mount.
    """
    if _libc.umount2(os.fsencode(path), _MNT_DETACH) == 0:
        return
    number = ctypes.get_errno()
    if number != errno.EPERM:
        raise MountError(f"{path}: {os.strerror(number)}")
    if not privileges.may_unmount():
        raise MountError(
            f"{path}: this process has given up the right to unmount: umount -l {path}"
        )
    program = shutil.which("fusermount3")
    if program is None:
        raise MountError(f"{path}: fusermount3 is missing, and only root unmounts without")
    command = [program, "-u", "-z", "--", os.fspath(path)]
    try:
        done = subprocess.run(  # noqa: S603 - no shell
            command, check=False, capture_output=True, text=True, timeout=UNMOUNT_SECONDS
        )
    except subprocess.TimeoutExpired:
        raise MountError(f"{path}: fusermount3 did not end in {UNMOUNT_SECONDS:g} s") from None
    if done.returncode:
        raise MountError(f"{path}: {done.stderr.strip() or 'could not be unmounted'}")
