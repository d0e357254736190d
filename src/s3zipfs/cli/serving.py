"""A mount's process: from settings to a tree that is served, and what changes meanwhile."""

from __future__ import annotations

import contextlib
import gc
import logging
import time
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial

from s3zipfs.build import KEPT_BY_MOUNT, build_tree
from s3zipfs.cli import logs, monitoring
from s3zipfs.cli.aliases import as_url
from s3zipfs.cli.errors import leave
from s3zipfs.cli.options import CommandLine
from s3zipfs.errors import DeadlineExceeded, SettingsError, StoreUnavailable
from s3zipfs.fuse.guard import CrawlGuard
from s3zipfs.fuse.ledger import Ledger
from s3zipfs.fuse.mount import serve
from s3zipfs.fuse.mounter import Mounter
from s3zipfs.fuse.notify import Notifier
from s3zipfs.fuse.operations import Operations
from s3zipfs.fuse.shown import Shown
from s3zipfs.settings import Settings
from s3zipfs.tree.tree import Tree
from s3zipfs.waiting import Wait

log = logging.getLogger(__name__)

FLUSH_SECONDS = 5.0  # at the end, for the disk: at most 64 MiB are waiting
NEXT_SECONDS = 30.0  # beyond the deadline of a question, for systemd to wait for the next word
RETRY_SECONDS = 1.0  # from one question at the start to the next (`--retry`)


def serve_mount(
    settings: Settings,
    mounting: Mounter,
    command_line: CommandLine,
    *,
    on_ready: Callable[[], None],
) -> None:
    """Build the tree, ask the endpoint, mount, and answer until the end; then end the process.

    `command_line` is read again for what may change; `on_ready` is called once the mount can be
    used.

    Raises:
        S3ZipError: nothing is mounted, or the mount has failed.
    """
    notifier = Notifier.from_environment()
    listening = monitoring.listen(settings.metrics)
    built = build_tree(
        settings, settings.sources, kept=KEPT_BY_MOUNT, reread=lambda: command_line.load().settings
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
            sources=[as_url(each.url) for each in settings.sources],
            settings=settings,
        )
        check_sources(tree, settings, notifier)
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


def check_sources(tree: Tree, settings: Settings, notifier: Notifier) -> None:
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
