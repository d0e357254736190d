"""The options that commands share, by the names of `settings.Settings`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from s3zipfs.settings import Settings, load_settings, parse_size

F = TypeVar("F", bound=Callable[..., Any])

_PATTERNS = ("archive", "exclude")


class Size(click.ParamType[int]):
    """A number of bytes, with a binary unit: 256M, 1GiB."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Bytes."""
        try:
            return parse_size(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


def _option(field: str, *declarations: str, **options: Any) -> Callable[[F], F]:
    described = Settings.model_fields[field]
    text = described.description or ""
    default = described.default
    if options.get("type") is SIZE and default is not None:
        text += f" (default {default >> 20}M)"
    elif isinstance(default, int | float) and not isinstance(default, bool):
        text += f" (default {default:g})"
    name = declarations or (f"--{field.replace('_', '-')}",)
    return click.option(*name, field, default=None, help=text, **options)


SIZE = Size()
_CACHE_OPTIONS = (
    _option("cache_dir", type=click.Path(path_type=Path), metavar="DIR"),
    _option("cache_size", type=SIZE, metavar="BYTES"),
    _option("index_cache_size", type=SIZE, metavar="BYTES"),
)
_STORE_OPTIONS = (
    _option("endpoint_url", metavar="URL"),
    _option("region", metavar="NAME"),
    _option("profile", metavar="NAME"),
    _option("ca_bundle", type=click.Path(path_type=Path), metavar="FILE"),
    _option("client_certificate", type=click.Path(path_type=Path), metavar="FILE"),
    _option("client_key", type=click.Path(path_type=Path), metavar="FILE"),
    _option("verify_tls", "--verify-tls/--no-verify-tls"),
    _option("access_key_file", type=click.Path(path_type=Path), metavar="FILE"),
    _option("secret_key_file", type=click.Path(path_type=Path), metavar="FILE"),
    _option("session_token_file", type=click.Path(path_type=Path), metavar="FILE"),
    _option("credential_command", metavar="COMMAND"),
    _option("anonymous", is_flag=True),
    click.option(
        "--env-file",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="file of NAME=value lines, read into the environment where a name is not set",
    ),
    _option("archive", "--archive", multiple=True, metavar="PATTERN"),
    _option("exclude", "--exclude", multiple=True, metavar="PATTERN"),
    _option("timeout", type=float, metavar="S"),
    _option("ttl", type=float, metavar="S"),
    _option("immutable", is_flag=True),
    _option("memory", type=SIZE, metavar="BYTES"),
    _option("max_requests", type=int, metavar="N"),
    _option("max_directory_bytes", type=SIZE, metavar="BYTES"),
    _option("encoding", metavar="NAME"),
    *_CACHE_OPTIONS,
    _option("strip_suffix", is_flag=True),
    _option("single_root", type=click.Choice(["keep", "unwrap"])),
)


retry_option = _option("retry", type=float, metavar="S")
log_format_option = _option("log_format", type=click.Choice(["text", "json"]))


def store_options(command: F) -> F:
    """Give a command all options that make up `Settings`."""
    for option in reversed(_STORE_OPTIONS):
        command = option(command)
    return command


def cache_options(command: F) -> F:
    """Give a command the options that tell of the cache on disk."""
    for option in reversed(_CACHE_OPTIONS):
        command = option(command)
    return command


def settings_of(options: dict[str, Any]) -> Settings:
    """The settings of a command's options; takes them out of `options`."""
    env_file = options.pop("env_file")
    given = {name: options.pop(name) for name in list(options) if name in Settings.model_fields}
    for name in _PATTERNS:
        given[name] = given[name] or None  # not given: the environment may say
    for name in ("anonymous", "immutable", "strip_suffix"):
        given[name] = given[name] or None
    settings = load_settings(env_file, **given)
    if settings.ca_bundle is not None:  # a mount's process leaves the directory
        absolute = settings.ca_bundle.absolute()
        settings = settings.model_copy(update={"ca_bundle": absolute})
    return settings
