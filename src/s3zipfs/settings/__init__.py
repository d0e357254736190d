"""The settings: one frozen model, and the places that its values come from.

`model` has names, kinds and defaults; `files`, `environment` and `mountwords` read the places;
`loading` puts them together, the later over the earlier, and says where each value came from.
"""

from s3zipfs.settings.environment import environment_without_files, variables_of
from s3zipfs.settings.files import all_names
from s3zipfs.settings.given import Given
from s3zipfs.settings.kinds import Kind, kind_of
from s3zipfs.settings.loading import Loaded, load, load_settings
from s3zipfs.settings.model import (
    DEFAULT_CRAWLERS,
    SECRETS,
    ConnectionSettings,
    MountSettings,
    ReadingSettings,
    Settings,
    Source,
)
from s3zipfs.settings.mountwords import MountWords, parse_words
from s3zipfs.settings.told import settings_told, told_of
from s3zipfs.settings.urls import SCHEMES, Place, checked_endpoint, parse_source
from s3zipfs.settings.values import (
    DEFAULT_CACHE_SIZE,
    NOWHERE,
    absolute,
    host_and_port,
    parse_size,
)

__all__ = [
    "DEFAULT_CACHE_SIZE",
    "DEFAULT_CRAWLERS",
    "NOWHERE",
    "SCHEMES",
    "SECRETS",
    "ConnectionSettings",
    "Given",
    "Kind",
    "Loaded",
    "MountSettings",
    "MountWords",
    "Place",
    "ReadingSettings",
    "Settings",
    "Source",
    "absolute",
    "all_names",
    "checked_endpoint",
    "environment_without_files",
    "host_and_port",
    "kind_of",
    "load",
    "load_settings",
    "parse_size",
    "parse_source",
    "parse_words",
    "settings_told",
    "told_of",
    "variables_of",
]
