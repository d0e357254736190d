"""The words of `-o`, as in fstab(5) and mount(8)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from s3zipfs.errors import SettingsError
from s3zipfs.settings.given import Given, unknown
from s3zipfs.settings.kinds import Kind, kind_of
from s3zipfs.settings.model import SECRETS, Settings
from s3zipfs.settings.values import absolute

# mount(8), "FILESYSTEM-INDEPENDENT MOUNT OPTIONS": what systemd, mount(8) and the kernel read, what
# every mount of ours is already, and times, of which we keep none.
_OF_OTHERS = re.compile(
    "(no)?(auto|fail|user|users|group|owner|iversion|mand|(a|dira|rela|stricta|lazy)time)"
    "|_netdev|defaults|ro|nosuid|nodev|default_permissions|a?sync|dirsync|silent|loud"
)
_OF_OTHERS_WITH_VALUES = ("comment", "user", "uhelper", "helper")
_REFUSED = {
    "rw": "the mount is read-only",
    "suid": "nothing on the mount is ever setuid",
    "dev": "there are no devices on the mount",
}
_ARGUMENTS = ("mountpoint", "sources")
_NAMES = [name for name in Settings.model_fields if name not in {*SECRETS, *_ARGUMENTS}]

# A comma in a value is written "\\,", as libfuse has it.
_WORDS = re.compile(r"((?:[^,\\]|\\.|\\\Z)*)(?:,|\Z)", re.DOTALL)


@dataclass(slots=True)
class MountWords:
    """What was given by `-o`."""

    given: dict[str, Given] = field(default_factory=dict)  # by the settings' names
    config: str | None = None
    env_file: Path | None = None


def parse_words(texts: Sequence[str]) -> MountWords:
    """All words of all `-o`, the later over the earlier; those for others are passed over.

    `name=value`, `name` and `no_name` where it is a switch; `-` is as good as `_`. Patterns add
    up.

    Raises:
        SettingsError: there is no such word, or it has no value, or is a secret.
    """
    words = MountWords()
    for text in texts:
        for found in _WORDS.finditer(text):
            word = re.sub(r"\\(.)", r"\1", found.group(1)).strip()
            if word and not _is_of_others(word):
                _take(words, word)
    return words


def _is_of_others(word: str) -> bool:
    name, equals, _ = word.partition("=")
    if _OF_OTHERS.fullmatch(name) and not equals:
        return True
    return name.startswith(("x-", "X-")) or (bool(equals) and name in _OF_OTHERS_WITH_VALUES)


def _take(words: MountWords, word: str) -> None:
    written, equals, value = word.partition("=")
    name = written.replace("-", "_")
    if name in _REFUSED:
        raise SettingsError(f"-o {written}: {_REFUSED[name]}")
    if name in SECRETS:
        raise SettingsError(
            f"-o {written}: no secret goes on a command line; give a profile, a settings file or "
            "an env file"
        )
    if name == "config" and value:
        words.config = str(absolute(value)) if value.endswith(".toml") else value
        return
    if name == "env_file" and value:
        words.env_file = absolute(value)
        return
    switch = name.removeprefix("no" if name == "noexec" else "no_")
    if not equals and switch in _NAMES and kind_of(switch) is Kind.SWITCH:
        words.given[switch] = Given(name == switch, f"-o {written}")
        return
    known = [*_NAMES, "config", "env_file"]
    if name not in known:
        raise unknown(written, known, place="-o ")
    if not value:
        raise SettingsError(f"-o {written}: needs a value, as in {written}=…")
    kind, before = kind_of(name), words.given.get(name)
    if kind is Kind.PATTERNS and before is not None:
        value = f"{before.value} {value}"
    if kind is Kind.PATH:
        value = absolute(value)
    words.given[name] = Given(value, f"-o {written}")
