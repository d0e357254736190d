"""One mount of two servers with other keys, and buckets and objects of the same names."""

from __future__ import annotations

import errno
import os
import signal
import threading
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from commands import s3zipfs
from mounting import Mount, wait_until
from s3clients import make_s3client
from s3server import S3Server, find_minio
from trees import zipped

KEYS = {"one": ("first-user", "first-secret-key"), "two": ("second-user", "second-secret-key")}
CACHE = "cache_size = '64M'\n"
SIZE = 3 << 20


def content(server: str, name: str) -> bytes:
    """Other bytes of the same size for each server and name."""
    return f"{server} {name}\n".ljust(16).encode() * (SIZE // 16)


@pytest.fixture(scope="module")
def servers() -> Iterator[dict[str, S3Server]]:
    """Two MinIOs, each with its own keys, which the other refuses."""
    if find_minio() is None:
        pytest.skip("moto does not check credentials")
    with ExitStack() as stack:
        yield {name: stack.enter_context(start(name)) for name in KEYS}


def start(name: str) -> S3Server:
    user, secret = KEYS[name]
    own = {"MINIO_ROOT_USER": user, "MINIO_ROOT_PASSWORD": secret}
    server = S3Server.start(own=True, environment=own)
    server.access_key, server.secret_key = user, secret
    client = make_s3client(server)
    client.create_bucket(Bucket="lab")
    for number in range(8):
        put(client, name, f"{number}.zip")
    return server


def put(client: Any, name: str, key: str) -> None:
    members = {"a": content(name, key), "b": b"x"}
    client.put_object(Bucket="lab", Key=key, Body=zipped(members, zipfile.ZIP_DEFLATED))


def write(file: Path, servers: dict[str, S3Server], top: str = "", **secrets: str) -> None:
    """The settings file; `secrets` in place of the right ones."""
    tables = [
        f'[[source]]\nurl = "s3://lab"\nname = "{name}"\nendpoint_url = "{server.endpoint}"\n'
        f'access_key = "{KEYS[name][0]}"\nsecret_key = "{secrets.get(name, KEYS[name][1])}"\n'
        for name, server in servers.items()
    ]
    file.touch(mode=0o600)
    file.write_text(top + "\n".join(tables))


@pytest.fixture
def config(tmp_path: Path, servers: dict[str, S3Server]) -> Path:
    file = tmp_path / "two.toml"
    write(file, servers, f'timeout = 30\nttl = 0\ncache_dir = "cache"\n{CACHE}')
    return file


def mounted(tmp_path: Path, config: Path, servers: dict[str, S3Server]) -> Mount:
    """With keys in the environment that are good for neither: the sources have their own."""
    nobody = {"AWS_ACCESS_KEY_ID": "nobody", "AWS_SECRET_ACCESS_KEY": "nothing-at-all"}
    path = tmp_path / "mnt"
    return Mount(path, servers["one"], [], "--config", str(config), environment=nobody)


def test_each_endpoint_gives_its_own_bytes_after_a_restart_too(
    tmp_path: Path, config: Path, servers: dict[str, S3Server]
) -> None:
    for _ in range(2):  # the second time from the disk
        with mounted(tmp_path, config, servers) as mount:
            assert sorted(os.listdir(mount.path)) == ["one", "two"]
            for key in ("0.zip", "1.zip"):
                for name in servers:
                    assert (mount.path / name / key / "a").read_bytes() == content(name, key)
    assert any((tmp_path / "cache").rglob("*"))


def test_a_server_that_hangs_does_not_hold_up_the_other(
    tmp_path: Path, config: Path, servers: dict[str, S3Server]
) -> None:
    with mounted(tmp_path, config, servers) as mount:
        assert (mount.path / "two/2.zip/b").read_bytes() == b"x"
        servers["two"].pause()
        try:
            ended: list[int | None] = []

            def read(path: Path) -> None:
                try:
                    path.read_bytes()
                    ended.append(None)
                except OSError as error:
                    ended.append(error.errno)

            readers = [
                threading.Thread(target=read, args=(mount.path / f"two/{n}.zip/a",), daemon=True)
                for n in range(3, 7)
            ]
            for reader in readers:
                reader.start()
            for number in range(2, 8):
                key = f"{number}.zip"
                assert (mount.path / "one" / key / "a").read_bytes() == content("one", key)
                assert sorted(os.listdir(mount.path / "one" / key)) == ["a", "b"]
            assert ended == [], "nothing that the other server was asked for had ended by then"
            for reader in readers:
                reader.join(100)
            assert len(ended) == len(readers)
            assert set(ended) <= {errno.ETIMEDOUT, errno.EIO}
        finally:
            servers["two"].resume()
        wait_until(
            lambda: can_read(mount.path / "two/7.zip/a"), seconds=60, what="the server is back"
        )
        assert (mount.path / "two/7.zip/a").read_bytes() == content("two", "7.zip")


def can_read(path: Path) -> bool:
    try:
        path.read_bytes()
    except OSError:
        return False
    return True


def test_sighup_gives_each_endpoint_the_credentials_of_its_own_source(
    tmp_path: Path, config: Path, servers: dict[str, S3Server]
) -> None:
    with mounted(tmp_path, config, servers) as mount:

        def reload(*lines: str, **secrets: str) -> None:
            write(config, servers, 'timeout = 30\nttl = 0\ncache_dir = "none"\n', **secrets)
            before = len(mount.log.read_text())
            mount.process.send_signal(signal.SIGHUP)
            wait_until(
                lambda: all(line in mount.log.read_text()[before:] for line in lines),
                seconds=60,
                what=f"{lines} in the log",
            )

        one, two = servers["one"].endpoint, servers["two"].endpoint
        reload(f"{one}: the credentials are as they were", f"{two}: using new", two="of-nobody")
        with pytest.raises(PermissionError):
            os.listdir(mount.path / "two")
        assert (mount.path / "one/3.zip/a").read_bytes() == content("one", "3.zip")
        reload(f"{two}: using new credentials")
        assert (mount.path / "two/3.zip/a").read_bytes() == content("two", "3.zip")
        log = mount.log.read_text()
        assert not any(secret in log for _, secret in KEYS.values())


def test_a_command_without_a_mount_asks_the_source_that_has_the_url(
    tmp_path: Path, config: Path, servers: dict[str, S3Server]
) -> None:
    url = "s3://lab/0.zip/b"
    both = s3zipfs("cat", "--config", str(config), url)
    assert (both.returncode, both.stdout) == (2, "")
    assert both.stderr.startswith("s3zipfs: s3://lab: several sources of the settings have it;")
    write(config, {"two": servers["two"]}, 'endpoint_url = "http://127.0.0.1:9"\n')
    told = s3zipfs("cat", "--config", str(config), url)
    assert (told.returncode, told.stdout, told.stderr) == (0, "x", "")
