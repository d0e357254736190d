"""Every code block of the README and of docs/ does what it says, or says why it is not run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import documented
import pytest
from environments import Environment, skip_without
from pageserver import PageServer, page_server

SECONDS = 300


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory, s3certs: Path) -> Iterator[PageServer]:
    with page_server(tmp_path_factory.mktemp("pages"), s3certs) as server:
        yield server


def pages_of(environment: str) -> list[Path]:
    """The pages that have something to run there."""
    texts = {page: (documented.ROOT / page).read_text() for page in documented.pages()}
    return [
        page
        for page, text in texts.items()
        if any(
            not each.not_run and each.environment == environment and each.language != "text"
            for each in documented.blocks(text)
        )
    ]


def run(page: Path, environment: str, demo: PageServer, folder: Path) -> None:
    """Run a page's blocks of that environment; what they mount is unmounted."""
    home = demo.home(folder)
    text = (documented.ROOT / page).read_text()
    todo = [
        (f"{page}:{block.line}", block.language, demo.filled_in(block.text, home))
        for block in documented.blocks(text)
        if block.language in documented.RUN
        and not block.not_run
        and block.environment in {"", environment}
    ]
    script = folder / "blocks.json"
    script.write_text(json.dumps(todo))
    python = Environment(environment).python if environment else Path(sys.executable)
    try:
        done = subprocess.run(
            [str(python), str(documented.ROOT / "tests" / "pagescript.py"), str(script)],
            env=demo.variables(home, python),
            cwd=home,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=SECONDS,
            check=False,
        )
    finally:
        left = mounted_below(folder)
        for path in left:
            subprocess.run(["fusermount3", "-uz", str(path)], check=False)
    assert done.returncode == 0, done.stdout
    assert left == [], "the page leaves a mount behind"


def mounted_below(folder: Path) -> list[Path]:
    """Where something is mounted; asks the kernel's table only."""
    rows = Path("/proc/self/mountinfo").read_text().splitlines()
    return [Path(row.split()[4]) for row in rows if row.split()[4].startswith(f"{folder}/")]


@pytest.mark.timeout(SECONDS + 60)
@pytest.mark.parametrize("page", pages_of(""), ids=str)
def test_the_blocks_of_a_page_do_what_it_says(page: Path, demo: PageServer, tmp_path: Path) -> None:
    run(page, "", demo, tmp_path)


@pytest.mark.environment("ecosystem")
@pytest.mark.timeout(SECONDS + 60)
@pytest.mark.parametrize("page", pages_of("ecosystem"), ids=str)
def test_the_blocks_for_other_libraries_do_what_their_page_says(
    page: Path, demo: PageServer, tmp_path: Path
) -> None:
    if not os.access(Environment("ecosystem").python, os.X_OK):
        skip_without("no .tools/env-ecosystem ('make test-zarr' makes it)")
    run(page, "ecosystem", demo, tmp_path)


@pytest.mark.parametrize("page", documented.pages(), ids=str)
def test_every_block_is_run_or_says_why_not(page: Path) -> None:
    for block in documented.blocks((documented.ROOT / page).read_text()):
        where = f"{page}:{block.line}"
        assert block.language, f"{where}: of which language? `text` is what programs print"
        if block.language == "text":
            commands = [line for line in block.text.splitlines() if line.startswith(("$ ", ">>> "))]
            assert commands == [], f"{where}: commands are `console` or `pycon`"
        elif block.language not in documented.RUN:
            assert block.not_run, f"{where}: nothing here runs {block.language}: say so before it"
        if block.not_run:
            assert len(block.not_run.split()) >= 2, f"{where}: why?"
