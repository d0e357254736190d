"""One filesystem in many threads, instances and processes."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from s3server import S3Server
from trees import zipped

from s3zipfs import S3ZipFileSystem
from s3zipfs.build import build_tree
from s3zipfs.filesystem import shared
from s3zipfs.tree.tree import Tree

CONTENT = bytes(range(256)) * 9000


@pytest.fixture
def options(s3server: S3Server) -> dict[str, Any]:
    return {
        "endpoint_url": s3server.endpoint,
        "key": s3server.access_key,
        "secret": s3server.secret_key,
    }


@pytest.fixture
def path(s3client: Any, bucket: str) -> str:
    members = {"a": CONTENT, "b": b"small"}
    s3client.put_object(Bucket=bucket, Key="x.zip", Body=zipped(members, zipfile.ZIP_DEFLATED))
    return f"{bucket}/x.zip"


def test_threads_and_asynchronous_instances_share_one_tree(options: dict[str, Any]) -> None:
    first = S3ZipFileSystem(**options)
    assert S3ZipFileSystem(**options) is first

    def tree(number: int) -> object:
        if number % 2:
            return S3ZipFileSystem(**options, asynchronous=True).tree
        return S3ZipFileSystem(**options).tree

    with ThreadPoolExecutor(8) as pool:
        trees = list(pool.map(tree, range(16)))
    assert {id(each) for each in trees} == {id(first.tree)}
    S3ZipFileSystem.clear_instance_cache()
    first.close()


def test_other_credentials_and_settings_are_another_instance_and_tree(
    options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = [
        S3ZipFileSystem(**options),
        S3ZipFileSystem(**{**options, "key": "another"}),
        S3ZipFileSystem(**options, token="session"),
        S3ZipFileSystem(**options, ttl=1.0),
    ]
    by_environment = []
    for name in ("one", "two"):
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", name)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", name)
        found = S3ZipFileSystem(endpoint_url=options["endpoint_url"], skip_instance_cache=True)
        by_environment.append((found, found.tree))
    assert len({id(each) for each in made}) == len({hash(each) for each in made}) == 4
    trees = [each.tree for each in made] + [tree for _, tree in by_environment]
    assert len({id(tree) for tree in trees}) == 6
    S3ZipFileSystem.clear_instance_cache()
    for each in [*made, *(found for found, _ in by_environment)]:
        each.close()


def test_the_last_to_close_closes_the_tree(options: dict[str, Any], path: str) -> None:
    one = S3ZipFileSystem(**options, skip_instance_cache=True)
    two = S3ZipFileSystem(**options, skip_instance_cache=True)
    assert one.cat(f"{path}/b") == b"small"
    assert one.tree is two.tree
    closed = one.tree
    one.close()
    assert two.cat(f"{path}/b") == b"small"
    assert two.tree is closed
    two.close()
    assert one.cat(f"{path}/b") == b"small"
    assert one.tree is not closed
    one.close()


def test_a_tree_that_nobody_uses_any_more_is_closed(
    options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared, "LINGER", 0.0)
    made = S3ZipFileSystem(**options, ttl=7.5, skip_instance_cache=True)
    tree, closed = made.tree, threading.Event()

    def close() -> None:
        Tree.close(tree)
        closed.set()

    monkeypatch.setattr(tree, "close", close)
    del made
    gc.collect()
    assert closed.wait(100)


def test_threads_that_come_first_wait_for_one_tree(
    options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[object] = []
    everybody = threading.Barrier(8)

    def build(*arguments: Any, **more: Any) -> Any:
        built.append(None)
        return build_tree(*arguments, **more)

    monkeypatch.setattr(shared, "build_tree", build)
    made = S3ZipFileSystem(**options, skip_instance_cache=True)

    def tree() -> object:
        everybody.wait(100)
        return made.tree

    with ThreadPoolExecutor(8) as pool:
        trees = [each.result() for each in [pool.submit(tree) for _ in range(8)]]
    assert len({id(each) for each in trees}) == len(built) == 1
    made.close()


FORKED = """
import json, os, signal, sys, threading
from obstore.store import MemoryStore
from s3zipfs import S3ZipFileSystem
from s3zipfs.build import build_tree
from s3zipfs.filesystem import shared
from s3zipfs.tree.tree import Tree

options, path, when = json.loads(sys.argv[1]), sys.argv[2], sys.argv[3]
filesystem = S3ZipFileSystem(**options)
building, forked = threading.Event(), threading.Event()
original = shared.build_tree

def build(*arguments, **more):
    building.set()
    assert forked.wait(200)
    return original(*arguments, **more)

if when == "building":  # another thread holds what it takes to build a tree
    shared.build_tree = build
    thread = threading.Thread(target=filesystem.ls, args=[path])
    thread.start()
    assert building.wait(200)
elif when == "by others":  # whose runtime has lost its threads in the child
    MemoryStore().put("x", b"")
else:  # connections are open, and their threads
    assert filesystem.cat_file(path + "/b") == b"small"
child = os.fork()
if child == 0:
    signal.alarm(240)
    shared.build_tree = original
    content = filesystem.cat_file(path + "/a")
    both = filesystem.cat_ranges([path + "/a"] * 2, [0, 5], [2, 9])
    right = content == bytes(range(256)) * 9000 and both == [content[0:2], content[5:9]]
    os._exit(0 if right and S3ZipFileSystem(**options).exists(path) else 1)
forked.set()
_, status = os.waitpid(child, 0)
assert filesystem.cat_file(path + "/b") == b"small"
sys.exit(os.waitstatus_to_exitcode(status))
"""


@pytest.mark.timeout(330)
@pytest.mark.parametrize("when", ["building", "in use", "by others"])
def test_a_forked_child_reads_by_connections_of_its_own(
    when: str, options: dict[str, Any], path: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORKED, json.dumps(options), path, when],
        env=dict(os.environ),
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
