"""What a command is given: a path, a URL, or what begins with an alias of mc and is as one."""

from __future__ import annotations

import click

from s3zipfs.errors import SettingsError
from s3zipfs.mcaliases import split_alias


def is_remote(where: str) -> bool:
    """Whether it is an object store's; else it is a path.

    As with mc an alias goes before a directory of its name, which `./NAME` is.
    """
    return "://" in where or split_alias(where)[0] is not None


def as_url(source: str) -> str:
    """A source as it is shown: `s3://BUCKET`, where only the bucket was given."""
    return source if is_remote(source) else f"s3://{source}"


def check_alias(where: str) -> None:
    """Raise `SettingsError` where an alias, which has an endpoint, is given another one."""
    alias, rest = split_alias(where)
    given = click.get_current_context().params.get("endpoint_url")
    if alias is not None and given is not None:
        raise SettingsError(
            f"--endpoint-url: {alias} is an alias of mc and has its own; "
            f"the bucket {alias} is s3://{alias}{'/' if rest else ''}{rest}"
        )
