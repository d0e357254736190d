"""mount(8) and fstab: a line like that of any other file system."""

from __future__ import annotations

import getopt

import pytest
from mounting import wait_until
from s3server import S3Server
from service.conftest import MEMBERS, interpreter
from service.machine import Machine

from s3zipfs.cli.mounthelper import command_of

machine_test = pytest.mark.timeout(300)
GENERATOR = "/usr/lib/systemd/system-generators/systemd-fstab-generator"
SECONDS = 90.0


def test_the_helpers_words_become_those_of_the_command() -> None:
    assert command_of(["s3://lab", "/mnt", "-o", "rw,ttl=5,_netdev"]) == [
        "mount", "-o", "ttl=5,_netdev", "--", "s3://lab", "/mnt",
    ]  # fmt: skip
    assert command_of(["none", "/mnt", "-sn", "-v", "-t", "fuse.s3zipfs"]) == [
        "mount", "-v", "--", "/mnt",
    ]  # fmt: skip
    assert command_of(["s3://a s3://b", "/mnt", "-o", "a=1\\,rw"]) == [
        "mount", "-o", "a=1\\,rw", "--", "s3://a", "s3://b", "/mnt",
    ]  # fmt: skip
    assert command_of(["-f", "s3://lab", "/mnt"]) is None
    for wrong in (["s3://lab"], ["s3://lab", "/mnt", "-q"], ["a", "b", "c"]):
        with pytest.raises(getopt.GetoptError):
            command_of(wrong)


@machine_test
def test_mount_and_umount_do_what_they_do_for_others(
    installed: Machine, s3server: S3Server, archives: str
) -> None:
    installed.path("/srv/hand").mkdir()
    words = f"endpoint_url={s3server.endpoint},env_file=/etc/s3zipfs/lab.env,allow_other,_netdev"
    source = f"s3://{archives}"
    mounting = ("mount", "-t", "fuse.s3zipfs", source, "/srv/hand", "-o")
    try:
        installed.run(*mounting, words, environment=interpreter())
        assert installed.mounts("/srv/hand") == ["fuse.s3zipfs"]
        read = installed.run("setpriv", "--reuid=nobody", "cat", "/srv/hand/x.zip/a.txt")
        assert read.stdout == MEMBERS["a.txt"].decode()
        again = installed.run(*mounting, words, environment=interpreter(), check=False)
        assert again.returncode == 32, again.stderr  # mount(8): a mount that failed
        assert "already mounted" in again.stderr
        installed.run("umount", "/srv/hand")
        assert installed.mounts("/srv/hand") == []
        wrong = installed.run(*mounting, "ttl=soon", environment=interpreter(), check=False)
        assert wrong.returncode == 1
        assert "-o ttl" in wrong.stderr
    finally:
        installed.run("umount", "-l", "/srv/hand", check=False)


@machine_test
def test_a_line_of_fstab_is_mounted_when_somebody_looks(installed: Machine, archives: str) -> None:
    installed.write(
        "/etc/fstab",
        f"s3://{archives} /srv/auto fuse.s3zipfs "
        "noauto,x-systemd.automount,_netdev,allow_other,config=lab,env_file=/etc/s3zipfs/lab.env "
        "0 0\n",
    )
    for name, value in interpreter().items():
        installed.systemctl("set-environment", f"{name}={value}")
    installed.path("/srv/auto").mkdir()
    units = "/etc/systemd/system"
    installed.run(GENERATOR, units, units, units)
    installed.systemctl("daemon-reload")
    try:
        installed.systemctl("start", "srv-auto.automount")
        assert installed.mounts("/srv/auto") == ["autofs"]
        read = installed.run("setpriv", "--reuid=nobody", "cat", "/srv/auto/x.zip/a.txt")
        assert read.stdout == MEMBERS["a.txt"].decode()
        assert installed.mounts("/srv/auto") == ["autofs", "fuse.s3zipfs"]
        assert installed.show("srv-auto.mount", "ActiveState") == "active"
        installed.systemctl("stop", "srv-auto.automount", "srv-auto.mount")
        wait_until(
            lambda: installed.mounts("/srv/auto") == [], seconds=SECONDS, what="all unmounted"
        )
    finally:
        installed.run("systemctl", "stop", "srv-auto.automount", "srv-auto.mount", check=False)
        installed.run("umount", "-l", "/srv/auto", check=False)
