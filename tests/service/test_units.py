"""The units as systemd reads them, without starting any."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

SYSTEMD = Path(__file__).resolve().parents[2] / "systemd"
HIDING = (
    "PrivateTmp", "ProtectSystem", "ProtectHome", "ProtectKernelTunables", "ProtectKernelModules",
    "ProtectKernelLogs", "ProtectControlGroups", "ProtectProc", "PrivateMounts", "ReadOnlyPaths",
    "PrivateDevices", "PrivateUsers", "MountFlags", "TemporaryFileSystem", "BindPaths",
)  # fmt: skip


@pytest.fixture
def analyze() -> str:
    found = shutil.which("systemd-analyze")
    if found is None:
        pytest.skip("no systemd-analyze here (apt install systemd)")
    return found


def test_the_units_exposure_is_four_at_most(analyze: str, tmp_path: Path) -> None:
    unit = shutil.copy(SYSTEMD / "s3zipfs@.service", tmp_path)
    command = [analyze, "security", "--no-pager", "--offline=true", "--threshold=40", unit]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout
    assert "ignoring" not in done.stderr


@pytest.mark.parametrize("name", ["s3zipfs@.service", "s3zipfs-user@.service"])
def test_no_directive_starts_a_mount_namespace_that_would_hide_the_mount(name: str) -> None:
    lines = (SYSTEMD / name).read_text().splitlines()
    assert not [line for line in lines if line.partition("=")[0] in HIDING]


def test_what_is_roots_in_the_unit_loads_nothing_from_the_daemons_home() -> None:
    lines = (SYSTEMD / "s3zipfs@.service").read_text().splitlines()
    called = [line.partition("=")[2] for line in lines if "=-+" in line]
    assert len(called) == 2
    for each in called:  # systemd sets HOME by User= for these too: Python has a user site there
        assert each.startswith("-+/usr/bin/env -u XDG_CONFIG_HOME HOME=/ ")


@pytest.mark.parametrize("name", ["srv-lab.mount", "srv-lab.automount", "s3zipfs-user@.service"])
def test_systemd_reads_the_others_without_a_word(analyze: str, tmp_path: Path, name: str) -> None:
    for each in SYSTEMD.iterdir():
        text = each.read_text().replace("/usr/local/bin/s3zipfs", "/bin/true")
        (tmp_path / each.name).write_text(text)
    command = [analyze, "verify", "--man=no", "--recursive-errors=no", str(tmp_path / name)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    said = [line for line in done.stderr.splitlines() if name in line]
    assert said == []
