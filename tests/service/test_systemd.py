"""The unit under a real systemd: its life, its rights, and who sees what it mounts."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from mounting import wait_until
from service.conftest import MEMBERS
from service.machine import Machine
from telling import metrics, value

pytestmark = pytest.mark.timeout(300)

UNIT = "s3zipfs@lab.service"
MEMBER = "/srv/lab/x.zip/a.txt"
SECONDS = 90.0


@pytest.fixture
def running(installed: Machine) -> Iterator[Machine]:
    """With the service started, and stopped afterwards whatever became of it."""
    installed.systemctl("reset-failed")
    installed.systemctl("start", UNIT)
    yield installed
    installed.run("systemctl", "stop", UNIT, check=False)
    installed.run("umount", "-l", "/srv/lab", check=False)


def main_process(machine: Machine) -> int:
    """The daemon, by its number on this side; 0: there is none."""
    return next(iter(machine.processes(UNIT)), 0)


def read_as(machine: Machine, user: str) -> str:
    return machine.run("setpriv", f"--reuid={user}", "--clear-groups", "cat", MEMBER).stdout


def test_a_start_returns_when_the_mount_can_be_used_and_a_stop_when_it_is_gone(
    running: Machine,
) -> None:
    assert running.show(UNIT, "ActiveState") == "active"
    assert running.show(UNIT, "StatusText").startswith("serving s3://service-")
    assert running.mounts("/srv/lab") == ["fuse.s3zipfs"]
    assert read_as(running, "nobody") == MEMBERS["a.txt"].decode()
    running.systemctl("stop", UNIT)
    assert running.show(UNIT, "Result") == "success"
    assert running.mounts("/srv/lab") == []


def test_a_stop_unmounts_where_it_was_mounted_though_the_settings_name_another_place(
    running: Machine,
) -> None:
    settings = running.path("/etc/s3zipfs/lab.toml")
    before = settings.read_text()
    running.path("/srv/other").mkdir(exist_ok=True)
    settings.write_text(before.replace('"/srv/lab"', '"/srv/other"'))
    try:
        running.systemctl("restart", UNIT)
        assert running.mounts("/srv/lab") == []
        assert running.mounts("/srv/other") == ["fuse.s3zipfs"]
        settings.write_text("no settings at all")
        running.systemctl("stop", UNIT)
        assert running.mounts("/srv/other") == []
    finally:
        settings.write_text(before)
        running.run("umount", "-l", "/srv/other", check=False)


def test_the_daemon_is_a_user_without_any_capability(running: Machine) -> None:
    processes = running.processes(UNIT)
    assert len(processes) == 1, "the child that mounted has ended"
    for task in Path(f"/proc/{processes[0]}/task").iterdir():
        status = (task / "status").read_text()
        fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        assert "0" not in fields["Uid"].split()
        for name in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
            assert int(fields[name], 16) == 0, fields["Name"]
        assert fields["NoNewPrivs"] == "1"
        assert fields["Seccomp"] == "2"


def test_root_has_the_kernel_read_ahead_as_far_as_is_good(running: Machine) -> None:
    lines = Path(f"/proc/{main_process(running)}/mountinfo").read_text().splitlines()
    device = next(line.split()[2] for line in lines if line.split()[4] == "/srv/lab")
    assert Path(f"/sys/class/bdi/{device}/read_ahead_kb").read_text() == "1024\n"


def test_another_service_sees_the_mount(running: Machine) -> None:
    running.write("/run/expected", MEMBERS["a.txt"].decode())
    running.write(
        "/etc/systemd/system/reader.service",
        f"[Service]\nType=oneshot\nUser=nobody\nExecStart=/usr/bin/cmp {MEMBER} /run/expected\n",
    )
    running.systemctl("daemon-reload")
    running.systemctl("start", "reader.service")
    assert running.show("reader.service", "Result") == "success"


def test_after_kill_9_it_is_back_and_never_an_empty_directory(running: Machine) -> None:
    killed = main_process(running)
    os.kill(killed, signal.SIGKILL)
    seen: list[str] = []

    def is_back() -> bool:
        done = running.run("ls", "/srv/lab", check=False)
        seen.append(done.stdout or done.stderr)
        return "x.zip" in done.stdout and main_process(running) not in (0, killed)

    wait_until(is_back, seconds=SECONDS, what="the mount is back")
    assert seen.count("") <= 1, "but for the moment in which one takes the other's place"
    assert running.show(UNIT, "NRestarts") == "1"
    assert read_as(running, "nobody") == MEMBERS["a.txt"].decode()
    assert running.mounts("/srv/lab") == ["fuse.s3zipfs"], "the dead mount was taken away"


def test_a_reload_reads_the_settings_again_and_the_mount_stays(running: Machine) -> None:
    daemon, settings = main_process(running), running.path("/etc/s3zipfs/lab.toml")
    before = settings.read_text()
    settings.write_text(before + "ttl = 7\n")
    try:
        running.systemctl("reload", UNIT)
        wait_until(
            lambda: "reloaded: --ttl 7" in running.log(), seconds=SECONDS, what="the new TTL"
        )
        wait_until(
            lambda: running.show(UNIT, "ActiveState") == "active", seconds=SECONDS, what="ready"
        )
    finally:
        settings.write_text(before)
    assert main_process(running) == daemon
    assert running.show(UNIT, "StatusText").startswith("serving")


def test_its_metrics_are_told_and_who_reads_though_it_may_do_nothing_else(
    running: Machine,
) -> None:
    settings = running.path("/etc/s3zipfs/lab.toml")
    before = settings.read_text()
    settings.write_text(f'{before}metrics = "127.0.0.1:0"\n')
    try:
        running.systemctl("restart", UNIT)
        read_as(running, "nobody")
        told = json.loads(running.run("cat", "/srv/lab/.s3zipfs/status.json").stdout)
        read = value(metrics(told["metrics"]), "s3zipfs_read_bytes_total")
        assert read >= len(MEMBERS["a.txt"])
        assert "cat" in {each["name"] for each in told["processes"]}
    finally:
        settings.write_text(before)


def test_a_daemon_that_hangs_is_replaced_by_the_watchdog(running: Machine) -> None:
    running.write(
        "/etc/systemd/system/s3zipfs@.service.d/watchdog.conf", "[Service]\nWatchdogSec=4\n"
    )
    try:
        running.systemctl("daemon-reload")
        running.systemctl("restart", UNIT)
        stopped = main_process(running)
        os.kill(stopped, signal.SIGSTOP)

        def is_replaced() -> bool:
            return (
                main_process(running) not in (0, stopped)
                and running.show(UNIT, "ActiveState") == "active"
            )

        wait_until(is_replaced, seconds=SECONDS, what="another daemon")
        assert read_as(running, "nobody") == MEMBERS["a.txt"].decode()
    finally:
        running.path("/etc/systemd/system/s3zipfs@.service.d/watchdog.conf").unlink()
        running.systemctl("daemon-reload")


def test_where_the_endpoint_is_away_it_fails_and_mounts_nothing(installed: Machine) -> None:
    settings = installed.path("/etc/s3zipfs/lab.toml")
    before = settings.read_text()
    settings.write_text(
        "\n".join(
            'endpoint_url = "http://127.0.0.1:1"' if line.startswith("endpoint_url") else line
            for line in before.split("\n")
        )
    )
    try:
        done = installed.run("systemctl", "start", UNIT, check=False)
        assert done.returncode != 0
        assert installed.mounts("/srv/lab") == []
        wait_until(  # each attempt begins with "success"
            lambda: installed.show(UNIT, "Result") == "exit-code", seconds=SECONDS, what="why"
        )
    finally:
        settings.write_text(before)
        installed.run("systemctl", "stop", UNIT)
