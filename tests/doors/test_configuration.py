"""Settings from files, environment, options and words: each wrong one gets its one clear line."""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import click
import pytest
from click.testing import CliRunner
from commands import keys_of, s3zipfs
from mounting import mounted_type
from s3server import S3Server

from s3zipfs.cli.errors import code_of, line_of
from s3zipfs.cli.main import cli
from s3zipfs.errors import SettingsError
from s3zipfs.settings import files, load, parse_words

USAGE = 2
SECRET = "hush-hush"


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Path, Path]]:
    """The system's and the user's folder of settings files, the current directory beside them."""
    before = set(os.environ)
    system, user = tmp_path / "etc", tmp_path / "home" / "s3zipfs"
    system.mkdir()
    user.mkdir(parents=True)
    monkeypatch.setattr(files, "SYSTEM_FOLDER", system)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(user.parent))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "MNT").mkdir()
    (tmp_path / "FULL").mkdir()
    (tmp_path / "FULL" / "file").touch()
    yield system, user
    for name in set(os.environ) - before:  # of env files
        del os.environ[name]


def write(path: Path, text: str, mode: int = 0o600) -> Path:
    path.touch()
    path.chmod(mode)
    path.write_text(text)
    return path


def run(*arguments: str) -> tuple[int, str]:
    """Exit code, and the line that `main` would print."""
    try:
        code = cli.main(list(arguments), prog_name="s3zipfs", standalone_mode=False)
    except (click.ClickException, Exception) as error:  # noqa: BLE001 - as main does
        return code_of(error), line_of(error)
    return code if isinstance(code, int) else 0, ""


# --- what is wrong ------------------------------------------------------------------------------


class Wrong(NamedTuple):
    """Where a wrong setting stands, and its line. {F}: the file lab.toml; {D}: its folder."""

    line: str
    toml: str | None = None
    options: tuple[str, ...] = ()
    environment: dict[str, str] = {}  # noqa: RUF012 - never changed
    mode: int = 0o600


SIZE = "is not a size; give bytes or a unit, as in 256M or 1GiB"
NO_SECRET = "no secret goes on a command line; give a profile, a settings file or an env file"
IN_FILES = [
    Wrong("{F}:1: endpoint-ulr: no such setting; did you mean endpoint_url?",
          'endpoint-ulr = "http://a"'),
    Wrong("{F}:1: endpoint-url: no such setting; did you mean endpoint_url?",
          'endpoint-url = "http://a"'),
    Wrong("{F}:3: tll: no such setting; did you mean ttl?", "# a comment\n\ntll = 5\n"),
    Wrong("{F}:4: whatever: no such setting", 'archive = [\n"*.a"\n]\nwhatever = 1\n'),
    Wrong("{F}:2: s3zipfs: no such setting", "ttl = 1\n[s3zipfs]\nttl = 5\n"),
    Wrong("{F}:1: ttl: should be a number, not 'soon'", 'ttl = "soon"'),
    Wrong("{F}:1: ttl: should be greater than or equal to 0, not -1", "ttl = -1"),
    Wrong("{F}:1: timeout: should be greater than 0, not 0", "timeout = 0"),
    Wrong("{F}:1: ttl: should be a number, not [1]", "ttl = [1]"),
    Wrong("{F}:1: max_requests: should be a whole number, not 1.5", "max_requests = 1.5"),
    Wrong("{F}:1: max_requests: should be less than or equal to 512, not 1000",
          "max_requests = 1000"),
    Wrong("{F}:1: anonymous: should be true or false, not 'perhaps'", 'anonymous = "perhaps"'),
    Wrong(f"{{F}}:1: memory: 'plenty' {SIZE}", 'memory = "plenty"'),
    Wrong("{F}:1: memory: should be greater than or equal to 33554432, not 1048576",
          'memory = "1M"'),
    Wrong("{F}:1: cache_size: 1048576 bytes are too few; give 0, or at least 64M",
          'cache_size = "1M"'),
    Wrong("{F}:1: single_root: should be 'keep' or 'unwrap', not 'away'", 'single_root = "away"'),
    Wrong("{F}:1: log_format: should be 'text' or 'json', not 'xml'", 'log_format = "xml"'),
    Wrong("{F}:1: archive: should be a list, not 5", "archive = 5"),
    Wrong("{F}:1: endpoint_url: should be text, not 9000", "endpoint_url = 9000"),
    Wrong("{F}:1: endpoint_url: 'minio:9000' is no URL like https://minio.example.org:9000",
          'endpoint_url = "minio:9000"'),
    Wrong("{F}:1: endpoint_url: holds a user name or password; keys have own settings",
          f'endpoint_url = "http://me:{SECRET}@minio:9000"'),
    Wrong("{F}:1: endpoint_url: holds a user name or password; keys have own settings",
          f'endpoint_url = "http://me:{SECRET}@minio:90000"  # no port either'),
    Wrong("{F}:1: credential_command: should be text", f'credential_command = ["{SECRET}"]'),
    Wrong("{F}:1: timeout: should be a finite number, not inf", "timeout = inf"),
    Wrong("{F}:1: ca_bundle: is empty; give a path", 'ca_bundle = ""'),
    Wrong("{F}:1: cache_dir: '~no-such-user/x': there is no such home",
          'cache_dir = "~no-such-user/x"'),
    Wrong("{F}:3: source: ca_bundle: '~no-such-user/x': there is no such home",
          '[[source]]\nurl = "s3://a"\nca_bundle = "~no-such-user/x"'),
    Wrong("{F}:1: ca_bundle: {D}/no.crt: No such file or directory", 'ca_bundle = "no.crt"'),
    Wrong("{F}:1: secret_key_file: should be a path, not 5", "secret_key_file = 5"),
    Wrong("{F}:1: secret_key: should be text", f'secret_key = ["{SECRET}"]'),
    Wrong("{F}:2: secret_key: a secret in a file that everybody can read; chmod 600 {F}",
          f'ttl = 5\nsecret_key = "{SECRET}"', mode=0o644),
    Wrong("{F}:3: secret_key: a secret in a file that everybody can read; chmod 600 {F}",
          f'[[source]]\nurl = "s3://a"\nsecret_key = "{SECRET}"', mode=0o604),
    Wrong("{F}: everybody can write it; chmod o-w {F}", "ttl = 5", mode=0o602),
    Wrong("{F}:1: Invalid value", "ttl = = 5"),
    Wrong("{F}:2: Cannot overwrite a value", "ttl = 5\nttl = 6\nmemory = '1G'\n"),
    Wrong("{F}:2: Unterminated string", 'ttl = 5\nregion = "eu'),
    Wrong("{F}:4: source: profil: no such setting; did you mean profile?",
          '[[source]]\nurl = "s3://a"\n\nprofil = "b"\n'),
    Wrong("{F}:4: source: url: is missing",
          '[[source]]\nurl = "s3://a"\n\n[[source]]\nname = "b"\n'),
    Wrong("{F}:4: source: ttl: no such setting", '[[source]]\nurl = "s3://a"\n\nttl = 5\n'),
    Wrong("{F}:5: source: name: 'a/b' is no name of a directory",
          '[[source]]\nurl = "s3://a"\n[[source]]\nurl = "s3://b"\nname = "a/b"\n'),
    Wrong("{F}:1: source: secret-key: no such setting; did you mean secret_key?",
          f'sources = [{{ url = "s3://a", secret-key = "{SECRET}" }}]'),
    Wrong("{F}:2: nowhere: no such setting", "ttl = 5\n[nowhere.deeper]\nttl = 5\n"),
    Wrong("{F}:1: source: write [[source]], for each one", '[source]\nurl = "s3://a"\n'),
    Wrong("{F}:1: sources: give these or [[source]], not both",
          'sources = ["s3://a"]\n[[source]]\nurl = "s3://b"\n'),
    Wrong("{F}:2: source: url: gs://a: a source is s3://bucket or s3://bucket/prefix",
          '[[source]]\nurl = "gs://a"\n'),
    Wrong("{F}:1: source: url: holds a user name or password; keys have own settings",
          f'sources = ["s3://me:{SECRET}@a/b"]'),
    Wrong("s3://a/: given twice", 'sources = ["s3://a", "s3://a/"]'),
    Wrong("{F}:1: encoding: expected a text encoding, found 'klingon'", 'encoding = "klingon"'),
]  # fmt: skip
ELSEWHERE = [
    Wrong("S3ZIPFS_TTL: should be a number, not 'soon'", environment={"S3ZIPFS_TTL": "soon"}),
    Wrong("S3ZIPFS_ENDPIONT_URL: no such setting; did you mean S3ZIPFS_ENDPOINT_URL?",
          environment={"S3ZIPFS_ENDPIONT_URL": "http://a"}),
    Wrong("ENDPOINT_FULL: 'minio' is no URL like https://minio.example.org:9000",
          environment={"ENDPOINT_FULL": "minio"}),
    Wrong(f"S3ZIPFS_MEMORY: 'much' {SIZE}", environment={"S3ZIPFS_MEMORY": "much"}),
    Wrong("S3ZIPFS_ANONYMOUS: should be true or false, not 'si'",
          environment={"S3ZIPFS_ANONYMOUS": "si"}),
    Wrong("--ttl: should be a number, not 'soon'", options=("--ttl", "soon")),
    Wrong("--timeout: should be greater than 0, not '0'", options=("--timeout", "0")),
    Wrong(f"--memory: 'plenty' {SIZE}", options=("--memory", "plenty")),
    Wrong("--single-root: should be 'keep' or 'unwrap', not 'x'", options=("--single-root", "x")),
    Wrong("--endpoint-url: 'minio:9000' is no URL like https://minio.example.org:9000",
          options=("--endpoint-url", "minio:9000")),
    Wrong("--ca-bundle: is empty; give a path", options=("--ca-bundle", "")),
    Wrong("S3ZIPFS_CACHE_DIR: '~no-such-user/x': there is no such home",
          environment={"S3ZIPFS_CACHE_DIR": "~no-such-user/x"}),
    Wrong("--config ~no-such-user/x.toml: no file ~no-such-user/x.toml",
          options=("--config", "~no-such-user/x.toml")),
    Wrong("No such option '--tll'. Did you mean '--ttl'?; see s3zipfs mount --help",
          options=("--tll", "5")),
    Wrong("--config nowhere: no file {E}/nowhere.toml or {U}/nowhere.toml",
          options=("--config", "nowhere")),
    Wrong("--config a/b: neither a name of letters and digits nor a path ending in .toml",
          options=("--config", "a/b")),
    Wrong("--config {D}/no.toml: no file {D}/no.toml", options=("--config", "{D}/no.toml")),
    Wrong("env file {D}/no.env: [Errno 2] No such file or directory: '{D}/no.env'",
          options=("--env-file", "{D}/no.env")),
    Wrong("SOURCE: gs://a: a source is s3://bucket or s3://bucket/prefix",
          options=("gs://a", "MNT")),
    Wrong("SOURCE: s3:///x: no bucket in it; a source is s3://bucket/prefix",
          options=("s3:///x", "MNT")),
    Wrong("s3://a is a source; the mountpoint comes last; see s3zipfs mount --help",
          options=("s3://a",)),
    Wrong("Missing argument 'MOUNTPOINT'; see s3zipfs mount --help"),
    Wrong("MOUNTPOINT: is empty; give a path", options=("s3://a", "")),
]  # fmt: skip
WORDS = [
    ("-o rw: the mount is read-only", "rw"),
    ("-o suid: nothing on the mount is ever setuid", "ro,suid"),
    ("-o dev: there are no devices on the mount", "dev"),
    ("-o tll: no such setting; did you mean ttl?", "tll=5"),
    ("-o allow_root: no such setting; did you mean allow_other?", "allow_root"),
    ("-o endpoint-ulr: no such setting; did you mean endpoint_url?", "endpoint-ulr=http://a"),
    ("-o sources: no such setting", "sources=s3://a"),
    ("-o ttl: should be a number, not 'soon'", "_netdev,ttl=soon"),
    ("-o ttl: needs a value, as in ttl=…", "ttl"),
    ("-o config: needs a value, as in config=…", "config"),
    ("-o env-file: needs a value, as in env-file=…", "env-file="),
    (f"-o secret_key: {NO_SECRET}", f"secret_key={SECRET}"),
    (f"-o access-key: {NO_SECRET}", f"access-key={SECRET}"),
    (f"-o memory: 'x' {SIZE}", "memory=x"),
    ("-o anonymous: should be true or false, not 'maybe'", "anonymous=maybe"),
    ("-o cache_dir: '~no-such-user/x': there is no such home", "cache_dir=~no-such-user/x"),
]


def in_full(text: str, folders: tuple[Path, Path]) -> str:
    system, user = folders
    names = {"{F}": user / "lab.toml", "{D}": user, "{E}": system, "{U}": user}
    for name, path in names.items():
        text = text.replace(name, str(path))
    return text


@pytest.mark.parametrize("wrong", IN_FILES, ids=lambda wrong: wrong.line[:40])
def test_a_wrong_file_is_told_with_its_line(
    folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str], wrong: Wrong
) -> None:
    assert wrong.toml is not None
    write(folders[1] / "lab.toml", wrong.toml, wrong.mode)
    expected = in_full(wrong.line, folders)
    assert run("config", "check", "lab") == (1, "")
    told = capsys.readouterr()
    assert told.err == f"s3zipfs: {expected}\n"
    assert SECRET not in told.out


@pytest.mark.parametrize("wrong", ELSEWHERE, ids=lambda wrong: wrong.line[:40])
def test_a_wrong_variable_option_or_argument_is_called_by_its_name(
    folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, wrong: Wrong
) -> None:
    for name, value in wrong.environment.items():
        monkeypatch.setenv(name, value)
    options = [in_full(option, folders) for option in wrong.options]
    if wrong.environment:
        options += ["s3://lab", "MNT"]
    code, line = run("mount", *options)
    assert line == in_full(wrong.line, folders)
    assert code == USAGE


@pytest.mark.parametrize(("line", "words"), WORDS)
def test_a_wrong_word_is_called_by_its_name(line: str, words: str) -> None:
    assert run("mount", "s3://lab", "MNT", "-o", words) == (USAGE, line)
    assert SECRET not in line


def test_the_table_has_more_than_forty_rows() -> None:
    lines = {*(wrong.line for wrong in [*IN_FILES, *ELSEWHERE]), *(line for line, _ in WORDS)}
    assert len(lines) > 70


def test_a_wrong_setting_is_one_line_of_the_real_program(folders: tuple[Path, Path]) -> None:
    write(folders[1] / "lab.toml", "\nendpoint-ulr = 'http://a'\n")
    done = s3zipfs("mount", "--config", "lab", "MNT")
    place = f"{folders[1] / 'lab.toml'}:2"
    line = f"s3zipfs: {place}: endpoint-ulr: no such setting; did you mean endpoint_url?\n"
    assert (done.returncode, done.stdout, done.stderr) == (USAGE, "", line)


# --- what is right ------------------------------------------------------------------------------


def test_the_later_place_wins(
    folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    system, user = folders
    write(system / "lab.toml", "ttl = 1\ntimeout = 1\nretry = 1\nmax_requests = 1\nregion = 'a'\n")
    write(user / "lab.toml", "ttl = 2\ntimeout = 2\nretry = 2\nmax_requests = 2\n")
    write(tmp_path / "env", "S3ZIPFS_TTL=3\nS3ZIPFS_TIMEOUT=3\nS3ZIPFS_RETRY=3\n")
    monkeypatch.setenv("S3ZIPFS_RETRY", "4")  # a variable that is set stays
    options = ("--ttl", "5", "--timeout", "5", "-o", "env_file=env,ttl=6")
    shown = show("lab", *options)
    found = {name: (each["value"], each["from"]) for name, each in shown["settings"].items()}
    assert found["ttl"] == (6.0, "-o ttl")
    assert found["timeout"] == (5.0, "--timeout")
    assert found["retry"] == (4.0, "S3ZIPFS_RETRY")
    assert found["max_requests"] == (2, f"{user}/lab.toml:4")
    assert found["region"] == ("a", f"{system}/lab.toml:5")
    assert found["immutable"] == (False, "default")
    assert shown["files"] == [f"{system}/lab.toml", f"{user}/lab.toml"]


def show(*arguments: str) -> dict[str, Any]:
    """What `config show --json` prints."""
    result = CliRunner().invoke(cli, ["config", "show", "--json", *arguments])
    assert result.exception is None, result.exception
    told: dict[str, Any] = json.loads(result.stdout)
    return told


def test_what_is_shown_may_be_a_settings_file_and_masks_secrets(
    folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(
        folders[1] / "lab.toml",
        "archive = [  # a list\n  '*.a',\n\n  '*.\"b\\é']\r\n"
        f"ca_bundle = 'ca.crt'\nmemory = '1G'\nsecret_key = '{SECRET}'\n"
        f"[[source]]\nurl = 's3://a'\n[[source]] # two\n\nurl = 's3://b/c'\nname = 'd'\n"
        f"session_token = '{SECRET}'\ncredential_command = '/bin/keys --token {SECRET}'\n",
    )
    monkeypatch.setenv("S3ZIPFS_ACCESS_KEY", SECRET)
    result = CliRunner().invoke(cli, ["config", "show", "lab"])
    assert SECRET not in result.output
    shown = tomllib.loads(result.stdout)
    assert shown["archive"] == ["*.a", '*."b\\é']
    assert shown["ca_bundle"] == str(folders[1] / "ca.crt"), "counted from the file's folder"
    assert shown["memory"] == 1 << 30
    assert shown["source"][0] == {"url": "s3://a"}
    assert shown["source"][1] == {
        "url": "s3://b/c",
        "name": "d",
        "session_token": "********",
        "credential_command": "/bin/keys ********",
    }
    lines = result.stdout.splitlines()
    assert f'secret_key = "********"  # {path}:7' in lines
    assert 'access_key = "********"  # S3ZIPFS_ACCESS_KEY' in lines
    assert f'name = "d"  # {path}:13' in lines
    assert "ttl = 30.0  # default" in lines
    told = show("lab")
    assert told["sources"][1]["url"] == {"value": "s3://b/c", "from": f"{path}:12"}
    assert SECRET not in json.dumps(told)


def test_what_is_shown_means_the_same_as_a_settings_file(folders: tuple[Path, Path]) -> None:
    path = write(
        folders[1] / "lab.toml",
        "umask = '027'\nfile_mode = '040'\ndir_mode = '550'\nuid = 5\ncache_dir = 'none'\n"
        "sources = ['s3://a', { url = 's3://b', name = 'c', ca_bundle = 'ca.crt' }]\n",
    )
    given = load("lab").settings
    assert given.sources[1].ca_bundle == path.parent / "ca.crt", "counted from the file's folder"
    shown = CliRunner().invoke(cli, ["config", "show", "lab"]).stdout
    write(path, shown)
    assert load("lab").settings.model_dump() == given.model_dump()


def test_a_cache_that_nobody_asked_for_is_no_setting_of_what_is_shown(
    folders: tuple[Path, Path],
) -> None:
    path = write(folders[1] / "lab.toml", "ttl = 5\n")
    shown = CliRunner().invoke(cli, ["config", "show", "lab"]).stdout
    write(path, shown)
    assert load("lab").settings.block_cache_size == 0


def test_check_without_a_name_checks_all(
    folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    system, user = folders
    write(system / "a.toml", "ttl = 5\n")
    write(user / "a.toml", "ttl = 6\n")
    write(user / "b.toml", "tll = 6\n")
    assert run("config", "check") == (1, "")
    told = capsys.readouterr()
    assert told.out == f"a: {system}/a.toml, {user}/a.toml: ok\n"
    assert told.err == f"s3zipfs: {user}/b.toml:1: tll: no such setting; did you mean ttl?\n"
    assert run("config", "check", "--json", str(user / "a.toml")) == (0, "")
    told = capsys.readouterr()
    path = str(user / "a.toml")
    assert json.loads(told.out) == {"name": path, "files": [path], "error": None}


def test_variables_that_are_of_others_are_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    before = load().settings
    for name in ("VERSION", "PORT", "SERVICE_HOST", "IMAGE", "MOUNT"):
        monkeypatch.setenv(f"S3ZIPFS_{name}", "1")
    assert load().settings == before


def test_words_of_fstab_that_are_others_are_passed_over() -> None:
    words = parse_words(
        [
            "defaults,noauto,_netdev,nofail,user=me,ro,nosuid,nodev,relatime,comment=x\\,y",
            "x-systemd.automount,x-systemd.idle-timeout=1min,X-mount.mkdir,,default_permissions",
        ]
    )
    assert not words.given


def test_words_have_names_with_either_dash_and_values_with_commas(tmp_path: Path) -> None:
    words = parse_words(
        [
            "endpoint-url=http://a,allow_other,no-verify-tls,noexec,archive=*.a,archive=*.b *.c",
            r"credential_command=a\,b\\c,ca_bundle=ca.crt",
            "ttl=1",
            "ttl=2,strip_suffix=no",
        ]
    )
    assert {name: given.value for name, given in words.given.items()} == {
        "endpoint_url": "http://a",
        "allow_other": True,
        "verify_tls": False,
        "exec": False,
        "archive": "*.a *.b *.c",
        "credential_command": r"a,b\c",
        "ca_bundle": tmp_path / "ca.crt",
        "ttl": "2",
        "strip_suffix": "no",
    }
    settings = load(words=words).settings
    assert settings.archive == ("*.a", "*.b", "*.c")
    assert (settings.allow_other, settings.verify_tls, settings.strip_suffix) == (
        True,
        False,
        False,
    )


def test_a_settings_file_among_the_words_is_the_same_in_every_directory(tmp_path: Path) -> None:
    assert parse_words(["config=lab.toml"]).config == str(tmp_path / "lab.toml")
    assert parse_words(["config=lab"]).config == "lab"


def test_a_variable_of_an_env_file_is_never_away_while_the_file_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / ".env", "STORAGE_SECRET_KEY=old\nS3ZIPFS_TTL=5\n")
    load(env_file=path)
    removed: list[bytes] = []
    unset = os.unsetenv

    def remove(name: bytes) -> None:
        removed.append(name)
        unset(name)

    monkeypatch.setattr(os, "unsetenv", remove)
    write(path, "STORAGE_SECRET_KEY=new\n")
    load(env_file=path)
    assert os.environ["STORAGE_SECRET_KEY"] == "new"
    assert removed == [b"S3ZIPFS_TTL"]


@pytest.mark.parametrize(
    ("text", "name"),
    [("S3ZIPFS_TTL=7\nSTORAGE_SECRET_KEY=a\0b\n", "STORAGE_SECRET_KEY"), ("'a=b'=c\n", "a=b")],
    ids=["NUL", "="],
)
def test_an_env_file_that_no_environment_can_hold_is_refused_before_it_changes_anything(
    tmp_path: Path, text: str, name: str
) -> None:
    path = write(tmp_path / ".env", "S3ZIPFS_TTL=5\n")
    load(env_file=path)
    write(path, text)
    with pytest.raises(SettingsError) as refused:
        load(env_file=path)
    assert str(refused.value) == f"env file {path}: {name!r}: no environment can hold this line"
    assert os.environ["S3ZIPFS_TTL"] == "5"


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644])
def test_an_env_file_whose_secrets_others_can_read_is_warned_of(tmp_path: Path, mode: int) -> None:
    path = write(tmp_path / ".env", f"STORAGE_SECRET_KEY={SECRET}\nS3ZIPFS_TTL=5\n", mode)
    loaded = load(env_file=path)
    who = {0o644: "everybody"}.get(mode) or ("its group" if mode & 0o40 and os.getuid() else None)
    told = f"env file {path}: {who} can read the secrets in it; chmod 600 {path}"
    assert loaded.warnings == ((told,) if who else ())
    assert loaded.places["ttl"] == f"S3ZIPFS_TTL ({path})"


@pytest.mark.parametrize("named_by", ["--endpoint-url", "AWS_ENDPOINT_URL"])
def test_an_endpoint_may_be_written_in_capitals(
    s3server: S3Server, filled: str, named_by: str
) -> None:
    url = s3server.endpoint.replace("127.0.0.1", "LocalHost")
    option = [named_by, url] if named_by.startswith("-") else []
    done = s3zipfs(
        "ls", f"s3://{filled}", *option, environment={**keys_of(s3server), named_by: url}
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_a_mount_by_its_name_has_sources_and_mountpoint_from_its_file(
    s3server: S3Server, filled: str, folders: tuple[Path, Path], mountpoint: Path
) -> None:
    text = (
        f"endpoint_url = '{s3server.endpoint}'\nmountpoint = '{mountpoint}'\n"
        f"access_key = '{s3server.access_key}'\nsecret_key = '{s3server.secret_key}'\n"
        f"sources = ['s3://{filled}']\n"
    )
    write(folders[1] / "lab.toml", text)
    log = {"XDG_STATE_HOME": str(mountpoint.parent / "state")}
    done = s3zipfs("mount", "--config", "lab", "-o", "noexec,_netdev", environment=log)
    assert (done.stderr, done.stdout, done.returncode) == ("", "", 0)
    assert mounted_type(mountpoint) == "fuse.s3zipfs"
    table = Path("/proc/self/mounts").read_text().splitlines()
    (options,) = [line.split()[3] for line in table if line.split()[1] == str(mountpoint)]
    assert {"ro", "nosuid", "nodev", "noexec"} <= set(options.split(","))
    assert (mountpoint / "plain.txt").read_text() == "plain\n"
    assert s3zipfs("umount", str(mountpoint)).returncode == 0
    done = s3zipfs("ls", "--config", "lab", f"s3://{filled}")
    assert done.stdout == "plain.txt\nx.zip\n"
