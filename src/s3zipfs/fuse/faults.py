"""What failed, as one line of the log that names the version and the bytes that were asked for."""

from __future__ import annotations

import errno
import logging
from typing import Any

from s3zipfs.errors import S3ZipError, printable
from s3zipfs.fuse import protocol as p
from s3zipfs.fuse.protocol import Opcode
from s3zipfs.fuse.session import Request
from s3zipfs.tree.nodes import Folder, Member, Node, ObjectFile
from s3zipfs.tree.tree import Tree

log = logging.getLogger(__name__)


def tell(request: Request, number: int, node: Node | None, tree: Tree, error: S3ZipError) -> None:
    """Log that this request was answered by that errno; fields for who reads lines as JSON.

    `node`: what was asked about, None where it is not known any more.
    """
    fields: dict[str, Any] = {
        "operation": Opcode(request.opcode).name.lower(),
        "errno": errno.errorcode[number],
        **_named(node, tree),
        **_asked(request),
    }
    fields["cause"] = cause = _cause(fields, node, error)
    told = f"{where}: {cause}" if (where := _where(fields)) else cause
    operation, name = fields["operation"], fields["errno"]
    log.warning("%s: %s: %s", operation, name, printable(told), extra=fields)


def _named(node: Node | None, tree: Tree) -> dict[str, Any]:
    match node:
        case ObjectFile(info):
            member = None
        case Member(info, number):
            member = tree.member_path(node) if number else None
        case Folder(endpoint, bucket, prefix):
            return {"endpoint": endpoint, "bucket": bucket, "key": prefix}
        case _:
            return {}
    oid = info.id
    named: dict[str, Any] = {"endpoint": oid.endpoint, "bucket": oid.bucket, "key": oid.key}
    named["etag"] = oid.etag.strip('"')
    if member is not None:
        named["member"] = member.decode(errors="backslashreplace")
    return named


def _asked(request: Request) -> dict[str, Any]:
    """What of it: the bytes of a file, half-open, or a name in a directory."""
    if request.opcode == Opcode.READ:
        _, offset, size, *_ = p.READ_IN.unpack_from(request.body)
        return {"start": offset, "end": offset + size}
    if request.opcode == Opcode.LOOKUP:
        return {"entry": request.name.decode(errors="backslashreplace")}
    return {}


def _cause(fields: dict[str, Any], node: Node | None, error: S3ZipError) -> str:
    """The error's text, less what it repeats of the object and the member."""
    cause = str(error)
    if isinstance(node, ObjectFile | Member):
        cause = cause.removeprefix(f"{node.info.id}: ")
    cause = cause.removeprefix(f"s3://{fields.get('bucket')}/{fields.get('key')}: ")
    return cause.removeprefix(f"{fields.get('member')}: ")


def _where(fields: dict[str, Any]) -> str:
    words = []
    if "bucket" in fields:
        words.append(f"s3://{fields['bucket']}/{fields['key']}")
    if "etag" in fields:
        words.append(f"({fields['etag']})")
    if "member" in fields:
        words.append(fields["member"])
    if "start" in fields:
        words.append(f"[{fields['start']}, {fields['end']})")
    if "entry" in fields:
        words.append(f"name {fields['entry']}")
    return " ".join(words)
