"""Settings files: where they are, what stands in them, and on which line."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from s3zipfs.errors import SettingsError
from s3zipfs.settings.given import Given, unknown
from s3zipfs.settings.kinds import Kind, kind_of
from s3zipfs.settings.model import SECRETS, Settings, Source
from s3zipfs.settings.private import is_writable_by_all, readers
from s3zipfs.settings.values import NOWHERE, absolute, xdg_folder

SYSTEM_FOLDER = Path("/etc/s3zipfs")

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@-]*", re.ASCII)  # as of a unit's instance
_TABLES = "source"  # `[[source]]` is one of `sources`


def user_folder() -> Path | None:
    """`$XDG_CONFIG_HOME/s3zipfs`, else `~/.config/s3zipfs`; None where a user has no home."""
    return xdg_folder("XDG_CONFIG_HOME", ".config")


def places_of(name: str) -> tuple[Path, ...]:
    """The files that a name stands for, whether they exist or not; the later one wins.

    A name that ends in `.toml` is the path of one file.

    Raises:
        SettingsError: it is no name.
    """
    if name.endswith(".toml"):
        return (absolute(name),)
    if not _NAME.fullmatch(name):
        raise SettingsError(
            f"--config {name}: neither a name of letters and digits nor a path ending in .toml"
        )
    folders = (SYSTEM_FOLDER, user_folder())
    return tuple(folder / f"{name}.toml" for folder in folders if folder is not None)


def files_of(name: str) -> tuple[Path, ...]:
    """Those of `places_of` that exist.

    Raises:
        SettingsError: none does.
    """
    places = places_of(name)
    found = tuple(place for place in places if os.path.lexists(place))
    if not found:
        raise SettingsError(f"--config {name}: no file {' or '.join(map(str, places))}")
    return found


def all_names() -> tuple[str, ...]:
    """The names of all settings files that this user would be given."""
    folders = [folder for folder in (SYSTEM_FOLDER, user_folder()) if folder is not None]
    found = {path.stem for folder in folders for path in folder.glob("*.toml")}
    return tuple(sorted(found))


def read_file(path: Path) -> dict[str, Given]:
    """The settings in a file, by name. Relative paths count from its folder.

    Raises:
        SettingsError: it can't be read, is no TOML, has an unknown word, or holds a secret that
            others can read.
    """
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            text = file.read().decode().replace("\r\n", "\n")
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(_of_toml(path, text, str(error))) from None
    except UnicodeDecodeError:
        raise SettingsError(f"{path}: not UTF-8, as TOML must be") from None
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror}") from error
    if is_writable_by_all(status):
        raise SettingsError(f"{path}: everybody can write it; chmod o-w {path}")
    places: dict[Keys, str] = {}
    for stands, line in _lines(text):
        places.setdefault(stands, f"{path}:{line}")
    _refuse_unknown(document, places)
    if (who := readers(status)) is not None and (keys := _secret(document)) is not None:
        place = next(places[keys[:n]] for n in range(len(keys), 0, -1) if keys[:n] in places)
        raise SettingsError(
            f"{place}: {keys[-1]}: a secret in a file that {who} can read; chmod 600 {path}"
        )
    return _given(document, places, path.parent)


Keys = tuple[str | int, ...]


def _given(document: dict[str, Any], places: Mapping[Keys, str], folder: Path) -> dict[str, Given]:
    tables = document.pop(_TABLES, None)
    if tables is not None and "sources" in document:
        raise SettingsError(f"{places['sources',]}: sources: give these or [[source]], not both")
    given = {
        name: Given(_from_folder(name, value, folder), places[name,], is_line=True)
        for name, value in document.items()
    }
    if tables is not None:
        inner = {
            (keys[1], str(keys[2]) if len(keys) > 2 else ""): place
            for keys, place in places.items()
            if len(keys) > 1 and isinstance(keys[1], int)
        }
        place = places.get((_TABLES, 0)) or places[_TABLES,]
        moved = _from_folder("sources", tables, folder)
        given["sources"] = Given(moved, place, is_line=True, inner=inner)
    return given


def _refuse_unknown(document: dict[str, Any], places: Mapping[Keys, str]) -> None:
    known = {*Settings.model_fields, _TABLES}
    for name in document:
        if name not in known:
            raise unknown(name, known, place=f"{places[name,]}: ")
    tables = document.get(_TABLES, [])
    if not isinstance(tables, list) or not all(isinstance(each, dict) for each in tables):
        raise SettingsError(f"{places[_TABLES,]}: source: write [[source]], for each one")
    for number, name in _names_in(tables):
        if name not in Source.model_fields:
            place = places.get((_TABLES, number, name), places[_TABLES,])
            raise unknown(name, Source.model_fields, place=f"{place}: source: ")
    for _, name in _names_in(document.get("sources")):
        if name not in Source.model_fields:
            raise unknown(name, Source.model_fields, place=f"{places['sources',]}: source: ")


def _names_in(tables: Any) -> Iterator[tuple[int, str]]:
    """The keys of each table of a list, with its number; nothing of what is no list of tables."""
    for number, table in enumerate(tables if isinstance(tables, list) else ()):
        for name in _keys(table):
            yield number, name


def _secret(found: Any, keys: Keys = ()) -> Keys | None:
    """Where the first secret stands."""
    if keys and keys[-1] in SECRETS:
        return keys
    items: Iterable[tuple[str | int, Any]] = ()
    if isinstance(found, dict):
        items = found.items()
    elif isinstance(found, list):
        items = enumerate(found)
    return next(filter(None, (_secret(value, (*keys, key)) for key, value in items)), None)


def _of_toml(path: Path, text: str, message: str) -> str:
    """The parser's "… (at line 3, column 5)", as others write it."""
    found = re.fullmatch(r"(.*) \(at (?:line (\d+), column \d+|end of document)\)", message)
    if found is None:
        return f"{path}: {message}"
    line = found.group(2) or text.rstrip().count("\n") + 1
    return f"{path}:{line}: {found.group(1)}"


def _from_folder(name: str, value: Any, folder: Path) -> Any:
    if isinstance(value, list) and kind_of(name) is Kind.TABLES:
        return [_from_folder(name, each, folder) for each in value]
    if isinstance(value, dict) and kind_of(name) is Kind.TABLES:
        return {key: _from_folder(key, each, folder) for key, each in value.items()}
    if not isinstance(value, str) or value in {"", NOWHERE} or kind_of(name) is not Kind.PATH:
        return value
    try:
        return str(folder / Path(value).expanduser())
    except RuntimeError:  # no such home: refused with its line, as any wrong value
        return value


def _lines(text: str) -> Iterator[tuple[Keys, int]]:
    """The line of each key, and of each table of an array, in a document that is TOML.

    A statement is as many lines as make TOML by themselves: none begins within another.
    """
    within: Keys = ()
    counts: dict[Keys, int] = {}
    lines = text.split("\n")
    start = 0
    while start < len(lines):
        end, found = _statement(lines, start)
        if lines[start].lstrip().startswith("["):
            within = ()
            while isinstance(found, dict) and found:
                ((name, found),) = found.items()
                within = (*within, name)
                yield within, start + 1
            if isinstance(found, list):
                counts[within] = counts.get(within, -1) + 1
                within = (*within, counts[within])
                yield within, start + 1
        else:
            for name in _keys(found):
                yield (*within, name), start + 1
        start = end


def _keys(found: Any) -> Collection[str]:
    return found.keys() if isinstance(found, dict) else ()


def _statement(lines: list[str], start: int) -> tuple[int, dict[str, Any]]:
    """Where the statement that begins at a line ends, and what it says."""
    for end in range(start + 1, len(lines) + 1):
        try:
            return end, tomllib.loads("\n".join(lines[start:end]))
        except tomllib.TOMLDecodeError:
            continue
    raise AssertionError("unreachable: the whole document is TOML")
