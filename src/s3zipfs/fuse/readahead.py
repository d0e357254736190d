"""How far the kernel reads ahead of a file's reader, where we are permitted to say."""

from __future__ import annotations

import logging
from pathlib import Path

from s3zipfs.fuse.mountpoint import MountEntry

log = logging.getLogger(__name__)

# The kernel's own 128 KiB make 8 requests of every mebibyte. More than one request's worth is not
# faster, and a page fault of a mapped file reads all of it around the page.
READ_AHEAD = 1 << 20  # bytes


def widen(mounted: MountEntry, bdi: Path = Path("/sys/class/bdi")) -> None:
    """Set `read_ahead_kb` of a mount's backing device; root may, others read as before."""
    setting = bdi / mounted.device / "read_ahead_kb"
    try:
        setting.write_text(str(READ_AHEAD // 1024))
    except OSError as error:
        log.debug("the kernel's read-ahead stays as it is: %s", error)
