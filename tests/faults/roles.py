"""Temporary keys: a secret and a session token that occur nowhere else."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import boto3
from s3server import S3Server


@dataclass(frozen=True)
class Role:
    """The keys of an assumed role."""

    access_key: str
    secret_key: str
    token: str

    @property
    def variables(self) -> dict[str, str]:
        """As botocore has them."""
        return {
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_SESSION_TOKEN": self.token,
        }

    def write(self, file: Path) -> None:
        """Into a shared credentials file, at once."""
        new = file.with_name("new")
        lines = [f"{name.lower()} = {value}\n" for name, value in self.variables.items()]
        new.write_text("[default]\n" + "".join(lines))
        new.replace(file)


def assume_role(server: S3Server, policy: str | None = None) -> Role:
    """New keys of that server, which may do no more than the policy says."""
    sts = boto3.client(
        "sts",
        endpoint_url=server.endpoint,
        aws_access_key_id=server.access_key,
        aws_secret_access_key=server.secret_key,
        region_name="us-east-1",
    )
    within = {} if policy is None else {"Policy": policy}
    role = sts.assume_role(
        RoleArn="arn:aws:iam::123456789012:role/x", RoleSessionName="test", **within
    )
    keys = role["Credentials"]
    return Role(keys["AccessKeyId"], keys["SecretAccessKey"], keys["SessionToken"])
