"""What commands that read share: the tree of a URL, what a path in it names, and the log."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from s3zipfs.build import build_tree
from s3zipfs.cli import logs
from s3zipfs.cli.aliases import check_alias
from s3zipfs.errors import NotFound, SettingsError
from s3zipfs.mcaliases import split_alias
from s3zipfs.settings import SCHEMES, Settings, Source, parse_source
from s3zipfs.tree.nodes import Kind, Member, Node
from s3zipfs.tree.tree import Tree
from s3zipfs.waiting import Wait

MAX_LINKS = 40  # path_resolution(7)


@contextlib.contextmanager
def log_held(*, verbose: bool) -> Iterator[None]:
    """A command that fails says so in one line; what was logged is shown when it does not."""
    logs.to_stderr(verbose=verbose)
    release = None if verbose else logs.hold()
    yield
    if release is not None:
        release()


@contextlib.contextmanager
def tree_of(url: str, settings: Settings) -> Iterator[tuple[Tree, bytes]]:
    """The tree of the URL's bucket, or of all buckets, and the path in it."""
    sources, path = sources_of(url, settings)
    with contextlib.closing(build_tree(settings, sources)) as tree:
        yield tree, path


def sources_of(url: str, settings: Settings) -> tuple[list[str | Source], bytes]:
    """What a tree is to be built of for a URL, and the path in it.

    `ALIAS/BUCKET/KEY`, as mc has it, is as a URL. What a source of the settings holds is reached as
    that source is.
    """
    check_alias(url)
    alias, rest = split_alias(url)
    scheme, _, rest = ("", "", rest) if alias is not None else url.partition("://")
    bucket, _, path = rest.partition("/")
    # By the bucket's own listing: a policy may allow the bucket and not the list of all.
    if alias is not None:
        sources: list[str | Source] = [f"{alias}/{bucket}".rstrip("/")]
    elif (held := _source_of(settings, bucket, path)) is not None:
        sources = [held.model_copy(update={"url": f"s3://{bucket}"})]
    else:
        sources = [f"{scheme}://{bucket}"] if bucket or path or scheme not in SCHEMES else []
    return sources, os.fsencode(path)


def _source_of(settings: Settings, bucket: str, path: str) -> Source | None:
    """The source that holds a path of a bucket: that of the longest prefix; None: none does.

    Raises:
        SettingsError: several do, and nothing in the URL tells which is meant.
    """
    own = [each for each in settings.sources if split_alias(each.url)[0] is None]
    places = [(parse_source(each.url), each) for each in own]
    holding = [
        (len(place.prefix), each)
        for place, each in places
        if place.bucket == bucket and f"{path}/".startswith(place.prefix)
    ]
    longest = max((length for length, _ in holding), default=0)
    nearest = [each for length, each in holding if length == longest]
    if len(nearest) > 1:
        raise SettingsError(
            f"s3://{bucket}: several sources of the settings have it; name one by --endpoint-url, "
            "without --config"
        )
    return nearest[0] if nearest else None


def archive_directory_at(
    where: str, tree: Tree, path: bytes, wait: Wait, *, instead: str
) -> Member:
    """The archive, or a directory in it, that a path names.

    Raises:
        SettingsError: it is something else; `instead` is what to give for a file.
    """
    node = node_at(tree, path, wait, follow=True)
    if not isinstance(node, Member):
        raise SettingsError(
            f"{where}: not an archive by its name; give s3://BUCKET/KEY.zip, or --archive"
        )
    if tree.getattr(node, wait).kind is not Kind.DIRECTORY:
        raise SettingsError(f"{where}: a file; give {instead}")
    return node


def node_at(tree: Tree, path: bytes, wait: Wait, *, follow: bool) -> Node:
    """What a path names, by way of symbolic links, as the kernel does it on a mount.

    `follow`: the last one as well. A link never leaves its archive (`Tree.readlink`).
    """
    ahead = [name for name in path.split(b"/") if name][::-1]
    walked: list[Node] = [tree.root]
    links = 0
    while ahead:
        name = ahead.pop()
        if name == b"..":
            if len(walked) > 1:
                walked.pop()
            continue
        if name == b".":
            continue
        node = tree.lookup(walked[-1], name, wait).node
        is_link = tree.getattr(node, wait).kind is Kind.SYMLINK
        if is_link and (ahead or follow):
            links += 1
            if links > MAX_LINKS:
                raise NotFound(f"{os.fsdecode(path)}: too many symbolic links")
            ahead += [part for part in tree.readlink(node, wait).split(b"/") if part][::-1]
            continue
        walked.append(node)
    return walked[-1]
