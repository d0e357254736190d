"""`s3zipfs doctor` and an endpoint: a real MinIO, and servers that are something else."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
from certificates import write_certificates
from commands import assert_one_line, keys_of, s3zipfs
from fakes3 import Answer, FakeS3, Request, Silence, error
from mounting import Mount
from s3server import S3Server, ServerError
from tlsproxy import TlsProxy

from s3zipfs.cli.doctor import EXIT_CODES
from s3zipfs.doctor import endpoint as steps
from s3zipfs.doctor.account import account
from s3zipfs.doctor.endpoint import Endpoint
from s3zipfs.doctor.findings import Checkup, Finding, Level
from s3zipfs.doctor.host import Host
from s3zipfs.settings import Settings, load_settings
from s3zipfs.stores.s3.connection import Connection

pytestmark = pytest.mark.timeout(300)

PATIENCE = 60.0  # seconds for each line, however busy the machine is
BUCKETS = (
    b'<?xml version="1.0"?><ListAllMyBucketsResult '
    b'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Buckets/></ListAllMyBucketsResult>'
)


def of(settings: Settings, source: str | None = None, **environment: str) -> list[Finding]:
    """The findings of an endpoint, however long each takes on a busy machine."""
    checked = Endpoint(Host(environment=environment), settings, source, PATIENCE).check
    return list(Checkup([("endpoint", checked)], seconds=2 * PATIENCE).run())


def told(findings: list[Finding], about: str) -> Finding:
    return next(each for each in findings if each.about.startswith(about))


def at(url: str, **given: Any) -> Settings:
    return load_settings(endpoint_url=url, access_key="AK", secret_key="SK", **given)


# --- the real store


def test_minio_is_well(s3settings: Settings, filled: str) -> None:
    findings = of(s3settings, f"s3://{filled}/")
    assert {each.level for each in findings} == {Level.OK}
    assert [each.about for each in findings] == ["endpoint", "clock", "credentials", "source"]
    assert "MinIO" in told(findings, "endpoint").found
    assert told(findings, "source").found == f"s3://{filled}/ can be listed"


def test_minio_without_a_source_is_asked_for_its_buckets(s3settings: Settings, filled: str) -> None:
    (*_, last) = of(s3settings)
    assert "buckets can be listed" in last.found


@pytest.mark.parametrize(
    ("source", "word"),
    [("s3://no-such-bucket-here", "no such bucket"), ("s3://{}/nothing", "nothing begins with it")],
)
def test_a_source_that_is_not_there_is_an_error(
    s3settings: Settings, filled: str, source: str, word: str
) -> None:
    line = told(of(s3settings, source.format(filled)), "source")
    assert line.level is Level.ERROR
    assert word in line.found


def test_wrong_keys_are_an_error_that_does_not_show_them(s3server: S3Server) -> None:
    settings = load_settings(
        endpoint_url=s3server.endpoint, access_key=s3server.access_key, secret_key="CANARY"
    )
    findings = of(settings)
    (*_, last) = findings
    assert (last.about, last.level) == ("credentials", Level.ERROR)
    assert "wrong secret key" in last.found
    assert "CANARY" not in str(findings)


def test_no_keys_are_an_error(s3server: S3Server) -> None:
    (*_, last) = of(load_settings(endpoint_url=s3server.endpoint))
    assert (last.about, last.level) == ("credentials", Level.ERROR)
    assert "no credentials found" in last.found


def test_unsigned_requests_are_a_note(s3server: S3Server, filled: str) -> None:
    findings = of(load_settings(endpoint_url=s3server.endpoint, anonymous=True), f"s3://{filled}")
    assert told(findings, "credentials").level is Level.NOTE
    assert told(findings, "source").level is Level.ERROR  # the bucket is not public
    assert "policy" in told(findings, "source").remedy


def test_where_keys_come_from_is_told(s3server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in keys_of(s3server).items():
        monkeypatch.setenv(name, value)
    findings = of(load_settings(endpoint_url=s3server.endpoint))
    assert told(findings, "credentials").found == "found: AWS_… variables"


def test_an_account_that_may_not_list_all_buckets_is_a_note() -> None:
    with FakeS3() as fake:
        fake.answer = lambda _: error(403, "AccessDenied")
        (*_, last) = of(at(fake.endpoint))
    assert last.level is Level.NOTE
    assert "name a bucket" in last.remedy


# --- certificates


@pytest.fixture
def secure(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[tuple[S3Server, Path]]:
    """A MinIO with a certificate made by these options, and the authority that signed it."""
    folder = tmp_path / "certificates"
    folder.mkdir()
    write_certificates(folder, **request.param)
    try:
        server = S3Server.start(certs_dir=folder)
    except ServerError as no_tls:
        pytest.skip(str(no_tls))
    with server:
        yield server, folder / "ca.crt"


def of_secure(secure: tuple[S3Server, Path], **given: Any) -> list[Finding]:
    server, _ = secure
    keys: dict[str, Any] = {"access_key": server.access_key, "secret_key": server.secret_key}
    return of(load_settings(endpoint_url=server.endpoint, **keys, **given))


@pytest.mark.parametrize("secure", [{}], indirect=True)
def test_a_certificate_is_good_by_the_right_authority_only(secure: tuple[S3Server, Path]) -> None:
    line = told(of_secure(secure, ca_bundle=secure[1]), "TLS")
    assert line.level is Level.WARNING  # it is made for two days
    assert "expires in" in line.found
    (last,) = of_secure(secure)
    assert last.level is Level.ERROR
    assert "--ca-bundle" in last.remedy
    unverified = of_secure(secure, verify_tls=False)
    assert told(unverified, "TLS").level is Level.WARNING
    assert unverified[-1].level is Level.OK


@pytest.mark.parametrize("secure", [{"expired": True}], indirect=True)
def test_a_certificate_that_has_expired_is_an_error(secure: tuple[S3Server, Path]) -> None:
    (last,) = of_secure(secure, ca_bundle=secure[1])
    assert last.level is Level.ERROR
    assert "expired" in last.found
    assert "renew" in last.remedy


@pytest.mark.parametrize("secure", [{"address": "127.0.0.2"}], indirect=True)
def test_a_certificate_of_another_host_is_an_error(secure: tuple[S3Server, Path]) -> None:
    (last,) = of_secure(secure, ca_bundle=secure[1])
    assert last.level is Level.ERROR
    assert "--endpoint-url" in last.remedy


def test_https_to_a_server_without_tls_is_one_line() -> None:
    with FakeS3() as fake:
        (last,) = of(at(fake.endpoint.replace("http:", "https:")))
    assert last.level is Level.ERROR
    assert last.remedy == "is it http://…?"


def test_a_bundle_that_is_no_certificate_is_one_line(tmp_path: Path) -> None:
    bundle = tmp_path / "ca.pem"
    bundle.write_text("nothing")
    (last,) = of(at("https://127.0.0.1:9", ca_bundle=bundle))
    assert last.level is Level.ERROR
    assert "ca_bundle" in last.found


def test_an_endpoint_that_asks_for_a_client_certificate_is_one_line(
    s3server: S3Server, s3certs: Path
) -> None:
    keys: dict[str, Any] = {"access_key": s3server.access_key, "secret_key": s3server.secret_key}
    with TlsProxy(s3server, s3certs) as proxy:
        given = {"endpoint_url": proxy.server.endpoint, "ca_bundle": s3certs / "ca.crt", **keys}
        (*_, last) = of(load_settings(**given))
    assert last.level is Level.ERROR
    assert "--client-certificate" in last.remedy


# --- the clock


@pytest.mark.parametrize(
    ("seconds", "expected", "word"),
    [
        (0, Level.OK, "as the endpoint's"),
        (-90, Level.WARNING, "ahead of"),
        (90, Level.WARNING, "behind"),
        (-3600, Level.ERROR, "signed requests are refused"),
        (3600, Level.ERROR, "behind"),
    ],
)
def test_a_clock_is_compared_with_the_endpoints(
    seconds: int, expected: Level, word: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steps, "NOTED_SKEW", 50.0)  # a busy machine takes some of them
    with FakeS3() as fake:

        def answer(_: Request) -> Answer:
            date = formatdate(timeval=time.time() + seconds, usegmt=True)
            return Answer(200, BUCKETS, {"Date": date})

        fake.answer = answer
        line = told(of(at(fake.endpoint)), "clock")
    assert line.level is expected
    assert word in line.found
    assert (expected is Level.OK) == (line.remedy == "")


def test_a_server_that_does_not_tell_the_time_is_a_note() -> None:
    with FakeS3() as fake:
        fake.answer = lambda _: Answer(200, BUCKETS, {"Date": "soon"})
        assert told(of(at(fake.endpoint)), "clock").level is Level.NOTE


# --- nobody there, or somebody else


def test_a_closed_port_is_one_line() -> None:
    (last,) = of(at("http://127.0.0.1:9"))
    assert last.level is Level.ERROR
    assert last.found == "127.0.0.1 port 9: connection refused"


def test_a_name_that_is_not_known_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    (last,) = of(at("http://minio.example:9000"))
    assert (last.about, last.found) == ("DNS", "minio.example: Name or service not known")


@pytest.mark.parametrize(("is_silent", "expected"), [(False, Level.NOTE), (True, Level.WARNING)])
def test_an_address_of_one_kind_that_does_not_answer_is_told(
    monkeypatch: pytest.MonkeyPatch, is_silent: bool, expected: Level
) -> None:
    real, connect = socket.getaddrinfo, socket.socket.connect

    def both(host: Any, *rest: Any, **more: Any) -> Any:
        if host != "minio.example":
            return real(host, *rest, **more)
        ipv6 = (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", 9, 0, 0))
        return [ipv6, (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    class Socket(socket.socket):
        def connect(self, address: Any) -> None:
            if is_silent and self.family == socket.AF_INET6:
                raise TimeoutError("timed out")
            connect(self, address)

    with FakeS3() as fake:
        fake.answer = lambda _: Answer(200, BUCKETS)
        port = int(fake.endpoint.rpartition(":")[2])
        monkeypatch.setattr(socket, "getaddrinfo", both)
        monkeypatch.setattr(socket, "socket", Socket)
        findings = of(at(f"http://minio.example:{port}", anonymous=True))
    assert told(findings, "DNS").found == "minio.example is ::1, 127.0.0.1"
    assert told(findings, "IPv6").level is expected
    assert told(findings, "clock").level is Level.OK


def test_a_web_server_is_told_from_a_store() -> None:
    with FakeS3() as fake:
        fake.answer = lambda _: Answer(200, b"<html>", {"Server": "MinIO Console"})
        (last,) = of(at(fake.endpoint))
    assert last.level is Level.ERROR
    assert "is no S3 store, but MinIO Console (HTTP 200)" in last.found
    assert "https or http?" in last.remedy
    assert "another port" in last.remedy


def test_what_does_not_speak_http_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        findings: list[Finding] = []
        checked = Endpoint(
            Host(environment={}), at(f"http://127.0.0.1:{port}"), None, PATIENCE
        ).check()
        server.settimeout(60)

        def greet() -> None:
            for _ in range(2):  # one to see whether somebody is there, one for the question
                connection, _ = server.accept()
                with connection, contextlib.suppress(ConnectionError):  # the first hangs up
                    connection.sendall(b"220 ready\r\n")
                    connection.recv(1 << 16)

        thread = threading.Thread(target=greet)
        thread.start()
        findings += list(checked)
        thread.join()
    (last,) = findings
    assert last.level is Level.ERROR
    assert "no HTTP" in last.found


def test_a_server_that_is_silent_is_one_line() -> None:
    with FakeS3() as fake:
        fake.answer = lambda _: Silence()
        (last,) = Endpoint(Host(environment={}), at(fake.endpoint), None, 1.0).check()
    assert last.level is Level.ERROR
    assert "does not answer" in last.found


def test_plain_http_to_another_host_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "_is_local", lambda _: False)
    with FakeS3() as fake:
        fake.answer = lambda _: Answer(200, BUCKETS)
        levels = [each.level for each in of(at(fake.endpoint)) if each.about == "endpoint"]
    assert levels == [Level.OK, Level.WARNING]


@pytest.mark.parametrize(
    ("variables", "is_used"),
    [
        ({"http_proxy": "http://user:CANARY@proxy.example:3128"}, True),
        ({"http_proxy": "proxy.example:3128", "no_proxy": "example.org"}, True),
        ({"all_proxy": "http://proxy.example:3128"}, True),
        ({"http_proxy": "http://proxy.example:3128", "no_proxy": "127.0.0.1"}, False),
        ({"http_proxy": "http://proxy.example:3128", "no_proxy": "*"}, False),
        ({"https_proxy": "http://proxy.example:3128"}, False),
        ({"HTTP_PROXY": "http://proxy.example:3128"}, True),
        ({"HTTP_PROXY": "http://proxy.example:1", "http_proxy": "proxy.example:3128"}, True),
    ],
)
def test_a_proxy_of_the_environment_is_told(variables: dict[str, str], is_used: bool) -> None:
    with FakeS3() as fake:
        fake.answer = lambda _: Answer(200, BUCKETS)
        findings = of(at(fake.endpoint), **variables)
    assert [each.level for each in findings if each.about == "proxy"] == [Level.WARNING] * is_used
    assert "CANARY" not in str(findings)
    if is_used:
        assert "proxy.example:3128" in findings[0].found


# --- the command


DOCTOR = ("doctor", "--wait", f"{PATIENCE:g}")


def doctor(server: S3Server, *words: str, home: Path) -> Any:
    environment = {**keys_of(server), "HOME": str(home), "XDG_CACHE_HOME": str(home / "cache")}
    (home / "cache" / "s3zipfs").mkdir(parents=True, mode=0o700, exist_ok=True)
    return s3zipfs(*DOCTOR, "--endpoint-url", server.endpoint, *words, environment=environment)


def test_each_line_says_how_bad_it_is_and_the_exit_code_tells_the_worst(
    s3server: S3Server, filled: str, tmp_path: Path
) -> None:
    done = doctor(s3server, f"s3://{filled}", home=tmp_path)
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    names = {each.name.lower(): each for each in Level}
    levels = [names[line.split()[0]] for line in lines]
    assert done.returncode == EXIT_CODES[max(levels)]
    assert f"s3://{filled} can be listed" in lines[-1]
    assert all(line[9:].split(": ")[0] for line in lines)
    assert "\x1b" not in done.stdout  # no terminal
    assert s3server.secret_key not in done.stdout


def test_json_has_a_line_for_each_finding(s3server: S3Server, filled: str, tmp_path: Path) -> None:
    done = doctor(s3server, "--json", home=tmp_path)
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert all(set(each) == {"level", "about", "found", "remedy"} for each in found)
    assert {"versions", "kernel", "updatedb", "cache", "clock", "credentials"} <= {
        each["about"] for each in found
    }


def test_an_error_ends_with_1(tmp_path: Path) -> None:
    done = s3zipfs(
        *DOCTOR, "--endpoint-url", "http://127.0.0.1:9", environment={"HOME": str(tmp_path)}
    )
    assert done.returncode == 1
    (line,) = [each for each in done.stdout.splitlines() if "port 9" in each]
    assert line.startswith("error    endpoint: 127.0.0.1 port 9: connection refused — ")


def test_a_settings_file_is_named_alone(s3server: S3Server, filled: str, tmp_path: Path) -> None:
    folder = tmp_path / "config" / "s3zipfs"
    folder.mkdir(parents=True)
    path = folder / "lab.toml"
    path.write_text(
        f'endpoint_url = "{s3server.endpoint}"\nsources = ["s3://{filled}", "s3://{filled}/d"]\n'
    )
    environment = {**keys_of(s3server), "XDG_CONFIG_HOME": str(tmp_path / "config")}
    done = s3zipfs(*DOCTOR, "lab", environment={**environment, "HOME": str(tmp_path)})
    assert f"s3://{filled} can be listed" in done.stdout
    assert f"s3://{filled}/d: nothing begins with it" in done.stdout
    assert done.stdout.count(" answers (MinIO") == 1  # the way there is the same
    assert str(path) in done.stdout
    assert done.returncode == 1
    assert_one_line(s3zipfs("doctor", "lab", environment={}), "no file", code=2)


def test_a_mount_is_well_until_its_process_is_killed(
    s3server: S3Server, filled: str, tmp_path: Path
) -> None:
    with Mount(tmp_path / "mnt", s3server, [f"s3://{filled}"]) as mount:
        told = doctor(s3server, home=tmp_path).stdout
        assert f"ok       mounts: {mount.path} answers (s3://{filled})" in told
        mount.process.kill()
        mount.process.wait()
        done = doctor(s3server, home=tmp_path)
        assert f"error    mounts: {mount.path} is dead" in done.stdout
        assert f"s3zipfs umount {mount.path}" in done.stdout
        assert done.returncode == 1


def test_an_alias_of_mc_is_a_source(s3server: S3Server, filled: str, tmp_path: Path) -> None:
    keys = f"{s3server.access_key}:{s3server.secret_key}"
    host = s3server.endpoint.replace("://", f"://{keys}@")
    environment = {"MC_HOST_mine": host, "HOME": str(tmp_path)}
    done = s3zipfs(*DOCTOR, f"mine/{filled}", environment=environment)
    assert f"{filled} can be listed" in done.stdout
    assert "found: the settings, their files, or an alias of mc" in done.stdout
    assert s3server.secret_key not in done.stdout + done.stderr


def test_a_command_that_never_prints_keys_does_not_hang_it(
    s3server: S3Server, tmp_path: Path
) -> None:
    words = ("--endpoint-url", s3server.endpoint, "--credential-command", "sleep 600")
    done = s3zipfs("doctor", *words, environment={"HOME": str(tmp_path)})  # for a minute at most
    assert done.returncode == 1
    (line,) = [each for each in done.stdout.splitlines() if "no answer within" in each]
    assert line.startswith("error ")


def test_a_command_that_never_prints_keys_is_run_once() -> None:
    settings = load_settings(endpoint_url="http://127.0.0.1:9", credential_command="sleep 600")
    (line,) = account(settings, Connection(settings), None, seconds=1.0)
    assert (line.about, line.level) == ("credentials", Level.ERROR)
    assert "no answer within 1 s" in line.found


def test_what_is_typed_wrong_is_one_line(tmp_path: Path) -> None:
    environment = {"HOME": str(tmp_path)}
    assert_one_line(s3zipfs("doctor", "a b", environment=environment), "neither a name", code=2)
    done = s3zipfs("doctor", "x", "--config", "y", environment=environment)
    assert_one_line(done, "once", code=2)
