"""Everything that can go wrong, as one tree.

S3ZipError
├── NotFound              a definite 404: no such bucket, key or member
├── AccessDenied          the store refused the credentials for this object
│   └── CrawlerRefused    this mount keeps a process out that opens archives one after another
├── ObjectChanged         the bytes asked for belong to a version that is gone
├── DeadlineExceeded      nothing progressed for the time that was allowed
├── Interrupted           whoever waited was killed, or the mount is stopping
├── StoreUnavailable      transport, TLS, 5xx: says nothing about the object
│   ├── EndpointUnreachable  nothing there that may be talked to: closed port, no host, TLS
│   └── BadResponse       an answer came, and is not what was asked for
│       └── ClockDiffers  the store refuses requests signed by this machine's clock
├── TooManyWaiting        so many wait for the store that one more would block the mount
├── OutOfResources        no descriptor, no memory: of this process, not of the object
├── BadArchive            the whole object is not a zip that can be trusted
├── BadMember             one member is damaged; its neighbours are not
├── UnsupportedMember     encrypted, or a method without a library
├── NotADirectory, IsADirectory, NotASymlink
├── ForbiddenLink         a symlink that leaves its archive
├── SettingsError         a wrong option, file or environment variable
└── MountError            the mountpoint, /dev/fuse or libfuse

A 5xx is never `NotFound`; a broken zip is never an empty one. The errno of each
stands in one table, `fuse/errnos.py`.
"""

from __future__ import annotations


class S3ZipError(Exception):
    """Base of all errors that this package raises on purpose; `str()` is one line for a person."""


class NotFound(S3ZipError):
    """A definite "no such name", by the store's own word or by a complete listing.

    `valid_for`: seconds for which the answer may be believed.
    """

    def __init__(self, message: str, *, valid_for: float = 0.0) -> None:
        super().__init__(message)
        self.valid_for = valid_for


class AccessDenied(S3ZipError):
    """403: the credentials may not do this, or are wrong."""


class CrawlerRefused(AccessDenied):
    """A process that opens one archive after another and reads none is let into no further one.

    Told in the log by who refuses it, once for each process.
    """


class ObjectChanged(S3ZipError):
    """The object was overwritten or deleted: 412, 416, 404 under If-Match, or another ETag."""


class DeadlineExceeded(S3ZipError):
    """No byte arrived within the time allowed for the operation."""


class Interrupted(S3ZipError):
    """The one who waited no longer does (FUSE_INTERRUPT), or the mount is stopping."""


class StoreUnavailable(S3ZipError):
    """Transport failure, TLS failure or 5xx. Worth a retry; never a statement about the object."""


class EndpointUnreachable(StoreUnavailable):
    """No conversation with the endpoint: port closed, no such host, certificate not trusted, no S3.

    Where the endpoint has never answered this is a wrong setting, and no retry mends it.
    """


class BadResponse(StoreUnavailable):
    """The answer contradicts the question: length, range or ETag differ. Its bytes are dropped."""


class ClockDiffers(BadResponse):
    """This machine's clock and the store's are too far apart for signed requests (S3: 15 min)."""


class TooManyWaiting(S3ZipError):
    """As many operations wait for the store as may; the same call may succeed later."""


class OutOfResources(S3ZipError):
    """This process ran out of descriptors or memory; the same call may succeed later."""


class BadArchive(S3ZipError):
    """The object is not a zip, or contradicts itself. No part of it is shown."""


class BadMember(S3ZipError):
    """One member is damaged (header, CRC, compressed data); the rest of the archive is readable."""


class UnsupportedMember(S3ZipError):
    """Encrypted, or compressed by a method that no library here reads."""


class NotADirectory(S3ZipError):
    """A file was used as a directory."""


class IsADirectory(S3ZipError):
    """A directory was used as a file."""


class NotASymlink(S3ZipError):
    """`readlink` of something else."""


class ForbiddenLink(S3ZipError):
    """A symlink that is absolute or leaves its archive."""


class SettingsError(S3ZipError):
    """An option, a settings file or an environment variable is wrong; says which and what to do."""


class MountError(S3ZipError):
    """The mount could not be made: mountpoint, /dev/fuse, fusermount3 or libfuse."""


def printable(text: str) -> str:
    """The text on one line, with nothing that a terminal obeys: names in buckets are anyone's."""
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)
