"""Every code block of the README and of docs/ does what it says, or says why it is not run."""

from __future__ import annotations

from pathlib import Path

import documented
import pytest
from pageserver import SECONDS, PageServer, pages_of


@pytest.mark.timeout(SECONDS + 60)
@pytest.mark.parametrize("page", pages_of(""), ids=str)
def test_the_blocks_of_a_page_do_what_it_says(
    page: Path, page_server: PageServer, tmp_path: Path
) -> None:
    page_server.follow(page, "", tmp_path)


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
