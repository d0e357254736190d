"""What `s3zipfs doctor` says of a machine, from the files of one that is made for the test."""

from __future__ import annotations

import errno
import os
import re
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from s3zipfs.doctor import folders, machine
from s3zipfs.doctor.findings import Checkup, Finding, Level, error, note, ok, warning
from s3zipfs.doctor.host import Host
from s3zipfs.settings import Settings, load_settings

USER = "0000000000000000"  # CapEff without CAP_SYS_ADMIN


class Machine:
    """A folder that looks like `/`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.write("/proc/sys/kernel/osrelease", "6.1.0-18-amd64\n")
        self.write("/proc/filesystems", "nodev\tsysfs\nnodev\tfuse\n\text4\n")
        self.write("/proc/self/mountinfo", "")
        self.may_mount(yes=False)
        self.limits(files="1048576", core="0")
        self.write("/proc/self/coredump_filter", "00000000\n")
        self.write("/proc/sys/kernel/core_pattern", "core\n")
        self.write("/dev/fuse", "")

    def write(self, path: str, text: str) -> Path:
        place = self.root / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
        return place

    def remove(self, path: str) -> None:
        (self.root / path.lstrip("/")).unlink()

    def may_mount(self, *, yes: bool) -> None:
        capable = "0000000000200000" if yes else USER
        self.write("/proc/self/status", f"Name:\tpython\nCapEff:\t{capable}\n")

    def limits(self, *, files: str, core: str) -> None:
        self.write(
            "/proc/self/limits",
            "Limit                     Soft Limit           Hard Limit           Units     \n"
            f"Max core file size        {core:<20} unlimited            bytes     \n"
            f"Max open files            {files:<20} 1048576              files     \n",
        )

    def mounted(self, path: Path, kind: str = "fuse.s3zipfs") -> None:
        line = f"36 35 0:50 / {path} ro,relatime - {kind} s3://lab ro,user_id=0\n"
        self.write("/proc/self/mountinfo", line)

    def host(self, uid: int = 1000, **environment: str) -> Host:
        return Host(self.root, environment, uid)


@pytest.fixture
def made(tmp_path: Path) -> Machine:
    return Machine(tmp_path / "root")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(cache_dir=tmp_path / "cache")


def only(findings: Iterator[Finding]) -> Finding:
    (finding,) = findings
    return finding


def level(findings: Iterator[Finding]) -> Level:
    return max(each.level for each in findings)


# --- the checkup


def test_findings_come_in_the_checks_order_whichever_is_ready_first() -> None:
    second_is_done = threading.Event()

    def first() -> Iterator[Finding]:
        assert second_is_done.wait(60)
        yield ok("first", "1")
        yield ok("first", "2")

    def second() -> Iterator[Finding]:
        yield note("second", "3")
        second_is_done.set()

    checkup = Checkup([("first", first), ("second", second)], seconds=60)
    assert [each.found for each in checkup.run()] == ["1", "2", "3"]


def test_a_check_that_hangs_is_one_line_and_the_next_ones_are_told() -> None:
    for_ever = threading.Event()

    def hangs() -> Iterator[Finding]:
        yield ok("hangs", "begun")
        for_ever.wait()

    checkup = Checkup([("hangs", hangs), ("other", lambda: iter([ok("other", "well")]))], seconds=1)
    findings = list(checkup.run())
    for_ever.set()
    assert [(each.level, each.about) for each in findings] == [
        (Level.OK, "hangs"),
        (Level.ERROR, "hangs"),
        (Level.OK, "other"),
    ]
    assert findings[1].found == "no answer within 1 s"


def test_checks_that_all_hang_are_waited_for_once() -> None:
    for_ever = threading.Event()

    def hangs() -> Iterator[Finding]:
        for_ever.wait()
        yield ok("hangs", "never told")

    checkup = Checkup([("hangs", hangs)] * 1000, seconds=1)  # of a test that has two minutes
    findings = list(checkup.run())
    for_ever.set()
    assert {each.level for each in findings} == {Level.ERROR}
    assert len(findings) == 1000


@pytest.mark.parametrize("failure", [OSError(errno.EIO, "Input/output error"), KeyError("x")])
def test_a_check_that_fails_is_one_line(failure: Exception) -> None:
    def fails() -> Iterator[Finding]:
        yield ok("fails", "begun")
        raise failure

    last = list(Checkup([("fails", fails)], seconds=60).run())[-1]
    assert last.level is Level.ERROR
    assert "Input/output" in last.found or "KeyError" in last.found


def test_levels_rise_with_what_is_wrong() -> None:
    each = [ok("a", ""), note("a", ""), warning("a", "", ""), error("a", "", "")]
    assert sorted(each, key=lambda finding: finding.level) == each


# --- the kernel, the device, and how a mount is made


def test_versions_name_the_libraries() -> None:
    (line, *rest) = machine.versions(Host())
    assert line.level is Level.OK
    assert all(name in line.found for name in ("Python 3.", "obstore ", "s3fs ", "mfusepy "))
    assert [each.about for each in rest] == ["libfuse3", "libz"]


def test_a_missing_library_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_LIBRARIES", ("s3zipfs", "no-such-library"))
    assert "no-such-library is not installed" in next(machine.versions(Host())).found


@pytest.mark.parametrize(
    ("release", "expected"),
    [
        ("6.1.0-18-amd64\n", Level.OK),
        ("5.4.0\n", Level.OK),
        ("5.3.18-lp152\n", Level.WARNING),
        ("4.20.1\n", Level.WARNING),
        ("4.19.0\n", Level.ERROR),
        ("", Level.ERROR),
    ],
)
def test_a_kernel_is_told_by_what_fuse_it_speaks(
    made: Machine, release: str, expected: Level
) -> None:
    made.write("/proc/sys/kernel/osrelease", release)
    assert only(machine.kernel(made.host())).level is expected


def test_a_kernel_without_fuse_is_an_error(made: Machine) -> None:
    made.write("/proc/filesystems", "nodev\tfusectl\n\text4\n")
    *_, line = machine.kernel(made.host())
    assert (line.level, line.remedy) == (Level.ERROR, "modprobe fuse")


def test_the_fuse_device_is_there_or_not(made: Machine) -> None:
    assert only(machine.device(made.host())).level is Level.OK
    made.remove("/dev/fuse")
    line = only(machine.device(made.host()))
    assert line.level is Level.ERROR
    assert "missing" in line.found


@pytest.mark.parametrize(
    ("number", "mode", "word"),
    [
        (errno.EPERM, 0o666, "container"),
        (errno.EACCES, 0o660, "group"),
        (errno.EACCES, 0o600, "chmod 666"),
    ],
)
def test_a_fuse_device_that_may_not_be_opened_says_what_to_do(
    made: Machine, monkeypatch: pytest.MonkeyPatch, number: int, mode: int, word: str
) -> None:
    def refuse(*_: Any) -> int:
        raise OSError(number, os.strerror(number))

    (made.root / "dev/fuse").chmod(mode)
    monkeypatch.setattr(os, "open", refuse)
    line = only(machine.device(made.host()))
    assert line.level is Level.ERROR
    assert word in line.remedy


def test_fusermount3_is_needed_by_those_who_may_not_mount(made: Machine, tmp_path: Path) -> None:
    folder = tmp_path / "bin"
    folder.mkdir()
    host = made.host(PATH=str(folder))
    line = only(machine.fusermount(host))
    assert (line.level, line.remedy) == (Level.ERROR, "apt install fuse3")
    program = folder / "fusermount3"
    program.write_text("")
    program.chmod(0o755)
    assert "not setuid" in only(machine.fusermount(host)).found
    program.chmod(0o755 | stat.S_ISUID)
    assert only(machine.fusermount(host)).level is Level.OK
    assert only(machine.fusermount(made.host(0, PATH=str(folder)))).level is Level.ERROR
    made.may_mount(yes=True)
    assert only(machine.fusermount(made.host(PATH=""))).level is Level.OK


def test_other_users_need_a_line_in_fuse_conf(made: Machine) -> None:
    wants = load_settings(allow_other=True)
    assert only(machine.other_users(made.host(), load_settings())).level is Level.NOTE
    assert only(machine.other_users(made.host(), wants)).level is Level.ERROR
    made.write("/etc/fuse.conf", "#user_allow_other\n")
    assert only(machine.other_users(made.host(), wants)).level is Level.ERROR
    made.write("/etc/fuse.conf", "mount_max = 10\nuser_allow_other\n")
    assert only(machine.other_users(made.host(), wants)).level is Level.OK


def test_read_ahead_is_told(made: Machine) -> None:
    assert only(machine.read_ahead(made.host())).level is Level.NOTE
    made.write("/sys/class/bdi/0:50/read_ahead_kb", "128\n")
    assert only(machine.read_ahead(made.host())).level is Level.OK


@pytest.mark.parametrize(
    ("limit", "expected"),
    [("unlimited", Level.OK), ("1024", Level.OK), ("319", Level.WARNING)],
)
def test_open_files_must_suffice(
    made: Machine, settings: Settings, limit: str, expected: Level
) -> None:
    made.limits(files=limit, core="0")
    line = only(machine.open_files(made.host(), settings))
    assert line.level is expected
    assert (expected is Level.WARNING) == ("ulimit -n 320" in line.remedy)


@pytest.mark.parametrize(
    ("pattern", "core", "mask", "expected"),
    [
        ("core", "0", "00000033", Level.OK),
        ("core", "unlimited", "00000033", Level.WARNING),
        ("|/usr/lib/systemd/systemd-coredump %P", "0", "00000000", Level.OK),
        ("|/usr/lib/systemd/systemd-coredump %P", "0", "00000033", Level.WARNING),
    ],
)
def test_a_core_with_the_secret_key_in_it_is_warned_of(
    made: Machine, pattern: str, core: str, mask: str, expected: Level
) -> None:
    made.limits(files="1024", core=core)
    made.write("/proc/sys/kernel/core_pattern", pattern + "\n")
    made.write("/proc/self/coredump_filter", mask + "\n")
    assert only(machine.core_dumps(made.host())).level is expected


# --- updatedb, and mounts that are there


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('PRUNEFS = "nfs fuse.s3zipfs tmpfs"\n', Level.OK),
        ('PRUNEFS="NFS FUSE.S3ZIPFS" # ours\n', Level.OK),
        ('PRUNEFS="nfs fuse.sshfs fuse"\n', Level.WARNING),
        ('#PRUNEFS="fuse.s3zipfs"\n', Level.WARNING),
        ('PRUNEPATHS="/tmp /srv"\n', Level.OK),  # where the mount is to be
        ('PRUNEPATHS="/tmp /srv/lab/x"\n', Level.WARNING),
        ("", Level.WARNING),
    ],
)
def test_updatedb_must_not_walk_a_mount(made: Machine, text: str, expected: Level) -> None:
    made.write("/etc/updatedb.conf", text)
    line = only(machine.updatedb(made.host(), load_settings(mountpoint=Path("/srv/lab"))))
    assert line.level is expected
    assert (expected is Level.WARNING) == ("add fuse.s3zipfs to PRUNEFS" in line.remedy)


def test_without_updatedb_nothing_is_to_be_done(made: Machine) -> None:
    assert only(machine.updatedb(made.host(), load_settings())).level is Level.OK


@pytest.mark.parametrize(
    ("number", "expected", "word"),
    [
        (0, Level.OK, "answers"),
        (errno.ENOTCONN, Level.ERROR, "s3zipfs umount"),
        (errno.ETIMEDOUT, Level.ERROR, "umount -l"),
        (errno.EACCES, Level.OK, "another user's"),
    ],
)
def test_dead_mounts_of_ours_are_found(
    made: Machine, monkeypatch: pytest.MonkeyPatch, number: int, expected: Level, word: str
) -> None:
    path = Path("/srv/lab")
    made.mounted(path)
    asked = []

    def answer(place: Path, _seconds: float) -> int:
        asked.append(place)
        return number

    monkeypatch.setattr(machine, "errno_of_statfs", answer)
    line = only(machine.mounts(made.host()))
    assert line.level is expected
    assert word in line.found + line.remedy
    assert asked == [path]


def test_mounts_of_others_are_not_touched(made: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    made.mounted(Path("/srv/other"), "fuse.sshfs")
    monkeypatch.setattr(machine, "errno_of_statfs", lambda *_: pytest.fail("asked"))
    assert only(machine.mounts(made.host())).level is Level.OK


def test_a_machine_without_the_table_of_mounts_is_told(made: Machine) -> None:
    made.remove("/proc/self/mountinfo")
    line = only(machine.mounts(made.host()))
    assert (line.level, line.remedy) == (Level.ERROR, "mount /proc")


# --- the cache, and files with secrets


def cache(made: Machine, **given: Any) -> dict[str, Finding]:
    found = folders.cache(made.host(os.geteuid()), load_settings(**given))
    return {each.about: each for each in found}


def test_a_cache_that_is_its_owners_alone_is_well(made: Machine, tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    given: dict[str, Any] = {"cache_dir": folder, "cache_size": "64M", "index_cache_size": 0}
    assert "will be made" in cache(made, **given)["cache"].found
    folder.mkdir(mode=0o700)
    found = cache(made, **given)
    assert {each.level for each in found.values()} == {Level.OK}
    folder.chmod(0o755)
    assert "chmod 700" in cache(made, **given)["cache"].remedy
    folder.chmod(0o700)
    of_another = next(folders.cache(made.host(os.geteuid() + 1), load_settings(**given)))
    assert of_another.level == Level.WARNING
    assert "belongs to uid" in of_another.found


def test_root_is_not_told_to_take_the_cache_of_a_services_user(
    made: Machine, tmp_path: Path
) -> None:
    folder = tmp_path / "cache"
    folder.mkdir(mode=0o700)
    if os.geteuid() == 0:
        os.chown(folder, 65534, -1)
    found = next(folders.cache(made.host(0), load_settings(cache_dir=folder)))
    assert found.level == Level.NOTE
    assert "belongs to uid" in found.found
    assert "chown" not in found.remedy


def test_a_cache_that_does_not_fit_is_told(made: Machine, tmp_path: Path) -> None:
    line = cache(made, cache_dir=tmp_path, cache_size="9000T")["cache space"]
    assert line.level is Level.NOTE
    assert "--cache-size" in line.remedy


def test_a_cache_on_a_network_file_system_keeps_nothing(made: Machine, tmp_path: Path) -> None:
    made.mounted(tmp_path, "nfs4")
    found = folders.cache(made.host(os.geteuid()), load_settings(cache_dir=tmp_path))
    assert any("network file system (nfs4)" in each.found for each in found)


def test_a_cache_that_can_not_be_written_is_told(
    made: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**_: Any) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    line = cache(made, cache_dir=tmp_path)["cache"]
    assert (line.level, line.found) == (Level.WARNING, f"{tmp_path}: Read-only file system")


def test_no_cache_is_a_note(made: Machine) -> None:
    assert cache(made, cache_dir="none")["cache"].level is Level.NOTE


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        (0o600, Level.OK),
        (0o640, Level.ERROR if os.getuid() else Level.OK),  # root's group may be let in
        (0o644, Level.ERROR),
        (0o602, Level.ERROR),
    ],
)
def test_secrets_that_others_can_read_are_an_error(
    made: Machine, tmp_path: Path, mode: int, expected: Level
) -> None:
    home = tmp_path / "home"
    places = [home / ".aws/credentials", home / ".mc/config.json", tmp_path / "x.env"]
    for path in places:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("SECRET")
        path.chmod(mode)
    key = tmp_path / "key"
    key.write_text("SECRET")
    key.chmod(mode)
    given = load_settings(secret_key_file=key, access_key_file=tmp_path / "missing")
    found = list(
        folders.secret_files(made.host(HOME=str(home)), given, env_file=places[2], files=())
    )
    assert {each.level for each in found} == {expected}
    assert len(found) == 4
    assert all("SECRET" not in each.found for each in found)
    assert (expected is Level.ERROR) == all("chmod 600" in each.remedy for each in found)


def test_the_folder_of_mc_is_the_one_that_its_variable_names(made: Machine, tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text("SECRET")
    path.chmod(0o604)
    host = made.host(HOME=str(tmp_path / "home"), MC_CONFIG_DIR=str(tmp_path))
    line = only(folders.secret_files(host, load_settings(), env_file=None, files=()))
    assert (line.level, line.remedy) == (Level.ERROR, f"chmod 600 {path}")


def test_a_settings_file_may_be_read_and_not_changed_by_all(made: Machine, tmp_path: Path) -> None:
    path = tmp_path / "lab.toml"
    path.write_text("ttl = 5\n")
    host = made.host(HOME=str(tmp_path))
    for mode, expected in ((0o644, Level.OK), (0o646, Level.ERROR)):
        path.chmod(mode)
        found = folders.secret_files(host, load_settings(), env_file=None, files=(path,))
        assert level(found) is expected


# --- the manual


def test_each_line_stands_in_the_manual() -> None:
    source = Path(folders.__file__).parent
    told = re.compile(r'\b(?:ok|note|warning|error)\(\s*"([^"]+)"')
    lines = {name for path in source.glob("*.py") for name in told.findall(path.read_text())}
    assert {"updatedb", "clock", "cache space", "credentials"} <= lines
    manual = (Path(__file__).parent.parent.parent / "docs" / "troubleshooting.md").read_text()
    assert {name for name in lines if f"`{name}`" not in manual} == set()
