"""Whom an endpoint must prove to be, and what is shown to it: for both client libraries."""

from __future__ import annotations

import ipaddress
import logging
import ssl
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

from botocore.httpsession import get_cert_path

from s3zipfs.errors import SettingsError
from s3zipfs.secretfiles import refuse_if_others_can_read
from s3zipfs.settings import Settings

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Tls:
    """The files are known to be what they should be."""

    is_verified: bool
    roots: Path  # PEM, the authorities that are trusted
    certificate: Path | None = None  # PEM, what is shown to the endpoint
    key: Path | None = None  # PEM; None: beside the certificate

    @property
    def verify(self) -> str | bool:
        """As botocore has it."""
        return str(self.roots) if self.is_verified else False

    @property
    def client_certificate(self) -> str | tuple[str, str] | None:
        """As botocore has it."""
        if self.certificate is None:
            return None
        return str(self.certificate) if self.key is None else (str(self.certificate), str(self.key))


def tls_of(settings: Settings, configured_bundle: str | None) -> Tls:
    """What the settings say; `configured_bundle` is that of the AWS configuration.

    Raises:
        SettingsError: a file is missing, or not what it should be.
    """
    bundle = settings.ca_bundle
    if bundle is None and configured_bundle:
        bundle = Path(configured_bundle)
    if bundle is not None:
        bundle = _checked_bundle(bundle.expanduser().absolute())
    if settings.client_key is not None and settings.client_certificate is None:
        raise SettingsError("client_certificate: not given, but client_key is")
    if settings.client_certificate is not None:
        _check_pair(settings.client_certificate, settings.client_key)
    # botocore's default is certifi's list; curl and obstore trust the system's. Where the system
    # has none (slim containers) obstore cannot even be made, for http:// neither.
    roots = bundle or _system_roots()
    return Tls(settings.verify_tls, roots, settings.client_certificate, settings.client_key)


def _system_roots() -> Path:
    system = ssl.get_default_verify_paths().cafile  # honours SSL_CERT_FILE
    return Path(system or str(get_cert_path(True)))  # noqa: FBT003 - botocore's signature


def _checked_bundle(bundle: Path) -> Path:
    try:
        ssl.create_default_context(cafile=bundle)
    except (OSError, ValueError) as error:
        raise SettingsError(f"ca_bundle: {bundle}: {_reason(error, 'certificates')}") from None
    return bundle


def _check_pair(certificate: Path, key: Path | None) -> None:
    refuse_if_others_can_read(key or certificate, "client_key" if key else "client_certificate")
    try:
        # The password is asked for on the terminal where none is given.
        ssl.create_default_context().load_cert_chain(certificate, key, password="")
    except (OSError, ValueError) as error:
        files = str(certificate) if key is None else f"{certificate}, {key}"
        reason = _reason(error, "certificate with its key, or the key has a password")
        raise SettingsError(f"client_certificate: {files}: {reason}") from None


def _reason(error: Exception, wanted: str) -> str:
    if isinstance(error, ssl.SSLError) and error.reason == "KEY_VALUES_MISMATCH":
        return "the key is of another certificate"
    if isinstance(error, OSError) and not isinstance(error, ssl.SSLError):
        return str(error.strerror)
    return f"no PEM {wanted}"


def check_endpoint(endpoint: str, tls: Tls, *, anonymous: bool) -> None:
    """Warn of what an endpoint's URL and the settings leave open to others.

    Raises:
        SettingsError: a client certificate is given for an endpoint that can't ask for it.
    """
    parts = urlsplit(endpoint)
    if parts.scheme == "http":
        if tls.certificate is not None:
            raise SettingsError(f"client_certificate: {endpoint} is not https://")
        if not anonymous and not _is_loopback(parts.hostname or ""):
            _warn_of_plain_http(endpoint)
    elif not tls.is_verified:
        _warn_of_unverified(endpoint)


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):  # RFC 6761, 6.3
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@cache  # once for an endpoint and process
def _warn_of_plain_http(endpoint: str) -> None:
    _log.warning(
        "%s: plain HTTP to another host: session tokens, names and contents can be read and "
        "changed on the way; use https://",
        endpoint,
    )


@cache
def _warn_of_unverified(endpoint: str) -> None:
    _log.warning(
        "%s: its certificate is NOT verified (verify_tls is off): anybody on the way can read and "
        "change what is sent; give ca_bundle instead",
        endpoint,
    )
