"""What kind of value each setting takes: for options, words, files and the manual."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Literal, get_args, get_origin

from pydantic import BeforeValidator

from s3zipfs.settings.model import Settings, Source
from s3zipfs.settings.values import bits_of, bytes_of, gid_of, uid_of


class Kind(enum.Enum):
    """How a value is written."""

    SWITCH = "true or false"
    SIZE = "bytes, or with a binary unit as 256M"
    WHOLE = "a whole number"
    NUMBER = "a number"
    PATH = "a path"
    PATTERNS = "patterns"
    MODE = "octal digits, in quotes in a file"
    CHOICE = "one of some words"
    TABLES = "tables, or URLs"
    TEXT = "text"


def kind_of(name: str) -> Kind:
    """The kind of a setting, or of a key of `[[source]]`."""
    described = Settings.model_fields.get(name) or Source.model_fields[name]
    types = {described.annotation, *get_args(described.annotation)}
    rules = [each.func for each in described.metadata if isinstance(each, BeforeValidator)]
    if bytes_of in rules:
        return Kind.SIZE
    if bits_of in rules:
        return Kind.MODE
    if {uid_of, gid_of} & set(rules):
        return Kind.TEXT
    for wanted, kind in _BY_TYPE.items():
        if wanted in types:
            return kind
    if get_origin(described.annotation) is Literal:
        return Kind.CHOICE
    return Kind.TABLES if name == "sources" else Kind.TEXT


_BY_TYPE = {
    bool: Kind.SWITCH,
    Path: Kind.PATH,
    float: Kind.NUMBER,
    int: Kind.WHOLE,
    tuple[str, ...]: Kind.PATTERNS,
}
