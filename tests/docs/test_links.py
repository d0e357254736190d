"""Links between pages lead somewhere; those to other hosts are well-formed and never followed."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import documented
import pytest

ROOT = documented.ROOT
PAGES = [*documented.pages(), Path("CHANGELOG.md")]


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in documented.links((ROOT / page).read_text()):
        parts = urlsplit(target)
        if parts.scheme:
            assert parts.scheme in {"https", "mailto"}, target
            assert parts.netloc or parts.scheme == "mailto", target
            continue
        file = (ROOT / page).parent / parts.path if parts.path else ROOT / page
        assert file.exists(), target
        assert file.resolve().is_relative_to(ROOT), target
        if parts.fragment:
            assert parts.fragment in documented.anchors(file.read_text()), target


def test_every_page_is_reached_from_the_readme() -> None:
    reached: set[Path] = set()
    ahead = [ROOT / "README.md"]
    while ahead:
        page = ahead.pop()
        if page in reached or page.suffix != ".md":
            continue
        reached.add(page)
        for target in documented.links(page.read_text()):
            parts = urlsplit(target)
            if not parts.scheme and parts.path:
                ahead.append((page.parent / parts.path).resolve())
    assert {ROOT / page for page in documented.pages()} - reached == set()
