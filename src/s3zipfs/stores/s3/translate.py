"""What two client libraries and many servers say when something fails, in the words of `errors`.

No text made here holds a header, a signature or a body beyond its code and message: AWS quotes
session tokens in the body of `SignatureDoesNotMatch`. For the same reason the errors of the
libraries are not chained to ours.
"""

from __future__ import annotations

import errno
import re
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

import aiohttp
from botocore import exceptions as boto
from botocore import parsers

from s3zipfs.errors import (
    AccessDenied,
    BadResponse,
    ClockDiffers,
    DeadlineExceeded,
    EndpointUnreachable,
    NotFound,
    ObjectChanged,
    OutOfResources,
    S3ZipError,
    SettingsError,
    StoreUnavailable,
    printable,
)
from s3zipfs.stores.base import ObjectId

if TYPE_CHECKING:
    from obstore import GetOptions

NO_CREDENTIALS = (
    "no credentials found: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give --profile or "
    "--anonymous (AWS_EC2_METADATA_DISABLED=false asks the EC2 instance's role)"
)

_DENIED = {
    "AuthorizationHeaderMalformed": "wrong region: give --region",
    "IllegalLocationConstraintException": "wrong region: give --region",
    "InvalidObjectState": "the object is in cold storage and must be restored first",
}
"""What each code of a store means to a person; 403 of any other code is plain access denied."""

_REFUSED = {
    "InvalidAccessKeyId": "wrong access key: the store does not know it",
    "SignatureDoesNotMatch": "wrong secret key (or a proxy changes the requests)",
    "ExpiredToken": "the credentials have expired",
    "TokenRefreshRequired": "the credentials have expired",
    "InvalidToken": "the session token is not valid",
    "InvalidTokenId": "the session token is not valid",  # MinIO
}
"""Codes that say something of the credentials themselves: rotated ones may help."""


class CredentialsRefused(AccessDenied):
    """The credentials themselves are wrong or too old. Does not leave this package."""


_NO_SUCH_NAME = {
    "NoSuchBucket",
    "NoSuchKey",
    "NoSuchVersion",
    "InvalidBucketName",
    "KeyTooLongError",
    "XMinioInvalidObjectName",
    "XMinioInvalidResourceName",
}
"""Codes of a definite "no": names that do not exist here, or that no object here can have."""

_OUT_OF_RESOURCES = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS}
_UNREACHABLE = {errno.ECONNREFUSED, errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL}


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked of the store, for the text of an error."""

    endpoint: str
    bucket: str = ""
    key: str = ""
    oid: ObjectId | None = None  # where only bytes of that version are an answer
    by_head: bool = False  # the answer has no body: a store's 404 is as bare as a proxy's

    @property
    def name(self) -> str:
        """The bucket or object on one line, as an URL; the endpoint where no bucket was named."""
        if not self.bucket:
            return self.endpoint
        name = f"s3://{self.bucket}/{self.key}" if self.key else f"s3://{self.bucket}"
        return printable(name)

    @property
    def climbs(self) -> bool:
        """Whether the key has a segment `.` or `..`; MinIO answers such a HEAD by a bare 400."""
        return not {".", ".."}.isdisjoint(self.key.split("/"))


def get_options(oid: ObjectId, start: int, end: int) -> GetOptions:
    """How obstore is asked for the bytes `[start, end)` of exactly that version."""
    options: GetOptions = {"range": (start, end), "if_match": oid.etag}
    if oid.version_id is not None:
        options["version"] = oid.version_id
    return options


def by_status(asked: Asked, status: int, code: str, message: str) -> S3ZipError:
    """The error for an HTTP status and S3's code and message (both may be empty)."""
    if code == "NoSuchBucket":
        return NotFound(f"s3://{asked.bucket}: no such bucket")
    if code == "RequestTimeTooSkewed":
        return clock_differs(asked, None)
    if code in _REFUSED:
        return CredentialsRefused(f"{asked.name}: {_REFUSED[code]}")
    if code in _DENIED:
        return AccessDenied(f"{asked.name}: {_DENIED[code]}")
    if status in {404, 410} and not code.isalpha() and not asked.by_head:
        return _not_of_s3(asked, status)
    if status in {404, 410} or code in _NO_SUCH_NAME or (status == 400 and asked.climbs):
        if asked.oid is not None:
            return ObjectChanged(f"{asked.name}: the object is gone")
        return NotFound(f"{asked.name}: no such {'object' if asked.key else 'bucket'}")
    if status in {401, 403}:
        # AWS refuses a HEAD without a word of why: it may be the credentials.
        kind = AccessDenied if code.isalpha() else CredentialsRefused
        return kind(f"{asked.name}: access denied{_said(code, message)}")
    if status == 412:
        return ObjectChanged(f"{asked.name}: overwritten since it was looked up")
    if status == 416:
        return ObjectChanged(f"{asked.name}: shorter than the range that was asked for")
    if status >= 500 or status in {408, 429}:
        return StoreUnavailable(f"{asked.endpoint}: {status}{_said(code, message)}")
    return _unexpected(asked, status, code, message)


MOST_SKEW = timedelta(minutes=15)  # S3's limit


def clock_differs(asked: Asked, skew: timedelta | None) -> ClockDiffers:
    """The error for clocks too far apart; `skew` is the store's less ours, where that is known."""
    clock = f"{asked.endpoint}: this machine's clock"
    if skew is None:
        return ClockDiffers(f"{clock} differs from the store's")
    by = timedelta(seconds=round(abs(skew.total_seconds())))
    return ClockDiffers(
        f"{clock} is {by} {'behind' if skew > timedelta(0) else 'ahead of'} the store's"
    )


def _skew(date: str) -> timedelta | None:
    """The store's clock less ours, from its `Date` header."""
    try:
        told = parsedate_to_datetime(date)
    except ValueError:
        return None
    return told.replace(tzinfo=told.tzinfo or UTC) - datetime.now(UTC)


def _not_of_s3(asked: Asked, status: int) -> StoreUnavailable:
    # A proxy's, without its route to the store; one with routes to some buckets only stays so. Or
    # a web server's, where the endpoint is a wrong one.
    kind = EndpointUnreachable if asked.bucket else BadResponse
    return kind(f"{asked.endpoint}: {status}, and not in the words of S3: is that the endpoint?")


def _unexpected(asked: Asked, status: int, code: str, message: str) -> BadResponse:
    if 300 <= status < 400:
        return BadResponse(
            f"{asked.name}: redirected ({status}): in another region? Give --region or the "
            "endpoint of that bucket"
        )
    if status == 400 and not code.isalpha() and asked.endpoint.startswith("http:"):
        return BadResponse(f"{asked.endpoint}: 400, and not in the words of S3: is it https://…?")
    return BadResponse(f"{asked.name}: {status}{_said(code, message)}")


def _said(code: str, message: str) -> str:
    said = ": ".join(part for part in (code, message) if part and not part.isdigit())
    said = " ".join(said.split())[:200]
    return f" ({said})" if said else ""


def by_oserror(asked: Asked, number: int | None, text: str) -> S3ZipError:
    """The error for what the operating system answered to a connect, read or write."""
    if number in _OUT_OF_RESOURCES:
        return OutOfResources(f"{asked.endpoint}: {text}")
    if number in _UNREACHABLE:
        return EndpointUnreachable(f"{asked.endpoint}: {text}")
    return StoreUnavailable(f"{asked.endpoint}: {text}")


def stalled(asked: Asked) -> DeadlineExceeded:
    """The error for an attempt on which no byte arrived in time."""
    return DeadlineExceeded(f"{asked.endpoint}: the store accepted the request and sends nothing")


def not_connected(asked: Asked) -> EndpointUnreachable:
    """The error for a connection that was neither accepted nor refused in time."""
    return EndpointUnreachable(f"{asked.endpoint}: no answer to the connection attempt")


# --- obstore: the class says little, the text all -------------------------------------------

# obstore 0.12: "<class's words>: Error performing GET <uri> in <time> - <what happened>", then
# "Debug source:" and Rust's debug print. The URI is percent-encoded, so it holds no blank. An error
# in a body that is streamed has no "performing": "Generic S3 error: HTTP error: …".
_OBSTORE = re.compile(
    r"(?:Error performing [A-Z]+ \S+ in \S+ - |^Generic \w+ error: (?=HTTP error))"
    r"(.*?)(?:\n\nDebug source:(.*))?$",
    re.DOTALL,
)
_STATUS = re.compile(r"Server returned non-2xx status code: (\d{3})[^:]*(?:: (.*))?$", re.DOTALL)
_XML_CODE = re.compile(r"<Code>([A-Za-z0-9]+)</Code>")
_XML_MESSAGE = re.compile(r"<Message>([^<]*)</Message>")
_RUST_OS = re.compile(r"\bOs \{\s*code: (\d+),.*?message: \"([^\"]*)\"", re.DOTALL)
_RUST_CERTIFICATE = re.compile(r"InvalidCertificate\(([\w\s({]*)")


def by_obstore(asked: Asked, error: Exception) -> S3ZipError:
    """The error for one that obstore raised."""
    text = str(error)
    match = _OBSTORE.search(text)
    what, debug = (match[1], match[2] or "") if match else (text, text)
    if status := _STATUS.match(what):
        body = status[2] or ""
        code, message = _XML_CODE.search(body), _XML_MESSAGE.search(body)
        plain = "" if "<" in body else body
        return by_status(
            asked, int(status[1]), code[1] if code else "", message[1] if message else plain
        )
    if "redirect without LOCATION" in what:
        return by_status(asked, 301, "", "")
    if os_error := _RUST_OS.search(debug):
        return by_oserror(asked, int(os_error[1]), os_error[2].lower())
    if "dns error" in debug:
        return EndpointUnreachable(f"{asked.endpoint}: no such host")
    if certificate := _RUST_CERTIFICATE.search(debug):
        return _untrusted(asked, " ".join(re.findall(r"\w+", certificate[1])))
    if "InvalidContentType" in debug:
        return _no_tls(asked)
    if "kind: Timeout" in debug:
        return not_connected(asked) if "Connect," in debug else stalled(asked)
    if type(error).__name__ == "UnauthenticatedError":
        return AccessDenied(f"{asked.endpoint}: the credentials could not be fetched")
    if what.startswith("HTTP error"):
        kind = re.search(r"kind: (\w+)", debug)
        detail = f" ({kind[1].lower()})" if kind else ""
        return StoreUnavailable(f"{asked.endpoint}: the connection broke{detail}")
    # Answers that obstore itself refuses: no ETag, another range than asked, an unknown header.
    return BadResponse(f"{asked.name}: {' '.join(what.split())[:200]}")


def is_own_authority(error: Exception) -> bool:
    """Whether the server's certificate is at once the authority that signed it.

    `openssl req -x509` makes such ones; OpenSSL trusts them once named, rustls never does.
    """
    return "CaUsedAsEndEntity" in str(error)


def _untrusted(asked: Asked, reason: str) -> EndpointUnreachable:
    words = reason.lower()
    if "hostname" in words or "notvalidforname" in words or "ip address mismatch" in words:
        return EndpointUnreachable(f"{asked.endpoint}: TLS: certificate is of another host")
    if "expired" in words:
        return EndpointUnreachable(f"{asked.endpoint}: TLS: certificate has expired")
    return EndpointUnreachable(
        f"{asked.endpoint}: TLS: certificate not trusted ({reason}): give --ca-bundle"
    )


def _no_tls(asked: Asked) -> EndpointUnreachable:
    return EndpointUnreachable(f"{asked.endpoint}: TLS: the server speaks none: is it http://…?")


# --- botocore and aiohttp: the cause is in a chain of wrapped exceptions ---------------------

_CREDENTIAL_ERRORS = (
    boto.PartialCredentialsError,
    boto.CredentialRetrievalError,
    boto.TokenRetrievalError,
    boto.SSOError,
    boto.RefreshWithMFAUnsupportedError,
    boto.InfiniteLoopConfigError,
    boto.UnknownCredentialError,
)
_SETTING_ERRORS = (
    boto.ProfileNotFound,
    boto.ConfigParseError,
    boto.ConfigNotFound,
    boto.InvalidConfigError,
    boto.InvalidRegionError,
    boto.NoRegionError,
    boto.InvalidProxiesConfigError,
)
# Alerts of RFC 8446, 6.2; where none is shown, a server of TLS 1.2 says handshake_failure.
_REFUSES_OUR_CERTIFICATE = (
    "ALERT_CERTIFICATE_REQUIRED",
    "ALERT_BAD_CERTIFICATE",
    "ALERT_CERTIFICATE_UNKNOWN",
    "ALERT_CERTIFICATE_EXPIRED",
    "ALERT_UNKNOWN_CA",
    "ALERT_HANDSHAKE_FAILURE",
)
_BROKEN = (boto.ConnectionClosedError, boto.IncompleteReadError, aiohttp.ClientPayloadError)


def by_botocore(asked: Asked, error: Exception) -> S3ZipError:
    """The error for one that aiobotocore, botocore or aiohttp raised."""
    if isinstance(error, S3ZipError):
        return error
    if isinstance(error, boto.ClientError):
        return _by_client_error(asked, dict(error.response))
    if isinstance(error, boto.NoCredentialsError):
        return AccessDenied(f"{asked.endpoint}: {NO_CREDENTIALS}")
    if isinstance(error, _CREDENTIAL_ERRORS):
        return AccessDenied(f"{asked.endpoint}: {' '.join(str(error).split())}")
    if isinstance(error, _SETTING_ERRORS):
        return SettingsError(" ".join(str(error).split()))
    if isinstance(error, boto.ParamValidationError):
        return NotFound(f"{asked.name}: no store has such a name")
    if isinstance(error, boto.ConnectTimeoutError):
        return not_connected(asked)
    for cause in _causes(error):
        if (known := _by_cause(asked, cause)) is not None:
            return known
    if isinstance(error, _BROKEN):
        return StoreUnavailable(f"{asked.endpoint}: the connection broke")
    if isinstance(error, parsers.ResponseParserError):
        return BadResponse(f"{asked.endpoint}: this is no answer of an S3 store")
    return StoreUnavailable(f"{asked.endpoint}: {type(error).__name__}")


def _by_cause(asked: Asked, cause: BaseException) -> S3ZipError | None:
    if isinstance(cause, TimeoutError):
        return stalled(asked)
    if isinstance(cause, aiohttp.ClientError | boto.BotoCoreError):
        return None  # some are SSLErrors or OSErrors by class, without what those tell
    if isinstance(cause, ssl.SSLCertVerificationError):
        return _untrusted(asked, cause.verify_message)
    if isinstance(cause, ssl.SSLError):
        if cause.reason in {"WRONG_VERSION_NUMBER", "HTTP_REQUEST"}:
            return _no_tls(asked)
        if cause.reason is not None and cause.reason.endswith(_REFUSES_OUR_CERTIFICATE):
            return EndpointUnreachable(
                f"{asked.endpoint}: TLS: the server wants a client certificate that it trusts: "
                "give --client-certificate"
            )
        return StoreUnavailable(f"{asked.endpoint}: TLS: {cause.reason or 'failed'}")
    if isinstance(cause, socket.gaierror):
        return EndpointUnreachable(f"{asked.endpoint}: no such host")
    if isinstance(cause, OSError):
        return by_oserror(asked, cause.errno, _os_text(cause))
    return None


def _os_text(error: OSError) -> str:
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    # asyncio's text repeats the address: "Connect call failed ('127.0.0.1', 1)"
    return str(error.strerror or error).split("(")[0].strip().lower()


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    queue: list[Any] = [error]
    while queue:
        cause = queue.pop(0)
        if not isinstance(cause, BaseException) or id(cause) in seen:
            continue
        seen.add(id(cause))
        yield cause
        wrapped = getattr(cause, "kwargs", None)  # botocore's wrapping
        queue.append(wrapped.get("error") if isinstance(wrapped, dict) else None)
        queue.extend((getattr(cause, "os_error", None), cause.__cause__, cause.__context__))


def _by_client_error(asked: Asked, response: dict[str, Any]) -> S3ZipError:
    told = response.get("Error", {})
    answer = response.get("ResponseMetadata", {})
    headers = answer.get("HTTPHeaders", {})
    # HEAD has no body; MinIO gives its code in a header.
    code = headers.get("x-minio-error-code") or str(told.get("Code", ""))
    status = int(answer.get("HTTPStatusCode") or 500)
    skew = _skew(headers.get("date", ""))
    # A refused HEAD has no body to say why.
    if code == "RequestTimeTooSkewed" or (status == 403 and skew and abs(skew) > MOST_SKEW):
        return clock_differs(asked, skew)
    return by_status(asked, status, code, str(told.get("Message", "")))
