"""`ALIAS/BUCKET/KEY` as mc has it, in every command; an `s3://` URL is never an alias."""

from __future__ import annotations

import io
import json
import os
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest
from commands import assert_one_line, keys_of, s3zipfs
from s3clients import make_s3client
from s3server import S3Server

from s3zipfs.errors import SettingsError
from s3zipfs.mcaliases import Alias, find_alias, split_alias

pytestmark = pytest.mark.timeout(300)

UNSET = {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}
CANARY = "canary/c2VjcmV0"


def archive_bytes(text: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("zarr.json", '{"zarr_format": 3, "node_type": "group"}')
        archive.writestr("text", text)
    return buffer.getvalue()


@pytest.fixture
def filled(s3client: Any, bucket: str) -> str:
    s3client.put_object(Bucket=bucket, Key="a/x.zip", Body=archive_bytes("inside"))
    return bucket


def write_config(folder: Path, **aliases: dict[str, str]) -> dict[str, str]:
    """As `mc alias set` leaves it; the variable that tells where."""
    folder.mkdir(mode=0o700, exist_ok=True)
    told = {
        name: {"url": "", "accessKey": "", "secretKey": "", "api": "s3v4", "path": "auto", **alias}
        for name, alias in aliases.items()
    }
    (folder / "config.json").write_text(json.dumps({"version": "10", "aliases": told}))
    return {"MC_CONFIG_DIR": str(folder)}


def alias_of(server: S3Server) -> dict[str, str]:
    return {
        "url": server.endpoint,
        "accessKey": server.access_key,
        "secretKey": server.secret_key,
    }


@pytest.fixture(params=["config.json", "home", "MC_HOST", "MC_HOST over config.json"])
def environment(
    request: pytest.FixtureRequest, s3server: S3Server, tmp_path: Path
) -> dict[str, str]:
    """A machine on which mc knows `myminio`."""
    if request.param == "config.json":
        return {**UNSET, **write_config(tmp_path / "mc", myminio=alias_of(s3server))}
    if request.param == "home":
        write_config(tmp_path / ".mc", myminio=alias_of(s3server))
        return {**UNSET, "HOME": str(tmp_path)}
    keys = f"{s3server.access_key}:{s3server.secret_key}"
    variable = {"MC_HOST_myminio": s3server.endpoint.replace("://", f"://{keys}@")}
    wrong = {"url": "http://127.0.0.1:9", "accessKey": "x", "secretKey": "y"}
    return {**UNSET, **write_config(tmp_path / "mc", myminio=wrong), **variable}


def test_every_command_takes_one(environment: dict[str, str], filled: str) -> None:
    where = f"myminio/{filled}/a/x.zip"
    done = s3zipfs("ls", where, environment=environment)
    assert (done.returncode, done.stdout) == (0, "text\nzarr.json\n"), done.stderr
    done = s3zipfs("cat", f"{where}/text", environment=environment)
    assert (done.returncode, done.stdout) == (0, "inside"), done.stderr
    done = s3zipfs("check", where, environment=environment)
    assert done.returncode == 0, done.stderr
    done = s3zipfs("tree", where, environment=environment)
    assert done.returncode == 0, done.stderr
    assert "group" in done.stdout
    for all_buckets in ("myminio", "myminio/"):
        done = s3zipfs("ls", all_buckets, environment=environment)
        assert filled in done.stdout.splitlines(), done.stderr


def mount(path: Path, *sources: str, environment: dict[str, str], options: Any = ()) -> Any:
    variables = {**environment, "XDG_STATE_HOME": str(path.parent / "state")}
    return s3zipfs("mount", *sources, str(path), *options, environment=variables)


@pytest.mark.parametrize("source", ["myminio/{}/a", "myminio/{}", "myminio"])
def test_a_mount_takes_one_for_a_prefix_a_bucket_or_all_buckets(
    environment: dict[str, str], filled: str, mountpoint: Path, source: str
) -> None:
    done = mount(mountpoint, source.format(filled), environment=environment)
    assert done.returncode == 0, done.stderr
    below = {"myminio/{}/a": "", "myminio/{}": "a", "myminio": f"{filled}/a"}[source]
    assert (mountpoint / below / "x.zip" / "text").read_text() == "inside"


def test_aliases_of_two_servers_are_mounted_beside_each_other(
    s3server: S3Server, filled: str, tmp_path: Path, mountpoint: Path
) -> None:
    with S3Server.start(own=True) as other:
        client = make_s3client(other)
        client.create_bucket(Bucket=filled)
        client.put_object(Bucket=filled, Key="a/x.zip", Body=archive_bytes("elsewhere"))
        aliases = write_config(tmp_path / "mc", one=alias_of(s3server), two=alias_of(other))
        sources = (f"one/{filled}", f"two/{filled}")
        done = mount(mountpoint, *sources, environment={**UNSET, **aliases})
        assert done.returncode == 0, done.stderr
        texts = {
            (mountpoint / name / "a/x.zip/text").read_text() for name in os.listdir(mountpoint)
        }
        assert texts == {"inside", "elsewhere"}
        subprocess.run(["fusermount3", "-uz", str(mountpoint)], check=True)


def test_a_public_server_needs_no_keys(
    s3server: S3Server, s3client: Any, filled: str, tmp_path: Path
) -> None:
    if s3server.kind == "moto":
        pytest.skip("moto's server does not check policies")
    everyone = {"Effect": "Allow", "Principal": {"AWS": ["*"]}}
    policy = [
        {**everyone, "Action": ["s3:ListBucket"], "Resource": [f"arn:aws:s3:::{filled}"]},
        {**everyone, "Action": ["s3:GetObject"], "Resource": [f"arn:aws:s3:::{filled}/*"]},
    ]
    s3client.put_bucket_policy(
        Bucket=filled, Policy=json.dumps({"Version": "2012-10-17", "Statement": policy})
    )
    aliases = write_config(tmp_path / "mc", public={"url": s3server.endpoint})
    # Keys for another server are not for this one.
    environment = {"AWS_ACCESS_KEY_ID": "AK", "AWS_SECRET_ACCESS_KEY": CANARY, **aliases}
    done = s3zipfs("cat", f"public/{filled}/a/x.zip/text", environment=environment)
    assert (done.returncode, done.stdout) == (0, "inside"), done.stderr


def test_a_bucket_or_a_directory_of_that_name_has_ways_of_its_own(
    s3server: S3Server, filled: str, tmp_path: Path, mountpoint: Path
) -> None:
    wrong = {"url": "http://127.0.0.1:9", "accessKey": "x", "secretKey": CANARY}
    aliases = write_config(tmp_path / "mc", **{filled: wrong})
    environment = {**keys_of(s3server), **aliases}
    endpoint = ("--endpoint-url", s3server.endpoint)
    done = s3zipfs("ls", f"s3://{filled}", *endpoint, environment=environment)
    assert (done.returncode, done.stdout) == (0, "a\n"), done.stderr
    done = mount(mountpoint, f"s3://{filled}", environment=environment, options=endpoint)
    assert (done.returncode, os.listdir(mountpoint)) == (0, ["a"]), done.stderr
    # An alias goes before a directory here, and never silently before an endpoint.
    done = s3zipfs("ls", filled, *endpoint, environment=environment)
    assert_one_line(done, f"{filled} is an alias of mc", f"s3://{filled}", code=2)
    done = mount(tmp_path / "other", filled, environment=environment, options=endpoint)
    assert_one_line(done, f"{filled} is an alias of mc", f"s3://{filled}", code=2)
    done = s3zipfs("ls", filled, environment=environment)
    assert_one_line(done, "http://127.0.0.1:9: connection refused", code=1)
    (tmp_path / filled).mkdir()
    (tmp_path / filled / "file").touch()
    done = s3zipfs("ls", str(tmp_path / filled), environment=environment)
    assert (done.returncode, done.stdout) == (0, "file\n"), done.stderr


@pytest.mark.parametrize(
    ("where", "alias", "rest"),
    [
        ("known/bucket/key", "known", "bucket/key"),
        ("known", "known", ""),
        ("known/", "known", ""),
        ("of-variable_1/b", "of-variable_1", "b"),
        ("unknown/bucket", None, "unknown/bucket"),
        ("s3://known/key", None, "s3://known/key"),
        ("./known/key", None, "./known/key"),
        ("/known/key", None, "/known/key"),
        ("", None, ""),
    ],
)
def test_what_is_an_alias(
    where: str, alias: str | None, rest: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_config(tmp_path / "mc", known={"url": "http://127.0.0.1:9"})
    monkeypatch.setenv("MC_CONFIG_DIR", folder["MC_CONFIG_DIR"])
    monkeypatch.setenv("MC_HOST_of-variable_1", "http://127.0.0.1:9")
    assert split_alias(where) == (alias, rest)


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("https://AK:SK@h:9000", Alias("v", "https://h:9000", "AK", "SK")),
        ("https://AK:SK:TOKEN==@h", Alias("v", "https://h", "AK", "SK", "TOKEN==")),
        ("http://AK:s/e+c@ret@h", Alias("v", "http://h", "AK", "s/e+c@ret")),
        ("https://h/", Alias("v", "https://h")),
        ("https://AK:SK@s3.amazonaws.com", Alias("v", None, "AK", "SK")),
    ],
)
def test_what_a_variable_of_mc_says(
    given: str, found: Alias, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MC_HOST_v", given)
    assert find_alias("v") == found
    assert "SK" not in repr(found)


@pytest.mark.parametrize("given", [f"AK:{CANARY}@h", f"https://{CANARY}@h", "", "ftp://a:b@h"])
def test_a_variable_that_says_something_else_is_a_settings_error_that_quotes_nothing(
    given: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MC_HOST_v", given)
    with pytest.raises(SettingsError, match="MC_HOST_v") as raised:
        find_alias("v")
    assert CANARY not in str(raised.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{}", "no such alias"),
        ("[]", "no such alias"),
        ("{", "is no JSON"),
        ('{"aliases": {"v": {"url": "h"}}}', "mc_alias: v: has no URL"),
        ('{"aliases": {"v": {"url": "https://a:b@h"}}}', "mc_alias: v: has no URL"),
        ('{"aliases": {"v": {"url": "https://h:99999"}}}', "mc_alias: v: has no URL"),
        ('{"aliases": {"v": {"url": "https://h", "api": "S3v2"}}}', "signature version 2"),
    ],
)
def test_a_configuration_of_mc_that_is_of_no_use_is_a_settings_error(
    text: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config.json").write_text(text)
    monkeypatch.setenv("MC_CONFIG_DIR", str(tmp_path))
    with pytest.raises(SettingsError, match=words):
        find_alias("v")
