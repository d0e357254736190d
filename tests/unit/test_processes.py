"""Which process a thread is of."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from mounting import wait_until

from s3zipfs.fuse.processes import NOBODY, Process, process_of


def test_a_thread_is_of_its_process_however_it_is_called_itself() -> None:
    own = process_of(os.getpid())
    assert own.pid == os.getpid()
    assert own.started > 0
    found = []

    def look() -> None:
        Path("/proc/thread-self/comm").write_text("another")
        found.append((threading.get_native_id(), process_of(threading.get_native_id())))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert found[0][0] != os.getpid()
    assert found == [(found[0][0], own)]


def test_after_exec_it_is_the_same_process_by_another_name() -> None:
    command = ["bash", "-c", "read line; exec sleep 600"]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as child:
        try:
            wait_until(lambda: process_of(child.pid).name == "bash", seconds=60, what="bash")
            before = process_of(child.pid)
            assert child.stdin is not None
            child.stdin.write(b"\n")
            child.stdin.flush()
            wait_until(lambda: process_of(child.pid).name == "sleep", seconds=60, what="sleep")
            assert process_of(child.pid).key == before.key
        finally:
            child.kill()


@pytest.fixture
def proc(tmp_path: Path) -> Callable[..., Path]:
    """A /proc with one process, 70."""

    def make(status: str, stat: bytes) -> Path:
        folder = tmp_path / "70"
        folder.mkdir()
        (folder / "status").write_text(status)
        (folder / "stat").write_bytes(stat)
        return tmp_path

    return make


def fields(*, flags: int) -> bytes:
    """What stands behind the name in `stat`."""
    return b" S 1 70 70 0 -1 %d 0 0 0 0 1 1 0 0 20 0 1 0 4711 0 0\n" % flags


def test_a_name_may_have_anything_in_it(proc: Callable[..., Path]) -> None:
    stat = b"70 (a) S (b\n\xff)" + fields(flags=0x400000)
    found = process_of(70, proc("Name:\tx\nTgid:\t70\n", stat))
    assert found == Process(70, 4711, "a) S (b\n\\xff")


def test_a_name_with_a_carriage_return_is_no_line_of_its_own(proc: Callable[..., Path]) -> None:
    stat = b"70 (x\rTgid:\t1)" + fields(flags=0x400000)
    found = process_of(70, proc("Name:\tx\rTgid:\t1\nTgid:\t70\n", stat))
    assert found == Process(70, 4711, "x\rTgid:\t1")


def test_a_thread_of_the_kernel_is_nobody(proc: Callable[..., Path]) -> None:
    assert process_of(70, proc("Tgid:\t70\n", b"70 (nfsd)" + fields(flags=0x208040))) is NOBODY


def test_what_is_of_no_process_here_is_nobody() -> None:
    assert process_of(0) is NOBODY


def test_what_may_not_be_looked_at_is_unknown(tmp_path: Path) -> None:
    assert process_of(70, tmp_path) == Process(70, 0, "(unknown)")
