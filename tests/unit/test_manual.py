"""Manual pages, the pages of docs/reference, `--help` and the model say the same."""

from __future__ import annotations

import re
import shutil
import subprocess

import click
import manual
import pytest
import reference

from s3zipfs.cli.options import has_option, option_of
from s3zipfs.settings import SECRETS, Settings, Source, variables_of

PAGES = manual.pages()


@pytest.mark.parametrize("name", PAGES)
def test_the_pages_are_those_of_the_commands_and_settings(name: str) -> None:
    written = (manual.FOLDER / name).read_text(encoding="utf-8")
    assert written == PAGES[name], "run: make man"


@pytest.mark.parametrize("name", reference.pages())
def test_the_reference_is_that_of_the_commands_and_settings(name: str) -> None:
    written = (reference.FOLDER / name).read_text(encoding="utf-8")
    assert written == reference.pages()[name], "run: make man, and commit docs/reference"


def test_the_reference_has_each_setting_and_command() -> None:
    settings, commands = reference.pages()["settings.md"], reference.pages()["commands.md"]
    for name in Settings.model_fields:
        assert settings.count(f"\n### {name}\n") == 1
    for context in manual.commands():
        assert f"\n## {context.command_path}\n" in commands


def plain(name: str) -> str:
    """A page without its escapes."""
    return PAGES[name].replace("\\-", "-").replace("\\&", "").replace("\\e", "\\")


def test_each_setting_has_its_entry_variables_and_option() -> None:
    settings, commands = plain("s3zipfs.toml.5"), plain("s3zipfs.1")
    mount = next(each for each in manual.commands() if each.info_name == "mount")
    help_text = mount.command.get_help(mount)
    for name, field in Settings.model_fields.items():
        entry = re.search(rf"^\.TP\n\.B {name}\n(.*)$", settings, re.MULTILINE)
        assert entry is not None, name
        assert field.description
        assert field.description in entry[1]
        assert all(variable in entry[1] for variable in variables_of(name))
        assert all(variable in commands for variable in variables_of(name))
        option = option_of(name)
        for text in (entry[1], commands, help_text):
            assert bool(re.search(rf"{option}(?![\w-])", text)) == has_option(name), (name, text)
    for name in Source.model_fields:
        assert name in settings.partition(".SH SOURCES")[2]


def test_each_command_has_its_options_and_none_takes_a_secret() -> None:
    page = plain("s3zipfs.1")
    for context in manual.commands():
        section = page.partition(f".SS {context.command_path}\n")[2].partition("\n.SS ")[0]
        for parameter in context.command.get_params(context):
            if not isinstance(parameter, click.Option) or parameter.hidden:
                continue
            assert parameter.name not in SECRETS
            assert any(option in section for option in parameter.opts), parameter.opts


@pytest.mark.skipif(shutil.which("groff") is None, reason="needs groff")
@pytest.mark.parametrize("name", PAGES)
def test_groff_has_nothing_to_say(name: str) -> None:
    program = ["groff", "-man", "-Tutf8", "-Kutf8", "-ww", "-rLL=100n", "-z"]
    done = subprocess.run(
        [*program, str(manual.FOLDER / name)], capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
