"""The cache's directory, and files that hold secrets."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from s3zipfs.doctor.findings import Check, Finding, error, note, ok, warning
from s3zipfs.doctor.host import Host
from s3zipfs.fuse.mountpoint import parse_mountinfo
from s3zipfs.settings import ConnectionSettings, Settings
from s3zipfs.settings.private import is_writable_by_all, readers

LEFT_FREE = 0.05  # of a file system, by the cache itself
NETWORK = (
    "nfs",
    "cifs",
    "smb",
    "fuse",
    "ceph",
    "9p",
    "afs",
    "lustre",
    "glusterfs",
    "gpfs",
    "beegfs",
)
_GIB = 1 << 30
_AWS = (
    ("AWS_SHARED_CREDENTIALS_FILE", ".aws/credentials"),
    ("AWS_CONFIG_FILE", ".aws/config"),
)
_SECRET_SETTINGS = ("access_key_file", "secret_key_file", "session_token_file", "client_key")


def checks(
    host: Host, settings: Settings, *, env_file: Path | None, files: tuple[Path, ...]
) -> list[tuple[str, Check]]:
    """`files`: settings files that were read."""
    return [
        ("cache", lambda: cache(host, settings)),
        ("secret files", lambda: secret_files(host, settings, env_file=env_file, files=files)),
    ]


def cache(host: Host, settings: Settings) -> Iterator[Finding]:
    """Whether what was fetched can be kept, is nobody else's, and fits."""
    folder = settings.cache_dir
    if folder is None:
        yield note("cache", "no directory: nothing outlives a mount", "give --cache-dir")
        return
    there = next(path for path in (folder, *folder.parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as failed:
        yield warning("cache", f"{there}: {failed.strerror}", f"let uid {host.uid} write there")
        return
    yield _of_owner(host, folder) if there == folder else ok("cache", f"{folder} will be made")
    kind = _type_of(host, there)
    if kind is not None and kind.startswith(NETWORK):
        found = f"{there} is on a network file system ({kind}): blocks are not kept there"
        yield warning("cache", found, "give --cache-dir on a local disk")
    space = os.statvfs(there)
    free, total = space.f_bavail * space.f_frsize, space.f_blocks * space.f_frsize
    bound = settings.block_cache_size + settings.index_cache_size
    usable = max(0, free - int(total * LEFT_FREE))
    told = f"up to {bound / _GIB:.1f} GiB, and {usable / _GIB:.1f} GiB can be used"
    if usable < bound:
        remedy = "make room, or give --cache-size and --index-cache-size that fit"
        yield (note if usable else warning)("cache space", told, remedy)
    else:
        yield ok("cache space", told)


def _of_owner(host: Host, folder: Path) -> Finding:
    found = folder.stat()
    if found.st_uid != host.uid:
        told, remedy = f"{folder} belongs to uid {found.st_uid}", "give --cache-dir"
        if host.uid == 0:  # who asks for a service, whose daemon is another user
            return note("cache", told, f"as it should be, where that user mounts; else {remedy}")
        return warning("cache", told, f"chown {host.uid} {folder}, or {remedy}")
    if stat.S_IMODE(found.st_mode) & 0o077:
        return warning("cache", f"{folder}: others can look into it", f"chmod 700 {folder}")
    return ok("cache", f"{folder} can be written, by its owner alone")


def _type_of(host: Host, path: Path) -> str | None:
    """The type of the file system that a path is on."""
    try:
        entries = parse_mountinfo(host.path("/proc/self/mountinfo").read_bytes())
    except OSError:
        return None
    on = [entry for entry in entries if path.resolve().is_relative_to(entry.path)]
    return max(on, key=lambda entry: len(entry.path.parts)).type if on else None


def secret_files(
    host: Host, settings: Settings, *, env_file: Path | None, files: tuple[Path, ...]
) -> Iterator[Finding]:
    """Files with keys in them that others can read, or change."""
    found = sorted({*files, *_of_settings(settings), *_of_libraries(host)})
    found += [env_file] if env_file is not None else []
    told = 0
    for path in found:
        try:
            mode = path.stat()
        except FileNotFoundError:
            continue
        except OSError as failed:
            told += 1
            yield warning("secret files", f"{path}: {failed.strerror}", "let the mount's user in")
            continue
        told += 1
        who = None if path in files else readers(mode)
        if is_writable_by_all(mode):
            yield error("secret files", f"{path}: everybody can change it", f"chmod 600 {path}")
        elif who is not None:
            yield error("secret files", f"{path}: {who} can read it", f"chmod 600 {path}")
        else:
            yield ok("secret files", f"{path}: mode {stat.S_IMODE(mode.st_mode):04o}")
    if not told:
        yield ok("secret files", "none")


def _of_settings(settings: Settings) -> Iterator[Path]:
    each: ConnectionSettings
    for each in (settings, *settings.sources):
        for name in _SECRET_SETTINGS:
            path = getattr(each, name)
            if path is not None:
                yield path


def _of_libraries(host: Host) -> Iterator[Path]:
    home = Path(host.environment.get("HOME") or os.path.expanduser("~"))  # noqa: PTH111
    for variable, usual in _AWS:
        given = host.environment.get(variable, "")
        if given != os.devnull:
            yield Path(given).expanduser() if given else home / usual
    folder = host.environment.get("MC_CONFIG_DIR")
    yield (Path(folder) if folder else home / ".mc") / "config.json"
