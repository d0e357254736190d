"""The manual pages `man/s3zipfs.1` and `man/s3zipfs.toml.5`, from the commands and the settings.

`click-man` makes a page of each command, and has no place for files, variables or settings.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import get_args

import click

from s3zipfs.cli.main import cli
from s3zipfs.cli.options import has_option, option_of, shown_default
from s3zipfs.settings import SECRETS, Kind, Settings, Source, kind_of, variables_of

FOLDER = Path(__file__).parent.parent / "man"

FILES = {
    "/etc/s3zipfs/NAME.toml": "settings of the machine; see s3zipfs.toml(5)",
    "$XDG_CONFIG_HOME/s3zipfs/NAME.toml": "settings of a user, which win over those of the "
    "machine; $XDG_CONFIG_HOME is ~/.config where it is not set",
    "$XDG_CACHE_HOME/s3zipfs": "what outlives a mount; of root /var/cache/s3zipfs",
    "$XDG_STATE_HOME/s3zipfs": "the logs of mounts in the background",
    "~/.aws/config, ~/.aws/credentials": "profiles, as of the AWS tools",
    "~/.mc/config.json": "aliases of mc, MinIO's client",
}
PLACES = (
    "Values come from these places, of which the later wins: /etc/s3zipfs/NAME.toml, "
    "~/.config/s3zipfs/NAME.toml, the environment with what an env file adds to it, options, and "
    "the words of -o."
)
EXIT = {
    "0": "done",
    "1": "it did not work, or a check found a fault",
    "2": "an option, an argument or a setting is wrong",
    "130": "interrupted (Ctrl-C)",
}


def roff(text: str) -> str:
    """Text that no macro or escape is taken from."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return re.sub(r"^([.'])", r"\\&\1", text, flags=re.MULTILINE)


def main() -> None:
    """Write both pages."""
    write(FOLDER, pages())


def write(folder: Path, made: Mapping[str, str]) -> None:
    """Write pages, by the names of their files."""
    folder.mkdir(exist_ok=True)
    for name, text in made.items():
        (folder / name).write_text(text, encoding="utf-8")


def pages() -> dict[str, str]:
    """The text of each page, by the name of its file."""
    return {
        "s3zipfs.1": "\n".join(_of_commands()) + "\n",
        "s3zipfs.toml.5": "\n".join(_of_settings()) + "\n",
    }


def _title(name: str, section: int, what: str) -> Iterator[str]:
    yield '.\\" Made by scripts/manual.py'
    yield f'.TH {roff(name.upper())} {section} "" "s3zipfs"'
    yield ".SH NAME"
    yield f"{roff(name)} \\- {roff(what)}"


def _entry(term: str, text: str) -> Iterator[str]:
    yield ".TP"
    yield f".B {roff(term)}"
    yield roff(text)


# --- s3zipfs(1) ---------------------------------------------------------------------------------


def _of_commands() -> Iterator[str]:
    yield from _title("s3zipfs", 1, "zips in MinIO and S3 buckets as directories")
    yield ".SH SYNOPSIS"
    for command in commands():
        yield f".B {roff(command.command_path)}"
        yield roff(" ".join(command.command.collect_usage_pieces(command)))
        yield ".br"
    yield ".SH DESCRIPTION"
    yield roff(cli.help or "")
    yield ".SH COMMANDS"
    told: set[tuple[str, str]] = set()
    for command in commands():
        yield f".SS {roff(command.command_path)}"
        yield from _paragraphs(command.command.help or "")
        yield from _options(command, told)
    yield ".SH SETTINGS"
    yield roff(PLACES)
    yield ".PP"
    yield roff("Each one is described in s3zipfs.toml(5). No secret goes on a command line.")
    yield ".SH ENVIRONMENT"
    for name in Settings.model_fields:
        yield from _entry(", ".join(variables_of(name)), f"{name}; see s3zipfs.toml(5)")
    yield from _entry("AWS_…", "credentials and profiles, as of the AWS tools")
    yield from _entry("MC_HOST_ALIAS, MC_CONFIG_DIR", "aliases, as of mc")
    yield ".SH FILES"
    for path, text in FILES.items():
        yield from _entry(path, text)
    yield ".SH EXIT STATUS"
    for code, text in EXIT.items():
        yield from _entry(code, text)
    yield ".SH SEE ALSO"
    yield ".BR s3zipfs.toml (5),"
    yield ".BR mount (8),"
    yield ".BR fusermount3 (1)"


def _options(command: click.Context, told: set[tuple[str, str]]) -> Iterator[str]:
    """Those of a command; what an earlier one has as well is not told again."""
    known = len(told)
    options = command.command.get_params(command)
    records = [each.get_help_record(command) for each in options if isinstance(each, click.Option)]
    own = [record for record in records if record is not None and record not in told]
    for record in own:
        told.add(record)
        yield from _entry(*record)
    if known and len(own) < len(records):
        shared = sorted(
            {r[0].split()[0].rstrip(",") for r in records if r is not None}
            - {r[0].split()[0].rstrip(",") for r in own}
        )
        yield ".PP"
        yield roff(f"As above: {', '.join(shared)}")


def commands() -> Iterator[click.Context]:
    """Each command that does something, those of groups included, by its context."""
    ahead = [click.Context(cli, info_name="s3zipfs", **cli.context_settings)]
    while ahead:
        context = ahead.pop(0)
        if isinstance(context.command, click.Group):
            names = context.command.list_commands(context)
            found = ((name, context.command.get_command(context, name)) for name in names)
            ahead[:0] = [
                click.Context(each, info_name=name, parent=context)
                for name, each in found
                if each is not None and not each.hidden
            ]
        else:
            yield context


def paragraphs(text: str) -> Iterator[tuple[str, bool]]:
    """Those of a command's help, and whether each stays as it is: `\\b` means that to click."""
    for paragraph in inspect.cleandoc(text).split("\n\n"):
        yield paragraph.removeprefix("\b\n").strip("\n"), paragraph.startswith("\b\n")


def _paragraphs(text: str) -> Iterator[str]:
    for paragraph, is_literal in paragraphs(text):
        yield ".PP"
        if is_literal:
            yield ".nf"
        yield roff(paragraph)
        if is_literal:
            yield ".fi"


# --- s3zipfs.toml(5) ----------------------------------------------------------------------------


def _of_settings() -> Iterator[str]:
    yield from _title("s3zipfs.toml", 5, "settings of mounts by s3zipfs(1)")
    yield ".SH DESCRIPTION"
    yield roff(
        "A settings file is TOML, and found by its name: s3zipfs mount --config NAME reads "
        "/etc/s3zipfs/NAME.toml and ~/.config/s3zipfs/NAME.toml. Relative paths count from its "
        "folder. What is unknown or wrong in it is refused. One that holds a secret must not be "
        "readable by others; one of root may be by its group."
    )
    yield ".PP"
    yield roff(PLACES + " s3zipfs config show NAME prints what is in force.")
    yield ".SH SETTINGS"
    for name in Settings.model_fields:
        yield from _entry(name, told_of(name))
    yield ".SH SOURCES"
    yield roff(
        "Each [[source]] table is a bucket or a prefix of a mount, with its own endpoint and "
        "credentials where it names them. What a table does not say is as for the whole mount; of "
        "the credentials all or none."
    )
    for name in sorted(Source.model_fields.keys() - Settings.model_fields.keys(), reverse=True):
        yield from _entry(name, Source.model_fields[name].description or "")
    shared = ", ".join(name for name in Source.model_fields if name in Settings.model_fields)
    yield from _entry(shared, "as for the whole mount, above")
    yield ".SH EXAMPLE"
    yield ".nf"
    yield roff(EXAMPLE)
    yield ".fi"
    yield ".SH SEE ALSO"
    yield ".BR s3zipfs (1)"


def told_of(name: str) -> str:
    """What a setting says, of which kind it is, and all ways to give it."""
    field = Settings.model_fields[name]
    ways = [f"variable {', '.join(variables_of(name))}"]
    if has_option(name):
        ways.append(f"option {option_of(name)}")
    text = f"{field.description}. {_kind(name)}; {'; '.join(ways)}."
    default = str(field.default).lower() if isinstance(field.default, bool) else shown_default(name)
    return f"{text} Default: {default}." if default else text


def _kind(name: str) -> str:
    kind = kind_of(name)
    if kind is Kind.CHOICE:
        return " or ".join(map(str, get_args(Settings.model_fields[name].annotation)))
    if name in SECRETS:
        return "A secret"
    text = str(kind.value)
    return text[0].upper() + text[1:]


EXAMPLE = """\
mountpoint = "/srv/lab"
allow_other = true
ttl = 60

[[source]]
url = "s3://images"
endpoint_url = "https://minio.example.org:9000"
profile = "lab"

[[source]]
url = "s3://public/scans"
name = "scans"
anonymous = true
"""

if __name__ == "__main__":
    main()
