"""What mkdocs is told beside `mkdocs.yml`: README, changelog and examples are pages, all offline.

Run by mkdocs (`hooks:`), in an environment where this project is not installed.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError  # type: ignore[import-not-found,unused-ignore]
from mkdocs.structure.files import File  # type: ignore[import-not-found,unused-ignore]

ROOT = Path(__file__).resolve().parent.parent
_CALLED = {"README.md": "index.md", "CHANGELOG.md": "CHANGELOG.md", "LICENSE": "LICENSE.txt"}
_FETCHED = re.compile(r'<(?:script|img|iframe|source)\b[^>]*\bsrc="?(https?:[^"\s>]+)')
_STYLED = re.compile(r'<link\b(?=[^>]*rel="?(?:stylesheet|preload|preconnect))[^>]*(https?:)')
_INTO_DOCS = re.compile(r'(\]\(|src=")((?:\.\./)*)docs/')
_TO_THE_TOP = re.compile(r"\]\(((?:\.\./)*)(README\.md|LICENSE)(?=[)#])")


def on_files(files: Any, config: Any) -> Any:
    """The files at the top of the repository and the examples stand beside those of docs/."""
    made = {name: ROOT / source for source, name in _CALLED.items()}
    examples = sorted(path for path in (ROOT / "examples").iterdir() if path.is_file())
    made |= {f"examples/{path.name}": path for path in examples}
    for name, path in made.items():
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".md":
            text = _INTO_DOCS.sub(r"\1\2", text)
            text = _TO_THE_TOP.sub(lambda at: f"]({at[1]}{_CALLED[at[2]]}", text)
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """What is above docs/ in the repository is beside it in the site."""
    if page.file.abs_src_path is None:  # made here
        return markdown
    markdown = re.sub(
        r"\]\(((?:\.\./)*)\.\./(?=README|CHANGELOG|LICENSE|examples/)", r"](\1", markdown
    )
    return _TO_THE_TOP.sub(lambda at: f"]({at[1]}{_CALLED[at[2]]}", markdown)


def on_post_page(output: str, page: Any, **_: Any) -> str:
    """Refuse what a reader's browser would fetch from elsewhere."""
    found = _FETCHED.search(output) or _STYLED.search(output)
    if found is not None:
        raise PluginError(f"{page.file.src_uri}: fetches {found[1]}")
    return output
