"""Runs the blocks of one page in order, as a reader would: `pagescript.py BLOCKS` (JSON).

All of them share one folder and one environment: what a shell exports counts for what follows. All
Python shares one namespace. Ends with 1 at the first block that does not do what the page says.
"""

from __future__ import annotations

import doctest
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

COMMAND_SECONDS = 200
# Leaves behind what the commands before it have changed.
_SHELL = 'set -eu\n{}\nenv -0 > "$PAGE_STATE"; pwd > "$PAGE_STATE.folder"\n'


class PageError(Exception):
    """A block does not do what the page says; `str()` says which and how."""


def shell(commands: str) -> str:
    """What they print. The variables that they export, and their folder, stay."""
    state = Path(os.environ["PAGE_STATE"])
    done = subprocess.run(
        ["bash", "-c", _SHELL.format(commands)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=COMMAND_SECONDS,
        check=False,
    )
    if done.returncode:
        raise PageError(f"ended with {done.returncode}:\n{done.stdout}")
    for pair in state.read_text().split("\0"):
        name, _, value = pair.partition("=")
        if name and os.environ.get(name) != value:
            os.environ[name] = value
    os.chdir(state.with_name(state.name + ".folder").read_text().removesuffix("\n"))
    return done.stdout


def console(text: str) -> None:
    """Commands behind `$ `, each with what it prints; `…` stands for anything."""
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        match = re.match(r"((?:[^\n]*\\\n)*[^\n]*)\n(.*)", part, re.DOTALL)
        assert match is not None
        command, expected = match.groups()
        pattern = "(?s:.*?)".join(map(re.escape, expected.rstrip().split("…")))
        printed = shell(command)
        if re.fullmatch(pattern, printed.rstrip()) is None:
            raise PageError(f"$ {command}\nexpected:\n{expected}\nprinted:\n{printed}")


def settings(text: str) -> None:
    """A settings file, kept as the one that is called NAME."""
    file = Path(os.environ["HOME"], ".config", "s3zipfs", "lab.toml")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    file.chmod(0o600)
    shell("s3zipfs config check lab")


def fstab(text: str) -> None:
    """Lines of it: mount(8)'s helper takes the words, and they are settings."""
    for line in text.splitlines():
        source, _, kind, words, *_ = line.split()
        if kind != "fuse.s3zipfs" or not source:
            raise PageError(f"no line of ours: {line}")
        shell(f"s3zipfs config show -o '{words}'")


def python(text: str, place: str, namespace: dict[str, Any]) -> None:
    """Statements, in the page's namespace."""
    exec(compile(text, place, "exec"), namespace)


def session(text: str, place: str, namespace: dict[str, Any]) -> None:
    """Statements behind `>>> `, each with what it prints; `...` stands for anything."""
    test = doctest.DocTestParser().get_doctest(text, namespace, place, place, 0)
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    told: list[str] = []
    # What it ran has names of its own; the page goes on with them.
    result = doctest.DocTestRunner(optionflags=flags).run(test, out=told.append, clear_globs=False)
    namespace.update(test.globs)
    if result.failed:
        raise PageError("".join(told))


def main() -> int:
    """Run them; the first failure is told with its line."""
    namespace: dict[str, Any] = {"__name__": "__main__"}
    for place, language, text in json.loads(Path(sys.argv[1]).read_text()):
        try:
            match language:
                case "sh":
                    shell(text)
                case "console":
                    console(text)
                case "toml":
                    settings(text)
                case "fstab":
                    fstab(text)
                case "python":
                    python(text, place, namespace)
                case "pycon":
                    session(text, place, namespace)
        except (PageError, subprocess.TimeoutExpired) as error:
            print(f"{place}: {error}", flush=True)
            return 1
        except BaseException:
            print(f"{place}:", flush=True)
            raise
        print(f"{place}: ok", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
