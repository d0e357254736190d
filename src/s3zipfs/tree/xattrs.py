"""Extended attributes (xattr(7)): what is known of a file's version and, in an archive, of it."""

from __future__ import annotations

from s3zipfs.stores.base import ObjectInfo
from s3zipfs.tree.nodes import Member, Node, ObjectFile
from s3zipfs.tree.tree import Tree
from s3zipfs.waiting import Wait
from s3zipfs.zipformat.member import Member as ZipMember
from s3zipfs.zipformat.methods import method_name

PREFIX = b"user."
"""Of all names: those of other classes are for the kernel and for privileged programs."""


def xattrs(tree: Tree, node: Node, wait: Wait) -> dict[bytes, bytes]:
    """By name. No request is made for what is not known; an index that was given up is read again.

    `user.s3.…` tell of the object: bucket, key, etag (without quotes), version (the version id,
    once an answer has told it). `user.zip.…` tell of a file in an archive, as the central directory
    does: method (its name), crc32 (eight hexadecimal digits, of the content), compressed_size
    (bytes), offset (of the local header in the object, bytes). Links have none: such names are
    for files and directories.
    """
    match node:
        case ObjectFile(info) | Member(info, 0):
            return _of_object(tree, info)
        case Member(info, number):
            index = tree.index(info, wait)
            if index.is_symlink(number):
                return {}
            of_member = {} if index.is_directory(number) else _of_member(index.member(number))
            return _of_object(tree, info) | of_member
        case _:
            return {}


def _of_object(tree: Tree, info: ObjectInfo) -> dict[bytes, bytes]:
    told = {
        "bucket": info.id.bucket,
        "key": info.id.key,
        "etag": info.id.etag.strip('"'),
        "version": tree.version_id(info),
    }
    return {f"user.s3.{name}".encode(): v.encode() for name, v in told.items() if v is not None}


def _of_member(member: ZipMember) -> dict[bytes, bytes]:
    told = {
        "method": method_name(member.method),
        "crc32": f"{member.crc32:08x}",
        "compressed_size": f"{member.compressed_size}",
        "offset": f"{member.local_header_offset}",
    }
    return {f"user.zip.{name}".encode(): value.encode() for name, value in told.items()}
