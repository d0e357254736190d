"""The options that commands share: one for each setting, by its name and description."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args

import click

from s3zipfs.settings import (
    NOWHERE,
    SECRETS,
    ConnectionSettings,
    Given,
    Kind,
    Loaded,
    MountSettings,
    MountWords,
    ReadingSettings,
    Settings,
    absolute,
    kind_of,
    load,
    parse_size,
    parse_words,
)

F = TypeVar("F", bound=Callable[..., Any])

_METAVARS = {
    Kind.SIZE: "BYTES",
    Kind.WHOLE: "N",
    Kind.NUMBER: "S",
    Kind.PATH: "FILE",
    Kind.PATTERNS: "PATTERN",
    Kind.MODE: "MODE",
    Kind.TEXT: "NAME",
}
_OWN_METAVARS = {
    "endpoint_url": "URL",
    "credential_command": "COMMAND",
    "cache_dir": "DIR",
    "uid": "USER",
    "gid": "GROUP",
    "metrics": "HOST:PORT",
}


class Size(click.ParamType[int]):
    """A number of bytes, with a binary unit: 256M, 1GiB."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Bytes."""
        try:
            return parse_size(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


SIZE = Size()


def option_of(name: str) -> str:
    """How a setting is called as an option."""
    return f"--{name.replace('_', '-')}"


def has_option(name: str) -> bool:
    """Whether a setting is an option; secrets are none, and sources and mountpoint arguments."""
    return name not in {*SECRETS, "mountpoint", "sources"}


def shown_default(name: str) -> str:
    """The default of a number, as it may be written; empty for what is no number."""
    default = Settings.model_fields[name].default
    match default:
        case bool():
            return ""
        case int() if kind_of(name) is Kind.SIZE:
            power = min((default & -default).bit_length() - 1, 30) // 10
            return f"{default >> 10 * power}{'BKMG'[power]}"
        case int() | float():
            return f"{default:g}"
        case _:
            return ""


def _option(name: str) -> Callable[[Any], Any]:
    """The option of a setting. What it takes is judged by the model, as in every other place."""
    described, kind, called = Settings.model_fields[name], kind_of(name), option_of(name)
    default = shown_default(name)
    text = f"{described.description}{f' (default {default})' if default else ''}"
    if kind is Kind.SWITCH:
        return click.option(f"{called}/--no-{called[2:]}", name, default=None, help=text)
    metavar = _OWN_METAVARS.get(name) or _METAVARS.get(kind)
    if kind is Kind.CHOICE:
        metavar = "|".join(get_args(described.annotation))
    return click.option(
        called, name, metavar=metavar, multiple=kind is Kind.PATTERNS, default=None, help=text
    )


_CONFIG = click.option(
    "--config",
    metavar="NAME",
    help="settings file: /etc/s3zipfs/NAME.toml and ~/.config/s3zipfs/NAME.toml, or a path that "
    "ends in .toml",
)
_ENV_FILE = click.option(
    "--env-file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="file of NAME=value lines, read into the environment where a name is not set",
)
_WORDS = click.option(
    "-o",
    "words",
    multiple=True,
    metavar="WORDS",
    help="settings as in fstab: name=value, separated by commas; they win over all others",
)
_CACHE = ("cache_dir", "cache_size", "index_cache_size")


def _with_options(command: F, names: Iterable[str], *more: Callable[[Any], Any]) -> F:
    # Each command says by itself what more its log shows.
    options = [_option(name) for name in names if has_option(name) and name != "verbose"]
    for option in reversed([*more, *options]):
        command = option(command)
    return command


def store_options(command: F) -> F:
    """Give a command the options that say how buckets are reached and read."""
    names = [*ConnectionSettings.model_fields, *ReadingSettings.model_fields]
    return _with_options(command, names, _CONFIG, _ENV_FILE)


def mount_options(command: F) -> F:
    """Give a command the options of a mount alone."""
    return _with_options(command, MountSettings.model_fields, _WORDS)


def cache_options(command: F) -> F:
    """Give a command the options that tell of the cache on disk."""
    return _with_options(command, _CACHE)


@dataclass(frozen=True, slots=True)
class CommandLine:
    """What a command line says of settings. It means the same in every directory."""

    config: str | None
    env_file: Path | None
    options: Mapping[str, Given]
    words: MountWords

    def load(self) -> Loaded:
        """The settings in force now; files and environment are read again each time.

        Raises:
            SettingsError: one is wrong.
        """
        return load(self.config, self.env_file, self.options, self.words)


def command_line_of(options: dict[str, Any], places: Sequence[str] = ()) -> CommandLine:
    """What a command's options say; takes them out of `options`.

    `places` are sources, and the mountpoint last, which is no URL; all may be left to the settings.

    Raises:
        SettingsError: a word of `-o` is wrong.
    """
    config, env_file = options.pop("config", None), options.pop("env_file", None)
    words = parse_words(options.pop("words", ()))
    given = {}
    for name in [name for name in options if name in Settings.model_fields]:
        value = options.pop(name)
        if value is None or value == ():  # not given: files or the environment may say
            continue
        if kind_of(name) is Kind.PATH and value not in {"", NOWHERE}:
            value = absolute(value)
        given[name] = Given(value, option_of(name))
    sources = list(places)
    if sources and "://" not in sources[-1]:
        mountpoint = sources.pop()
        given["mountpoint"] = Given(mountpoint and absolute(mountpoint), "MOUNTPOINT")
    if sources:
        given["sources"] = Given(sources, "SOURCE")
    if config is not None and config.endswith(".toml"):
        config = str(absolute(config))
    return CommandLine(config, absolute(env_file), given, words)


def settings_of(options: dict[str, Any]) -> Settings:
    """The settings of a command's options, which are taken out; warnings go to stderr."""
    loaded = command_line_of(options).load()
    warn(loaded)
    return loaded.settings


def warn(loaded: Loaded) -> None:
    """Say on stderr what is not wrong, and not good either."""
    for text in loaded.warnings:
        click.echo(f"s3zipfs: warning: {text}", err=True)
