"""`s3zipfs mount` and its kin against a real server, as a user meets them."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
from commands import assert_one_line, daemon_of, keys_of, mount, s3zipfs
from mounting import Mount, mounted_type, wait_until
from s3server import S3Server

FAILED = 1


def test_mount_returns_when_mounted_and_umount_ends_it(
    s3server: S3Server, filled: str, mountpoint: Path
) -> None:
    done = mount(s3server, f"s3://{filled}", str(mountpoint))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert sorted(os.listdir(mountpoint)) == ["plain.txt", "x.zip"]
    assert (mountpoint / "x.zip/a.txt").read_text() == "hello\n"

    columns = "SOURCE,FSTYPE,OPTIONS"
    shown = subprocess.check_output(["findmnt", "-no", columns, str(mountpoint)], text=True)
    source, kind, options = shown.split()
    assert (source, kind) == (f"s3://{filled}", "fuse.s3zipfs")
    assert {"ro", "nosuid", "nodev", "default_permissions"} <= set(options.split(","))
    for command in (["df"], ["mount"]):
        # df fails for mounts of others that are dead, and lists the rest all the same.
        listed = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False).stdout
        assert any(f"s3://{filled} " in line for line in listed.splitlines())

    daemon = daemon_of(mountpoint)
    done = s3zipfs("umount", str(mountpoint))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert mounted_type(mountpoint) is None
    wait_until(lambda: not Path(f"/proc/{daemon}").exists(), seconds=60, what="the daemon's end")
    assert list(mountpoint.iterdir()) == []


def test_a_prefix_all_buckets_and_several_sources(
    s3server: S3Server, s3client: Any, filled: str, mountpoint: Path
) -> None:
    s3client.put_object(Bucket=filled, Key="in/side", Body=b"1")
    for sources, expected in [
        ([f"s3://{filled}/in"], {"side"}),
        ([], {filled}),
        ([f"s3://{filled}/in", f"s3://{filled}"], {"in", filled}),
    ]:
        assert mount(s3server, *sources, str(mountpoint)).returncode == 0
        assert expected <= set(os.listdir(mountpoint))
        assert s3zipfs("umount", str(mountpoint)).returncode == 0


def test_credentials_from_an_env_file(
    s3server: S3Server, filled: str, mountpoint: Path, tmp_path: Path
) -> None:
    file = tmp_path / ".env"
    file.write_text(
        f"STORAGE_ACCESS_KEY={s3server.access_key}\nSTORAGE_SECRET_KEY={s3server.secret_key}\n"
        f"ENDPOINT={s3server.endpoint[7:]}\nENDPOINT_FULL={s3server.endpoint}\n"
    )
    done = s3zipfs("mount", f"s3://{filled}", str(mountpoint), "--env-file", str(file))
    assert done.returncode == 0, done.stderr
    assert (mountpoint / "plain.txt").read_text() == "plain\n"


@pytest.mark.parametrize("background", [True, False], ids=["background", "foreground"])
def test_what_cannot_be_mounted_says_why_in_one_line(
    s3server: S3Server, filled: str, mountpoint: Path, background: bool
) -> None:
    if s3server.kind != "minio":
        pytest.skip("moto does not check credentials")
    stay = () if background else ("--foreground",)
    source, path = f"s3://{filled}", str(mountpoint)

    def fails(*words: str, arguments: tuple[str, ...], **keys: str) -> None:
        environment = {**keys_of(s3server), **keys, "XDG_STATE_HOME": str(mountpoint.parent)}
        assert_one_line(
            s3zipfs("mount", *arguments, *stay, environment=environment), *words, code=FAILED
        )
        assert mounted_type(mountpoint) is None

    endpoint = ("--endpoint-url", s3server.endpoint)
    nowhere, nothing = "s3://no-such-bucket-here", f"{source}/nothing"
    fails("no-such-bucket-here", "no such bucket", arguments=(nowhere, path, *endpoint))
    fails("nothing begins", arguments=(nothing, path, *endpoint))
    fails("access key", arguments=(source, path, *endpoint), AWS_ACCESS_KEY_ID="nobody")
    fails("secret", arguments=(source, path, *endpoint), AWS_SECRET_ACCESS_KEY="wrong")
    closed = ("--endpoint-url", "http://127.0.0.1:1")
    fails("127.0.0.1:1", "refused", arguments=(source, path, *closed))
    tls = ("--endpoint-url", s3server.endpoint.replace("http:", "https:"))
    fails("TLS", arguments=(source, path, *tls))


def test_an_untrusted_authority_is_named_and_a_given_one_trusted(
    s3certs: Path, mountpoint: Path
) -> None:
    with S3Server.start(certs_dir=s3certs, own=True) as server:
        done = mount(server, str(mountpoint))
        assert_one_line(done, "TLS", "--ca-bundle", code=FAILED)
        done = mount(server, "--ca-bundle", str(s3certs / "ca.crt"), str(mountpoint))
        assert done.returncode == 0, done.stderr
        assert os.listdir(mountpoint) == []


def test_a_live_mount_is_refused_and_a_dead_one_of_ours_replaced(
    s3server: S3Server, filled: str, mountpoint: Path
) -> None:
    assert mount(s3server, f"s3://{filled}", str(mountpoint)).returncode == 0
    again = mount(s3server, f"s3://{filled}", str(mountpoint))
    assert_one_line(again, str(mountpoint), "already mounted", code=FAILED)

    os.kill(daemon_of(mountpoint), signal.SIGKILL)

    def dead() -> bool:
        try:
            os.listdir(mountpoint)
        except OSError:
            return True  # never an empty directory
        return False

    wait_until(dead, seconds=60, what="the mount is dead")
    done = mount(s3server, f"s3://{filled}", str(mountpoint))
    assert done.returncode == 0, done.stderr
    assert (mountpoint / "plain.txt").read_text() == "plain\n"


def test_sigterm_ends_and_sighup_does_not(tmp_path: Path, s3server: S3Server, filled: str) -> None:
    with Mount(tmp_path / "mnt", s3server, [f"s3://{filled}"]) as mounted:
        mounted.process.send_signal(signal.SIGHUP)
        wait_until(lambda: "SIGHUP" in mounted.log.read_text(), seconds=60, what="a log line")
        assert (mounted.path / "plain.txt").read_text() == "plain\n"
        with (mounted.path / "plain.txt").open():
            mounted.process.send_signal(signal.SIGTERM)
            assert mounted.process.wait(15) == 0
        assert mounted_type(mounted.path) is None


def test_ls_and_cat_need_no_mount(s3server: S3Server, filled: str) -> None:
    def run(*arguments: str) -> str:
        done = s3zipfs(
            *arguments, "--endpoint-url", s3server.endpoint, environment=keys_of(s3server)
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert run("ls", f"s3://{filled}") == "plain.txt\nx.zip\n"
    assert filled in run("ls", "s3://").split()
    assert run("ls", f"s3://{filled}/x.zip") == "a.txt\nd\n"
    assert run("ls", f"s3zip://{filled}/x.zip/a.txt") == "a.txt\n"
    long = run("ls", "-l", f"s3://{filled}/x.zip").splitlines()
    assert long[0].startswith("-r--r--r--")
    assert long[0].split()[1] == "6"
    assert long[1].startswith("dr-xr-xr-x")
    assert run("cat", f"s3://{filled}/x.zip/a.txt") == "hello\n"
    assert run("cat", f"s3://{filled}/x.zip/d/b.bin") == "\0" * (3 << 20)
    for wrong, word in [("nothing", "no b'nothing'"), ("x.zip/d", "is a directory")]:
        done = s3zipfs(
            "cat",
            f"s3://{filled}/{wrong}",
            "--endpoint-url",
            s3server.endpoint,
            environment=keys_of(s3server),
        )
        assert_one_line(done, word, code=FAILED)
