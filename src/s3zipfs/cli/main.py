"""The commands, and the way out of the process."""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import platform
import resource
import sys
from pathlib import Path
from typing import NoReturn

import click

from s3zipfs import __version__
from s3zipfs.cli.errors import FAILED, INTERRUPTED, code_of, is_expected, leave, line_of
from s3zipfs.cli.logs.formats import is_journal
from s3zipfs.errors import MountError

_MODULES = {
    "mount": "s3zipfs.cli.mounting",
    "umount": "s3zipfs.cli.mounting",
    "status": "s3zipfs.cli.status",
    "ls": "s3zipfs.cli.listing",
    "cat": "s3zipfs.cli.reading",
    "check": "s3zipfs.cli.checking",
    "tree": "s3zipfs.cli.tree",
    "warm": "s3zipfs.cli.warming",
    "explain": "s3zipfs.cli.explaining",
    "refs": "s3zipfs.cli.references",
    "cache": "s3zipfs.cli.caching",
    "config": "s3zipfs.cli.configuring",
    "doctor": "s3zipfs.cli.doctor",
    "install-service": "s3zipfs.cli.servicing",
    "completion": "s3zipfs.cli.completion",
    "service": "s3zipfs.cli.servicing",
}
_PUBLIC = [name for name in _MODULES if name != "service"]  # which is for units


class _Commands(click.Group):
    """Each command is imported when it is called.

    The store's libraries take most of a second, which `umount` need not wait for; and Ctrl-C
    meanwhile is within `main`, which says so without a traceback.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's
        return _PUBLIC

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in _MODULES:
            return None
        command: click.Command = getattr(
            importlib.import_module(_MODULES[cmd_name]), cmd_name.replace("-", "_")
        )
        return command


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    invoke_without_command=True,
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=lambda context, _, asked: _tell_version(context) if asked else None,
    help="Show the version, and those of Python, libfuse and the kernel.",
)
@click.pass_context
def cli(context: click.Context) -> None:
    """Mount MinIO and S3 buckets read-only, with every zip in them as a directory."""
    if os.environ.get("NO_COLOR"):  # no-color.org; click knows of terminals only
        context.color = False
    if context.invoked_subcommand is None:
        raise click.UsageError(f"What to do? One of {', '.join(_PUBLIC)}.")


def _tell_version(context: click.Context) -> None:
    if context.resilient_parsing:
        return
    try:
        version = importlib.import_module("s3zipfs.fuse.lowlevel").version
        libfuse = f"libfuse {'.'.join(map(str, version))}"
    except MountError:
        libfuse = "no libfuse3"
    click.echo(f"s3zipfs, version {__version__}")
    click.echo(f"Python {platform.python_version()}, {libfuse}, Linux {platform.release()}")
    context.exit()


def main() -> NoReturn:
    """The console script."""
    leave(run())


def run() -> int:
    """The command of `sys.argv`; its exit code. Errors are one line on stderr.

    A traceback is for the log only.
    """
    _open_standard_streams()
    _leave_no_core()
    try:
        if "_S3ZIPFS_COMPLETE" in os.environ:  # of `s3zipfs completion`
            importlib.import_module("s3zipfs.cli.completing").register()
        code = cli.main(prog_name="s3zipfs", standalone_mode=False)
        sys.stdout.flush()
    except (KeyboardInterrupt, click.Abort):
        _say("interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has gone (`s3zipfs cat … | head`); nobody is left to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except Exception as error:
        if not is_expected(error):
            logging.getLogger(__name__).debug("unexpected error", exc_info=error)
        _say(line_of(error))
        return code_of(error)
    return code if isinstance(code, int) else 0


def _say(line: str) -> None:
    level = "<3>" if is_journal(2) else ""  # sd-daemon(3): SD_ERR
    with contextlib.suppress(OSError):  # nobody hears us
        click.echo(f"{level}s3zipfs: {line}", err=True)


def _open_standard_streams() -> None:
    """See that 0, 1 and 2 are taken: the next file would be, and be written to as output."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)
    sys.stdout = sys.stdout or os.fdopen(1, "w")
    sys.stderr = sys.stderr or os.fdopen(2, "w")


def _leave_no_core() -> None:
    """A core of any command, or of the mount that it starts, would hold the secret key."""
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, hard))
    # A program that cores are piped to gets one whatever the limit is (core(5)): none of memory.
    with contextlib.suppress(OSError):
        Path("/proc/self/coredump_filter").write_text("0")
