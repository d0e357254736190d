"""All places together: files, environment, options, words; the later over the earlier."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from s3zipfs.errors import SettingsError
from s3zipfs.settings.environment import (
    env_file_of_systemd,
    read_env_file,
    read_environment,
)
from s3zipfs.settings.files import files_of, read_file
from s3zipfs.settings.given import Given, unknown
from s3zipfs.settings.model import SECRETS, Settings
from s3zipfs.settings.mountwords import MountWords

_LINE = re.compile(r":\d+$")  # a place in a file
_HIDDEN = {*SECRETS, "credential_command"}  # whose words may be secrets
_LONGEST = 60  # characters of a wrong value that are shown

# pydantic's words are for programmers.
_WANTED = {
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "float_parsing": "a number",
    "float_type": "a number",
    "int_parsing": "a whole number",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "string_type": "text",
    "tuple_type": "a list",
    "path_type": "a path",
    "model_type": "a table",
}


@dataclass(frozen=True, slots=True)
class Loaded:
    """The settings in force.

    `places` tells where each came from that is not a default; `source_places` where each key of
    `[[source]]` stands, by the table's number.
    """

    settings: Settings
    places: Mapping[str, str]
    source_places: Mapping[tuple[int, str], str]
    files: tuple[Path, ...]  # that were read, the later over the earlier
    warnings: tuple[str, ...]  # one line each

    @contextlib.contextmanager
    def located(self) -> Iterator[None]:
        """Add file and line to an error about a setting that turns out to be wrong when used."""
        try:
            yield
        except SettingsError as error:
            name = str(error).partition(":")[0]
            tables = [place for (_, key), place in self.source_places.items() if key == name]
            place = self.places.get(name) or (tables[0] if len(tables) == 1 else "")
            if _LINE.search(place) is None:
                raise
            raise SettingsError(f"{place}: {error}") from error


def load(
    config: str | None = None,
    env_file: Path | None = None,
    options: Mapping[str, Given] | None = None,
    words: MountWords | None = None,
) -> Loaded:
    """The settings of a command.

    Args:
        config: name or path of settings files.
        env_file: file of `NAME=value` lines; else the one that systemd loads for a unit.
        options: of the command line, by the settings' names.
        words: of `-o`.

    Raises:
        SettingsError: one is wrong; says which, where it stands, and what it takes.
    """
    words = words or MountWords()
    config = words.config or config
    env_file = words.env_file or env_file or env_file_of_systemd()
    warning = read_env_file(env_file) if env_file is not None else None
    files = files_of(config) if config is not None else ()
    layers = [*map(read_file, files), read_environment(), options or {}, words.given]
    given = {name: each for layer in layers for name, each in layer.items()}
    places = {name: each.place for name, each in given.items()}
    source_places = given["sources"].inner if "sources" in given else {}
    warnings = () if warning is None else (warning,)
    return Loaded(_checked(given), places, source_places, files, warnings)


def load_settings(
    env_file: Path | None = None, *, exactly: Mapping[str, Any] | None = None, **given: Any
) -> Settings:
    """Settings from keywords (None means not given), the environment and a `.env` file.

    `exactly` are keywords for which None means None: the environment is not asked for them.

    Raises:
        SettingsError: a value is not of its kind; names the option and says what it takes.
    """
    for name in given:
        if name not in Settings.model_fields:
            raise unknown(name, Settings.model_fields)
    env_file = env_file or env_file_of_systemd()
    if env_file is not None:
        read_env_file(env_file)
    keywords = {name: value for name, value in given.items() if value is not None}
    keywords |= exactly or {}
    named = {name: Given(value, name) for name, value in keywords.items()}
    return _checked({**read_environment(), **named})


def _checked(given: Mapping[str, Given]) -> Settings:
    try:
        return Settings(**{name: each.value for name, each in given.items()})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name, *within = first["loc"] or ("settings",)
        each = given.get(str(name))
        called = str(name) if each is None else each.called(str(name), within)
        raise SettingsError(f"{called}: {_told(first)}") from None


def _told(error: Mapping[str, Any]) -> str:
    """What is wrong with a value; the value too, where it is no secret and is not told already."""
    kind, text = str(error["type"]), str(error["msg"]).removeprefix("Input ")
    if kind == "missing":
        return "is missing"
    if kind == "value_error":
        return text.removeprefix("Value error, ")  # pydantic's words for our ValueError
    if kind in _WANTED:
        text = f"should be {_WANTED[kind]}"
    if _HIDDEN.intersection(map(str, error["loc"])):
        return text
    shown = repr(error["input"])
    return f"{text}, not {shown if len(shown) <= _LONGEST else shown[:_LONGEST] + '…'}"
