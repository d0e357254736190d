"""docs/SEMANTICS.md names a test for each promise: every one of them exists."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "docs" / "SEMANTICS.md"
NAMED = re.compile(r"`(\w+/\w+\.py)::(test_\w+)`")
PROMISES = re.compile(r"^\| (?!---|Promise)(.+?) \| (.+?) \|$", re.MULTILINE)


def names_in(file: str) -> set[str]:
    parsed = ast.parse((ROOT / "tests" / file).read_text())
    return {node.name for node in parsed.body if isinstance(node, ast.FunctionDef)}


def test_every_test_that_is_named_exists() -> None:
    named = NAMED.findall(DOCUMENT.read_text())
    assert len(named) > 50
    missing = [f"{file}::{test}" for file, test in named if test not in names_in(file)]
    assert missing == []


def test_every_promise_names_a_test() -> None:
    promises = PROMISES.findall(DOCUMENT.read_text())
    assert len(promises) > 30
    assert [promise for promise, tests in promises if not NAMED.search(tests)] == []
