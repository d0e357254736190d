"""One set of settings and one source of credentials, given to both client libraries."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

import obstore.store
import s3fs
from aiobotocore.session import AioSession
from botocore.exceptions import BotoCoreError

from s3zipfs.errors import AccessDenied, BadResponse, SettingsError
from s3zipfs.mcaliases import Alias, find_alias
from s3zipfs.settings import Settings, checked_endpoint
from s3zipfs.stores.s3.credentials import (
    check_origin,
    config_of,
    config_variable,
    frozen,
    open_session,
)
from s3zipfs.stores.s3.tls import check_endpoint, tls_of
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


def _in_one_line(record: logging.LogRecord) -> bool:
    record.exc_info = None  # what failed is in our own error as well
    return True


logging.getLogger("aiobotocore.credentials").addFilter(_in_one_line)


class Connection:
    """How to reach one endpoint, with which credentials. Opens nothing by itself.

    `reread` gives the settings as their files and variables have them by now; only their
    credentials count then.

    Raises:
        SettingsError: by the constructor, for a wrong URL, profile, key pair or file.
    """

    def __init__(self, settings: Settings, reread: Callable[[], Settings] | None = None) -> None:
        self._settings = settings
        self._reread = reread
        alias = _alias(settings)
        self.session = open_session(settings, alias)
        self.is_anonymous = settings.anonymous or (alias is not None and not alias.access_key)
        self.region: str = (
            settings.region or config_variable(self.session, "region") or DEFAULT_REGION
        )
        self.custom_endpoint = _custom_endpoint(settings, alias, self.session)
        self.tls = tls_of(settings, config_variable(self.session, "ca_bundle"))
        self._root_certificates = self.tls.roots.read_bytes()
        check_endpoint(self.endpoint, self.tls, anonymous=self.is_anonymous)
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
        if self.is_anonymous:
            return False
        settings = self._settings
        if self._reread is not None:  # files, and a directory of users: not for the loop to wait
            settings = await asyncio.to_thread(self._reread)
        alias = _alias(settings)
        if alias is not None and _custom_endpoint(settings, alias, self.session) != (
            self.custom_endpoint
        ):
            raise SettingsError(f"mc_alias: {alias.name}: is another endpoint's by now")
        session = open_session(settings, alias)
        await check_origin(session)
        found = await frozen(session)
        if found is None or found == await self._held():
            return False
        self.session = session
        return True

    async def _held(self) -> Any:
        try:
            return await frozen(self.session)
        except BotoCoreError:  # they can't be fetched any more
            return None

    async def credentials(self) -> S3Credential:
        """The current credentials, for obstore; refreshed by botocore where they expire.

        Raises:
            AccessDenied: there are none.
            BotoCoreError: they could not be fetched.
        """
        found = await frozen(self.session)
        if found is None:
            raise AccessDenied(f"{self.endpoint}: {NO_CREDENTIALS}")
        return {
            "access_key_id": found.access_key,
            "secret_access_key": found.secret_key,
            "token": found.token,
            "expires_at": datetime.now(UTC) + CREDENTIAL_TTL,
        }

    async def open_client(self) -> Any:
        """An aiobotocore S3 client of the running loop, made by s3fs. Close it by `close()`.

        Raises:
            AccessDenied: there are no credentials, and the settings do not say anonymous.
            SettingsError: they are in a file that others can read.
            BotoCoreError: the credentials could not be fetched.
        """
        if not self.is_anonymous:
            await check_origin(self.session)
            await self.credentials()
        filesystem = s3fs.S3FileSystem(
            asynchronous=True,
            skip_instance_cache=True,
            session=self.session,
            anon=self.is_anonymous,
            endpoint_url=self.custom_endpoint,
            client_kwargs={"region_name": self.region, "verify": self.tls.verify},
            config_kwargs={
                "retries": {"total_max_attempts": 1},  # `RetryingStore` is the one retry layer
                "connect_timeout": self.connect_timeout,
                "read_timeout": self.read_timeout,
                "max_pool_connections": self._settings.max_requests,
                "client_cert": self.tls.client_certificate,
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
            "allow_invalid_certificates": not self.tls.is_verified,
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
                "skip_signature": self.is_anonymous,
                "s3_express": False,
                "request_payer": False,
            },
            client_options=client_options,
            retry_config={"max_retries": 0},
            credential_provider=None if self.is_anonymous else credentials,
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


def _alias(settings: Settings) -> Alias | None:
    return None if settings.mc_alias is None else find_alias(settings.mc_alias)


def _custom_endpoint(settings: Settings, alias: Alias | None, session: AioSession) -> str | None:
    url = settings.endpoint_url if alias is None else alias.endpoint_url
    if url is None and alias is None:
        url = config_of(session).get("endpoint_url")
    if url is None:
        return None
    try:
        return checked_endpoint(url)
    except ValueError as error:  # of the AWS configuration, or of mc's
        raise SettingsError(f"endpoint_url: {error}") from None
