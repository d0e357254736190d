"""`s3zipfs tree` against a real server, compared with what zarr sees."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from commands import assert_one_line, keys_of, s3zipfs
from faults.px import Proxy, gets
from mounting import Mount
from s3server import S3Server
from trees import zipped
from zarr.storage import MemoryStore
from zarrs import hierarchy, members_of

FAILED, USAGE = 1, 2


def run(server: S3Server, *arguments: str) -> subprocess.CompletedProcess[str]:
    return s3zipfs(
        "tree", *arguments, "--endpoint-url", server.endpoint, environment=keys_of(server)
    )


def objects(done: subprocess.CompletedProcess[str]) -> dict[str, dict[str, Any]]:
    found = [json.loads(line) for line in done.stdout.splitlines()]
    return {each["path"]: each for each in found}


def sample() -> MemoryStore:
    """Two groups and three arrays, one of them sharded."""
    store = MemoryStore()
    root = zarr.open_group(store, mode="w")
    root.create_group("empty")
    deep = root.create_group("deep")
    raw = deep.create_array(
        "raw", shape=(100, 80), chunks=(30, 40), dtype="f4", fill_value=np.nan, compressors=None
    )
    raw[:30] = 1
    shards = deep.create_array(
        "shards", shape=(64, 64), shards=(32, 32), chunks=(8, 16), dtype="u2"
    )
    shards[:, :32] = 7
    root.create_array("scalar", shape=(), dtype="i8", dimension_names=())
    return store


LINES = """\
{where}: Zarr 3 group
  deep: group
    raw: array, (100, 80) float32, chunks (30, 40), bytes:little, fill "NaN", 2 of 8 chunks, \
9.6 kB of 32 kB (3.33x)
    shards: array, (64, 64) uint16, chunks (8, 16), shards (32, 32), bytes:little zstd:0, fill 0, \
2 of 4 shards, {stored} of 8.19 kB ({ratio}x)
  empty: group
  scalar: array, () int64, chunks (), bytes:little zstd:0, fill 0, 0 of 1 chunks, 0 B of 8 B
"""


@pytest.fixture
def zarr_zip(s3client: Any, bucket: str) -> str:
    """A bucket with `x.zarr.zip`."""
    body = zipped(members_of(sample()))
    s3client.put_object(Bucket=bucket, Key="x.zarr.zip", Body=body)
    return bucket


def test_a_hierarchy_is_a_line_for_each_node(s3server: S3Server, zarr_zip: str) -> None:
    where = f"s3://{zarr_zip}/x.zarr.zip"
    done = run(s3server, where)
    assert (done.returncode, done.stderr) == (0, "")
    found = sum(len(body) for key, body in members_of(sample()).items() if "/shards/c/" in key)
    stored = f"{found} B" if found < 1000 else f"{found / 1000:.3g} kB"
    assert done.stdout == LINES.format(where=where, stored=stored, ratio=f"{8192 / found:.3g}")


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_all_that_is_told_is_what_zarr_sees(
    s3server: S3Server, s3client: Any, bucket: str, zarr_format: Any
) -> None:
    store = sample() if zarr_format == 3 else MemoryStore()
    root = zarr.open_group(store, mode="a", zarr_format=zarr_format)
    root.create_array("more/big_endian", shape=(7, 3), chunks=(2, 3), dtype=">i2")
    s3client.put_object(Bucket=bucket, Key="x.zip", Body=zipped(members_of(store)))
    found = objects(run(s3server, f"s3zip://{bucket}/x.zip/", "--json"))
    seen = dict(root.members(max_depth=None))
    assert found.keys() == {"", *seen}
    for path, node in seen.items():
        told = found[path]
        assert told["zarr_format"] == node.metadata.zarr_format
        if isinstance(node, zarr.Group):
            assert told["kind"] == "group"
            continue
        assert told["kind"] == "array"
        assert tuple(told["shape"]) == node.shape
        assert tuple(told["chunks"]) == node.chunks
        assert told["shards"] == (node.shards and list(node.shards))
        assert told["size"] == node.nbytes
        in_memory = np.dtype(told["data_type"]).newbyteorder("=")
        assert in_memory == node.dtype.newbyteorder("=")


def test_a_path_on_a_mount_tells_the_same(
    s3server: S3Server, zarr_zip: str, tmp_path: Path
) -> None:
    with Mount(tmp_path / "mnt", s3server, [f"s3://{zarr_zip}"]) as mount:
        path = mount.path / "x.zarr.zip"
        by_path = run(s3server, f"{path}/", "--json")
        lines = run(s3server, str(path))
    assert by_path.stdout == run(s3server, f"s3://{zarr_zip}/x.zarr.zip", "--json").stdout
    assert lines.stdout.startswith(f"{path}: Zarr 3 group\n  deep: group\n")


def test_a_group_or_an_array_in_the_archive_is_shown_alone(
    s3server: S3Server, zarr_zip: str
) -> None:
    where = f"s3://{zarr_zip}/x.zarr.zip"
    deep = objects(run(s3server, f"{where}/deep", "--json"))
    assert list(deep) == ["", "raw", "shards"]
    assert run(s3server, f"{where}/scalar").stdout.startswith(f"{where}/scalar: Zarr 3 array, ()")


def test_depth_ends_the_walk(s3server: S3Server, zarr_zip: str) -> None:
    where = f"s3://{zarr_zip}/x.zarr.zip"
    found = objects(run(s3server, where, "--depth", "1", "--json"))
    assert list(found) == ["", "deep", "empty", "scalar"]


def test_what_is_broken_is_told_at_its_place_and_by_the_exit_code(
    s3server: S3Server, s3client: Any, bucket: str
) -> None:
    members = {
        **members_of(sample()),
        "deep/bad/zarr.json": b'{"zarr_format": 3, "node_type": "array", "shape": [5, -1]}',
        "deep/cut/zarr.json": b'{"zarr_format": 3, "no',
        "old/.zarray": b"[1]",
    }
    s3client.put_object(Bucket=bucket, Key="x.zip", Body=zipped(members))
    done = run(s3server, f"s3://{bucket}/x.zip")
    assert (done.returncode, done.stderr) == (FAILED, "")
    lines = done.stdout.splitlines()
    assert "    bad: broken: zarr.json: shape: expected numbers from 0 on, found [5, -1]" in lines
    assert any(line.startswith("    cut: broken: zarr.json: not JSON: ") for line in lines)
    assert "  old: broken: .zarray: expected a JSON object, found [1]" in lines
    assert any(line.startswith("    raw: array, ") for line in lines)
    found = objects(run(s3server, f"s3://{bucket}/x.zip", "--json"))
    assert found["old"] == {
        "path": "old",
        "kind": "broken",
        "fault": ".zarray: expected a JSON object, found [1]",
    }


def test_an_archive_without_zarr_is_shown_by_its_files(
    s3server: S3Server, s3client: Any, bucket: str
) -> None:
    body = zipped({"a/b/one.txt": b"1" * 2345, "a/two\x1b.txt": b"22", "z": b""})
    s3client.put_object(Bucket=bucket, Key="x.zip", Body=body)
    done = run(s3server, f"s3://{bucket}/x.zip")
    assert done.returncode == 0
    assert done.stdout.splitlines() == [
        f"s3://{bucket}/x.zip: no Zarr metadata",
        "  a: directory",
        "    b: directory",
        "      one.txt: 2.35 kB",
        "    two\ufffd.txt: 2 B",
        "  z: 0 B",
    ]
    found = objects(run(s3server, f"s3://{bucket}/x.zip", "--json", "--depth", "1"))
    assert found == {
        "a": {"path": "a", "kind": "directory", "size": None},
        "z": {"path": "z", "kind": "file", "size": 0},
    }


def test_directories_that_are_no_groups_are_shown_on_the_way(
    s3server: S3Server, s3client: Any, bucket: str
) -> None:
    nested = {f"some/where/{name}": data for name, data in members_of(sample()).items()}
    s3client.put_object(Bucket=bucket, Key="x.zip", Body=zipped({"a/file": b"", **nested}))
    done = run(s3server, f"s3://{bucket}/x.zip")
    assert done.stdout.splitlines()[:4] == [
        f"s3://{bucket}/x.zip: directory",
        "  some: directory",
        "    where: Zarr 3 group",
        "      deep: group",
    ]


def test_what_is_no_directory_of_an_archive_is_one_line(
    s3server: S3Server, zarr_zip: str, s3client: Any, tmp_path: Path
) -> None:
    where = f"s3://{zarr_zip}"
    s3client.put_object(Bucket=zarr_zip, Key="none.zip", Body=b"not a zip")
    (tmp_path / "file").write_bytes(b"")
    assert_one_line(run(s3server, where), "not an archive", code=USAGE)
    assert_one_line(run(s3server, f"{where}/none.zip"), "none.zip", code=FAILED)
    assert_one_line(run(s3server, f"{where}/x.zarr.zip/zarr.json"), "a file", code=USAGE)
    assert_one_line(run(s3server, str(tmp_path / "file")), "a file", code=USAGE)
    assert_one_line(run(s3server, str(tmp_path / "nothing")), "No such file", code=FAILED)


def test_the_metadata_of_200_nodes_is_a_few_requests(
    s3server: S3Server, s3client: Any, bucket: str
) -> None:
    body = zipped({**hierarchy(3), "tail": bytes(2 << 20)})
    s3client.put_object(Bucket=bucket, Key="x.zip", Body=body)
    with Proxy(s3server) as px:
        found = objects(run(px.server, f"s3://{bucket}/x.zip", "--json"))
        assert len(found) == 201
        # Each would cost one; where this machine is busy, some are read by themselves.
        assert px.count(gets("x.zip")) < 100
    assert found["g3/b"]["stored"] == 1
    assert found["g3/b"]["possible"] == 2
