"""`s3zipfs mount` and `s3zipfs umount`."""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import time
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from s3zipfs.cli import background, logs
from s3zipfs.cli.aliases import check_alias, is_remote
from s3zipfs.cli.errors import is_expected, leave, line_of
from s3zipfs.cli.options import CommandLine, command_line_of, mount_options, store_options, warn
from s3zipfs.errors import DeadlineExceeded, SettingsError, StoreUnavailable
from s3zipfs.fuse import mountpoint as places
from s3zipfs.fuse.mounter import Mounter, Plan, mounter
from s3zipfs.fuse.notify import Notifier
from s3zipfs.fuse.shown import Shown
from s3zipfs.malloc import keep_freed_memory
from s3zipfs.settings import NOWHERE, Kind, Settings, kind_of, variables_of
from s3zipfs.waiting import Wait

if TYPE_CHECKING:
    from s3zipfs.fuse.guard import CrawlGuard
    from s3zipfs.tree.tree import Tree

log = logging.getLogger(__name__)

KEPT = 8  # one part in so many of the memory is for what was read: the kernel has it too
FLUSH_SECONDS = 5.0  # at the end, for the disk: at most 64 MiB are waiting
NEXT_SECONDS = 30.0  # beyond the deadline of a question, for systemd to wait for the next word
PATH_MAX = 4096  # bytes, NUL included; mount(2) refuses a source that is longer (EINVAL)
RETRY_SECONDS = 1.0  # from one question at the start to the next (`--retry`)

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
    keep_freed_memory()  # before there are threads, that of the log too
    word = background.Word(ready_fd)
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

        with loaded.located():
            _serve(settings, mounting, command_line, on_ready=on_ready)
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


def _serve(
    settings: Settings,
    mounting: Mounter,
    command_line: CommandLine,
    *,
    on_ready: Callable[[], None],
) -> None:
    notifier = Notifier.from_environment()
    # The store's libraries take most of a second, which the command that waits need not spend as
    # well, nor `umount`.
    from s3zipfs.build import build_tree  # noqa: PLC0415
    from s3zipfs.cli import monitoring  # noqa: PLC0415
    from s3zipfs.fuse.guard import CrawlGuard  # noqa: PLC0415
    from s3zipfs.fuse.ledger import Ledger  # noqa: PLC0415
    from s3zipfs.fuse.mount import serve  # noqa: PLC0415
    from s3zipfs.fuse.operations import Operations  # noqa: PLC0415

    listening = monitoring.listen(settings.metrics)
    built = build_tree(
        settings, settings.sources, kept=KEPT, reread=lambda: command_line.load().settings
    )
    with contextlib.closing(built) as tree:
        ledger = Ledger()
        guard = CrawlGuard(tree, ledger, settings)
        operations = Operations(tree, Shown.of(settings), ledger, guard, timeout=settings.timeout)
        monitoring.start(
            tree,
            operations,
            ledger,
            listening,
            mountpoint=mounting.plan.path,
            sources=[_url(each.url) for each in settings.sources],
            settings=settings,
        )
        _check(tree, settings, notifier)
        # The modules' objects stay: without them a collection takes no time (it took 2 % of a
        # read of 1 GiB, and an eighth of what Python took of it).
        gc.freeze()
        serve(
            operations,
            mounting,
            notifier,
            on_ready=on_ready,
            on_hangup=lambda: _reload(tree, guard, command_line),
        )
        tree.flush(FLUSH_SECONDS)
        leave(0)  # a transfer may be blocked for ever: the tree is not closed


def _check(tree: Tree, settings: Settings, notifier: Notifier) -> None:
    """Ask the endpoint for each source; for `--retry` seconds again, where it does not answer.

    What it does answer ends this: a bucket that is missing, a key that is refused.
    """
    give_up = None
    # The deadline may be longer than TimeoutStartSec=.
    notifier.waiting("asking the endpoint", settings.timeout + NEXT_SECONDS)
    while True:
        try:
            return tree.check(Wait(settings.timeout))
        except (StoreUnavailable, DeadlineExceeded) as error:
            if give_up is None:
                give_up = time.monotonic() + settings.retry
                if settings.retry:
                    log.warning("%s; asked again for %g s (--retry)", error, settings.retry)
            if time.monotonic() + RETRY_SECONDS > give_up:
                raise
            notifier.waiting(f"waiting for the endpoint: {error}", settings.timeout + NEXT_SECONDS)
        time.sleep(RETRY_SECONDS)


def _reload(tree: Tree, guard: CrawlGuard, command_line: CommandLine) -> None:
    """Apply what may change while mounted: credentials, `ttl`, `verbose`, `crawl…`."""
    try:
        loaded = command_line.load()
    except SettingsError as error:
        log.warning("nothing is reloaded: %s", error)
        return
    for text in loaded.warnings:
        log.warning("%s", text)
    settings = loaded.settings
    logs.set_level(verbose=settings.verbose)
    guard.change(settings)
    reloads = tree.reload(ttl=settings.ttl)
    log.info("reloaded: --ttl %g%s", settings.ttl, ", verbose" if settings.verbose else "")
    for endpoint, credentials in reloads:
        credentials.add_done_callback(partial(_tell_of_credentials, endpoint))


def _tell_of_credentials(endpoint: str, reloaded: Future[bool]) -> None:
    if reloaded.cancelled():
        return
    if (error := reloaded.exception()) is not None:
        log.warning("%s: the old credentials stay: %s", endpoint, error)
    elif not reloaded.result():
        log.info("%s: the credentials are as they were", endpoint)


def _shown_source(settings: Settings) -> str:
    """The first column of the kernel's table: all sources, where that has room for them."""
    urls = [_url(each.url) for each in settings.sources]
    source = " ".join(urls) or settings.endpoint_url or "s3://"
    if len(os.fsencode(source)) < PATH_MAX:
        return source
    return f"{urls[0]} and {len(urls) - 1} more"


def _url(source: str) -> str:
    return source if is_remote(source) else f"s3://{source}"


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
