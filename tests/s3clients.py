"""Clients that play the other users of a store."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import boto3
import obstore
from botocore.config import Config
from s3server import S3Server


def make_s3client(server: S3Server, **options: Any) -> Any:
    """A boto3 client for that server."""
    return boto3.client(
        "s3",
        endpoint_url=server.endpoint,
        aws_access_key_id=server.access_key,
        aws_secret_access_key=server.secret_key,
        region_name="us-east-1",
        config=Config(s3={"addressing_style": "path"}),
        **options,
    )


@contextmanager
def temporary_bucket(client: Any, name: str) -> Iterator[str]:
    """A new bucket, removed afterwards with all in it."""
    client.create_bucket(Bucket=name)
    yield name
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=name):
        keys = [found["Key"] for found in page.get("Contents", ())]
        plain = [{"Key": key} for key in keys if key.isprintable()]
        if plain:
            client.delete_objects(Bucket=name, Delete={"Objects": plain, "Quiet": True})
        for key in keys:
            if not key.isprintable():  # XML 1.0 cannot hold it, a path can
                client.delete_object(Bucket=name, Key=key)
    client.delete_bucket(Bucket=name)


async def put_many(server: S3Server, bucket: str, keys: Iterable[str], body: bytes) -> None:
    """The same at every key; by obstore, which takes a tenth of boto3's time."""
    store = obstore.store.S3Store(
        bucket,
        endpoint=server.endpoint,
        access_key_id=server.access_key,
        secret_access_key=server.secret_key,
        region="us-east-1",
        virtual_hosted_style_request=False,
        client_options={"allow_http": True},
    )
    left = iter(keys)

    async def put() -> None:
        for key in left:
            await obstore.put_async(store, key, body)

    await asyncio.gather(*(put() for _ in range(64)))
