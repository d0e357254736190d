"""What a mount tells of itself: in `.s3zipfs`, and at the address of `--metrics`."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from s3zipfs import __version__
from s3zipfs.cli.reaching import TOLD
from s3zipfs.fuse.ledger import Ledger
from s3zipfs.fuse.operations import Operations
from s3zipfs.settings import Settings, host_and_port, told_of
from s3zipfs.telemetry.figures import Figures
from s3zipfs.telemetry.monitor import Monitor
from s3zipfs.telemetry.server import StatusServer
from s3zipfs.telemetry.status import About
from s3zipfs.tree.tree import Tree

log = logging.getLogger(__name__)


def listen(address: str | None) -> StatusServer | None:
    """Before the mount is made: that nobody can listen there is told in place of a mount.

    Raises:
        MountError: nobody can.
    """
    if address is None:
        return None
    listening = StatusServer(*host_and_port(address))
    log.info("metrics and status: %s", listening.url)
    return listening


def start(
    tree: Tree,
    operations: Operations,
    ledger: Ledger,
    listening: StatusServer | None,
    *,
    mountpoint: Path,
    sources: Sequence[str],
    settings: Settings,
) -> None:
    """Tell from now on."""
    about = About(
        version=__version__,
        mountpoint=os.fspath(mountpoint),
        sources=tuple(sources),
        metrics=None if listening is None else listening.url,
        started=datetime.now(UTC),
    )
    monitor = Monitor(
        about, lambda: Figures(tree.figures(), operations.figures(), ledger.snapshot())
    )
    told = f"{json.dumps(told_of(settings))}\n".encode("ascii")
    tree.publish({**monitor.files(), TOLD: lambda: told})
    if listening is not None:
        listening.start(monitor)
