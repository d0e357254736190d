"""What a shell is told of a command line that is not complete yet.

The protocol is click's, whose scripts cut URLs at each colon (bash), expand what names hold, and
end each word with a space; so the scripts are ours, for bash 4.4, zsh 5 and fish 3.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Final, get_args

import click
from click.shell_completion import (
    BashComplete,
    CompletionItem,
    FishComplete,
    ShellComplete,
    ZshComplete,
    add_completion_class,
    split_arg_string,
)

from s3zipfs.fuse.mountpoint import TYPE, mount_table
from s3zipfs.settings import Kind, Settings, kind_of

PROGRAM: Final = "s3zipfs"
VARIABLE: Final = "_S3ZIPFS_COMPLETE"  # as click names it

LAST: Final = 5.0  # seconds: who pressed TAB waits

_PART: Final = "part"  # a kind of ours: a word that may go on, and gets no space behind it
_PLACES: Final = {"PATH_OR_URL", "URL", "[SOURCE]... [MOUNTPOINT]", "[SOURCE|NAME]"}

Item = CompletionItem[str]

# --- the shells ---------------------------------------------------------------------------------

_BASH: Final = """\
%(complete_func)s() {
    local kind value
    while IFS=, read -r kind value; do
        case $kind in
            dir) compopt -o dirnames ;;
            file) compopt -o default ;;
            part) compopt -o nospace ;&
            plain) printf -v value %%q "$value"; COMPREPLY+=("$value") ;;
        esac
    done < <(COMP_LINE=$COMP_LINE COMP_POINT=$COMP_POINT COMP_WORDBREAKS=$COMP_WORDBREAKS \\
        %(complete_var)s=bash_complete "$1" 2>/dev/null)
}
complete -o nosort -F %(complete_func)s %(prog_name)s
"""

_ZSH: Final = """\
#compdef %(prog_name)s
%(complete_func)s() {
    local -a words_found parts_found response
    local kind value help
    response=("${(@f)$(env COMP_WORDS="${words[*]}" COMP_CWORD=$((CURRENT-1)) \\
        %(complete_var)s=zsh_complete $words[1] 2>/dev/null)}")
    for kind value help in ${response}; do
        case $kind in
            dir) _path_files -/ ;;
            file) _path_files -f ;;
            part) parts_found+=("$value") ;;
            plain) words_found+=("$value") ;;
        esac
    done
    (( $#words_found )) && compadd -U -V unsorted -a words_found
    (( $#parts_found )) && compadd -U -S '' -V unsorted -a parts_found
}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    %(complete_func)s "$@"
else
    compdef %(complete_func)s %(prog_name)s
fi
"""

_FISH: Final = """\
function %(complete_func)s
    set -l response (env %(complete_var)s=fish_complete COMP_WORDS=(commandline -cp) \\
        COMP_CWORD=(commandline -t) %(prog_name)s 2>/dev/null)
    for each in $response
        set -l found (string split --max 1 , $each)
        switch $found[1]
            case dir
                __fish_complete_directories $found[2]
            case file
                __fish_complete_path $found[2]
            case plain part
                echo $found[2]
        end
    end
end
complete --no-files --command %(prog_name)s --arguments "(%(complete_func)s)"
"""


class _Completes(ShellComplete):
    """What all shells share."""

    def get_completions(self, args: list[str], incomplete: str) -> list[Item]:
        """Names of commands without a look at them, and all else by the types that we give."""
        command = _command_of(self.cli, args)
        if command is None:
            return []
        if isinstance(command, click.Group) and not incomplete.startswith("-"):
            names = command.list_commands(click.Context(command))
            return [CompletionItem(name) for name in names if name.startswith(incomplete)]
        _give_types(command)
        return super().get_completions(args, incomplete)


class _Bash(_Completes, BashComplete):
    source_template = _BASH

    def get_completion_args(self) -> tuple[list[str], str]:
        """By the line itself: in bash's words a URL is three."""
        point = int(os.environ["COMP_POINT"])  # in bytes
        line = os.fsdecode(os.fsencode(os.environ["COMP_LINE"])[:point])
        words = split_arg_string(line)
        while words and "=" in words[0]:  # VARIABLE=value before the command
            words.pop(0)
        incomplete = "" if line[-1:].isspace() else words.pop()
        return words[1:], incomplete

    def format_completion(self, item: Item) -> str:
        """Without what stands before bash's last word."""
        word = self.get_completion_args()[1]
        if word.startswith("--"):
            word = word.partition("=")[2]
        breaks = set(os.environ.get("COMP_WORDBREAKS", "")) & set(":=")
        cut = max((word.rfind(each) + 1 for each in breaks), default=0)
        return f"{item.type},{item.value[cut:]}"


class _Zsh(_Completes, ZshComplete):
    source_template = _ZSH


class _Fish(_Completes, FishComplete):
    source_template = _FISH


_SHELLS: Final[dict[str, type[ShellComplete]]] = {"bash": _Bash, "zsh": _Zsh, "fish": _Fish}


def script_of(shell: str) -> str:
    """The script for `bash`, `zsh` or `fish`."""
    return _SHELLS[shell](click.Group(), {}, PROGRAM, VARIABLE).source()


def register() -> None:
    """Have click answer the scripts by what is here."""
    for shell in _SHELLS.values():
        add_completion_class(shell)


def _end_after(seconds: float) -> None:
    """End the process then, whatever it waits for: who pressed TAB waits with it."""
    timer = threading.Timer(seconds, os._exit, [0])
    timer.daemon = True
    timer.start()


# --- what is completed --------------------------------------------------------------------------


def _command_of(cli: click.Command, args: list[str]) -> click.Command | None:
    """The command or group that the words lead to; None: there is none of such a name."""
    command: click.Command | None = cli
    for word in args:
        if not isinstance(command, click.Group):
            break
        if not word.startswith("-"):
            command = command.get_command(click.Context(command), word)
    return command


def _give_types(command: click.Command) -> None:
    """Types that know what to offer, for parameters that take any text otherwise."""
    for parameter in command.params:
        if isinstance(parameter, click.Argument):
            if parameter.metavar in _PLACES:
                parameter.type = _Place()
            elif parameter.metavar == "MOUNTPOINT":
                parameter.type = _Mountpoint()
        elif parameter.name in Settings.model_fields:
            match kind_of(parameter.name):
                case Kind.CHOICE:
                    choices = get_args(Settings.model_fields[parameter.name].annotation)
                    parameter.type = click.Choice(choices)
                case Kind.PATH:
                    parameter.type = click.Path()


class _Mountpoint(click.ParamType[str]):
    """Where something of ours is mounted."""

    name = "mountpoint"

    def shell_complete(
        self,
        ctx: click.Context,  # noqa: ARG002 - click's
        param: click.Parameter,  # noqa: ARG002
        incomplete: str,
    ) -> list[Item]:
        """From the kernel's table; no mount is touched."""
        ours = [str(entry.path) for entry in mount_table() if entry.type == TYPE]
        if not any(path.startswith(incomplete) for path in ours):
            return [CompletionItem(incomplete, type="dir")]
        return [CompletionItem(path) for path in ours if path.startswith(incomplete)]


class _Place(click.ParamType[str]):
    """A path, or a URL of a bucket, a prefix, an archive or what is in it."""

    name = "place"

    def shell_complete(
        self,
        ctx: click.Context,
        param: click.Parameter,  # noqa: ARG002 - click's
        incomplete: str,
    ) -> list[Item]:
        """Names of the directory that is written out already."""
        if "://" in incomplete:
            from s3zipfs.cli.remotenames import names_at  # noqa: PLC0415 - most of a second

            _end_after(LAST)
            with ctx.scope(cleanup=False):
                names = names_at(incomplete, dict(ctx.params))
            return [
                CompletionItem(name, type=_PART if goes_on else "plain") for name, goes_on in names
            ]
        if incomplete and "s3://".startswith(incomplete) and not any(Path().glob(f"{incomplete}*")):
            return [CompletionItem("s3://", type=_PART)]
        return [CompletionItem(incomplete, type="file")]
