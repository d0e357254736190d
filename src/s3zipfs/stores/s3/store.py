"""`S3Store`: five verbs, each one request, each answer compared with its question."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any, TypeVar

import obstore
from botocore.exceptions import BotoCoreError

from s3zipfs.errors import (
    AccessDenied,
    BadResponse,
    ClockDiffers,
    NotFound,
    ObjectChanged,
    S3ZipError,
    SettingsError,
)
from s3zipfs.settings import Settings
from s3zipfs.stores.arrivals import heard_by
from s3zipfs.stores.base import BucketInfo, ListPage, ObjectId, ObjectInfo
from s3zipfs.stores.s3.blocking import BlockingReads
from s3zipfs.stores.s3.body import BodyReader
from s3zipfs.stores.s3.connection import Connection
from s3zipfs.stores.s3.forks import OBSTORE
from s3zipfs.stores.s3.told import (
    compare,
    normal_etag,
    obstore_can_hold,
    told_by_client,
    told_by_obstore,
)
from s3zipfs.stores.s3.translate import (
    Asked,
    CredentialsRefused,
    by_botocore,
    by_obstore,
    get_options,
    is_own_authority,
)
from s3zipfs.stores.s3.versions import Versions
from s3zipfs.telemetry.requests import RequestMeter, Sent, Verb

T = TypeVar("T")
_log = logging.getLogger(__name__)

MAX_KEYS = 1000  # of one LIST page, by S3's definition
RELOAD_SECONDS = 10.0  # between two looks at credential files that the store's refusals cause


class S3Store:
    """An S3 endpoint as an `ObjectStore`. One attempt per call: `RetryingStore` goes around it.

    Everything is opened on first use, on the loop that runs then. `reread` gives the settings as
    they are by now, for `reload_credentials`; each attempt counts in `requests`.

    Raises:
        SettingsError: by the constructor, for a wrong URL, profile, key pair or file.
    """

    def __init__(
        self,
        settings: Settings,
        reread: Callable[[], Settings] | None = None,
        requests: RequestMeter | None = None,
    ) -> None:
        self._requests = requests or RequestMeter()
        self._connection = Connection(settings, reread)
        self._bodies = BodyReader(self._connection.read_timeout)
        # Data requests under way, on the loop and in threads.
        self._slots = asyncio.Semaphore(settings.requests_on_loop)
        self._client: asyncio.Task[Any] | None = None
        self._buckets: dict[str, obstore.store.S3Store] = {}
        self._retired: list[asyncio.Task[Any]] = []  # clients whose requests may still run
        self._credentials = 0  # how often they were replaced
        self._reload: asyncio.Task[bool] | None = None
        self._next_reload = 0.0  # loop time
        self._versions = Versions()
        self._blocking = BlockingReads(
            self._bodies, self._versions, self._requests, most=settings.requests_in_threads
        )
        # obstore cannot talk to some endpoints at all, and has no way to show a certificate.
        self._by_client_only = self._connection.tls.certificate is not None

    def __repr__(self) -> str:
        return f"S3Store({self.endpoint!r})"

    @property
    def endpoint(self) -> str:
        """See `ObjectStore`."""
        return self._connection.endpoint

    async def list_buckets(self) -> tuple[BucketInfo, ...]:
        """See `ObjectStore`."""
        asked = Asked(self.endpoint)
        answer = await self._ask(asked, "list_buckets", lambda client: client.list_buckets())
        if "Buckets" not in answer:
            raise BadResponse(f"{self.endpoint}: this is no answer of an S3 store")
        found = (BucketInfo(b["Name"], _seconds(b.get("CreationDate"))) for b in answer["Buckets"])
        return tuple(sorted(found, key=lambda bucket: bucket.name))

    async def list_page(
        self, bucket: str, prefix: str, *, token: str | None = None, max_keys: int = MAX_KEYS
    ) -> ListPage:
        """See `ObjectStore`."""
        asked = Asked(self.endpoint, bucket)
        more = {} if token is None else {"ContinuationToken": token}
        # botocore adds encoding-type=url by itself and decodes: keys may hold any character.
        answer = await self._ask(
            asked,
            "list",
            lambda client: client.list_objects_v2(
                Bucket=bucket, Prefix=prefix, Delimiter="/", MaxKeys=max_keys, **more
            ),
        )
        if "IsTruncated" not in answer:  # another XML, or HTML: never an empty listing
            raise BadResponse(f"{asked.name}: this is no listing of an S3 store")
        next_token = answer.get("NextContinuationToken") if answer["IsTruncated"] else None
        if answer["IsTruncated"] and not next_token:
            raise BadResponse(f"{asked.name}: a listing that goes on, without saying where")
        objects = [self._info(bucket, o["Key"], o) for o in answer.get("Contents", ())]
        prefixes = [p["Prefix"] for p in answer.get("CommonPrefixes", ())]
        return ListPage(
            # str order is UTF-8 order; this costs nothing where the store keeps to it
            tuple(sorted(objects, key=lambda info: info.id.key)),
            tuple(sorted(prefixes)),
            next_token,
        )

    async def head(self, bucket: str, key: str) -> ObjectInfo:
        """See `ObjectStore`."""
        asked = Asked(self.endpoint, bucket, key, by_head=True)
        answer = await self._ask(
            asked, "head", lambda client: client.head_object(Bucket=bucket, Key=key)
        )
        return self._info(bucket, key, answer)

    async def get_range(self, oid: ObjectId, start: int, end: int) -> memoryview:
        """See `ObjectStore`; without a copy, over obstore's buffer.

        An empty range is no request. A range that the object does not have is `ObjectChanged`:
        whoever asks has the size of another version. So is a bucket that is gone: `NotFound` is
        of names, and Zarr takes it for an empty chunk.
        """
        if not 0 <= start <= end:
            raise ValueError(f"no such range: [{start}, {end})")
        if start == end:
            return memoryview(b"")
        asked = Asked(self.endpoint, oid.bucket, oid.key, oid)
        async with self._slots:
            try:
                return await self._versions.read(
                    oid, lambda each: self._get(asked, each, start, end)
                )
            except NotFound as gone:
                raise ObjectChanged(str(gone)) from None

    def version_id(self, oid: ObjectId) -> str | None:
        """See `ObjectStore`."""
        return self._versions.id_of(oid)

    def try_range(self, oid: ObjectId, start: int, end: int) -> memoryview | None:
        """See `ObjectStore`."""
        if self._by_client_only or not OBSTORE.is_known_here:
            return None
        asked = Asked(self.endpoint, oid.bucket, oid.key, oid)
        return self._blocking.read(asked, oid, start, end)

    async def _get(self, asked: Asked, oid: ObjectId, start: int, end: int) -> memoryview:
        if self._by_client_only or not obstore_can_hold(oid.key) or not await OBSTORE.is_here():
            return await self._get_by_client(asked, oid, start, end)
        return await self._signed(lambda: self._get_by_obstore(asked, oid, start, end))

    async def reload_credentials(self) -> bool:
        """Read environment and files again; whether they now give other credentials.

        What is under way goes on with the old ones. The store does this by itself, at most every
        10 s, when its credentials are refused.
        """
        try:
            if not await self._connection.reload():
                return False
        except Exception as error:  # noqa: BLE001 - whatever it is, only our errors come out
            raise by_botocore(Asked(self.endpoint), error) from None
        if self._client is not None:
            self._retired.append(self._client)
        self._client = None
        self._buckets.clear()
        self._blocking.clear()
        self._credentials += 1
        _log.info("%s: using new credentials", self.endpoint)
        return True

    async def close(self) -> None:
        """See `ObjectStore`."""
        clients, self._client, self._retired = [*self._retired, self._client], None, []
        self._buckets.clear()
        self._blocking.clear()
        for client in clients:
            if client is None:
                continue
            try:
                await (await client).close()
            except (S3ZipError, BotoCoreError):
                _log.debug("a client of %s was never open", self.endpoint)

    async def _signed(self, attempt: Callable[[], Awaitable[T]]) -> T:
        # Static files are read once by botocore: a rotation shows as a refusal.
        used = self._credentials
        try:
            return await attempt()
        except CredentialsRefused as refused:
            if used == self._credentials and not await self._reload_after_refusal():
                raise AccessDenied(str(refused)) from None
        try:
            return await attempt()
        except CredentialsRefused as refused:
            raise AccessDenied(str(refused)) from None

    async def _reload_after_refusal(self) -> bool:
        now = asyncio.get_running_loop().time()
        if self._reload is None or (self._reload.done() and now >= self._next_reload):
            self._next_reload = now + RELOAD_SECONDS
            self._reload = asyncio.ensure_future(self.reload_credentials())
        elif self._reload.done():
            return False
        try:
            return await asyncio.shield(self._reload)
        except S3ZipError as error:
            _log.warning("%s: credentials could not be read again: %s", self.endpoint, error)
            return False

    # --- the client, by s3fs ------------------------------------------------------------------

    async def _ask(self, asked: Asked, verb: Verb, question: Callable[[Any], Awaitable[T]]) -> T:
        return await self._signed(lambda: self._ask_once(asked, verb, question))

    async def _ask_once(
        self, asked: Asked, verb: Verb, question: Callable[[Any], Awaitable[T]]
    ) -> T:
        client = await self._open(asked)
        known = partial(by_botocore, asked)
        try:
            with (
                Sent(self._requests, verb, asked.bucket, asked.key, known) as sent,
                heard_by(sent.hear),
            ):
                return await question(client)
        except Exception as error:  # noqa: BLE001 - whatever it is, only our errors come out
            raise known(error) from None

    async def _open(self, asked: Asked) -> Any:
        try:
            return await self._open_client()
        except Exception as error:  # noqa: BLE001 - likewise
            raise by_botocore(asked, error) from None

    async def _open_client(self) -> Any:
        # One task, so that the first caller's cancellation is not the others'.
        client = self._client
        if client is None or (client.done() and (client.cancelled() or client.exception())):
            self._client = asyncio.ensure_future(self._connection.open_client())
            client = self._client
        return await asyncio.shield(client)

    async def _get_by_client(self, asked: Asked, oid: ObjectId, start: int, end: int) -> memoryview:
        version = {} if oid.version_id is None else {"VersionId": oid.version_id}

        async def get(client: Any) -> memoryview:
            answer = await client.get_object(
                Bucket=oid.bucket,
                Key=oid.key,
                Range=_http_range(start, end),
                IfMatch=oid.etag,
                **version,
            )
            async with answer["Body"] as body:
                compare(asked, (start, end), told_by_client(asked, answer))
                self._versions.learn(oid, answer.get("VersionId"))
                return await self._bodies.read_by_client(asked, body, end - start)

        return await self._ask(asked, "get", get)

    # --- the bytes, by obstore ----------------------------------------------------------------

    async def _get_by_obstore(
        self, asked: Asked, oid: ObjectId, start: int, end: int
    ) -> memoryview:
        store = await self._open_bucket(asked)
        known = partial(by_obstore, asked)
        options = get_options(oid, start, end)
        try:
            with (
                Sent(self._requests, "get", oid.bucket, oid.key, known) as sent,
                heard_by(sent.hear),
            ):
                answer = await obstore.get_async(store, oid.key, options=options)
                compare(asked, (start, end), told_by_obstore(answer))
                self._versions.learn(oid, answer.meta["version"])
                return await self._bodies.read(asked, answer, end - start)
        except S3ZipError:
            raise
        except Exception as error:  # noqa: BLE001 - likewise
            if is_own_authority(error):
                return await self._get_without_obstore(asked, oid, start, end)
            failed = known(error)
            if isinstance(failed, ClockDiffers):
                failed = await self._measured(asked, failed)
            raise failed from None

    async def _measured(self, asked: Asked, known: ClockDiffers) -> ClockDiffers:
        # obstore shows no headers of a refusal: one more, for its `Date`.
        try:
            await self._ask_for_bucket(asked)
        except ClockDiffers as measured:
            return measured
        except S3ZipError as error:
            _log.debug("%s: how far is not known: %s", known, error)
        return known

    async def _get_without_obstore(
        self, asked: Asked, oid: ObjectId, start: int, end: int
    ) -> memoryview:
        data = await self._get_by_client(asked, oid, start, end)
        if not self._by_client_only:
            self._by_client_only = True
            _log.warning(
                "%s: its certificate is also its own authority: reading by the slower client",
                self.endpoint,
            )
        return data

    async def _open_bucket(self, asked: Asked) -> obstore.store.S3Store:
        found = self._buckets.get(asked.bucket)
        if found is not None:
            return found
        # obstore reports a failing provider by a text only: ask once where it can be told apart.
        await self._signed(lambda: self._open(asked))
        region = await self._region(asked) if self._connection.custom_endpoint is None else None
        try:
            store = self._connection.open_bucket(asked.bucket, region)
            blocking = self._connection.open_bucket(asked.bucket, region, blocking=True)
        except (obstore.exceptions.BaseError, ValueError, OSError) as error:
            reason = str(error).split("\n", maxsplit=1)[0]
            raise SettingsError(f"{asked.name}: {reason}") from None
        self._blocking.add(asked.bucket, blocking)
        return self._buckets.setdefault(asked.bucket, store)

    async def _ask_for_bucket(self, asked: Asked) -> Any:
        return await self._ask(
            replace(asked, by_head=True),
            "head",
            lambda client: client.head_bucket(Bucket=asked.bucket),
        )

    async def _region(self, asked: Asked) -> str | None:
        # AWS redirects to a bucket's region; botocore follows, obstore does not.
        answer = await self._ask_for_bucket(asked)
        headers = answer["ResponseMetadata"]["HTTPHeaders"]
        region: str | None = headers.get("x-amz-bucket-region")
        return region

    def _info(self, bucket: str, key: str, told: dict[str, Any]) -> ObjectInfo:
        etag = normal_etag(told.get("ETag"))
        size = told.get("Size", told.get("ContentLength"))
        if etag is None or size is None:
            asked = Asked(self.endpoint, bucket, key)
            raise BadResponse(f"{asked.name}: the store gives no {'size' if etag else 'ETag'}")
        # Whole seconds, as HEAD has them: the same object has one time, however it was met.
        modified = float(int(_seconds(told.get("LastModified"))))
        return ObjectInfo(ObjectId(self.endpoint, bucket, key, etag), size, modified)


def _seconds(told: datetime | None) -> float:
    """Since the epoch; 0.0 where the store does not tell."""
    return 0.0 if told is None else told.timestamp()


def _http_range(start: int, end: int) -> str:
    """HTTP's inclusive form of `[start, end)`."""
    return f"bytes={start}-{end - 1}"
