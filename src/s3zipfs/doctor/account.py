"""Who asks: where credentials come from, and whether an endpoint accepts them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from s3zipfs.doctor.findings import Finding, error, note, ok
from s3zipfs.errors import AccessDenied, ClockDiffers, NotFound, S3ZipError
from s3zipfs.settings import Settings, parse_source
from s3zipfs.stores.s3 import S3Store
from s3zipfs.stores.s3.connection import Connection

# botocore's names of the places, `Credentials.method`
_PLACES = {
    "explicit": "the settings, their files, or an alias of mc",
    "env": "AWS_… variables",
    "shared-credentials-file": "the shared credentials file",
    "config-file": "the AWS configuration file",
    "custom-process": "a command",
    "assume-role": "a role that is assumed",
    "assume-role-with-web-identity": "a role, by web identity",
    "sso": "single sign-on",
    "container-role": "the container's role",
    "iam-role": "the EC2 instance's role",
}


def account(
    settings: Settings, connection: Connection, source: str | None, *, seconds: float
) -> Iterator[Finding]:
    """One signed request, within that time: the source's first name, or all buckets."""
    if connection.is_anonymous:
        yield note("credentials", "none are sent: requests are unsigned")
    else:
        try:
            place = asyncio.run(_place(connection, seconds))
        except TimeoutError:  # the request would wait for them once more
            found = f"no answer within {seconds:g} s from where they are"
            yield error("credentials", found, "see what that waits for")
            return
        if place is not None:
            yield ok("credentials", f"found: {_PLACES.get(place, place)}")
    try:
        told = asyncio.run(_ask(settings, source, seconds))
    except ClockDiffers as failed:
        yield error("credentials", str(failed), "set the clock: timedatectl set-ntp true")
    except NotFound as failed:
        yield error("source", str(failed), "check its name")
    except AccessDenied as failed:
        yield _denied(failed, source)
    except S3ZipError as failed:
        yield error("credentials", str(failed), "see what a mount says with --verbose")
    else:
        yield ok("source" if source else "credentials", told)


async def _place(connection: Connection, seconds: float) -> str | None:
    """Botocore's name of where the credentials are from; None where none were got.

    Raises:
        TimeoutError: it was not known in time. A command that was run for them is ended.
    """
    try:
        async with asyncio.timeout(seconds):
            found = await connection.session.get_credentials()
    except TimeoutError:
        raise
    except Exception:  # noqa: BLE001 - the request that follows tells what is wrong
        return None
    return None if found is None else str(found.method)


async def _ask(settings: Settings, source: str | None, seconds: float) -> str:
    """What the request brought."""
    store = S3Store(settings)
    try:
        async with asyncio.timeout(seconds):
            if source is None:
                return f"accepted: {len(await store.list_buckets())} buckets can be listed"
            folder = parse_source(source)
            page = await store.list_page(folder.bucket, folder.prefix, max_keys=1)
    except TimeoutError:
        raise S3ZipError(f"{store.endpoint}: no answer within {seconds:g} s") from None
    finally:
        await store.close()
    is_empty = not page.objects and not page.prefixes
    if is_empty and folder.prefix:
        raise NotFound(f"{source}: nothing begins with it")
    return f"{source} can be listed{', and is empty' if is_empty else ''}"


def _denied(failed: AccessDenied, source: str | None) -> Finding:
    text = str(failed)
    if "access denied" not in text:  # of the credentials themselves
        return error("credentials", text, "give others, or renew them")
    if source is None:
        remedy = "name a bucket: s3zipfs doctor s3://BUCKET"
        return note("credentials", "they may not list all buckets; what else is not known", remedy)
    remedy = "let the policy allow s3:ListBucket and s3:GetObject there"
    return error("source", text, remedy)
