"""An endpoint, from its name to what it answers: the first step that fails ends it."""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
import socket
import ssl
import time
import urllib.request
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import SplitResult, urlsplit

from s3zipfs.doctor.account import account
from s3zipfs.doctor.findings import Finding, error, note, ok, warning
from s3zipfs.doctor.host import Host
from s3zipfs.settings import Settings
from s3zipfs.stores.s3.connection import Connection

FAMILIES = 3  # parts of a step's time; each kind of address has one, where there are two
NOTED_SKEW, WARNED_SKEW, FATAL_SKEW = 5.0, 60.0, 900.0  # seconds; S3 refuses from 15 min on
EXPIRES_SOON = 14.0  # days
_BODY = 4096  # bytes of an answer that are looked at
_S3_WORDS = (b"<ListAllMyBucketsResult", b"<Error>", b"<Error ")

Steps = Generator[Finding, None, bool]
"""Findings, and whether the next steps make sense."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One endpoint with one set of credentials; `source` is a bucket's URL, None: all buckets.

    Each step may take `seconds`, which the checkup must allow. `is_known`: another one with the
    same settings tells of the way there.
    """

    host: Host
    settings: Settings
    source: str | None
    seconds: float
    is_known: bool = False

    def check(self) -> Iterator[Finding]:
        """All steps."""
        connection = Connection(self.settings)
        if self.is_known or (yield from self._way(connection)):
            yield from account(self.settings, connection, self.source, seconds=self.seconds)

    def _way(self, connection: Connection) -> Steps:
        url = urlsplit(connection.endpoint)
        if (proxy := self._proxy_of(url)) is not None:
            found = f"requests to {url.netloc} go through {proxy}: no name, TLS or clock is checked"
            remedy = f"unless that is meant: add {url.hostname} to no_proxy"
            yield warning("proxy", found, remedy)
            return True
        if not (yield from self._reach(url)):
            return False
        if url.scheme == "https" and not (yield from self._tls(url, connection)):
            return False
        return (yield from self._ask(url, connection))

    # The way there

    def _proxy_of(self, url: SplitResult) -> str | None:
        """The proxy that the libraries take from the environment, without its password."""
        proxies = {
            name.lower().removesuffix("_proxy"): value
            for name, value in sorted(self.host.environment.items())  # the lower case wins
            if name.lower().endswith("_proxy") and value
        }
        proxy = proxies.get(url.scheme) or proxies.get("all")
        if proxy is None or urllib.request.proxy_bypass(url.netloc, proxies):
            return None
        parts = urlsplit(proxy if "://" in proxy else f"//{proxy}")
        return parts.netloc.rpartition("@")[2] or proxy.rpartition("@")[2]

    def _reach(self, url: SplitResult) -> Steps:
        """DNS and TCP, each kind of address by itself. Returns whether somebody answers."""
        name, port = url.hostname or "", url.port or (443 if url.scheme == "https" else 80)
        try:
            found = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)
        except OSError as failed:
            yield error("DNS", f"{name}: {failed.strerror}", "check the name, and /etc/resolv.conf")
            return False
        addresses: dict[int, tuple[Any, ...]] = {}
        for each in found:
            addresses.setdefault(each[0], each[4])  # the first of each kind
        shown = ", ".join(str(address[0]) for address in addresses.values())
        if not _is_address(name):
            yield ok("DNS", f"{name} is {shown}")
        failures: dict[int, OSError] = {}
        for family, address in addresses.items():
            seconds = self.seconds if len(addresses) == 1 else self.seconds / FAMILIES
            try:
                with socket.socket(family) as tried:
                    tried.settimeout(seconds)
                    tried.connect(address)
            except OSError as failed:
                failures[family] = failed
        told = {
            family: f"{addresses[family][0]} port {port}: {_reason(cause)}"
            for family, cause in failures.items()
        }
        if len(failures) == len(addresses):
            remedy = "is it running? check --endpoint-url, the port and firewalls"
            yield error("endpoint", "; ".join(told.values()), remedy)
            return False
        for family, cause in failures.items():
            kind = "IPv6" if family == socket.AF_INET6 else "IPv4"
            if isinstance(cause, TimeoutError):  # what is refused costs no time
                remedy = f"mend it, or remove it from {name}'s addresses"
                yield warning(kind, f"{told[family]}: first connections wait for it", remedy)
            else:
                yield note(kind, f"{told[family]}: the other kind is used")
        return True

    def _tls(self, url: SplitResult, connection: Connection) -> Steps:
        """Chain, host name and expiry. Returns whether the certificate is good."""
        if not connection.tls.is_verified:
            remedy = "give --ca-bundle instead of --no-verify-tls"
            yield warning("TLS", "certificates are not verified: anybody may be there", remedy)
            return True
        about = f"TLS of {url.netloc}"
        try:
            with contextlib.closing(self._connected(url, connection)) as opened:
                told = opened.sock.getpeercert() if isinstance(opened.sock, ssl.SSLSocket) else None
        except ssl.SSLCertVerificationError as failed:
            yield error(about, failed.verify_message, _tls_remedy(failed.verify_message))
            return False
        except ssl.SSLError as failed:
            plain = failed.reason in {"WRONG_VERSION_NUMBER", "HTTP_REQUEST"}
            remedy = "is it http://…?" if plain else "check versions, and --client-certificate"
            yield error(about, _tls_words(failed), remedy)
            return False
        until = str((told or {}).get("notAfter", ""))
        days = (ssl.cert_time_to_seconds(until) - time.time()) / 86_400
        if days < EXPIRES_SOON:
            yield warning(about, f"the certificate expires in {days:.0f} days", "renew it")
        else:
            yield ok(about, f"trusted, good for {days:.0f} days")
        return True

    def _connected(self, url: SplitResult, connection: Connection) -> http.client.HTTPConnection:
        name, port = url.hostname or "", url.port
        opened: http.client.HTTPConnection
        if url.scheme == "https":
            tls = connection.tls
            context = ssl.create_default_context(cafile=tls.roots)
            if not tls.is_verified:
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE
            if tls.certificate is not None:
                context.load_cert_chain(tls.certificate, tls.key)
            opened = http.client.HTTPSConnection(name, port, timeout=self.seconds, context=context)
        else:
            opened = http.client.HTTPConnection(name, port, timeout=self.seconds)
        opened.connect()
        return opened

    def _ask(self, url: SplitResult, connection: Connection) -> Steps:
        """One unsigned request: is it S3, and what time is it there? Returns whether it is S3."""
        try:
            with contextlib.closing(self._connected(url, connection)) as opened:
                opened.request("GET", f"{url.path}/", headers={"User-Agent": "s3zipfs doctor"})
                asked_at = time.time()
                answer = opened.getresponse()
                body = answer.read(_BODY)
        except ssl.SSLError as failed:  # by TLS 1.3 a client is judged after the handshake
            found = f"the endpoint refuses us: {_tls_words(failed)}"
            yield error(f"TLS of {url.netloc}", found, "give --client-certificate, or another one")
            return False
        except (OSError, http.client.HTTPException) as failed:
            found = f"{connection.endpoint}: {_reason(failed)}"
            yield error("endpoint", found, "is it an S3 endpoint? check --endpoint-url")
            return False
        server = answer.getheader("Server") or "a server that gives no name"
        is_s3 = answer.getheader("x-amz-request-id") or any(word in body for word in _S3_WORDS)
        if not is_s3:
            found = f"{connection.endpoint} is no S3 store, but {server} (HTTP {answer.status})"
            remedy = "check --endpoint-url: https or http? MinIO's console has another port"
            yield error("endpoint", found, remedy)
            return False
        yield ok("endpoint", f"{connection.endpoint} answers ({server})")
        local = _is_local(url.hostname or "")
        if url.scheme == "http" and not local and not connection.is_anonymous:
            found = f"{connection.endpoint}: what is read can be seen and changed on the way"
            yield warning("endpoint", found, "use https://")
        yield _clock(answer.getheader("Date"), asked_at)
        return True


def _clock(date: str | None, asked_at: float) -> Finding:
    """This machine's clock beside the endpoint's: signatures hold the time."""
    try:
        told = parsedate_to_datetime(date or "").timestamp()
    except ValueError:
        return note("clock", "the endpoint does not tell the time")
    skew = told - asked_at
    found = f"{abs(skew):.0f} s {'behind' if skew > 0 else 'ahead of'} the endpoint's"
    remedy = "set it: timedatectl set-ntp true (here, or there)"
    if abs(skew) > FATAL_SKEW:
        return error("clock", f"{found}: signed requests are refused from 15 min on", remedy)
    if abs(skew) > WARNED_SKEW:
        return warning("clock", found, remedy)
    return ok("clock", "as the endpoint's" if abs(skew) < NOTED_SKEW else found)


def _reason(failed: Exception) -> str:
    if isinstance(failed, TimeoutError):
        return "does not answer"
    if isinstance(failed, OSError):
        return (failed.strerror or str(failed)).lower()
    return "its answer is no HTTP"


def _tls_words(failed: ssl.SSLError) -> str:
    return (failed.reason or "failed").replace("_", " ").lower()


def _tls_remedy(message: str) -> str:
    words = message.lower()
    if "hostname" in words or "ip address mismatch" in words:
        return "use the name that the certificate is for, in --endpoint-url"
    if "expired" in words or "not yet valid" in words:
        return "renew it there, or set this machine's clock"
    return "give --ca-bundle with the authority that signed it"


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _is_local(name: str) -> bool:
    if name == "localhost" or name.endswith(".localhost"):  # RFC 6761, 6.3
        return True
    return _is_address(name) and ipaddress.ip_address(name).is_loopback
