"""The code blocks of the documentation that need libraries of another environment."""

from __future__ import annotations

from pathlib import Path

import pytest
from pageserver import SECONDS, PageServer, pages_of


@pytest.mark.environment("ecosystem")
@pytest.mark.timeout(SECONDS + 60)
@pytest.mark.parametrize("page", pages_of("ecosystem"), ids=str)
def test_the_blocks_for_other_libraries_do_what_their_page_says(
    page: Path, page_server: PageServer, tmp_path: Path
) -> None:
    page_server.follow(page, "ecosystem", tmp_path)
