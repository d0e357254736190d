"""What only S3 has: credentials, TLS, endpoints that are not there, secrets that stay secret."""

from __future__ import annotations

import datetime as dt
import json
import logging
import socket
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from certificates import write_certificates, write_self_signed
from s3clients import make_s3client
from s3server import S3Server, ServerError

from s3zipfs.errors import AccessDenied, EndpointUnreachable, S3ZipError, SettingsError
from s3zipfs.settings import Settings, load_settings
from s3zipfs.stores.base import ObjectInfo
from s3zipfs.stores.network import Network
from s3zipfs.stores.s3 import S3Store
from s3zipfs.stores.s3 import store as s3_store_module

SECONDS = 30.0
DATA = b"0123456789"
ALMOST_NOW = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=30)
ODD = "odd\x01key"  # read by the client, not by obstore

Open = Callable[[Settings], S3Store]


@pytest.fixture
def open_store(network: Network) -> Iterator[Open]:
    opened: list[S3Store] = []

    def open_one(settings: Settings) -> S3Store:
        opened.append(S3Store(settings))
        return opened[-1]

    yield open_one
    for store in opened:
        network.submit(store.close()).result(SECONDS)


@pytest.fixture
def objects(s3client: Any, bucket: str) -> str:
    for key in ("key", ODD):
        s3client.put_object(Bucket=bucket, Key=key, Body=DATA)
    return bucket


@pytest.fixture
def read_all(network: Network) -> Callable[[S3Store, str], None]:
    """Uses every verb, and both planes."""

    def run(store: S3Store, name: str) -> None:
        buckets = network.submit(store.list_buckets()).result(SECONDS)
        assert name in {found.name for found in buckets}
        page = network.submit(store.list_page(name, "")).result(SECONDS)
        for info in page.objects:
            assert network.submit(store.head(name, info.id.key)).result(SECONDS) == info
            data = network.submit(store.get_range(info.id, 2, 5)).result(SECONDS)
            assert bytes(data) == DATA[2:5]
        assert len(page.objects) == 2

    return run


@pytest.fixture
def real_store(s3server: S3Server) -> None:
    if s3server.kind == "moto":
        pytest.skip("moto's server checks neither keys nor policies")


def refusals(network: Network, store: S3Store, info: ObjectInfo) -> list[BaseException | None]:
    """What every verb raises."""
    return [
        network.submit(question).exception(SECONDS)
        for question in (
            store.list_buckets(),
            store.list_page(info.id.bucket, ""),
            store.head(info.id.bucket, info.id.key),
            store.get_range(info.id, 0, 5),
        )
    ]


@pytest.fixture
def info(network: Network, open_store: Open, s3settings: Settings, objects: str) -> ObjectInfo:
    return network.submit(open_store(s3settings).head(objects, "key")).result(SECONDS)


# --- credentials ------------------------------------------------------------------------------


def write_profile(path: Path, server: S3Server, *, name: str = "work", secret: str = "") -> None:
    path.write_text(
        f"[{name}]\naws_access_key_id={server.access_key}\n"
        f"aws_secret_access_key={secret or server.secret_key}\n"
    )


def test_keys_of_the_environment(
    s3server: S3Server, objects: str, open_store: Open, read_all: Any, monkeypatch: Any
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3server.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3server.secret_key)
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3server.endpoint)
    read_all(open_store(load_settings()), objects)


def test_storage_names_of_an_env_file(
    s3server: S3Server, objects: str, open_store: Open, read_all: Any, tmp_path: Path,
    monkeypatch: Any,
) -> None:  # fmt: skip
    for name in ("STORAGE_ACCESS_KEY", "STORAGE_SECRET_KEY", "ENDPOINT_FULL"):
        monkeypatch.setenv(name, "")  # so that what the file sets is undone afterwards
        monkeypatch.delenv(name)
    (tmp_path / ".env").write_text(
        f"STORAGE_ACCESS_KEY={s3server.access_key}\nSTORAGE_SECRET_KEY={s3server.secret_key}\n"
        f"ENDPOINT_FULL={s3server.endpoint}/\n"
    )
    read_all(open_store(load_settings(tmp_path / ".env")), objects)


@pytest.mark.parametrize("by", ["setting", "environment"])
def test_profile_of_a_shared_file(
    s3server: S3Server, objects: str, open_store: Open, read_all: Any, tmp_path: Path,
    monkeypatch: Any, by: str,
) -> None:  # fmt: skip
    write_profile(tmp_path / "credentials", s3server)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    if by == "environment":
        monkeypatch.setenv("AWS_PROFILE", "work")
    settings = load_settings(
        endpoint_url=s3server.endpoint, profile="work" if by == "setting" else None
    )
    read_all(open_store(settings), objects)


def test_endpoint_and_region_of_a_profile(
    s3server: S3Server, objects: str, open_store: Open, read_all: Any, tmp_path: Path,
    monkeypatch: Any,
) -> None:  # fmt: skip
    write_profile(tmp_path / "credentials", s3server)
    (tmp_path / "config").write_text(
        f"[profile work]\nendpoint_url = {s3server.endpoint}\nregion = us-east-1\n"
    )
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    store = open_store(load_settings(profile="work"))
    assert store.endpoint == s3server.endpoint
    read_all(store, objects)


def test_session_token_of_a_role(
    s3server: S3Server, objects: str, open_store: Open, read_all: Any, monkeypatch: Any
) -> None:
    sts = boto3.client(
        "sts",
        endpoint_url=s3server.endpoint,
        aws_access_key_id=s3server.access_key,
        aws_secret_access_key=s3server.secret_key,
        region_name="us-east-1",
    )
    role = sts.assume_role(RoleArn="arn:aws:iam::123456789012:role/x", RoleSessionName="test")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", role["Credentials"]["AccessKeyId"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", role["Credentials"]["SecretAccessKey"])
    monkeypatch.setenv("AWS_SESSION_TOKEN", role["Credentials"]["SessionToken"])
    read_all(open_store(load_settings(endpoint_url=s3server.endpoint)), objects)


@pytest.mark.usefixtures("real_store")
def test_rotated_file_is_read_again_after_a_refusal(
    s3server: S3Server, objects: str, open_store: Open, read_all: Any, tmp_path: Path,
    network: Network, info: ObjectInfo, monkeypatch: Any,
) -> None:  # fmt: skip
    monkeypatch.setattr(s3_store_module, "RELOAD_SECONDS", 0.0)
    file = tmp_path / "credentials"
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    write_profile(file, s3server, name="default", secret="old-secret")
    store = open_store(load_settings(endpoint_url=s3server.endpoint))
    for refused in refusals(network, store, info):
        assert isinstance(refused, AccessDenied)
    write_profile(file, s3server, name="default")
    futures = [network.submit(store.get_range(info.id, 0, 4)) for _ in range(16)]
    assert [bytes(future.result(SECONDS)) for future in futures] == [DATA[:4]] * 16
    read_all(store, objects)
    assert network.submit(store.reload_credentials()).result(SECONDS) is False


@pytest.mark.usefixtures("real_store")
def test_obstore_asks_for_credentials_again_as_they_age(
    s3settings: Settings, network: Network, open_store: Open, info: ObjectInfo, monkeypatch: Any
) -> None:
    store = open_store(s3settings)
    connection = store._connection
    asked: list[float] = []

    async def credentials() -> Any:
        asked.append(time.monotonic())
        return {**(await type(connection).credentials(connection)), "expires_at": ALMOST_NOW}

    monkeypatch.setattr(connection, "credentials", credentials)
    give_up = time.monotonic() + SECONDS
    while len(asked) < 4 and time.monotonic() < give_up:  # obstore holds one for 0.1 s at least
        data = network.submit(store.get_range(info.id, 2, 5)).result(SECONDS)
        assert bytes(data) == DATA[2:5]
    assert len(asked) >= 4


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"secret_key": "wrong-secret"}, "wrong secret key"),
        ({"access_key": "nobody"}, "wrong access key"),
    ],
)
def test_wrong_keys_are_told_apart(
    s3settings: Settings, network: Network, open_store: Open, info: ObjectInfo,
    given: dict[str, str], words: str,
) -> None:  # fmt: skip
    keys = {"access_key": s3settings.access_key, "secret_key": s3settings.secret_key, **given}
    store = open_store(load_settings(endpoint_url=s3settings.endpoint_url, **keys))  # type: ignore[arg-type]
    for error in refusals(network, store, info):
        assert type(error) is AccessDenied
        assert words in str(error)
        assert "wrong-secret" not in str(error)


def test_no_credentials_is_one_clear_line_at_once(
    s3settings: Settings, network: Network, open_store: Open, info: ObjectInfo, monkeypatch: Any
) -> None:
    monkeypatch.delenv("AWS_EC2_METADATA_DISABLED")
    store = open_store(load_settings(endpoint_url=s3settings.endpoint_url))
    started = time.monotonic()
    for error in refusals(network, store, info):
        assert type(error) is AccessDenied
        assert "no credentials found" in str(error)
    assert time.monotonic() - started < 3  # the EC2 service: a second for each question


def test_half_a_key_pair_is_a_settings_error(s3settings: Settings) -> None:
    with pytest.raises(SettingsError, match="secret_key"):
        S3Store(load_settings(endpoint_url=s3settings.endpoint_url, access_key="only"))


def test_unknown_profile_is_a_settings_error() -> None:
    with pytest.raises(SettingsError, match="no-such-profile"):
        S3Store(load_settings(profile="no-such-profile"))


@pytest.mark.usefixtures("real_store")
def test_public_bucket_is_read_unsigned(
    s3settings: Settings, s3client: Any, network: Network, open_store: Open, info: ObjectInfo
) -> None:
    name = info.id.bucket
    store = open_store(load_settings(endpoint_url=s3settings.endpoint_url, anonymous=True))
    for error in refusals(network, store, info)[1:]:
        assert type(error) is AccessDenied
    everyone = {"Effect": "Allow", "Principal": {"AWS": ["*"]}}
    policy = [
        {**everyone, "Action": ["s3:ListBucket"], "Resource": [f"arn:aws:s3:::{name}"]},
        {**everyone, "Action": ["s3:GetObject"], "Resource": [f"arn:aws:s3:::{name}/*"]},
    ]
    s3client.put_bucket_policy(
        Bucket=name, Policy=json.dumps({"Version": "2012-10-17", "Statement": policy})
    )
    page = network.submit(store.list_page(name, "")).result(SECONDS)
    for found in page.objects:  # by both planes
        assert bytes(network.submit(store.get_range(found.id, 2, 5)).result(SECONDS)) == b"234"


def test_stray_variables_do_not_reach_the_data_plane(
    s3settings: Settings, objects: str, open_store: Open, read_all: Any, monkeypatch: Any
) -> None:
    for name, value in {
        "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:1",
        "AWS_ENDPOINT": "http://127.0.0.1:1",
        "AWS_SKIP_SIGNATURE": "true",
        "AWS_VIRTUAL_HOSTED_STYLE_REQUEST": "true",
        "AWS_S3_EXPRESS": "true",
        "AWS_ACCESS_KEY_ID": "nobody",
        "AWS_SECRET_ACCESS_KEY": "wrong",
        "AWS_REGION": "eu-central-7",
        "AWS_BUCKET": "another",
    }.items():
        monkeypatch.setenv(name, value)
    read_all(open_store(s3settings), objects)


@pytest.mark.usefixtures("real_store")
def test_secret_is_in_no_text(
    s3settings: Settings, network: Network, open_store: Open, info: ObjectInfo,
    caplog: pytest.LogCaptureFixture, monkeypatch: Any,
) -> None:  # fmt: skip
    caplog.set_level(logging.DEBUG)
    canary, token = "canary-of-a-secret", "canary-of-a-token"
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "someone")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", canary)
    monkeypatch.setenv("AWS_SESSION_TOKEN", token)
    settings = load_settings(endpoint_url=s3settings.endpoint_url)
    store = open_store(settings)
    errors = refusals(network, store, info)
    buckets = store._buckets
    texts = [repr(store), repr(store._connection), repr(settings), repr(buckets), caplog.text]
    for error in errors:
        assert isinstance(error, S3ZipError)
        assert error.__suppress_context__
        texts += [str(error), repr(error)]
    for text in texts:
        assert canary not in text
        assert token not in text


# --- endpoints --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    ["minio:9000", "ftp://minio", "http://", "http://host:port", "http://u:canary@host", "/x", ""],
)
def test_wrong_url_is_a_settings_error(url: str) -> None:
    with pytest.raises(SettingsError, match="endpoint_url") as raised:
        S3Store(load_settings(endpoint_url=url))
    assert "canary" not in str(raised.value)


def test_closed_port_is_one_clear_line(
    s3settings: Settings, network: Network, open_store: Open, info: ObjectInfo
) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{probe.getsockname()[1]}"
    store = open_store(s3settings.model_copy(update={"endpoint_url": endpoint}))
    for error in refusals(network, store, info):
        assert type(error) is EndpointUnreachable
        assert str(error) == f"{endpoint}: connection refused"


def test_host_without_an_address_is_one_clear_line(
    s3settings: Settings, network: Network, open_store: Open, info: ObjectInfo
) -> None:
    endpoint = "http://no-such-host.invalid"  # RFC 2606: never resolved
    store = open_store(s3settings.model_copy(update={"endpoint_url": endpoint}))
    for error in refusals(network, store, info):
        assert type(error) is EndpointUnreachable
        assert str(error) == f"{endpoint}: no such host"


def test_connection_that_nobody_accepts_ends(
    s3settings: Settings, network: Network, open_store: Open, info: ObjectInfo
) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        waiting = [socket.socket() for _ in range(3)]  # fill the backlog
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(listener.getsockname())
        endpoint = f"http://127.0.0.1:{listener.getsockname()[1]}"
        settings = s3settings.model_copy(update={"endpoint_url": endpoint, "timeout": 6.0})
        for error in refusals(network, open_store(settings), info):
            assert type(error) is EndpointUnreachable
            assert "no answer to the connection attempt" in str(error)
        for one in waiting:
            one.close()


# --- TLS --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tls_server(s3certs: Path) -> Iterator[S3Server]:
    with start_tls(s3certs) as server:
        yield server


def start_tls(certs: Path) -> S3Server:
    try:
        return S3Server.start(certs_dir=certs)
    except ServerError as error:
        if "TLS needs" in str(error):
            pytest.skip(str(error))
        raise


def settings_of(server: S3Server, **given: Any) -> Settings:
    return load_settings(
        endpoint_url=given.pop("endpoint_url", server.endpoint),
        access_key=server.access_key,
        secret_key=server.secret_key,
        timeout=10.0,
        **given,
    )


def fill(server: S3Server, authority: Path) -> str:
    client = make_s3client(server, verify=str(authority))
    name = f"test-{uuid.uuid4().hex[:16]}"
    client.create_bucket(Bucket=name)
    for key in ("key", ODD):
        client.put_object(Bucket=name, Key=key, Body=DATA)
    return name


def test_tls_with_our_own_authority(
    tls_server: S3Server, s3certs: Path, open_store: Open, read_all: Any
) -> None:
    name = fill(tls_server, s3certs / "ca.crt")
    read_all(open_store(settings_of(tls_server, ca_bundle=s3certs / "ca.crt")), name)


def test_tls_of_an_unknown_authority_is_refused(
    tls_server: S3Server, network: Network, open_store: Open, info: ObjectInfo
) -> None:
    for error in refusals(network, open_store(settings_of(tls_server)), info):
        assert type(error) is EndpointUnreachable
        assert "TLS: certificate not trusted (" in str(error)
        assert "--ca-bundle" in str(error)
        assert "\n" not in str(error)


def test_tls_of_another_host_is_refused(
    tls_server: S3Server, s3certs: Path, network: Network, open_store: Open, info: ObjectInfo
) -> None:
    url = tls_server.endpoint.replace("127.0.0.1", "localhost")
    store = open_store(settings_of(tls_server, endpoint_url=url, ca_bundle=s3certs / "ca.crt"))
    for error in refusals(network, store, info):
        assert type(error) is EndpointUnreachable
        assert "another host" in str(error)


def test_expired_certificate_is_refused(
    tmp_path: Path, network: Network, open_store: Open, info: ObjectInfo
) -> None:
    write_certificates(tmp_path, expired=True)
    with start_tls(tmp_path) as server:
        store = open_store(settings_of(server, ca_bundle=tmp_path / "ca.crt"))
        for error in refusals(network, store, info):
            assert type(error) is EndpointUnreachable
            assert "expired" in str(error)


def test_self_signed_certificate_works_once_named(
    tmp_path: Path, open_store: Open, read_all: Any, caplog: pytest.LogCaptureFixture
) -> None:
    # rustls refuses an authority as a server's certificate, whoever vouches: the client reads.
    write_self_signed(tmp_path)
    with start_tls(tmp_path) as server:
        name = fill(server, tmp_path / "public.crt")
        read_all(open_store(settings_of(server, ca_bundle=tmp_path / "public.crt")), name)
    assert caplog.text.count("slower client") == 1


def test_https_to_http_and_http_to_https_are_told(
    tls_server: S3Server, s3settings: Settings, network: Network, open_store: Open,
    info: ObjectInfo,
) -> None:  # fmt: skip
    plain = str(s3settings.endpoint_url).replace("http:", "https:")
    for error in refusals(network, open_store(settings_of(tls_server, endpoint_url=plain)), info):
        assert type(error) is EndpointUnreachable
        assert "is it http://" in str(error)
    secure = tls_server.endpoint.replace("https:", "http:")
    store = open_store(settings_of(tls_server, endpoint_url=secure))
    error = refusals(network, store, info)[0]
    assert isinstance(error, S3ZipError)
    assert "is it https://" in str(error)


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_wrong_ca_bundle_is_a_settings_error(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content)
    with pytest.raises(SettingsError, match="ca_bundle"):
        S3Store(load_settings(endpoint_url="https://127.0.0.1:1", ca_bundle=path))
