"""The errno of each error; the one table."""

from __future__ import annotations

import errno

from s3zipfs import errors

ERRNOS: dict[type[errors.S3ZipError], int] = {
    errors.S3ZipError: errno.EIO,
    errors.NotFound: errno.ENOENT,
    errors.AccessDenied: errno.EACCES,
    errors.ObjectChanged: errno.ESTALE,
    errors.DeadlineExceeded: errno.ETIMEDOUT,
    errors.Interrupted: errno.EINTR,
    errors.StoreUnavailable: errno.EIO,
    errors.TooManyWaiting: errno.EAGAIN,
    errors.OutOfResources: errno.EMFILE,
    errors.BadArchive: errno.EIO,
    errors.BadMember: errno.EIO,
    errors.UnsupportedMember: errno.ENOTSUP,
    errors.NotADirectory: errno.ENOTDIR,
    errors.IsADirectory: errno.EISDIR,
    errors.NotASymlink: errno.EINVAL,
    errors.ForbiddenLink: errno.EPERM,
}

ORDINARY = frozenset(
    {errno.ENOENT, errno.EINTR, errno.ENOTDIR, errno.EISDIR, errno.EINVAL}
)  # everyday answers, not faults: not logged


def errno_of(error: errors.S3ZipError) -> int:
    """The errno of the nearest class that has one."""
    return next(ERRNOS[kind] for kind in type(error).__mro__ if kind in ERRNOS)
