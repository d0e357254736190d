"""What a mount tells of its settings, so that other commands reach and keep what it does."""

from __future__ import annotations

from typing import Any, Final

from s3zipfs.settings.model import (
    CREDENTIALS,
    SECRETS,
    ConnectionSettings,
    ReadingSettings,
    Settings,
    Source,
)

# The words of a command may be secrets themselves.
_HIDDEN: Final = SECRETS | {"credential_command"}
_NAMES: Final = {*ConnectionSettings.model_fields, *ReadingSettings.model_fields} - _HIDDEN


def told_of(settings: Settings) -> dict[str, Any]:
    """What was set, of values that JSON has; no secrets."""
    told = settings.model_dump(mode="json", include=_NAMES, exclude_unset=True)
    # Whether blocks are kept hangs on what was set; here it is said.
    told |= {"cache_dir": settings.cache_dir and str(settings.cache_dir)}
    told |= {"cache_size": settings.block_cache_size}
    sources = [_source(each) for each in settings.sources]
    return {**told, "sources": sources}


def _source(source: Source) -> dict[str, Any]:
    return source.model_dump(mode="json", exclude=set(_HIDDEN), exclude_unset=True)


def settings_told(told: dict[str, Any], own: Settings) -> Settings:
    """The settings of a mount, of what it told; with our own credentials, where we have any.

    Raises:
        ValueError: it told what can't be settings.
    """
    ours = {name: getattr(own, name) for name in CREDENTIALS if name in own.model_fields_set}
    if ours:
        told = {name: value for name, value in told.items() if name not in CREDENTIALS} | ours
    return Settings.model_validate(told)
