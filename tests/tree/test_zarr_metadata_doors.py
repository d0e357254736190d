"""What Zarr's own reading costs in requests, by a mount and by `s3zip://`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from faults.px import Proxy, everything, gets
from mounting import Mount
from s3server import S3Server
from trees import zipped
from zarrs import hierarchy

from s3zipfs.archive import metadata

KEY = "plate.zarr.zip"

# Of what stands between the metadata.
pytestmark = pytest.mark.filterwarnings("ignore:Object at .* is not recognized:UserWarning")


@pytest.fixture(scope="module", params=[2, 3])
def archive(request: pytest.FixtureRequest) -> bytes:
    # The tail is read with the index; metadata must not be in it.
    return zipped({**hierarchy(request.param), "tail": bytes(2 << 20)})


@pytest.fixture
def px(s3server: S3Server, s3client: Any, bucket: str, archive: bytes) -> Iterator[Proxy]:
    """What stands between a reader and the server, and counts."""
    s3client.put_object(Bucket=bucket, Key=KEY, Body=archive)
    with Proxy(s3server) as proxy:
        yield proxy


def options(px: Proxy) -> dict[str, Any]:
    return {
        "endpoint_url": px.server.endpoint,
        "key": px.server.access_key,
        "secret": px.server.secret_key,
        "cache_size": 0,
        "cache_dir": "none",
        "ttl": 3600.0,
        "skip_instance_cache": True,
    }


def test_zarr_opens_200_nodes_by_a_few_gets(
    px: Proxy, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metadata, "PATIENCE", 15.0)  # however slow this machine is just now
    group = zarr.open_group(f"s3zip://{bucket}/{KEY}", mode="r", storage_options=options(px))
    members = dict(group.members(max_depth=None))
    assert len(members) == 200
    assert {array.shape for _, array in members.items() if isinstance(array, zarr.Array)} == {
        (64, 64)
    }
    assert px.count(gets(KEY)) <= 7  # two for the index, and four places with metadata


def check_missing_chunks(px: Proxy, group: Any) -> None:
    members = dict(group.members(max_depth=None))  # all metadata is here then
    assert members["g3/b"][0, 0] == 4
    before = px.count(everything)
    for name in ("g3/b", "g7/c", "g30/d"):
        np.testing.assert_array_equal(members[name][32:], 0)
    assert px.count(everything) == before


def test_a_missing_chunk_costs_no_request_by_fsspec(px: Proxy, bucket: str) -> None:
    url = f"s3zip://{bucket}/{KEY}"
    check_missing_chunks(px, zarr.open_group(url, mode="r", storage_options=options(px)))


def test_a_missing_chunk_costs_no_request_on_a_mount(
    px: Proxy, bucket: str, tmp_path: Path
) -> None:
    with Mount(tmp_path / "mnt", px.server, [f"s3://{bucket}"], "--ttl", "3600") as mount:
        check_missing_chunks(px, zarr.open_group(mount.path / KEY, mode="r"))
