"""What mkdocs is told beside `mkdocs.yml`: README and changelog are pages, all is at hand offline.

Run by mkdocs (`hooks:`), in an environment where this project is not installed.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError  # type: ignore[import-not-found,unused-ignore]
from mkdocs.structure.files import File  # type: ignore[import-not-found,unused-ignore]

ROOT = Path(__file__).resolve().parent.parent
_MADE = {"index.md": "README.md", "CHANGELOG.md": "CHANGELOG.md", "LICENSE.txt": "LICENSE"}
_FETCHED = re.compile(r'<(?:script|img|iframe|source)\b[^>]*\bsrc="?(https?:[^"\s>]+)')
_STYLED = re.compile(r'<link\b(?=[^>]*rel="?(?:stylesheet|preload|preconnect))[^>]*(https?:)')


def on_files(files: Any, config: Any) -> Any:
    """The files at the top of the repository, with their links as seen from docs/."""
    for name, source in _MADE.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, name, content=_as_seen_from_docs(text)))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Links to what is above docs/ lead to the pages that stand for it."""
    for name, source in _MADE.items():
        markdown = re.sub(rf"\]\(((?:\.\./)*)\.\./{re.escape(source)}", rf"](\1{name}", markdown)
    return markdown


def on_post_page(output: str, page: Any, **_: Any) -> str:
    """Refuse what a reader's browser would fetch from elsewhere."""
    found = _FETCHED.search(output) or _STYLED.search(output)
    if found is not None:
        raise PluginError(f"{page.file.src_uri}: fetches {found[1]}")
    return output


def _as_seen_from_docs(text: str) -> str:
    text = re.sub(r"\]\(docs/", "](", text).replace('src="docs/', 'src="')
    return text.replace("](LICENSE)", "](LICENSE.txt)")
