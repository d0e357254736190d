"""What a long listing tells of a name."""

from __future__ import annotations

from dataclasses import dataclass

from s3zipfs.tree.nodes import (
    Buckets,
    Control,
    Folder,
    Member,
    Node,
    ObjectFile,
    Snapshot,
    Sources,
)
from s3zipfs.tree.tree import Tree
from s3zipfs.waiting import Wait
from s3zipfs.zipformat.methods import method_name


@dataclass(frozen=True, slots=True)
class Details:
    """One name. What is None is not known, or no such thing exists."""

    name: bytes
    kind: str  # bucket, directory, archive, file or symlink; of a local path also: other
    mode: int  # st_mode
    size: int | None = None  # bytes of content; of an archive: of the object
    compressed_size: int | None = None  # bytes, of a member
    method: str | None = None  # of a member
    is_encrypted: bool | None = None  # of a member
    crc32: int | None = None  # of a member
    modified: float | None = None  # seconds since the epoch, UTC
    etag: str | None = None  # of an object, without its quotes


def details(tree: Tree, name: bytes, node: Node, wait: Wait) -> Details:
    """What is known of a node without reading its content."""
    mode = tree.getattr(node, wait).mode
    match node:
        case ObjectFile(info) | Member(info, 0):
            kind = "file" if isinstance(node, ObjectFile) else "archive"
            etag = info.id.etag.strip('"')
            return Details(name, kind, mode, info.size, modified=info.modified, etag=etag)
        case Member(info, number):
            index = tree.index(info, wait)
            modified = index.modified(number)
            if index.is_directory(number):
                return Details(name, "directory", mode, modified=modified)
            member = index.member(number)
            return Details(
                name,
                "symlink" if index.is_symlink(number) else "file",
                mode,
                size=member.uncompressed_size,
                compressed_size=member.compressed_size,
                method=method_name(member.method),
                is_encrypted=member.is_encrypted,
                crc32=member.crc32,
                modified=modified,
            )
        case Folder(_, _, prefix):
            return Details(name, "directory" if prefix else "bucket", mode)
        case Buckets() | Sources() | Control():
            return Details(name, "directory", mode)
        case Snapshot(made=made):
            return Details(name, "file", mode, tree.getattr(node, wait).size, modified=made)
