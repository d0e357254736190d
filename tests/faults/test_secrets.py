"""Whichever way the keys are given and whatever fails: nobody is shown the secret or the token."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from certificates import write_certificates
from commands import daemon_of, s3zipfs
from fakes3 import Answer
from faults.cases import Case, next_case
from faults.px import Proxy, everything, silent
from faults.reading import failure, healed, opened
from faults.roles import Role, assume_role
from mounting import Mount, wait_until
from s3server import S3Server, ServerError

from s3zipfs import S3ZipFileSystem
from s3zipfs.errors import SettingsError
from s3zipfs.settings import load_settings
from s3zipfs.stores.s3.connection import Connection

pytestmark = pytest.mark.timeout(300)

TIMEOUT = "3"
SECONDS = 60.0
CANARY = "canary/Zm9yYmlkZGVu+c2VjcmV0"  # a secret with what URLs and XML escape
WRONG = Role("AKIAWRONG", CANARY, f"token-{CANARY}")


@dataclass(frozen=True)
class Given:
    """One way to give the keys: to a program that knows of no others."""

    options: tuple[str, ...]
    environment: dict[str, str]


WAYS = (
    "environment", "env file", "settings file", "credentials file", "own names", "key files",
    "command", "alias of mc",
)  # fmt: skip


def given(way: str, role: Role, folder: Path, *, endpoint: str = "http://127.0.0.1:9") -> Given:
    """The keys, that way."""
    file = folder / way.replace(" ", "-")
    match way:
        case "environment":
            return Given((), role.variables)
        case "own names":
            keys = {"S3ZIPFS_ACCESS_KEY": role.access_key, "S3ZIPFS_SECRET_KEY": role.secret_key}
            return Given((), keys)
        case "env file":
            lines = [f"{name}='{value}'\n" for name, value in role.variables.items()]
            file.write_text("".join(lines))
            return Given(("--env-file", str(file)), {})
        case "settings file":
            file = folder / "own.toml"
            file.touch(mode=0o600)
            names = ("access_key", "secret_key", "session_token")
            values = (role.access_key, role.secret_key, role.token)
            file.write_text("".join(f"{n} = '{v}'\n" for n, v in zip(names, values, strict=True)))
            return Given(("--config", str(file)), {})
        case "key files":
            return Given(tuple(_key_files(role, folder)), {})
        case "command":
            told = {"AccessKeyId": role.access_key, "SecretAccessKey": role.secret_key}
            file.write_text(json.dumps({"Version": 1, **told, "SessionToken": role.token}))
            return Given(("--credential-command", f"cat {file}"), {})
        case "alias of mc":
            keys = {"accessKey": role.access_key, "secretKey": role.secret_key}
            alias = {"url": endpoint, **keys, "sessionToken": role.token, "api": "s3v4"}
            (folder / "config.json").write_text(json.dumps({"aliases": {"myminio": alias}}))
            return Given(("--mc-alias", "myminio"), {"MC_CONFIG_DIR": str(folder)})
        case _:
            role.write(file)
            return Given((), {"AWS_SHARED_CREDENTIALS_FILE": str(file)})


def _key_files(role: Role, folder: Path) -> Iterator[str]:
    for name, text in (
        ("access-key", role.access_key),
        ("secret-key", role.secret_key),
        ("session-token", role.token),
    ):
        (folder / name).write_text(text)
        yield f"--{name}-file={folder / name}"


def assert_not_in(told: bytes, role: Role, where: object) -> None:
    """Neither secret nor token, as they are or as in a URL."""
    for secret in (role.secret_key, role.token):
        for form in (secret, quote(secret, safe=""), quote(secret)):
            assert form.encode() not in told, f"a secret is in {where}"


def assert_not_below(folder: Path, role: Role) -> int:
    """In no file; how many there are."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    for path in files:
        assert_not_in(path.read_bytes(), role, path)
        assert_not_in(os.fsencode(path), role, path)
    return len(files)


def quoting(role: Role) -> Answer:
    """A refusal as AWS has it, which quotes what was sent."""
    body = (
        "<?xml version='1.0'?><Error><Code>InvalidToken</Code><Message>The provided token is "
        f"malformed or otherwise invalid.</Message><Token-0>{role.token}</Token-0>"
        f"<CanonicalRequest>x-amz-security-token:{role.token}</CanonicalRequest></Error>"
    )
    return Answer(403, body.encode(), {"Content-Type": "application/xml"})


@pytest.fixture
def role(s3server: S3Server) -> Role:
    return assume_role(s3server)


@dataclass(frozen=True)
class Mounted:
    """A mount that was given keys one way."""

    mount: Mount
    cache: Path

    def tells_nothing_of(self, role: Role) -> None:
        log = self.mount.log.read_bytes()
        assert b"DEBUG" in log or b"WARNING" in log, "nothing was logged at all"
        assert_not_in(log, role, "the log")
        line = Path(f"/proc/{self.mount.process.pid}/cmdline").read_bytes()
        assert b"--foreground" in line
        assert_not_in(line, role, "the command line")


@pytest.fixture(params=[way for way in WAYS if way != "own names"])  # those have no token
def mounted(
    request: pytest.FixtureRequest, px: Proxy, faults_bucket: str, role: Role, tmp_path: Path
) -> Iterator[Mounted]:
    keys = given(request.param, role, tmp_path, endpoint=px.endpoint)
    cache = tmp_path / "cache"
    options = ("--verbose", "--timeout", TIMEOUT, "--cache-dir", str(cache), *keys.options)
    options += ("--log-format", "json") if request.param == "env file" else ()
    # Those that `Mount` sets would come first.
    unset = [
        word for name in role.variables if name not in keys.environment for word in ("-u", name)
    ]
    with Mount(
        tmp_path / "mnt",
        px.server,
        [f"s3://{faults_bucket}"],
        *options,
        prefix=["env", *unset, "prlimit", "--core=unlimited"],
        environment=keys.environment,
    ) as running:
        yield Mounted(running, cache)


def test_a_mount_shows_no_secret_whatever_fails(
    px: Proxy, mounted: Mounted, role: Role, numbers: Iterator[int]
) -> None:
    case = opened(next_case(mounted.mount.path, numbers))
    for lie in (
        lambda _: quoting(role),
        px.refusing(403, "AccessDenied"),
        px.refusing(500, "Why"),
    ):
        px.tell(lie, everything)
        another = next_case(mounted.mount.path, numbers)
        assert failure(lambda at=another: os.listdir(at.archive))  # type: ignore[misc]
        assert failure((case.archive / "deflated").read_bytes)
    px.honest()
    hang_up(mounted.mount)
    healed(case)
    wait_until(lambda: list(mounted.cache.rglob("*")), seconds=SECONDS, what="files on disk")
    mounted.tells_nothing_of(role)
    mounted.mount.process.send_signal(signal.SIGTERM)
    assert mounted.mount.process.wait(SECONDS) == 0
    assert assert_not_below(mounted.cache, role) > 0
    assert_not_in(mounted.mount.log.read_bytes(), role, "the log")


def hang_up(mount: Mount) -> None:
    before = len(mount.log.read_text())
    mount.process.send_signal(signal.SIGHUP)
    wait_until(
        lambda: "credentials" in mount.log.read_text()[before:], seconds=SECONDS, what="a reload"
    )


def test_a_mount_leaves_no_core(mounted: Mounted) -> None:
    assert_no_core(mounted.mount.process.pid)


@pytest.mark.parametrize("command", ["ls", "cat", "check"])
def test_a_command_leaves_no_core(px: Proxy, faults_bucket: str, command: str) -> None:
    px.tell(silent, everything)
    program = ["prlimit", "--core=unlimited", sys.executable, "-m", "s3zipfs", command]
    process = subprocess.Popen(
        [*program, f"s3://{faults_bucket}/x", "--endpoint-url", px.endpoint],
        env={**os.environ, **WRONG.variables},
        stderr=subprocess.DEVNULL,
    )
    try:
        assert px.silent.wait(SECONDS)  # it waits, with all that it was given
        assert_no_core(process.pid)
    finally:
        process.kill()
        process.wait()


def assert_no_core(pid: int) -> None:
    process = Path(f"/proc/{pid}")
    (line,) = [x for x in (process / "limits").read_text().splitlines() if "core file" in x]
    assert line.split()[4] == "0"
    # A program that cores are piped to gets one whatever the limit is (core(5)): one of no memory.
    assert int((process / "coredump_filter").read_text(), 16) == 0


def test_a_mount_in_the_background_has_an_env_files_secrets_from_the_file_alone(
    px: Proxy, faults_bucket: str, role: Role, tmp_path: Path
) -> None:
    option, file = given("env file", role, tmp_path).options
    Path(file).write_text(Path(file).read_text() + "S3ZIPFS_TTL=6\n")
    path, log = tmp_path / "mnt", tmp_path / "log"
    path.mkdir()
    words = ("mount", f"s3://{faults_bucket}", str(path), "--endpoint-url", px.endpoint)
    done = s3zipfs(*words, option, file, "--log-file", str(log))
    try:
        assert done.returncode == 0, done.stderr
        process = daemon_of(path)
        assert_not_in(Path(f"/proc/{process}/environ").read_bytes(), role, "the environment")
        assert os.listdir(path)
        Path(file).write_text(Path(file).read_text().replace("TTL=6", "TTL=7"))
        os.kill(process, signal.SIGHUP)
        wait_until(lambda: "--ttl 7" in log.read_text(), seconds=SECONDS, what="a reload")
        Path(file).write_text(Path(file).read_text().replace("TTL=7", "TTL=8"))
        os.kill(process, signal.SIGHUP)
        wait_until(lambda: "--ttl 8" in log.read_text(), seconds=SECONDS, what="another reload")
        assert_not_in(log.read_bytes(), role, "the log")
    finally:
        subprocess.run(["fusermount3", "-uz", str(path)], check=False)


def commands(bucket: str, case: Case) -> list[tuple[str, ...]]:
    url = f"s3://{bucket}/{case.key}"
    return [
        ("ls", "-l", "--json", url),
        ("check", "--json", "-v", url),
        ("cat", "-v", f"{url}/nothing-there"),
    ]


@pytest.mark.parametrize(("way", "is_wrong"), [*((way, False) for way in WAYS), (WAYS[0], True)])
def test_commands_print_no_secret(
    px: Proxy,
    faults_bucket: str,
    role: Role,
    numbers: Iterator[int],
    tmp_path: Path,
    way: str,
    is_wrong: bool,
) -> None:
    role = WRONG if is_wrong else role
    keys = given(way, role, tmp_path, endpoint=px.endpoint)
    case = next_case(tmp_path, numbers)
    codes = []
    for command, *words in commands(faults_bucket, case):
        done = s3zipfs(
            command,
            *words,
            "--endpoint-url",
            px.endpoint,
            *keys.options,
            environment=keys.environment,
        )
        codes.append(done.returncode)
        assert_not_in((done.stdout + done.stderr).encode(), role, command)
    fails = is_wrong or way == "own names"  # which have no token
    assert codes == ([1, 1, 1] if fails else [0, 0, 1])
    done = s3zipfs(
        "cache",
        "info",
        "--json",
        "--cache-dir",
        str(tmp_path / "cache"),
        environment=keys.environment,
    )
    assert done.returncode == 0
    assert_not_in((done.stdout + done.stderr).encode(), role, "cache info")


@pytest.mark.parametrize("is_wrong", [False, True])
@pytest.mark.parametrize("way", WAYS)
def test_doctor_prints_no_secret(
    px: Proxy, faults_bucket: str, role: Role, tmp_path: Path, way: str, is_wrong: bool
) -> None:
    role = WRONG if is_wrong else role
    keys = given(way, role, tmp_path, endpoint=px.endpoint)
    if is_wrong:
        px.tell(lambda _: quoting(role), everything)
    done = s3zipfs(
        "doctor",
        "--wait",
        "30",
        f"s3://{faults_bucket}",
        "--json",
        "--endpoint-url",
        px.endpoint,
        *keys.options,
        environment={**keys.environment, "HOME": str(tmp_path)},
    )
    fails = is_wrong or way == "own names"  # which have no token
    assert ("can be listed" in done.stdout) != fails, done.stdout + done.stderr
    assert "found: " in done.stdout
    assert_not_in((done.stdout + done.stderr).encode(), role, "doctor")


@pytest.mark.parametrize("way", ["own names", "credentials file"])
def test_a_mount_that_fails_at_its_start_tells_no_secret(
    px: Proxy, faults_bucket: str, tmp_path: Path, way: str
) -> None:
    keys = given(way, WRONG, tmp_path)
    state, path = tmp_path / "state", tmp_path / "mnt"
    path.mkdir()
    environment = {**keys.environment, "XDG_STATE_HOME": str(state)}
    for endpoint in (px.endpoint, "http://127.0.0.1:9"):  # discard: nobody listens
        for more in ((), ("--foreground",)):
            done = s3zipfs(
                "mount",
                f"s3://{faults_bucket}",
                str(path),
                "--endpoint-url",
                endpoint,
                "-v",
                "--timeout",
                TIMEOUT,
                *keys.options,
                *more,
                environment=environment,
            )
            assert done.returncode == 1, done.stderr
            assert_not_in((done.stdout + done.stderr).encode(), WRONG, "what is printed")
    assert assert_not_below(state, WRONG) == 1


def test_no_secret_is_sent_or_told_where_a_certificate_is_not_trusted(tmp_path: Path) -> None:
    certificates = tmp_path / "theirs"
    certificates.mkdir()
    write_certificates(certificates)
    try:
        server = S3Server.start(certs_dir=certificates)
    except ServerError as no_tls:
        pytest.skip(str(no_tls))
    with server:
        done = s3zipfs(
            "ls",
            "-v",
            "s3://lab",
            "--endpoint-url",
            server.endpoint,
            "--timeout",
            TIMEOUT,
            environment=WRONG.variables,
        )
    assert done.returncode == 1
    assert "not trusted" in done.stderr
    assert_not_in((done.stdout + done.stderr).encode(), WRONG, "what is printed")


def test_nothing_that_is_made_of_a_secret_shows_it() -> None:
    settings = load_settings(access_key="AK", secret_key=CANARY, endpoint_url="http://127.0.0.1:9")
    filesystem = S3ZipFileSystem(key="AK", secret=CANARY, endpoint_url="http://127.0.0.1:9")
    shown = [settings.model_dump_json(), filesystem.fsid, str(hash(filesystem))]
    for each in (settings, filesystem, Connection(settings)):
        shown += [repr(each), str(each), f"{each}"]
    shown.append(filesystem.to_json(include_password=False))
    shown.append(str(filesystem.to_dict(include_password=False)))
    assert_not_in("\n".join(shown).encode(), WRONG, "a representation")


def test_a_pickle_has_the_secret_only_where_it_was_given_as_an_argument(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in WRONG.variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("STORAGE_ACCESS_KEY", "AK")
    monkeypatch.setenv("STORAGE_SECRET_KEY", CANARY)
    by_environment = S3ZipFileSystem(endpoint_url="http://127.0.0.1:9")
    assert_not_in(pickle.dumps(by_environment), WRONG, "a pickle")
    assert_not_in(by_environment.to_json().encode(), WRONG, "JSON")
    by_argument = S3ZipFileSystem(key="AK", secret=CANARY, endpoint_url="http://127.0.0.1:9")
    again = pickle.loads(pickle.dumps(by_argument))  # as documented
    assert again.storage_options["secret"] == CANARY


@pytest.mark.parametrize("wrong", [{"secret_key": [CANARY]}, {"secret_key": CANARY, "ttl": "x"}])
def test_an_error_of_settings_quotes_none_of_them(wrong: dict[str, Any]) -> None:
    with pytest.raises(SettingsError) as raised:
        load_settings(**wrong)
    assert_not_in("".join(traceback.format_exception(raised.value)).encode(), WRONG, "a traceback")
