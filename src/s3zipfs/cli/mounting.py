"""`s3zipfs mount` and `s3zipfs umount`."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from s3zipfs.cli import background, logs
from s3zipfs.cli.aliases import as_url, check_alias
from s3zipfs.cli.errors import is_expected, line_of
from s3zipfs.cli.options import CommandLine, command_line_of, mount_options, store_options, warn
from s3zipfs.errors import SettingsError
from s3zipfs.fuse import mountpoint as places
from s3zipfs.fuse.mounter import Plan, mounter
from s3zipfs.malloc import keep_freed_memory
from s3zipfs.settings import NOWHERE, Kind, Loaded, Settings, kind_of, variables_of

log = logging.getLogger(__name__)

PATH_MAX = 4096  # bytes, NUL included; mount(2) refuses a source that is longer (EINVAL)

# Read again when credentials are rotated, from another directory by then.
_FILES = (
    "AWS_CONFIG_FILE",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    "MC_CONFIG_DIR",
)


@click.command(short_help="Mount buckets as a directory; returns when mounted.")
@click.argument("places_given", nargs=-1, metavar="[SOURCE]... [MOUNTPOINT]")
@store_options
@mount_options
@click.option("--foreground", "-f", is_flag=True, help="stay, and log to stderr")
@click.option("--verbose", "-v", is_flag=True, default=None, help="log more")
@click.option("--ready-fd", type=int, hidden=True)
def mount(
    places_given: tuple[str, ...], foreground: bool, ready_fd: int | None, **options: Any
) -> None:
    """Mount buckets read-only, with every zip in them as a directory.

    SOURCE is s3://BUCKET or s3://BUCKET/PREFIX, or ALIAS/BUCKET by an alias of mc; none means those
    of the settings file, else all buckets; several get a directory each. MOUNTPOINT may stand in
    the settings file (--config) as well. Credentials come from the environment, a profile, or the
    usual AWS files. Returns when the mount can be used.
    """
    command_line = command_line_of(options, places_given)
    loaded = command_line.load()
    warn(loaded)
    settings = loaded.settings
    if settings.mountpoint is None and places_given:
        raise click.UsageError(f"{places_given[-1]} is a source; the mountpoint comes last")
    if settings.mountpoint is None:
        raise click.UsageError("Missing argument 'MOUNTPOINT'.")
    for each in settings.sources:
        check_alias(each.url)
    path = places.absolute(settings.mountpoint)
    places.check(path, allow_other=settings.allow_other)
    if not foreground:
        background.mount(path, settings.log_file)
        return
    _mount_here(path, loaded, command_line, background.Word(ready_fd))


def _mount_here(
    path: Path, loaded: Loaded, command_line: CommandLine, word: background.Word
) -> None:
    """Mount and serve in this process; whoever waits for its word hears how that went."""
    settings = loaded.settings
    keep_freed_memory()  # before there are threads, that of the log too
    try:
        # Before there are threads as well: capabilities are a thread's own.
        plan = Plan(path, _shown_source(settings), settings.allow_other, settings.exec)
        mounting = mounter(plan)
        release = _log_to(settings.log_file, settings)
        word.hear()

        def on_ready() -> None:
            release()
            if word.is_awaited:
                _leave_directory()
            word.give_ready()

        # The store's libraries take most of a second, which the command that waits need not spend
        # as well, nor `umount`.
        from s3zipfs.cli.serving import serve_mount  # noqa: PLC0415

        with loaded.located():
            serve_mount(settings, mounting, command_line, on_ready=on_ready)
    except Exception as error:
        if settings.log_file is not None and not is_expected(error):
            log.exception("unexpected error")
        with contextlib.suppress(BrokenPipeError):
            word.give(line_of(error, log=settings.log_file))
        raise


def _log_to(log_file: Path | None, settings: Settings) -> Callable[[], None]:
    """Begin to log; what is returned is to be called when the mount is ready."""
    if log_file is not None:
        try:
            logs.mount_to_file(log_file, verbose=settings.verbose, log_format=settings.log_format)
        except OSError as error:
            raise SettingsError(f"log file {log_file}: {error.strerror}") from error
        return lambda: None
    logs.mount_to_stderr(verbose=settings.verbose, log_format=settings.log_format)
    is_shown = settings.verbose or settings.retry > 0  # for what it waits
    return (lambda: None) if is_shown else logs.hold()


def _shown_source(settings: Settings) -> str:
    """The first column of the kernel's table: all sources, where that has room for them."""
    urls = [as_url(each.url) for each in settings.sources]
    source = " ".join(urls) or settings.endpoint_url or "s3://"
    if len(os.fsencode(source)) < PATH_MAX:
        return source
    return f"{urls[0]} and {len(urls) - 1} more"


def _leave_directory() -> None:
    """Keep no directory busy that the command was started in, and no session."""
    paths = [name for name in Settings.model_fields if kind_of(name) is Kind.PATH]
    for name in [*_FILES, *(variable for path in paths for variable in variables_of(path))]:
        if os.environ.get(name, "") not in {"", NOWHERE}:
            os.environ[name] = str(Path(os.environ[name]).expanduser().absolute())
    os.chdir("/")
    if os.getsid(0) != os.getpid():  # an automount, which is made by now
        os.setsid()


@click.command(short_help="Unmount.")
@click.argument("mountpoint", metavar="MOUNTPOINT")
def umount(mountpoint: str) -> None:
    """Unmount at once. Files that are open can be read until they are closed."""
    places.unmount(places.absolute(mountpoint))
