"""One set of settings and one source of credentials, given to both client libraries."""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

import obstore.store
import s3fs
from aiobotocore.session import AioSession
from botocore.exceptions import BotoCoreError
from botocore.httpsession import get_cert_path
from botocore.utils import parse_timestamp

from s3zipfs.errors import AccessDenied, BadResponse, SettingsError
from s3zipfs.settings import Settings
from s3zipfs.stores.s3.translate import NO_CREDENTIALS

if TYPE_CHECKING:
    from obstore.store import S3Credential

DEFAULT_REGION = "us-east-1"
CONNECT_SECONDS = 10.0
STALL_SECONDS = 20.0  # of silence; a new connection is then worth more than more patience
ATTEMPTS_PER_DEADLINE = 3
CREDENTIAL_TTL = timedelta(minutes=6)  # obstore asks again 5 minutes before the end
BLOCKING_SECONDS = 3.0  # for all of a GET that a thread waits for; the usual way has more time
IDLE_SECONDS = 20  # below the 30 s after which MinIO closes: no request on a dying connection

T = TypeVar("T")

for _name in ("aiobotocore", "botocore", "s3fs"):
    # At DEBUG these print canonical requests, session tokens included.
    if logging.getLogger(_name).level == logging.NOTSET:
        logging.getLogger(_name).setLevel(logging.INFO)


class Connection:
    """How to reach one endpoint, with which credentials. Opens nothing by itself.

    Raises `SettingsError` for a wrong URL, profile or CA bundle, when it is made.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.session = _open_session(settings)
        self.region: str = (
            settings.region or _config_variable(self.session, "region") or DEFAULT_REGION
        )
        self.custom_endpoint = _custom_endpoint(settings, self.session)
        # botocore's default is certifi's list; curl and obstore trust the system's. Where the
        # system has none (slim containers) obstore cannot even be made, for http:// neither.
        self._roots = _ca_bundle(settings, self.session) or _system_roots()
        self._root_certificates = self._roots.read_bytes()
        # An attempt that gets nowhere ends early enough for another one before the deadline.
        self.read_timeout = min(STALL_SECONDS, settings.timeout / ATTEMPTS_PER_DEADLINE)
        # Below the other: obstore counts silence from before the connection.
        self.connect_timeout = min(CONNECT_SECONDS, self.read_timeout / 2)

    def __repr__(self) -> str:
        return f"Connection({self.endpoint!r})"

    @property
    def endpoint(self) -> str:
        """The URL that stands in every `ObjectId`; without a trailing slash."""
        return self.custom_endpoint or self._aws_endpoint(self.region)

    async def reload(self) -> bool:
        """Read environment and credential files again; whether they give other credentials.

        Raises:
            SettingsError, BotoCoreError: they are not readable; the old ones stay.
        """
        session = _open_session(self._settings)
        if await _frozen(session) in {None, await _frozen(self.session)}:
            return False
        self.session = session
        return True

    async def credentials(self) -> S3Credential:
        """The current credentials, for obstore; refreshed by botocore where they expire.

        Raises:
            AccessDenied: there are none.
            BotoCoreError: they could not be fetched.
        """
        frozen = await _frozen(self.session)
        if frozen is None:
            raise AccessDenied(f"{self.endpoint}: {NO_CREDENTIALS}")
        return {
            "access_key_id": frozen.access_key,
            "secret_access_key": frozen.secret_key,
            "token": frozen.token,
            "expires_at": datetime.now(UTC) + CREDENTIAL_TTL,
        }

    async def open_client(self) -> Any:
        """An aiobotocore S3 client of the running loop, made by s3fs. Close it by `close()`.

        Raises:
            AccessDenied: there are no credentials, and the settings do not say anonymous.
            BotoCoreError: the credentials could not be fetched.
        """
        if not self._settings.anonymous:
            await self.credentials()
        filesystem = s3fs.S3FileSystem(
            asynchronous=True,
            skip_instance_cache=True,
            session=self.session,
            anon=self._settings.anonymous,
            endpoint_url=self.custom_endpoint,
            client_kwargs={"region_name": self.region, "verify": str(self._roots)},
            config_kwargs={
                "retries": {"total_max_attempts": 1},  # `RetryingStore` is the one retry layer
                "connect_timeout": self.connect_timeout,
                "read_timeout": self.read_timeout,
                "max_pool_connections": self._settings.max_requests,
                "response_checksum_validation": "when_required",
                "s3": {"addressing_style": "path" if self.custom_endpoint else "auto"},
                "user_agent_extra": "s3zipfs",
            },
        )
        client = await filesystem.set_session()
        if self.custom_endpoint is not None:
            client.meta.events.register_last("before-parameter-build.s3", _stay_here)
            client.meta.events.register_first("after-call.s3", self._refuse_others)
        return client

    def _refuse_others(self, http_response: Any, **_: Any) -> None:
        # aiohttp follows a 307 to any host, and nothing else would show in a listing or a HEAD.
        asked, answered = urlsplit(self.endpoint), urlsplit(http_response.url)
        if (asked.scheme, asked.netloc) != (answered.scheme, answered.netloc):
            http_response.raw.close()
            raise BadResponse(f"{self.endpoint}: redirected to {answered.netloc}; not followed")

    def open_bucket(
        self, bucket: str, region: str | None = None, *, blocking: bool = False
    ) -> obstore.store.S3Store:
        """An obstore store of that bucket; `region` (AWS only) where it is not the settings'.

        `blocking`: for calls that are no coroutines, by threads other than this loop's.

        All that obstore would else read from `AWS_…` variables is said, so that both planes
        agree: a stray `AWS_ENDPOINT_URL_S3` or `AWS_ALLOW_INVALID_CERTIFICATES` has no effect.
        """
        region = region or self.region
        endpoint, virtual_hosted = self._bucket_endpoint(bucket, region)
        client_options: Any = {
            "allow_http": endpoint.startswith("http:"),
            "allow_invalid_certificates": False,
            "connect_timeout": timedelta(seconds=self.connect_timeout),
            "read_timeout": timedelta(seconds=self.read_timeout),
            # of the whole transfer, and here only for obstore's default of 30 s not to count:
            # a transfer that progresses has no end but its own
            "timeout": timedelta(days=1),
            "pool_max_idle_per_host": str(self._settings.max_requests),
            "pool_idle_timeout": timedelta(seconds=IDLE_SECONDS),
            "root_certificate": self._root_certificates,
        }
        credentials: Any = self.credentials
        if blocking:  # obstore awaits no coroutine there
            client_options["timeout"] = timedelta(seconds=BLOCKING_SECONDS)
            credentials = _from_elsewhere(self.credentials)
        return obstore.store.S3Store(
            bucket,
            config={
                "endpoint": endpoint,
                "aws_endpoint_url_s3": endpoint,
                "region": region,
                "virtual_hosted_style_request": virtual_hosted,
                "skip_signature": self._settings.anonymous,
                "s3_express": False,
                "request_payer": False,
            },
            client_options=client_options,
            retry_config={"max_retries": 0},
            credential_provider=None if self._settings.anonymous else credentials,
        )

    def _bucket_endpoint(self, bucket: str, region: str) -> tuple[str, bool]:
        if self.custom_endpoint is not None:
            return self.custom_endpoint, False
        host = self._aws_endpoint(region)
        if "." in bucket:  # AWS's wildcard certificate covers one label only
            return host, False
        return host.replace("https://", f"https://{bucket}."), True

    @staticmethod
    def _aws_endpoint(region: str) -> str:
        suffix = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
        return f"https://s3.{region}.{suffix}"


def _from_elsewhere(ask: Callable[[], Coroutine[Any, Any, T]]) -> Callable[[], T]:
    """A coroutine function of the running loop, as a function for other threads."""
    loop = asyncio.get_running_loop()
    return lambda: asyncio.run_coroutine_threadsafe(ask(), loop).result(BLOCKING_SECONDS)


def _stay_here(context: dict[str, Any], **_: Any) -> None:
    # On a 301 botocore asks for the bucket's region, to go there; a store of one's own has no
    # regions, and where it answers that by 301 as well botocore 1.43 recurses to the limit.
    context.setdefault("s3_redirect", {})["redirected"] = True


def _open_session(settings: Settings) -> AioSession:
    profile = settings.profile
    if profile is not None and profile == os.environ.get("AWS_PROFILE"):
        profile = None  # botocore reads it, and then keys in the environment win, as usual
    session = AioSession(profile=profile)
    session.get_component("response_parser_factory").set_parser_defaults(
        timestamp_parser=_parse_timestamp
    )
    _config_variable(session, "region")  # fails here for a profile that does not exist
    if (settings.access_key is None) != (settings.secret_key is None):
        missing = "secret_key" if settings.secret_key is None else "access_key"
        raise SettingsError(f"{missing}: not given, but the other half of the key pair is")
    if settings.access_key is not None and settings.secret_key is not None:
        token = settings.session_token
        session.set_credentials(
            settings.access_key.get_secret_value(),
            settings.secret_key.get_secret_value(),
            token.get_secret_value() if token is not None else None,
        )
    elif os.environ.get("AWS_EC2_METADATA_DISABLED", "").lower() != "false":
        # Off EC2 the question alone takes seconds; and a role's credentials are AWS's business,
        # not to be sent to any endpoint without being asked for.
        session.get_component("credential_provider").remove("iam-role")
    return session


def _parse_timestamp(value: str) -> datetime:
    # botocore's own, by dateutil, takes 30 of the 56 ms for which a page of 1,000 keys holds the
    # network loop (measured).
    try:
        return datetime.fromisoformat(value)
    except (TypeError, ValueError):
        parsed: datetime = parse_timestamp(value)
        return parsed


async def _frozen(session: AioSession) -> Any:
    """Access key, secret key and token as a tuple, or None where there are none."""
    found = await session.get_credentials()
    return None if found is None else await found.get_frozen_credentials()


def _config_variable(session: AioSession, name: str) -> str | None:
    try:
        value = session.get_config_variable(name)
    except BotoCoreError as error:
        raise SettingsError(f"AWS configuration: {error}") from None
    return None if value is None else str(value)


def _custom_endpoint(settings: Settings, session: AioSession) -> str | None:
    url = settings.endpoint_url
    if url is None:
        url = session.get_scoped_config().get("endpoint_url")
    if url is None:
        return None
    try:
        parts = urlsplit(url)
        valid = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        valid = False
    if not valid or parts.query or parts.fragment:
        raise SettingsError(f"endpoint_url: {url!r} is no URL like https://minio.example.org:9000")
    if parts.username is not None or parts.password is not None:
        raise SettingsError("endpoint_url: holds a user name or password; keys have own settings")
    return url.rstrip("/")


def _system_roots() -> Path:
    system = ssl.get_default_verify_paths().cafile  # honours SSL_CERT_FILE
    return Path(system or str(get_cert_path(True)))  # noqa: FBT003 - botocore's signature


def _ca_bundle(settings: Settings, session: AioSession) -> Path | None:
    bundle = settings.ca_bundle
    if bundle is None:
        configured = _config_variable(session, "ca_bundle")
        bundle = Path(configured) if configured else None
    if bundle is None:
        return None
    bundle = bundle.expanduser().absolute()
    try:
        ssl.create_default_context(cafile=bundle)
    except (OSError, ValueError) as error:  # SSLError is an OSError
        reason = error.strerror if isinstance(error, FileNotFoundError) else "no PEM certificates"
        raise SettingsError(f"ca_bundle: {bundle}: {reason}") from None
    return bundle
