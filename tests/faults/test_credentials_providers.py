"""Every place that keys can come from, read by both client libraries from a real MinIO."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from commands import assert_one_line, s3zipfs
from faults.httpstub import Headers, HttpStub
from faults.identityprovider import IdentityProvider
from faults.roles import Role, assume_role
from mounting import wait_until
from s3clients import make_s3client
from s3server import S3Server

from s3zipfs.errors import AccessDenied, S3ZipError, SettingsError
from s3zipfs.settings import load_settings
from s3zipfs.stores.network import Network
from s3zipfs.stores.s3 import S3Store
from s3zipfs.stores.s3 import credentials as credentials_module
from s3zipfs.stores.s3.connection import Connection

pytestmark = pytest.mark.timeout(300)

SECONDS = 60.0
DATA = b"0123456789"
KEYS = ("key", "odd\x01key")  # the second is read by the client, not by obstore
LATER = (dt.datetime.now(dt.UTC) + dt.timedelta(hours=6)).strftime("%Y-%m-%dT%H:%M:%SZ")
CANARY = "canary/c2VjcmV0"

Reads = Callable[..., str]


@pytest.fixture
def filled(s3client: Any, bucket: str) -> str:
    for key in KEYS:
        s3client.put_object(Bucket=bucket, Key=key, Body=DATA)
    return bucket


@pytest.fixture
def reads(s3server: S3Server, filled: str, network: Network) -> Reads:
    """Reads all by both client libraries; the provider that gave the keys, by botocore's name."""

    def run(server: S3Server = s3server, name: str = filled, **given: Any) -> str:
        store = S3Store(load_settings(endpoint_url=server.endpoint, timeout=20.0, **given))
        try:
            page = network.submit(store.list_page(name, "")).result(SECONDS)
            assert [info.id.key for info in page.objects] == list(KEYS)
            for info in page.objects:
                data = network.submit(store.get_range(info.id, 2, 5)).result(SECONDS)
                assert bytes(data) == DATA[2:5]
            held = network.submit(store._connection.session.get_credentials()).result(SECONDS)
            return str(held.method)
        finally:
            network.submit(store.close()).result(SECONDS)

    return run


def failure(network: Network, **given: Any) -> S3ZipError:
    """What a store without good keys answers; nothing is asked of the endpoint."""
    try:
        store = S3Store(load_settings(endpoint_url="http://127.0.0.1:9", **given))
    except S3ZipError as error:
        return error
    raised = network.submit(store.list_buckets()).exception(SECONDS)
    assert isinstance(raised, S3ZipError)
    return raised


@pytest.fixture
def role(s3server: S3Server) -> Role:
    if s3server.kind == "moto":
        pytest.skip("moto's server gives no roles")
    return assume_role(s3server)


@pytest.fixture
def stub() -> Iterator[HttpStub]:
    with HttpStub() as running:
        yield running


def configure(folder: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    (folder / "config").write_text(text)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(folder / "config"))


# --- by botocore --------------------------------------------------------------------------------


def test_a_role_that_a_profile_assumes(
    s3server: S3Server, reads: Reads, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, role: Role
) -> None:
    configure(
        tmp_path,
        monkeypatch,
        "[profile people]\n"
        f"aws_access_key_id = {s3server.access_key}\n"
        f"aws_secret_access_key = {s3server.secret_key}\n"
        "[profile reader]\nsource_profile = people\nregion = us-east-1\n"
        "role_arn = arn:aws:iam::123456789012:role/reader\n",
    )
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", s3server.endpoint)
    assert reads(profile="reader") == "assume-role"


def test_a_role_by_a_web_identity(
    reads: Reads, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        IdentityProvider() as provider,
        S3Server.start(own=True, environment=provider.variables) as server,
    ):
        if server.kind == "moto":
            pytest.skip("moto's server knows no identities")
        client = make_s3client(server)
        client.create_bucket(Bucket="lab")
        for key in KEYS:
            client.put_object(Bucket="lab", Key=key, Body=DATA)
        (tmp_path / "token").write_text(provider.token("readwrite"))
        monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "token"))
        monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/reader")
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", server.endpoint)
        monkeypatch.setenv("AWS_REGION", "us-east-1")
        assert reads(server, "lab") == "assume-role-with-web-identity"


def test_the_role_of_a_container(
    reads: Reads, role: Role, stub: HttpStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = {
        "AccessKeyId": role.access_key,
        "SecretAccessKey": role.secret_key,
        "Token": role.token,
        "Expiration": LATER,
    }

    def answer(headers: Headers) -> Any:
        return told if headers.get("authorization") == "of this container" else None

    stub.answers["GET", "/role"] = answer
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{stub.url}/role")
    monkeypatch.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", "of this container")
    assert reads() == "container-role"


def test_the_role_of_an_instance_where_it_is_asked_for(
    reads: Reads, role: Role, stub: HttpStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = {
        "Code": "Success",
        "Type": "AWS-HMAC",
        "AccessKeyId": role.access_key,
        "SecretAccessKey": role.secret_key,
        "Token": role.token,
        "Expiration": LATER,
        "LastUpdated": LATER,
    }
    roles = "/latest/meta-data/iam/security-credentials/"
    stub.answers = {
        ("PUT", "/latest/api/token"): "a token",
        ("GET", roles): "reader",
        ("GET", f"{roles}reader"): told,
    }
    monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", stub.url)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "false")
    assert reads() == "iam-role"
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    asked = len(stub.asked)
    with pytest.raises(AccessDenied, match="no credentials found"):
        reads()
    assert len(stub.asked) == asked


_IN_A_NETWORK_OF_ITS_OWN = """
import http.server, os, subprocess, sys, threading
asked = []
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        asked.append(self.path)
        self.send_error(404)
    do_PUT = do_GET
    def log_message(self, *_): pass
subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
subprocess.run(["ip", "address", "add", "169.254.169.254/32", "dev", "lo"], check=True)
server = http.server.ThreadingHTTPServer(("169.254.169.254", 80), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
for disabled in (None, "false"):
    asked.clear()
    environment = {k: v for k, v in os.environ.items() if not k.startswith("AWS_EC2")}
    if disabled is not None:
        environment["AWS_EC2_METADATA_DISABLED"] = disabled
    done = subprocess.run(
        [sys.executable, "-m", "s3zipfs", "ls", "s3://lab", "--endpoint-url", "http://127.0.0.1:9"],
        env=environment, capture_output=True, text=True,
    )
    assert "no credentials found" in done.stderr, done.stderr
    print(len(asked))
"""


def test_the_metadata_of_an_instance_is_not_asked_for_by_default() -> None:
    apart = ["unshare", "--net", "--map-root-user"]
    if subprocess.run([*apart, "ip", "link"], check=False, capture_output=True).returncode != 0:
        pytest.skip("no network namespace can be made here")
    done = subprocess.run(
        [*apart, sys.executable, "-c", _IN_A_NETWORK_OF_ITS_OWN],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    by_default, asked_for = map(int, done.stdout.split())
    assert by_default == 0
    assert asked_for > 0


@pytest.mark.parametrize(
    ("vendor", "endpoint_url", "disabled", "is_asked"),
    [
        ("Amazon EC2\n", None, None, True),
        ("Amazon EC2\n", None, "true", False),
        ("Amazon EC2\n", "https://minio.example.org", None, False),
        ("Amazon EC2\n", "https://minio.example.org", "false", True),
        ("LENOVO\n", None, None, False),
        (None, None, None, False),
    ],
)
def test_an_instance_asks_for_its_role_where_it_reads_from_aws(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, vendor: str | None, endpoint_url: str | None,
    disabled: str | None, is_asked: bool,
) -> None:  # fmt: skip
    if vendor is not None:
        (tmp_path / "sys_vendor").write_text(vendor)
    monkeypatch.setattr(credentials_module, "_VENDOR", tmp_path / "sys_vendor")
    monkeypatch.delenv("AWS_EC2_METADATA_DISABLED")
    if disabled is not None:
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", disabled)
    session = Connection(load_settings(endpoint_url=endpoint_url)).session
    asked = [each.METHOD for each in session.get_component("credential_provider").providers]
    assert ("iam-role" in asked) == is_asked


def test_single_sign_on_by_the_token_that_the_login_left(
    s3server: S3Server, filled: str, role: Role, stub: HttpStub, tmp_path: Path
) -> None:
    start = "https://people.example.org/start"
    (tmp_path / "config").write_text(
        f"[profile people]\nsso_start_url = {start}\nsso_region = us-east-1\n"
        "sso_account_id = 123456789012\nsso_role_name = reader\n"
    )
    cache = tmp_path / ".aws" / "sso" / "cache"
    cache.mkdir(parents=True)
    token = {"startUrl": start, "region": "us-east-1", "accessToken": "mine", "expiresAt": LATER}
    name = hashlib.sha1(start.encode(), usedforsecurity=False).hexdigest()
    (cache / f"{name}.json").write_text(json.dumps(token))
    in_six_hours = int((dt.datetime.now(dt.UTC) + dt.timedelta(hours=6)).timestamp() * 1000)
    told = {
        "accessKeyId": role.access_key,
        "secretAccessKey": role.secret_key,
        "sessionToken": role.token,
        "expiration": in_six_hours,
    }

    def answer(headers: Headers) -> Any:
        return {"roleCredentials": told} if headers["x-amz-sso_bearer_token"] == "mine" else None

    stub.answers["GET", "/federation/credentials"] = answer
    done = s3zipfs(  # botocore asks for the home when it is imported
        "cat", f"s3://{filled}/key", "--endpoint-url", s3server.endpoint, "--profile", "people",
        environment={
            "HOME": str(tmp_path),
            "AWS_CONFIG_FILE": str(tmp_path / "config"),
            "AWS_ENDPOINT_URL_SSO": stub.url,
        },
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, DATA.decode()), done.stderr
    assert stub.asked == ["/federation/credentials"]


# --- commands -----------------------------------------------------------------------------------


def printing(value: Any) -> str:
    """A command that prints it."""
    return shlex.join([sys.executable, "-c", f"print({json.dumps(value)!r})"])


def told_by(role: Role, **more: Any) -> dict[str, Any]:
    return {
        "Version": 1,
        "AccessKeyId": role.access_key,
        "SecretAccessKey": role.secret_key,
        "SessionToken": role.token,
        **more,
    }


@pytest.mark.parametrize("more", [{}, {"Expiration": LATER}])
def test_a_command_that_prints_keys(reads: Reads, role: Role, more: dict[str, Any]) -> None:
    assert reads(credential_command=printing(told_by(role, **more))) == "custom-process"


def test_the_command_of_a_profile(
    reads: Reads, role: Role, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = printing(told_by(role))
    configure(tmp_path, monkeypatch, f"[profile people]\ncredential_process = {command}\n")
    assert reads(profile="people") == "custom-process"


GOOD = {"Version": 1, "AccessKeyId": "AK", "SecretAccessKey": CANARY}
PYTHON = shlex.join([sys.executable, "-c"])


BAD = [
    (printing({**GOOD, "Version": 2}), "Unsupported version"),
    (printing({"Version": 1, "SecretAccessKey": CANARY}), "Missing required key"),
    (printing([CANARY]), "does not print what credential_process prints"),
    (f"echo {CANARY}", "does not print what credential_process prints"),
    (printing({**GOOD, "Expiration": CANARY}), "does not print what"),
    (printing({**GOOD, "Expiration": "2020-01-01T00:00:00Z"}), "that have expired"),
    (f"sh -c 'echo {CANARY}; echo {CANARY} >&2; exit 3'", "sh ended with status 3"),
    (f"/nothing/there {CANARY}", "/nothing/there can't be run: No such file"),
    (f"'{CANARY}", "No closing quotation"),
]

BAD_SETTINGS = [
    (" ", "credential_command: is empty"),
    ("bin/keys", "credential_command: bin/keys: give all of its path"),
]


@pytest.mark.parametrize(
    ("place", "command", "words"),
    [("setting", *each) for each in [*BAD, *BAD_SETTINGS]] + [("profile", *each) for each in BAD],
)
def test_a_command_that_fails_is_one_line_without_what_it_printed(
    network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, command: str,
    words: str,
) -> None:  # fmt: skip
    given = {"credential_command": command}
    if place == "profile":
        configure(tmp_path, monkeypatch, f"[profile people]\ncredential_process = {command}\n")
        given = {"profile": "people"}
    error = failure(network, **given)
    assert isinstance(error, AccessDenied | SettingsError)
    assert words in str(error)
    assert CANARY not in str(error)
    assert "\n" not in str(error)


def test_a_command_that_does_not_end_is_ended_with_all_that_it_started(
    network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(credentials_module, "COMMAND_SECONDS", 3.0)
    pid = tmp_path / "pid"
    command = f"sh -c 'sleep 600 & echo $! > {pid}; wait'"
    assert "sh has not ended within 3 s" in str(failure(network, credential_command=command))
    sleeping = Path(f"/proc/{pid.read_text().strip()}/exe")
    wait_until(lambda: not sleeping.exists(), seconds=SECONDS, what="an end")  # or a zombie


# --- the command line ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["access_key", "secret_key", "session_token"])
def test_a_secret_is_no_option_and_no_word_and_is_not_repeated(name: str) -> None:
    option = f"--{name.replace('_', '-')}"
    given = ((option, CANARY), (f"{option}={CANARY}",), ("-o", f"{name}={CANARY}"))
    for words in given:
        done = s3zipfs("mount", "s3://lab", "/nowhere", *words)
        assert done.returncode == 2
        assert name in done.stderr.replace("-", "_")
        assert CANARY not in done.stderr


# --- files --------------------------------------------------------------------------------------


def write_keys(folder: Path, role: Role) -> None:
    folder.mkdir(mode=0o700, exist_ok=True)
    for name, text in (
        ("access_key", role.access_key),
        ("secret_key", role.secret_key),
        ("session_token", role.token),
    ):
        (folder / name).write_text(text + "\n")


def test_files_of_one_secret_each(reads: Reads, role: Role, tmp_path: Path) -> None:
    write_keys(tmp_path, role)
    given = {f"{name}_file": tmp_path / name for name in ("access_key", "secret_key")}
    assert reads(**given, session_token_file=tmp_path / "session_token") == "explicit"


def test_what_systemd_loads_for_a_unit(
    reads: Reads, role: Role, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_keys(tmp_path / "credentials", role)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path / "credentials"))
    assert reads() == "explicit"


def test_an_env_file_that_systemd_loads_for_a_unit(
    s3server: S3Server, filled: str, role: Role, tmp_path: Path
) -> None:
    lines = [f"{name}='{value}'\n" for name, value in role.variables.items()]
    (tmp_path / "s3zipfs.env").write_text("".join([*lines, f"ENDPOINT_FULL={s3server.endpoint}\n"]))
    done = s3zipfs("ls", f"s3://{filled}", environment={"CREDENTIALS_DIRECTORY": str(tmp_path)})
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("key\n")


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"access_key": b"AK"}, "secret_key_file: not given"),
        ({"access_key": b"AK", "secret_key": b""}, "secret_key_file: .* is empty"),
        ({"access_key": b"AK", "secret_key": None}, "secret_key_file: .* No such file"),
        ({"access_key": b"AK", "secret_key": b"\xff"}, "secret_key_file: .* is not text"),
    ],
)
def test_files_that_hold_no_key_pair_are_a_settings_error(
    network: Network, tmp_path: Path, files: dict[str, bytes | None], words: str
) -> None:
    for name, content in files.items():
        if content is not None:
            (tmp_path / name).write_bytes(content)
    given = {f"{name}_file": tmp_path / name for name in files}
    with pytest.raises(SettingsError, match=words):
        raise failure(network, **given)


@pytest.mark.parametrize("kind", ["key file", "credentials file", "configuration"])
def test_a_file_of_secrets_that_others_can_read_is_refused(
    kind: str, open_folder: Path, role: Role, s3server: S3Server, filled: str
) -> None:
    options: tuple[str, ...] = ()
    variables = {"AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null"}
    file = open_folder / "credentials"
    role.write(file)
    if kind == "key file":
        write_keys(open_folder, role)
        file = open_folder / "secret_key"
        names = ("access_key", "secret_key", "session_token")
        options = tuple(f"--{n.replace('_', '-')}-file={open_folder / n}" for n in names)
        for name in names:
            (open_folder / name).chmod(0o600)
    elif kind == "configuration":
        variables["AWS_CONFIG_FILE"] = str(file)
    else:
        variables["AWS_SHARED_CREDENTIALS_FILE"] = str(file)
    words = ("ls", f"s3://{filled}", "--endpoint-url", s3server.endpoint, *options)
    for mode, who in ((0o604, "everybody"), (0o644, "everybody")):
        file.chmod(mode)
        assert_one_line(s3zipfs(*words, environment=variables), f"{file}: {who} can read", code=2)
    file.chmod(0o600)
    assert s3zipfs(*words, environment=variables).returncode == 0


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """One that everybody can look into, as none of pytest's."""
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)
