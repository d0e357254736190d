"""Buckets as `s3zip://bucket/key.zip/member`, without a mount."""

from __future__ import annotations

import os
from typing import Any

from s3zipfs.filesystem.paths import Paths
from s3zipfs.filesystem.readonly import ReadOnlyFileSystem, take_settings
from s3zipfs.filesystem.shared import TREES, OpenTree, key_of, tree_of
from s3zipfs.settings import load_settings
from s3zipfs.tree.tree import Tree


class S3ZipFileSystem(ReadOnlyFileSystem):
    """Buckets of one endpoint, in which each archive is a directory. Read-only.

    Keywords are those of `s3zipfs.settings.Settings` (`endpoint_url`, `profile`, `ca_bundle`,
    `archive`, …); what is not given comes from the environment, as for a mount. `key`, `secret`
    and `token` are accepted as s3fs has them; pickles and `to_json()` hold them in the clear, so
    prefer the credentials of the environment.

    Instances are cached by fsspec, one for each thread, and safe for threads. Those of the same
    settings share one tree: connections, indexes, caches. A process that inherits one by fork or
    pickle opens its own. For coroutines (Zarr 3's FsspecStore) fsspec wraps it.
    """

    protocol = "s3zip"

    def __init__(
        self,
        *,
        key: str | None = None,
        secret: str | None = None,
        token: str | None = None,
        **options: Any,
    ) -> None:
        given = take_settings(options)
        super().__init__(**options)
        keys = {"access_key": key, "secret_key": secret, "session_token": token}
        self._settings = load_settings(**{**keys, **given})
        self._opened: tuple[int, OpenTree] | None = None  # of the process of that number

    @property
    def tree(self) -> Tree:
        """The tree of this process."""
        return self._open_tree().tree

    @property
    def _paths(self) -> Paths:
        return self._open_tree().paths

    def _open_tree(self) -> OpenTree:
        process, opened = os.getpid(), self._opened
        if opened is None or opened[0] != process:
            key = key_of(self._settings)
            shared = TREES.open(self, key, lambda: tree_of(self._settings))
            opened = self._opened = process, shared
        return opened[1]

    def close(self) -> None:
        """Leave this process's connections, closed by the last to leave; a new use opens new."""
        self._opened = None
        TREES.leave(self)

    def to_dict(self, *, include_password: bool = True) -> dict[str, Any]:
        """What it was made of; the secret key and the token are fsspec's "password"."""
        made_of: dict[str, Any] = super().to_dict(include_password=include_password)
        if not include_password:
            for name in ("secret", "token", "secret_key", "session_token"):
                made_of.pop(name, None)
        return made_of

    @property
    def fsid(self) -> str:
        """Which endpoint's objects these are."""
        return f"s3zip-{self._settings.endpoint_url or 'aws'}"
