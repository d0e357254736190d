"""What `s3zipfs install-service` writes, keeps and refuses."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from commands import assert_one_line, s3zipfs

FAILED, USAGE = 1, 2
SECONDS = 60.0
UNIT = "etc/systemd/system/s3zipfs@.service"
WRITTEN = {
    UNIT,
    "etc/sysusers.d/s3zipfs.conf",
    "etc/s3zipfs/lab.toml",
    "sbin/mount.s3zipfs",
    "sbin/mount.fuse.s3zipfs",
}


def install(root: Path, *words: str) -> str:
    done = s3zipfs("install-service", "lab", "--root", str(root), *words)
    assert done.returncode == 0, done.stderr
    return done.stdout


def all_of(root: Path) -> dict[str, str]:
    """Each file and link below, with its content or where it leads."""
    return {
        str(path.relative_to(root)): str(path.readlink()) if path.is_symlink() else path.read_text()
        for path in root.rglob("*")
        if path.is_symlink() or path.is_file()
    }


def test_units_are_written_with_the_programs_path_and_the_next_steps_are_told(
    tmp_path: Path,
) -> None:
    said = install(tmp_path)
    files = all_of(tmp_path)
    assert files.keys() == WRITTEN
    assert "systemctl enable --now s3zipfs@lab" in said
    starts = next(line for line in files[UNIT].splitlines() if line.startswith("ExecStart="))
    program = starts.removeprefix("ExecStart=").split()[0]
    assert os.access(program, os.X_OK)
    for name in ("mount.s3zipfs", "mount.fuse.s3zipfs"):
        assert files[f"sbin/{name}"] == str(Path(program).with_name(name))
    assert 'mountpoint = "/srv/lab"' in files["etc/s3zipfs/lab.toml"]


def run_by_link(link: Path, *words: str) -> subprocess.CompletedProcess[str]:
    link.symlink_to(Path(sys.executable).with_name("s3zipfs"))
    command = [str(link), "install-service", *words]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=SECONDS)


def test_the_programs_of_mount8_are_found_beside_what_a_link_leads_to(tmp_path: Path) -> None:
    run_by_link(tmp_path / "s3zipfs", "lab", "--root", str(tmp_path / "root"))
    assert (tmp_path / "root/sbin/mount.s3zipfs").exists()


def test_a_program_that_the_services_user_can_not_reach_is_warned_of(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    (closed / "mount.s3zipfs").touch()  # so that it is installed here, and not where the link leads
    done = run_by_link(closed / "s3zipfs", "lab", "--dry-run")
    assert done.stderr.count("\n") == 1, done.stderr
    assert f"{closed / 's3zipfs'} is below {closed}, which only its owner may pass" in done.stderr


def test_a_second_time_changes_nothing(tmp_path: Path) -> None:
    install(tmp_path)
    (tmp_path / "etc/s3zipfs/lab.toml").write_text("# mine\n")
    before = all_of(tmp_path)
    assert "written" not in install(tmp_path)
    assert all_of(tmp_path) == before


def test_a_dry_run_writes_nothing(tmp_path: Path) -> None:
    assert "to write" in install(tmp_path, "--dry-run")
    assert all_of(tmp_path) == {}


@pytest.mark.parametrize("change", ["unit", "link"])
def test_what_was_changed_by_hand_is_kept_and_then_nothing_is_written(
    tmp_path: Path, change: str
) -> None:
    install(tmp_path)
    (tmp_path / "etc/sysusers.d/s3zipfs.conf").unlink()
    if change == "unit":
        unit = tmp_path / UNIT
        unit.write_text(unit.read_text().replace("RestartSec=2", "RestartSec=3"))
    else:
        (tmp_path / "sbin/mount.s3zipfs").unlink()
        (tmp_path / "sbin/mount.s3zipfs").write_text("of somebody else")
    before = all_of(tmp_path)
    done = s3zipfs("install-service", "lab", "--root", str(tmp_path))
    assert done.returncode == FAILED
    assert "changed by hand" in done.stdout
    assert "nothing is written" in done.stderr
    assert all_of(tmp_path) == before


def test_what_an_older_version_wrote_is_updated(tmp_path: Path) -> None:
    from s3zipfs.cli import installing

    install(tmp_path)
    unit = tmp_path / UNIT
    body = unit.read_text().partition("\n")[2].replace("RestartSec=2", "RestartSec=9")
    unit.write_text(installing._marked(body))
    assert "updated" in install(tmp_path)
    assert "RestartSec=2" in unit.read_text()


def test_a_users_service_is_in_the_home(tmp_path: Path) -> None:
    environment = {"XDG_CONFIG_HOME": str(tmp_path / "config"), "HOME": str(tmp_path)}
    done = s3zipfs("install-service", "lab", "--user", environment=environment)
    assert done.returncode == 0, done.stderr
    assert all_of(tmp_path).keys() == {
        "config/systemd/user/s3zipfs@.service",
        "config/s3zipfs/lab.toml",
    }
    assert "systemctl --user enable --now s3zipfs@lab" in done.stdout


def test_a_name_that_is_none_is_refused(tmp_path: Path) -> None:
    for name in ("../lab", "lab.toml", ""):
        done = s3zipfs("install-service", name, "--root", str(tmp_path))
        assert_one_line(done, code=USAGE)
    assert all_of(tmp_path) == {}
