"""Our errors as the OSErrors that Python programs catch."""

from __future__ import annotations

import errno
from zipfile import BadZipFile

from s3zipfs import errors


class BadZip(OSError, BadZipFile):
    """An archive or member that is damaged: an OSError, and what `zipfile` raises for it."""


# All else is an OSError with its own text.
_EXCEPTIONS: dict[type[errors.S3ZipError], type[OSError]] = {
    errors.NotFound: FileNotFoundError,
    errors.AccessDenied: PermissionError,
    errors.NotADirectory: NotADirectoryError,
    errors.IsADirectory: IsADirectoryError,
    errors.DeadlineExceeded: TimeoutError,
    errors.BadArchive: BadZip,
    errors.BadMember: BadZip,
}


def as_os_error(path: str, error: errors.S3ZipError) -> OSError:
    """The error that says the same; its cause is to be `error`."""
    text = f"{path}: {error}"
    for kind in type(error).__mro__:
        if kind in _EXCEPTIONS:
            return _EXCEPTIONS[kind](text)
    if isinstance(error, errors.ObjectChanged):
        return OSError(errno.ESTALE, text)
    return OSError(text)


class Translated:
    """A block that raises OSErrors in place of ours."""

    def __init__(self, path: str) -> None:
        self._path = path

    def __enter__(self) -> None: ...

    def __exit__(self, _type: object, error: BaseException | None, _traceback: object) -> None:
        if isinstance(error, errors.S3ZipError):
            raise as_os_error(self._path, error) from error
