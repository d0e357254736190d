"""The mapping that Zarr reads by, in which a failure is never a missing key."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fsspec.mapping import FSMap

from s3zipfs.errors import S3ZipError

MISSING = (FileNotFoundError, IsADirectoryError, NotADirectoryError)


class Mapping(FSMap):  # type: ignore[misc] # fsspec has no types
    """fsspec's mapping; what is not missing but can't be read raises an `S3ZipError`.

    Zarr 2's FSStore takes every `OSError` for a missing key, and fills the chunk: a store that is
    down would read as zeros. An `S3ZipError` is none.
    """

    def __init__(
        self,
        root: str,
        fs: Any,
        check: bool = False,  # noqa: FBT001, FBT002
        create: bool = False,  # noqa: FBT001, FBT002
        missing_exceptions: Any = None,
    ) -> None:
        super().__init__(root, fs, check, create, _without_failures(missing_exceptions))

    def __getitem__(self, key: str, default: Any = None) -> Any:
        """The content of a file.

        Raises:
            KeyError: there is no such file.
            S3ZipError: it can't be read.
        """
        try:  # not by `cat`: to that a key with `[`, `*` or `?` is a pattern
            return self.fs.cat_file(self._key_to_str(key))
        except self.missing_exceptions as error:
            if default is not None:
                return default
            raise KeyError(key) from error
        except OSError as error:
            raise _failure(error) from error

    def __contains__(self, key: object) -> bool:
        try:
            return bool(super().__contains__(key))
        except OSError as error:
            raise _failure(error) from error

    def getitems(self, keys: Iterable[str], on_error: str = "raise") -> dict[str, Any]:
        """The contents of several files; `on_error` is for keys that are missing.

        Raises:
            KeyError: one is missing, and `on_error` is "raise".
            S3ZipError: one can't be read, unless `on_error` is "return".
        """
        keys = list(dict.fromkeys(keys))
        paths = [self._key_to_str(key) for key in keys]
        found: dict[str, Any] = {}
        for key, value in zip(keys, self.fs.cat_ranges(paths, None, None), strict=True):
            if isinstance(value, self.missing_exceptions):
                if on_error == "raise":
                    raise KeyError(key) from value
                if on_error == "return":
                    found[key] = KeyError(key)
            elif isinstance(value, OSError):
                found[key] = _failure(value)
                if on_error != "return":
                    raise found[key] from value
            else:
                found[key] = value
        return found

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.root, self.fs, False, False, self.missing_exceptions)


def _without_failures(given: Any) -> tuple[type[Exception], ...]:
    """What stands for missing keys, and those of the given exceptions that no failure is one of."""
    more = tuple(each for each in given or () if issubclass(each, (*MISSING, KeyError)))
    return tuple(dict.fromkeys((*MISSING, *more)))


def _failure(error: OSError) -> Exception:
    return error.__cause__ if isinstance(error.__cause__, S3ZipError) else error
