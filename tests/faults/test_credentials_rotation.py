"""Keys that are replaced while a store is read: a real MinIO forgets the old ones."""

from __future__ import annotations

import errno
import json
import shlex
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from fakes3 import Answer, FakeS3, Request, Silence, honest
from faults.cases import OPTIONS, Case, next_case
from faults.reading import assert_whole, failure, healed, opened
from faults.roles import Role
from faults.serviceaccounts import add_service_account, remove_service_account
from mounting import Mount
from s3server import S3Server

from s3zipfs.errors import AccessDenied
from s3zipfs.settings import load_settings
from s3zipfs.stores.network import Network
from s3zipfs.stores.s3 import S3Store
from s3zipfs.stores.s3 import store as s3_store_module

pytestmark = pytest.mark.timeout(300)

SECONDS = 60.0
DATA = b"0123456789"
KEYS = ("key", "odd\x01key")  # the second is read by the client, not by obstore


@pytest.fixture(autouse=True)
def with_accounts(s3server: S3Server) -> None:
    if s3server.kind != "minio":
        pytest.skip("only a MinIO of our own can be told to forget keys")


class Accounts:
    """Keys that a server knows until they are removed."""

    def __init__(self, server: S3Server) -> None:
        self._server = server
        self.known: list[Role] = []

    def add(self) -> Role:
        self.known.append(add_service_account(self._server, "rotated"))
        return self.known[-1]

    def remove(self, role: Role) -> None:
        self.known.remove(role)
        remove_service_account(self._server, role)


@pytest.fixture
def accounts(s3server: S3Server) -> Iterator[Accounts]:
    made = Accounts(s3server)
    yield made
    for role in [*made.known]:
        made.remove(role)


# --- one store, every place that keys are read from ---------------------------------------------


@dataclass(frozen=True)
class Place:
    """Where keys are found; `write` replaces them at once."""

    given: dict[str, Any]
    write: Callable[[Role], None]


def replace(file: Path, text: str) -> None:
    new = file.with_name("new")
    new.write_text(text)
    new.replace(file)


def place(kind: str, folder: Path, endpoint: str, environment: pytest.MonkeyPatch) -> Place:
    file = folder / "keys"
    match kind:
        case "credentials file":
            environment.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
            lines = "[default]\naws_access_key_id = {}\naws_secret_access_key = {}\n"
            return Place({}, lambda role: replace(file, lines.format(*keys_of(role))))
        case "command":
            show = [sys.executable, "-c", "import sys; print(open(sys.argv[1]).read())", str(file)]
            names = ("AccessKeyId", "SecretAccessKey")
            return Place(
                {"credential_command": shlex.join(show)},
                lambda role: replace(
                    file, json.dumps({"Version": 1, **dict(zip(names, keys_of(role), strict=True))})
                ),
            )
        case "alias of mc":
            environment.setenv("MC_CONFIG_DIR", str(folder))
            return Place(
                {"mc_alias": "myminio"},
                lambda role: replace(folder / "config.json", mc_config(endpoint, role)),
            )
        case "env file":
            for name in ("STORAGE_ACCESS_KEY", "STORAGE_SECRET_KEY"):
                environment.setenv(name, "")  # so that what the file sets is undone afterwards
                environment.delenv(name)
            lines = "STORAGE_ACCESS_KEY={}\nSTORAGE_SECRET_KEY={}\n"
            return Place(
                {"env_file": file}, lambda role: replace(file, lines.format(*keys_of(role)))
            )
        case _:
            files = {f"{name}_file": folder / name for name in ("access_key", "secret_key")}

            def write(role: Role) -> None:
                for path, text in zip(files.values(), keys_of(role), strict=True):
                    replace(path, text)

            return Place(files, write)


def keys_of(role: Role) -> tuple[str, str]:
    return role.access_key, role.secret_key


def mc_config(endpoint: str, role: Role) -> str:
    alias = {"url": endpoint, "accessKey": role.access_key, "secretKey": role.secret_key}
    return json.dumps({"version": "10", "aliases": {"myminio": {**alias, "api": "s3v4"}}})


PLACES = ("credentials file", "key files", "command", "alias of mc", "env file")


@dataclass(frozen=True)
class Rotated:
    """A store that reads with `role`, which was found at `place`."""

    store: S3Store
    place: Place
    role: Role
    network: Network
    bucket: str

    def read(self) -> None:
        """By every verb and both client libraries."""
        ask = self.network.submit
        ask(self.store.list_buckets()).result(SECONDS)
        page = ask(self.store.list_page(self.bucket, "")).result(SECONDS)
        assert [info.id.key for info in page.objects] == list(KEYS)
        for info in page.objects:
            assert ask(self.store.head(self.bucket, info.id.key)).result(SECONDS) == info
            assert bytes(ask(self.store.get_range(info.id, 2, 5)).result(SECONDS)) == DATA[2:5]


@pytest.fixture(params=PLACES)
def rotated(
    request: pytest.FixtureRequest, s3server: S3Server, s3client: Any, bucket: str,
    network: Network, accounts: Accounts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Rotated]:  # fmt: skip
    for key in KEYS:
        s3client.put_object(Bucket=bucket, Key=key, Body=DATA)
    found = place(request.param, tmp_path, s3server.endpoint, monkeypatch)
    role = accounts.add()
    found.write(role)

    def settings() -> Any:
        return load_settings(endpoint_url=s3server.endpoint, timeout=20.0, **found.given)

    store = S3Store(settings(), settings)
    yield Rotated(store, found, role, network, bucket)
    network.submit(store.close()).result(SECONDS)


def test_keys_that_are_replaced_before_the_old_ones_go_are_seen_by_no_reader(
    rotated: Rotated, accounts: Accounts
) -> None:
    for _ in range(2):
        rotated.read()
    rotated.place.write(accounts.add())
    accounts.remove(rotated.role)
    rotated.read()


def test_keys_that_go_before_there_are_others_are_access_denied_until_then(
    rotated: Rotated, accounts: Accounts,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(s3_store_module, "RELOAD_SECONDS", 0.0)
    rotated.read()
    accounts.remove(rotated.role)
    ask = rotated.network.submit
    for _ in range(2):
        for question in (
            rotated.store.list_page(rotated.bucket, ""),
            rotated.store.head(rotated.bucket, "key"),
        ):
            assert isinstance(ask(question).exception(SECONDS), AccessDenied)
    rotated.place.write(accounts.add())
    rotated.read()


def test_new_keys_are_taken_at_once_where_they_are_asked_for(
    rotated: Rotated, accounts: Accounts
) -> None:
    ask = rotated.network.submit
    assert ask(rotated.store.reload_credentials()).result(SECONDS) is False
    rotated.read()
    new = accounts.add()
    rotated.place.write(new)
    assert ask(rotated.store.reload_credentials()).result(SECONDS) is True
    held = ask(rotated.store._connection.credentials()).result(SECONDS)
    assert held["access_key_id"] == new.access_key
    accounts.remove(rotated.role)
    rotated.read()


def test_an_alias_that_is_another_endpoints_by_now_is_not_followed(
    s3server: S3Server, network: Network, accounts: Accounts, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    role = accounts.add()
    found = place("alias of mc", tmp_path, s3server.endpoint, monkeypatch)
    found.write(role)
    store = S3Store(load_settings(mc_alias="myminio"))
    network.submit(store.list_buckets()).result(SECONDS)
    (tmp_path / "config.json").write_text(mc_config("http://127.0.0.1:9", role))
    error = network.submit(store.reload_credentials()).exception(SECONDS)
    assert "another endpoint" in str(error)
    network.submit(store.list_buckets()).result(SECONDS)
    network.submit(store.close()).result(SECONDS)


# --- what a refusal says ------------------------------------------------------------------------


def counting(folder: Path) -> str:
    """A command that gives `old` keys when it is run first, then `new` ones."""
    told = '{"Version": 1, "AccessKeyId": "%s", "SecretAccessKey": "secret"}'
    script = (
        "import pathlib, sys; runs = pathlib.Path(sys.argv[1]); "
        "before = runs.read_text() if runs.exists() else ''; runs.write_text(before + 'x'); "
        f"print({told!r} % ('new' if before else 'old'))"
    )
    return shlex.join([sys.executable, "-c", script, str(folder / "runs")])


@pytest.mark.parametrize(
    ("refusal", "runs"),
    [
        (Answer(403), 2),  # as AWS refuses a HEAD: it may be the keys
        (Answer(403, headers={"x-minio-error-code": "InvalidAccessKeyId"}), 2),
        (Answer(403, headers={"x-minio-error-code": "AccessDenied"}), 1),
    ],
)
def test_keys_are_read_again_where_the_refusal_may_be_of_them(
    network: Network, tmp_path: Path, refusal: Answer, runs: int
) -> None:
    def answer(request: Request) -> Answer | Silence:
        return refusal if "Credential=old/" in request.headers["authorization"] else honest(request)

    with FakeS3() as server:
        server.answer = answer
        command = counting(tmp_path)
        store = S3Store(load_settings(endpoint_url=server.endpoint, credential_command=command))
        error = network.submit(store.head("bucket", "key")).exception(SECONDS)
        assert (error is None) == (runs == 2)
        assert (tmp_path / "runs").read_text() == "x" * runs
        network.submit(store.close()).result(SECONDS)


# --- a mount ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Mounted:
    mount: Mount
    place: Place
    role: Role


@pytest.fixture
def mounted(
    s3server: S3Server, faults_bucket: str, accounts: Accounts, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Mounted]:  # fmt: skip
    found = place("key files", tmp_path, s3server.endpoint, monkeypatch)
    role = accounts.add()
    found.write(role)
    options = [f"--{name.replace('_', '-')}={path}" for name, path in found.given.items()]
    unset = {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}  # of `Mount`
    with Mount(
        tmp_path / "mnt", s3server, [f"s3://{faults_bucket}"], *OPTIONS, *options, environment=unset
    ) as running:
        yield Mounted(running, found, role)


def test_readers_of_a_mount_see_nothing_of_a_rotation(
    mounted: Mounted, accounts: Accounts, numbers: Iterator[int]
) -> None:
    failed: list[BaseException] = []
    has_rotated = threading.Event()
    waiting = [next_case(mounted.mount.path, numbers) for _ in range(6)]

    def read(first: Case, second: Case) -> None:
        try:
            assert_whole(opened(first))
            assert has_rotated.wait(SECONDS)
            assert_whole(opened(second))
        except BaseException as error:  # noqa: BLE001 - told in the test's own thread
            failed.append(error)

    readers = [
        threading.Thread(target=read, args=(waiting[number], waiting[number + 3]))
        for number in range(3)
    ]
    for reader in readers:
        reader.start()
    mounted.place.write(accounts.add())
    accounts.remove(mounted.role)
    has_rotated.set()
    for reader in readers:
        reader.join(SECONDS)
    assert not failed
    mounted.mount.wait_for_line("using new credentials")


def test_a_mount_without_good_keys_is_eacces_and_recovers_by_itself(
    mounted: Mounted, accounts: Accounts, numbers: Iterator[int]
) -> None:
    case = opened(next_case(mounted.mount.path, numbers))
    accounts.remove(mounted.role)
    assert failure((case.archive / "deflated").read_bytes) == errno.EACCES
    mounted.mount.wait_for_line("wrong access key")
    mounted.place.write(accounts.add())
    healed(case)  # within 10 s


def test_new_keys_are_used_from_sighup_on(
    mounted: Mounted, accounts: Accounts, numbers: Iterator[int]
) -> None:
    case = opened(next_case(mounted.mount.path, numbers))
    mounted.place.write(accounts.add())
    mounted.mount.process.send_signal(signal.SIGHUP)
    mounted.mount.wait_for_line("using new credentials")
    accounts.remove(mounted.role)
    assert_whole(case)
    assert "wrong access key" not in mounted.mount.log.read_text()
