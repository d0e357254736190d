"""References as a JSON document: kerchunk's format, version 1.

Source: fsspec.github.io/kerchunk/spec.html. No templates: not every reader knows them.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from s3zipfs.references.collecting import References

_BASE64: Final = "base64:"


def json_parts(references: References) -> Iterator[str]:
    """The document in pieces, one for each key: there may be millions."""
    yield '{"version": 1, "refs": {'
    separator = "\n"
    for path, content in references.inlined.items():
        yield f"{separator}{_key(path)}: {json.dumps(_text(content))}"
        separator = ",\n"
    url = json.dumps(references.url)
    for each in references:
        yield f"{separator}{_key(each.path)}: [{url}, {each.offset}, {each.length}]"
        separator = ",\n"
    yield "\n}}\n"


def write_json(references: References, target: Path) -> None:
    """Write the document, whole or not at all; one that is there is replaced."""
    beside = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        with beside.open("w", encoding="ascii") as file:
            file.writelines(json_parts(references))
        beside.replace(target)
    finally:
        beside.unlink(missing_ok=True)


def _key(path: bytes) -> str:
    return json.dumps(path.decode("utf-8", "surrogateescape"))


def _text(content: bytes) -> str:
    """Content as a JSON string: as it is where it is text that can't be mistaken."""
    try:
        text = content.decode()
    except UnicodeDecodeError:
        text = _BASE64
    if text.startswith(_BASE64):
        return _BASE64 + base64.b64encode(content).decode()
    return text
