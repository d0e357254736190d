"""Read archives through a whole tree, each in a process of its own, measured.

`Isolated` starts a helper that imports everything once, and forks a child for each archive: a
crash, a hang or a swollen child is a verdict on that archive, and costs milliseconds to provoke.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import select
import signal
import subprocess
import sys
import time
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

TIMEOUT = 60.0  # seconds for one archive
ADDRESS_SPACE = 8 << 30  # protects the machine; what is asserted is the peak of resident memory
MEMORY = 128 << 20  # bytes that caches may keep: half of the default
READ = 1 << 20  # bytes per read: as a program reads, not the whole member at once

KEY = "archive.zip"


@dataclass(frozen=True)
class Report:
    """What became of one archive."""

    fault: str | None  # the process crashed, hung, or raised what is not one of our errors
    refused: str | None  # `Class: text` where the archive is not opened
    members: dict[str, str] = field(default_factory=dict)  # by path: see `describe`
    peak_rss: int = 0  # bytes, all imports included
    seconds: float = 0.0


class Isolated:
    """The helper; use as a context."""

    def __init__(self) -> None:
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),  # as pytest made it
            "OPENBLAS_NUM_THREADS": "1",  # no thread may be running when the helper forks
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", "corpus.isolated"],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def read(self, path: Path) -> Report:
        """Everything that the archive in that file shows."""
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(str(path)).encode() + b"\n")
        process.stdin.flush()
        line = process.stdout.readline()
        if not line:
            raise RuntimeError(f"the helper ended with {process.wait()}")
        return Report(**json.loads(line))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._process.communicate()


def read_archive(content: Any) -> tuple[str | None, dict[str, str]]:
    """The refusal of an archive, or all its members, through `Tree` over a memory store."""
    from s3zipfs.build import build_tree
    from s3zipfs.errors import BadArchive
    from s3zipfs.settings import Settings
    from s3zipfs.stores.memory import MemoryStore
    from s3zipfs.waiting import Wait

    store = MemoryStore()
    store.put("bucket", KEY, content)
    tree = build_tree(Settings(memory=MEMORY), ["s3://bucket"], store=store)
    wait = Wait(TIMEOUT)
    try:
        root = tree.resolve(KEY.encode(), wait)
        try:
            list(tree.entries(root, wait))
        except BadArchive as error:
            return f"{type(error).__name__}: {error}", {}
        return None, _members(tree, root, wait)
    finally:
        tree.close()


def _members(tree: Any, root: Any, wait: Any) -> dict[str, str]:
    """By path, all but directories that hold something."""
    found: dict[str, str] = {}
    waiting = [(b"", root)]
    while waiting:
        path, node = waiting.pop()
        entries = list(tree.entries(node, wait))
        if path and not entries:
            found[_text(path) + "/"] = "directory"
        for entry in entries:
            below = path + b"/" + entry.name if path else entry.name
            description = describe(tree, entry.node, wait)
            if description is None:
                waiting.append((below, entry.node))
            else:
                found[_text(below)] = description
    return dict(sorted(found.items()))


def describe(tree: Any, node: Any, wait: Any) -> str | None:
    """`SIZE CRC32` of what was read, `-> target` of a link, `Class: text`; None: a directory."""
    from s3zipfs.errors import S3ZipError
    from s3zipfs.tree.nodes import Kind

    attributes = tree.getattr(node, wait)
    if attributes.kind is Kind.DIRECTORY:
        return None
    try:
        if attributes.kind is Kind.SYMLINK:
            return f"-> {_text(tree.readlink(node, wait))}"
        tree.check_open(node, wait)
        size = crc32 = 0
        while parts := tree.read(node, size, size + READ, wait):
            for part in parts:
                crc32 = zlib.crc32(part, crc32)
                size += len(part)
    except S3ZipError as error:
        return f"{type(error).__name__}: {error}"
    if size != attributes.size:
        raise AssertionError(f"stat says {attributes.size} bytes, reading gave {size}")
    return f"{size} {crc32:08x}"


def _text(name: bytes) -> str:
    return name.decode("utf-8", "backslashreplace")


# The helper's side


def _child(name: str, answer: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    try:
        refused, members = read_archive(Path(name).read_bytes())
        found = {"fault": None, "refused": refused, "members": members}
    except BaseException as error:  # noqa: BLE001 - whatever it is, it is the verdict
        found = {"fault": f"{type(error).__name__}: {error}", "refused": None, "members": {}}
    with os.fdopen(answer, "wb") as file:
        file.write(json.dumps(found).encode())


def _supervise(name: str) -> dict[str, Any]:
    answer, end = os.pipe()
    started = time.monotonic()
    child = os.fork()
    if not child:
        os.close(answer)
        try:
            _child(name, end)
        finally:
            os._exit(0)  # no handler of the helper's runs twice
    os.close(end)
    text = bytearray()
    hung = False
    while select.select([answer], [], [], max(0.0, started + TIMEOUT - time.monotonic()))[0]:
        piece = os.read(answer, 1 << 20)
        if not piece:
            break
        text += piece
    else:
        hung = True
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
    os.close(answer)
    _, status, usage = os.wait4(child, 0)
    measured = {
        "peak_rss": usage.ru_maxrss << 10,
        "seconds": round(time.monotonic() - started, 3),
    }
    if hung:
        return {"fault": f"no answer within {TIMEOUT:g} s", "refused": None, **measured}
    if os.waitstatus_to_exitcode(status) or not text:
        ended = os.waitstatus_to_exitcode(status)
        return {"fault": f"the process ended with {ended}", "refused": None, **measured}
    found: dict[str, Any] = json.loads(bytes(text))
    return found | measured


def main() -> None:
    """Answer each line of standard input with one of standard output."""
    import s3zipfs.build  # noqa: F401 - once, for all children

    for line in sys.stdin:
        print(json.dumps(_supervise(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
