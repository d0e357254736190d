"""A machine for tests: a real systemd as process 1 of its own namespaces, on this one's files.

What it changes vanishes with it: `/etc` and `/sbin` are copies; `/run`, `/srv`, `/var/cache` empty.
Units are its own, so nothing of this machine is started. It takes root, and a cgroup 2 hierarchy.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import shlex
import shutil
import stat
import subprocess
import sys
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from mounting import wait_until

SYSTEMD = Path("/lib/systemd/systemd")
BOOT_SECONDS = 60.0
END_SECONDS = 30.0
COMMAND_SECONDS = 100.0

# Those that units of ours name, or that systemd adds to every unit.
TARGETS = (
    "sysinit", "basic", "shutdown", "multi-user", "network-online", "network", "remote-fs-pre",
    "remote-fs", "local-fs-pre", "local-fs", "umount", "test",
)  # fmt: skip

# What a container's manager does before it starts process 1 (systemd.io/CONTAINER_INTERFACE).
BOOT = r"""
set -eu
own=$0
mount --make-rprivate /
mount -t tmpfs -o mode=755 tmpfs "$own"
mkdir "$own/etc" "$own/sbin" "$own/dev"
cp -a /etc/. "$own/etc"
rm -rf "$own/etc/systemd/system" "$own/etc/s3zipfs" && mkdir -p "$own/etc/systemd/system"
mount --bind "$own/etc" /etc
cp -a /sbin/. "$own/sbin"
mount --bind "$own/sbin" /sbin
for folder in /run /srv /var/cache; do mount -t tmpfs -o mode=755 tmpfs "$folder"; done
for node in null:1:3 zero:1:5 full:1:7 random:1:8 urandom:1:9 tty:5:0 fuse:10:229 autofs:10:235; do
    IFS=: read -r name major minor <<EOF
$node
EOF
    mknod -m 666 "$own/dev/$name" c "$major" "$minor"
done
mkdir "$own/dev/shm" "$own/dev/pts"
: > "$own/dev/console"
mount --rbind "$own/dev" /dev
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount --bind /proc/sys /proc/sys
mount -o remount,bind,ro /proc/sys
# Python may be in a home that is closed to others.
while read -r closed inside; do
    [ -n "$closed" ] || continue
    mkdir -p "$own/kept$inside"
    mount --bind "$inside" "$own/kept$inside"
    mount -t tmpfs -o mode=711 tmpfs "$closed"
    mkdir -p "$inside"
    mount --bind "$own/kept$inside" "$inside"
done <<EOF
$3
EOF
for target in $1; do
    printf '[Unit]\nDescription=%s\nDefaultDependencies=no\n' "$target" \
        > "/etc/systemd/system/$target.target"
done
mount --make-rshared /
exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin container=lxc SYSTEMD_UNIT_PATH=/etc/systemd/system \
    "$2" --system --unit=test.target --log-target=console --log-level=info </dev/null
"""


def why_not() -> str | None:
    """What is missing for a machine here; None where all is there."""
    if os.geteuid() != 0:
        return "a systemd of its own takes root"
    if not SYSTEMD.exists():
        return "no systemd is installed (apt install systemd)"
    if (cgroups := _cgroups()) is None or not os.access(cgroups, os.W_OK):
        return "no cgroup 2 hierarchy is mounted, or it can't be written"
    missing = [each for each in ("unshare", "nsenter", "setpriv") if shutil.which(each) is None]
    if missing:
        return f"{missing[0]} is missing (apt install util-linux)"
    apart = ["unshare", "--pid", "--mount", "--ipc", "--uts", "--cgroup", "--fork", "true"]
    done = subprocess.run(apart, check=False, capture_output=True, text=True)
    return f"no namespaces can be made ({done.stderr.strip()})" if done.returncode else None


def _closed() -> Iterator[str]:
    """Directories that only root may pass on the way to Python, each with what is needed in it."""
    seen = set()
    for needed in {Path(sys.base_prefix).resolve(), Path(sys.prefix).resolve()}:
        for folder in needed.parents:
            if not folder.stat().st_mode & stat.S_IXOTH and folder not in seen:
                seen.add(folder)
                yield f"{folder} {folder / needed.relative_to(folder).parts[0]}"


def _cgroups() -> Path | None:
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        if after.startswith("cgroup2 "):
            return Path(before.split()[4])
    return None


class Machine:
    """Boots in `with`; leaves no process, mount or cgroup behind."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir()
        cgroups = _cgroups()
        assert cgroups is not None
        self._cgroup = cgroups / f"s3zipfs-test-{uuid.uuid4().hex[:12]}"
        self._init = 0
        self._unshare: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self._cgroup.mkdir()
        try:
            self._boot()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end()

    def _boot(self) -> None:
        join = f'echo $$ > {shlex.quote(str(self._cgroup / "cgroup.procs"))} && exec "$@"'
        # Whoever ends us by force ends all of it.
        command = ["setpriv", "--pdeathsig", "KILL", "sh", "-c", join, "sh", "unshare", "--pid"]
        command += ["--mount", "--mount-proc", "--ipc", "--uts", "--cgroup", "--fork"]
        command += ["--kill-child", "sh", "-c", BOOT, str(self._folder), " ".join(TARGETS)]
        command += [str(SYSTEMD), "\n".join(_closed())]
        self._unshare = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        wait_until(self._find_init, seconds=BOOT_SECONDS, what="a process 1")
        wait_until(self._is_up, seconds=BOOT_SECONDS, what="a systemd that is up")

    def _find_init(self) -> bool:
        assert self._unshare is not None
        assert self._unshare.poll() is None, "process 1 has ended"
        pid = self._unshare.pid
        with contextlib.suppress(OSError, IndexError):
            self._init = int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])
            return Path(f"/proc/{self._init}/comm").read_text() == "systemd\n"
        return False

    def _is_up(self) -> bool:
        return self.run("systemctl", "is-active", "test.target", check=False).returncode == 0

    def _end(self) -> None:
        kill = self._cgroup / "cgroup.kill"
        if kill.exists():  # Linux 5.14
            kill.write_text("1")
        if self._unshare is not None:
            self._unshare.kill()  # and with it process 1, and with that all others
            self._unshare.wait()
        with (self._cgroup / "cgroup.events").open() as events:
            changes = select.poll()
            changes.register(events, select.POLLPRI)
            while "populated 1" in events.read():
                assert changes.poll(END_SECONDS * 1000), "processes are left in the cgroup"
                events.seek(0)
        for path, _, _ in os.walk(self._cgroup, topdown=False):
            Path(path).rmdir()

    def run(
        self, *command: str, check: bool = True, environment: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run it there, as root, with an environment as small as a boot script's."""
        small = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", **(environment or {})}
        inside = ["nsenter", "-t", str(self._init), "--all", "--", "env", "-C", "/", *command]
        done = subprocess.run(
            inside, check=False, capture_output=True, text=True, timeout=COMMAND_SECONDS, env=small
        )
        if check:
            assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}{self.log()}"
        return done

    def systemctl(self, *words: str) -> str:
        """Its output; it must succeed."""
        return self.run("systemctl", "--no-pager", *words).stdout

    def show(self, unit: str, name: str) -> str:
        """A property of a unit."""
        return self.systemctl("show", "--value", "-p", name, unit).strip()

    def write(self, path: str, text: str, *, mode: int = 0o644) -> None:
        """A file of this machine."""
        inside = self.path(path)
        inside.parent.mkdir(parents=True, exist_ok=True)
        inside.write_text(text)
        inside.chmod(mode)

    def path(self, path: str) -> Path:
        """The way to one of its files from here; never into a mount of ours that may hang."""
        return Path(f"/proc/{self._init}/root{path}")

    def mounts(self, path: str) -> list[str]:
        """The types of what is mounted at exactly this path."""
        lines = Path(f"/proc/{self._init}/mountinfo").read_text().splitlines()
        fields = [line.split() for line in lines]
        return [each[each.index("-") + 1] for each in fields if each[4] == path]

    def processes(self, unit: str) -> Sequence[int]:
        """All that is left of a unit, by numbers of this side; none of one that has no group."""
        group = self.show(unit, "ControlGroup").lstrip("/")
        if not group:
            return []
        try:
            numbers = (self._cgroup / group / "cgroup.procs").read_text()
        except OSError as error:
            if error.errno not in {errno.ENOENT, errno.ENODEV}:  # it has ended since it was told
                raise
            return []
        return [int(each) for each in numbers.split()]

    def log(self) -> str:
        """What the manager and the units have said, for a test that fails."""
        show = ["systemctl", "--no-pager", "--full", "status", "s3zipfs@*", "srv-*"]
        said = "\n" + self.run(*show, check=False).stdout
        for path in ("/dev/console", "/run/lab.log"):
            with contextlib.suppress(OSError):
                said += f"\n{path}:\n{self.path(path).read_text(errors='replace')[-6000:]}"
        return said
