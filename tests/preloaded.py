"""Commands as forks of a process that has imported the program: a start costs 0.05 s, not 0.7.

That process is `multiprocessing`'s fork server: it has one thread, and no connection is open.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
from functools import cache
from multiprocessing.context import ForkServerContext
from pathlib import Path

from s3zipfs.cli.main import _MODULES

# What Python and the libraries look at once, before the program begins.
AT_START = ("HOME", "LANG", "LC_", "OMP_", "OPENBLAS_", "PYTHON")  # botocore: HOME


def is_same_when_forked(environment: dict[str, str]) -> bool:
    """Whether a command in this environment does what it does when it is started anew."""
    begun = {name: value for name, value in _BEGUN_WITH.items() if name.startswith(AT_START)}
    return begun == {n: value for n, value in environment.items() if n.startswith(AT_START)}


def run(
    words: list[str], environment: dict[str, str], seconds: float
) -> subprocess.CompletedProcess[str]:
    """The program with these words to its end, as `subprocess.run` gives it.

    Raises:
        subprocess.TimeoutExpired: it took longer; it is killed.
    """
    with tempfile.TemporaryDirectory() as folder:
        out, err = Path(folder) / "out", Path(folder) / "err"
        process = _forks().Process(
            target=_command, args=(words, environment, str(Path.cwd()), str(out), str(err))
        )
        process.start()
        process.join(seconds)
        if process.is_alive():
            process.kill()
            process.join()
            raise subprocess.TimeoutExpired(words, seconds, out.read_bytes(), err.read_bytes())
        code = process.exitcode
        assert code is not None
        return subprocess.CompletedProcess(words, code, out.read_text(), err.read_text())


_BEGUN_WITH = dict(os.environ)


@cache
def _forks() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(sorted(set(_MODULES.values())))
    return context


def _command(words: list[str], environment: dict[str, str], at: str, out: str, err: str) -> None:
    for path, descriptor in ((os.devnull, 0), (out, 1), (err, 2)):
        opened = os.open(path, os.O_RDWR | os.O_CREAT)
        os.dup2(opened, descriptor)
        os.close(opened)
    os.chdir(at)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["s3zipfs", *words]
    runpy.run_module("s3zipfs", run_name="__main__", alter_sys=True)
