"""`s3zipfs explain`: what a path is in the store, what reading it costs, and what would help."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import click
from rich.filesize import decimal

from s3zipfs.build import KEPT_BY_MOUNT
from s3zipfs.cli.errors import one_line
from s3zipfs.cli.opening import log_held, node_at
from s3zipfs.cli.options import settings_of, store_options
from s3zipfs.cli.reaching import place_of, trees_at
from s3zipfs.errors import SettingsError
from s3zipfs.settings import Settings
from s3zipfs.tree.explaining import Cost, Explainer, Explanation
from s3zipfs.tree.nodes import Member, ObjectFile
from s3zipfs.waiting import Wait
from s3zipfs.zipformat.methods import method_name

_HELP = """Tell what stands behind a path: object and version, and of an archive its index, its
methods and its order; of a member its method, its place and its sizes. Then what reading it costs
in requests, bytes and time, and what would make it cheaper.

Costs are those of a mount that has just begun: "cold" with nothing kept, "indexed" where only the
index is (a small one: where it is open), and "now" with what --cache-dir holds. They are planned by
the code that reads; the link is measured by five small GETs, of 1 MB together. The end of the
object and one local header are fetched as well, and the whole index where it is not on disk.
Nothing of that is kept.

A path on a mount is looked at with that mount's settings; credentials that it was given by its
environment have to be in this command's as well.

"open" is the index, "metadata" all that describes a Zarr hierarchy, "whole" a read of all in order,
and "random" one of 64 KiB in the middle. Names cost a LIST for each part of the key, again after
--ttl.

With --json, one document:

\b
  endpoint, bucket, key, etag, version_id (null: not known), size, modified (seconds since 1970)
  lists                 LIST requests for the name
  link                  latency_seconds; bytes_per_second of one GET, or null
  archive               null, or members, methods, directory and so on
  path                  in the archive, or null
  member                null, or method, encrypted, crc32, sizes and offsets
  readings              a list of what (open, metadata, whole, random), note (or null), and
    cold, indexed, now    gets, bytes and seconds (about) of each
  kept                  bytes on disk now, of of_bytes; index and checkpoints: true, false, or null:
                        there can be none
  advice                a list of rule and text
"""


@click.command(help=_HELP, short_help="Tell what a path is, what reading it costs, and advise.")
@click.argument("where", metavar="PATH_OR_URL")
@click.option("--json", "as_json", is_flag=True, help="one JSON document")
@click.option("--verbose", "-v", is_flag=True, help="show the log, on stderr")
@store_options
def explain(where: str, as_json: bool, verbose: bool, **options: Any) -> None:
    """Explain it."""
    settings = settings_of(options)
    with log_held(verbose=verbose):
        found = _explained(where, settings)
    if as_json:
        click.echo(json.dumps(_document(found)))
    else:
        for line in _lines(found):
            click.echo(line)


def _explained(where: str, settings: Settings) -> Explanation:
    place = place_of(where, settings)
    settings = place.settings
    wait = Wait(settings.timeout)
    with trees_at(place, keeps=False) as (tree, offline):
        node = node_at(tree, place.path, wait, follow=True)
        if not isinstance(node, Member | ObjectFile):
            raise SettingsError(f"{where}: a prefix; give an object, an archive or a member")
        explainer = Explainer(
            tree,
            offline,
            wait,
            memory=settings.memory,
            kept=KEPT_BY_MOUNT,
            keeps_indexes=settings.cache_dir is not None and settings.index_cache_size > 0,
            unwraps=settings.single_root == "unwrap",
        )
        return explainer.explain(node)


# For people


def _lines(found: Explanation) -> Iterator[str]:
    info = found.info
    yield one_line(f"s3://{info.id.bucket}/{info.id.key}")
    yield f"  endpoint   {info.id.endpoint}"
    version = "" if found.version_id is None else f", version {one_line(found.version_id)}"
    etag = one_line(info.id.etag.strip('"'))
    yield f"  object     {_size(info.size)}, ETag {etag}{version}"
    yield from _archive_lines(found)
    yield from _member_lines(found)
    yield f"  on disk    {'; '.join(_kept(found))}"
    yield f"  link       {_link(found)}"
    yield ""
    yield f"  {'GETs, bytes and about how long':<32}  {'cold':<26}{'indexed':<26}now"
    for each in found.readings:
        costs = (each.cold, each.indexed, each.now)
        cells = "".join(f"{_cost(cost):<26}" for cost in costs).rstrip()
        yield f"  {_NAMES[each.what]:<32}  {cells}"
        if each.note is not None:
            yield f"    ({each.note})"
    yield f"  LIST requests for its name: {found.lists}, again after --ttl"
    if found.advice:
        yield ""
        for advice in found.advice:
            yield f"  advice: {one_line(advice.text)}"


_NAMES = {
    "open": "open: find and load the index",
    "metadata": "metadata: all of Zarr's",
    "whole": "whole: all of it, in order",
    "random": "random: 64 KiB in the middle",
}


def _archive_lines(found: Explanation) -> Iterator[str]:
    archive = found.archive
    if archive is None:
        return
    hidden = [f"{archive.hidden:,} hidden"] if archive.hidden else []
    hidden += [f"{archive.duplicates:,} duplicates"] if archive.duplicates else []
    words = [f"{archive.members:,} members", *hidden]
    words += ["Zip64"] if archive.is_zip64 else []
    words += [f"comment of {_size(archive.comment_size)}"] if archive.comment_size else []
    words.append("in order of their names" if archive.is_sorted else "not in order of their names")
    yield f"  archive    {', '.join(words)}"
    methods = (
        f"{name}: {facts.members:,}, {_size(facts.size)} in {_size(facts.compressed_size)}"
        for name, facts in archive.methods.items()
    )
    yield f"  methods    {'; '.join(methods)}"
    place = f"{_size(archive.directory_size)} at {archive.directory_start:,}"
    yield f"  directory  {place}"
    if archive.zarr is not None:
        zarr = archive.zarr
        median = f"half of them {_size(zarr.median_chunk)} or less"
        yield (
            f"  zarr       metadata: {zarr.metadata:,}, at so many places: "
            f"{zarr.metadata_places:,}; chunks or shards: {zarr.chunks:,}, {median}"
        )


def _member_lines(found: Explanation) -> Iterator[str]:
    if found.path is not None:
        yield f"  path       {one_line(found.path)}"
    member = found.member
    if member is None:
        return
    method = "encrypted" if member.is_encrypted else method_name(member.method)
    sizes = f"{_size(member.uncompressed_size)} in {_size(member.compressed_size)}"
    yield f"  member     {method}, {sizes}, CRC-32 {member.crc32:08x}"
    data = "" if found.data_offset is None else f", data at {found.data_offset:,}"
    yield f"  place      local header at {member.local_header_offset:,}{data}"
    if member.damaged:
        yield f"  damaged    {member.damaged}"


def _kept(found: Explanation) -> Iterator[str]:
    kept = found.kept
    yield f"{_size(kept.bytes)} of {_size(kept.of_bytes)}"
    if kept.index is not None:
        yield "the index has a file" if kept.index else "no file of the index"
    if kept.checkpoints is not None:
        yield "checkpoints" if kept.checkpoints else "no checkpoints"


def _link(found: Explanation) -> str:
    link = found.link
    latency = f"{link.latency_seconds * 1000:.1f} ms for a small GET"
    if link.bytes_per_second is None:
        return f"{latency}, measured just now"
    return f"{latency}, {decimal(int(link.bytes_per_second))}/s by one, measured just now"


def _cost(cost: Cost) -> str:
    if not cost.gets:
        return "none"
    return f"{cost.gets:,}, {_size(cost.bytes)}, {_seconds(cost.seconds)}"


def _seconds(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:,.1f} s"


def _size(size: int) -> str:
    return decimal(size).replace(" bytes", " B")


# For programs


def _document(found: Explanation) -> dict[str, Any]:
    info, member = found.info, found.member
    return {
        "endpoint": info.id.endpoint,
        "bucket": info.id.bucket,
        "key": info.id.key,
        "etag": info.id.etag.strip('"'),
        "version_id": found.version_id,
        "size": info.size,
        "modified": info.modified,
        "lists": found.lists,
        "link": asdict(found.link),
        "archive": None
        if found.archive is None
        else {**asdict(found.archive), "is_sorted": found.archive.is_sorted},
        "path": found.path,
        "member": None
        if member is None
        else {
            "method": method_name(member.method),
            "encrypted": member.is_encrypted,
            "damaged": member.damaged,
            "crc32": f"{member.crc32:08x}",
            "size": member.uncompressed_size,
            "compressed_size": member.compressed_size,
            "local_header_offset": member.local_header_offset,
            "data_offset": found.data_offset,
        },
        "readings": [asdict(each) for each in found.readings],
        "kept": asdict(found.kept),
        "advice": [asdict(each) for each in found.advice],
    }
