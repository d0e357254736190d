"""What `s3zipfs install-service` writes, and whether that may be."""

from __future__ import annotations

import contextlib
import enum
import hashlib
import importlib.metadata
import os
import stat
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import s3zipfs
from s3zipfs.errors import SettingsError
from s3zipfs.settings.files import places_of, user_folder

# Where units are: a wheel has them below its prefix, which `pip install --user` makes another one
# than Python's; a checkout beside `src`.
_SHARED = "share/s3zipfs/systemd"
_CHECKOUT = Path(s3zipfs.__file__).parents[2] / "systemd"
_PROGRAM = "/usr/local/bin/s3zipfs"  # as the units are kept

_MARK = "# Written by s3zipfs install-service. Changes belong into a drop-in (systemctl edit): "
HELPERS = ("mount.s3zipfs", "mount.fuse.s3zipfs")

_KEYS = "keys: AWS_ACCESS_KEY_ID=… and AWS_SECRET_ACCESS_KEY=… in {keys}, mode 0600"
_SETTINGS = """\
# Settings of the mount {name}; all of them: man s3zipfs, or s3zipfs mount --help.
# Keys have a place of their own: {keys}

mountpoint = "{mountpoint}"
sources = ["s3://{name}"]
# endpoint_url = "https://minio.example:9000"
{others}"""


class State(enum.Enum):
    """What is at a place, compared with what should be there."""

    MISSING = enum.auto()
    CURRENT = enum.auto()
    OUTDATED = enum.auto()  # written by us, and not what we write now
    CHANGED = enum.auto()  # by hand
    YOURS = enum.auto()  # never written twice


@dataclass(frozen=True, slots=True)
class Item:
    """A file, or a link where `target` is given."""

    path: Path
    text: str = ""
    target: Path | None = None
    yours: bool = False

    def judge(self) -> State:
        """What is there now."""
        if not os.path.lexists(self.path):
            return State.MISSING
        if self.yours:
            return State.YOURS
        if self.target is not None:
            if not self.path.is_symlink():
                return State.CHANGED
            there = self.path.readlink()
            if there == self.target:
                return State.CURRENT
            return State.OUTDATED if there.name == self.target.name else State.CHANGED
        found = self.path.read_text(encoding="utf-8", errors="replace")
        if found == self.text:
            return State.CURRENT
        return State.OUTDATED if _is_as_written(found) else State.CHANGED

    def write(self) -> None:
        """Put it there, whole."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        beside = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        if self.target is not None:
            beside.symlink_to(self.target)
        else:
            beside.write_text(self.text, encoding="utf-8")
            beside.chmod(0o644)
        beside.replace(self.path)


@dataclass(frozen=True, slots=True)
class Plan:
    """All that is to be there, and what is left for people to do."""

    items: tuple[Item, ...]
    next_steps: tuple[str, ...]
    warnings: tuple[str, ...] = ()

    def below(self, root: Path) -> Plan:
        """The same for another root directory."""
        moved = (replace(each, path=root / each.path.relative_to("/")) for each in self.items)
        return replace(self, items=tuple(moved))

    def judge(self) -> dict[Item, State]:
        """What is at each place now."""
        return {item: item.judge() for item in self.items}


def for_system(name: str) -> Plan:
    """A service of the machine, and the programs that mount(8) calls."""
    settings, keys = places_of(_checked(name))[0], f"/etc/s3zipfs/{name}.env"
    program = _program()
    systemd = Path("/etc/systemd/system")
    items = [
        Item(systemd / "s3zipfs@.service", _unit("s3zipfs@.service", program)),
        Item(Path("/etc/sysusers.d/s3zipfs.conf"), _marked(_kept("s3zipfs.sysusers.conf"))),
        Item(settings, _example(name, f"/srv/{name}", keys, "allow_other = true\n"), yours=True),
        *(Item(Path("/sbin") / each, target=program.with_name(each)) for each in HELPERS),
    ]
    return Plan(
        tuple(items),
        (
            f"edit {settings}, and make the directory that it mounts at",
            _KEYS.format(keys=keys),
            "systemd-sysusers",
            "systemctl daemon-reload",
            f"systemctl enable --now s3zipfs@{name}",
            f"where it does not start: s3zipfs doctor {name} --env-file {keys}",
            f"and journalctl -u s3zipfs@{name}",
        ),
        _obstacles(program),
    )


def for_user(name: str) -> Plan:
    """A service of this user.

    Raises:
        SettingsError: who has no home.
    """
    folder = user_folder()
    if folder is None:
        raise SettingsError("--user: there is no home directory, and no XDG_CONFIG_HOME")
    settings, keys = places_of(_checked(name))[-1], folder / f"{name}.env"
    unit = folder.parent / "systemd" / "user" / "s3zipfs@.service"
    items = (
        Item(unit, _unit("s3zipfs-user@.service", _program())),
        Item(settings, _example(name, str(Path.home() / name), str(keys), ""), yours=True),
    )
    return Plan(
        items,
        (
            f"edit {settings}, and make the directory that it mounts at",
            _KEYS.format(keys=keys),
            "systemctl --user daemon-reload",
            f"systemctl --user enable --now s3zipfs@{name}",
            "loginctl enable-linger, for a mount that stays when you log out",
        ),
    )


def _checked(name: str) -> str:
    if name.endswith(".toml"):
        raise SettingsError(f"{name}: give a name; its settings are in /etc/s3zipfs/NAME.toml")
    return name


def _program() -> Path:
    found = Path(sys.argv[0]).absolute()
    if found.name != "s3zipfs":  # python -m s3zipfs
        found = Path(sys.executable).with_name("s3zipfs")
    if not found.with_name(HELPERS[0]).exists():  # a link to this program alone
        found = found.resolve()
    return found


def _obstacles(program: Path) -> tuple[str, ...]:
    """Why the user s3zipfs can't run it; the first reason is enough."""
    for needed in (program, Path(sys.executable), Path(s3zipfs.__file__)):
        for folder in (*needed.parents, *needed.resolve().parents):
            if not folder.stat().st_mode & stat.S_IXOTH:
                found = f"{needed} is below {folder}, which only its owner may pass"
                remedy = "install s3zipfs where all may read it, as in /opt/s3zipfs"
                return (f"{found}, so the user s3zipfs can't run it: {remedy}",)
    return ()


def _kept(name: str) -> str:
    places = [_CHECKOUT / name]
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        installed = importlib.metadata.files("s3zipfs") or ()
        places += [Path(each.locate()) for each in installed if each.match(f"{_SHARED}/{name}")]
    for path in places:
        if path.is_file():
            return path.read_text(encoding="utf-8")
    raise SettingsError(f"{_SHARED}/{name} is missing; install s3zipfs again")


def _unit(name: str, program: Path) -> str:
    # systemd.service(5): "%" is a specifier's, and blanks end a word.
    path = str(program).replace("%", "%%")
    if any(each.isspace() or each in "\"'\\$;" for each in path):
        raise SettingsError(f"{program}: a unit can't call a program of such a name")
    return _marked(_kept(name).replace(_PROGRAM, path))


def _example(name: str, mountpoint: str, keys: str, others: str) -> str:
    return _SETTINGS.format(name=name, mountpoint=mountpoint, keys=keys, others=others)


def _marked(text: str) -> str:
    return f"{_MARK}{_digest(text)}\n{text}"


def _is_as_written(text: str) -> bool:
    first, _, rest = text.partition("\n")
    return first == f"{_MARK}{_digest(rest)}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
