"""boto3 clients that play the other users of a store."""

from __future__ import annotations

from typing import Any

import boto3
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
