"""The pages `docs/reference/settings.md` and `commands.md`: what the manual says, in Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click
import manual
from pydantic import BaseModel

from s3zipfs.settings import (
    ConnectionSettings,
    MountSettings,
    ReadingSettings,
    Settings,
    Source,
)

FOLDER = Path(__file__).parent.parent / "docs" / "reference"
_MADE = "<!-- Made by scripts/reference.py: make man -->"
_WORDS = re.compile(r"(--[a-z][a-z-]*|\b[A-Z0-9]+(?:_[A-Z0-9]+)+\b)|([\\`*_<>|\[\]])")
_SECTIONS: dict[str, type[BaseModel]] = {
    "What is mounted, where and for whom": MountSettings,
    "How an endpoint is reached, and as whom": ConnectionSettings,
    "What is an archive; time, memory and disk": ReadingSettings,
}


def main() -> None:
    """Write both pages."""
    manual.write(FOLDER, pages())


def pages() -> dict[str, str]:
    """The text of each page, by the name of its file."""
    return {
        "settings.md": "\n".join(_settings()),
        "commands.md": "\n".join(_commands()),
    }


def markdown(text: str) -> str:
    """Text that no mark-up is taken from; options and variables are code."""
    return _WORDS.sub(lambda found: f"`{found[1]}`" if found[1] else f"\\{found[2]}", text)


def _settings() -> Iterator[str]:
    yield f"{_MADE}\n\n# Settings\n"
    yield f"{markdown(manual.PLACES)} See [configuration](../configuration.md).\n"
    for title, kind in _SECTIONS.items():
        yield f"## {title}\n"
        for name in Settings.model_fields:
            if name in kind.model_fields:
                told = markdown(manual.told_of(name))
                yield f"### {name}\n\n{told[0].upper()}{told[1:]}\n"
    own = [name for name in Source.model_fields if name not in Settings.model_fields]
    yield "## Of a source\n"
    yield "A `[[source]]` table may have all settings that say how an endpoint is reached, and:\n"
    for name in sorted(own, reverse=True):
        yield f"- `{name}`: {markdown(Source.model_fields[name].description or '')}"
    yield f"\n## An example\n\n```toml\n{manual.EXAMPLE}```\n"


def _commands() -> Iterator[str]:
    yield f"{_MADE}\n\n# Commands\n"
    yield "Options that are [settings](settings.md) may stand in a file or the environment too.\n"
    for context in manual.commands():
        yield f"## {context.command_path}\n"
        pieces = context.command.collect_usage_pieces(context)
        yield f"```text\n{context.command_path} {' '.join(pieces)}\n```\n"
        yield from _paragraphs(context.command.help or "")
        yield from _options(context)
    yield "## Exit codes\n\n| Code | |\n|---|---|"
    yield from (f"| {code} | {markdown(text)} |" for code, text in manual.EXIT.items())
    yield "\n## Files\n\n| File | |\n|---|---|"
    yield from (f"| `{path}` | {markdown(text)} |" for path, text in manual.FILES.items())
    yield ""


def _paragraphs(text: str) -> Iterator[str]:
    for paragraph, is_literal in manual.paragraphs(text):
        if is_literal:
            yield f"```text\n{paragraph}\n```\n"
        else:
            yield f"{markdown(' '.join(paragraph.split()))}\n"


def _options(context: click.Context) -> Iterator[str]:
    """Those that are no settings by themselves; the names of the others."""
    own, shared = [], []
    for option in context.command.get_params(context):
        record = option.get_help_record(context)
        if not isinstance(option, click.Option) or record is None:
            continue
        if option.name in Settings.model_fields:
            shared.append(f"[`{max(option.opts, key=len)}`](settings.md#{option.name})")
        else:
            own.append(record)
    yield "| Option | |\n|---|---|"
    yield from (f"| `{term}` | {markdown(text)} |" for term, text in own)
    if shared:
        yield f"\nSettings: {', '.join(shared)}"
    yield ""


if __name__ == "__main__":
    main()
