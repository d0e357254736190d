"""The FUSE operations: each translates a request for the tree, and its answer for the kernel."""

from __future__ import annotations

import errno
import logging
import os
import threading
from dataclasses import replace

from s3zipfs.errors import (
    BadMember,
    CrawlerRefused,
    DeadlineExceeded,
    NotFound,
    ObjectChanged,
    S3ZipError,
    StoreUnavailable,
)
from s3zipfs.fuse import faults
from s3zipfs.fuse import protocol as p
from s3zipfs.fuse.answers import Answers, no_entry
from s3zipfs.fuse.crew import Crew
from s3zipfs.fuse.directories import Directories
from s3zipfs.fuse.errnos import ORDINARY, errno_of
from s3zipfs.fuse.guard import CrawlGuard
from s3zipfs.fuse.inodes import Inodes
from s3zipfs.fuse.invalidation import Invalidations
from s3zipfs.fuse.ledger import Ledger
from s3zipfs.fuse.protocol import Flag, Opcode
from s3zipfs.fuse.rereads import Rereads
from s3zipfs.fuse.session import Handler, Request, Session
from s3zipfs.fuse.shown import Shown
from s3zipfs.fuse.underway import UnderWay
from s3zipfs.fuse.watchdog import Watchdog
from s3zipfs.fuse.xattrs import ExtendedAttributes
from s3zipfs.telemetry.causes import work_for
from s3zipfs.telemetry.figures import DoorFigures
from s3zipfs.telemetry.operations import OperationMeter
from s3zipfs.tree.folders import names_of
from s3zipfs.tree.nodes import Member, Node, ObjectFile
from s3zipfs.tree.tree import Tree
from s3zipfs.waiting import Wait

log = logging.getLogger(__name__)

# Free space is shown although nothing can be written: monitors raise an alarm at a full disk.
_STATFS_BLOCKS = 1 << 38  # of 4 KiB: 1 PiB, as rclone shows
_BLOCK = 4096

# Requests answered at once, and those of them that may wait for the store: threads are left for
# INTERRUPT, and for all that needs no network (statfs, the root, what is cached).
MAX_THREADS = 512
MAX_WAITING = 448
MAX_BACKGROUND = 64  # read-ahead requests of the kernel under way at once
MAX_READAHEAD = 1 << 20  # bytes; bdi read_ahead_kb may raise or lower it

# The kernel offers them, or they are left out.
_FLAGS = (
    Flag.ASYNC_READ
    | Flag.BIG_WRITES
    | Flag.ASYNC_DIO
    | Flag.MAX_PAGES
    | Flag.CACHE_SYMLINKS
    # One look-up or listing of a directory at a time otherwise: behind one that is slow, the others
    # wait for a mutex in the kernel, where `kill -9` does not reach them.
    | Flag.PARALLEL_DIROPS
    # Always, not READDIRPLUS_AUTO: a stat walk after a cached plain walk was the one slow row.
    | Flag.DO_READDIRPLUS
)


class Operations:
    """Handlers for one tree. Every one of them replies exactly once, whatever happens."""

    def __init__(
        self, tree: Tree, shown: Shown, ledger: Ledger, guard: CrawlGuard, *, timeout: float
    ) -> None:
        self._tree = tree
        self._timeout = timeout
        self._inodes = Inodes(tree.root)
        self._answers = Answers(self._inodes, shown)
        self._rereads = Rereads()
        self._xattrs = ExtendedAttributes(tree, self._inodes, self._wait) if shown.xattrs else None
        self._ledger = ledger
        self._guard = guard
        self._directories = Directories(tree, self._inodes, self._answers, guard, self._wait)
        self.crew = Crew(most=MAX_THREADS, waiting=MAX_WAITING)
        self._stopping = False
        self._under_way = UnderWay()
        self._meters: dict[str, OperationMeter] = {}  # by kind; filled by `handlers`
        self._invalidations = Invalidations(self._under_way)
        self._watchdog = Watchdog(self._under_way, timeout=timeout)
        self.initialised = threading.Event()  # the kernel's INIT was answered

    def handlers(self) -> dict[Opcode, Handler]:
        """By what the kernel asks for. OPEN is none of them: see `_read`."""
        performed = {
            Opcode.LOOKUP: self._lookup,
            Opcode.GETATTR: self._getattr,
            Opcode.READLINK: self._readlink,
            Opcode.READ: self._read,
            Opcode.STATFS: self._statfs,
            **self._directories.handlers(),
            **(self._xattrs.handlers() if self._xattrs else {}),
        }
        return {
            Opcode.INIT: self._init,
            Opcode.FORGET: self._forget,
            Opcode.BATCH_FORGET: self._forget_many,
            Opcode.DESTROY: self._destroy,
            **{opcode: self._answering(opcode, each) for opcode, each in performed.items()},
        }

    # Life

    def start(self, session: Session) -> None:
        """Start what goes on beside the requests, once the mount can be used."""
        self._invalidations.serve(session)
        self._watchdog.start()

    def stop(self) -> None:
        """End every wait, now and from now on."""
        self._stopping = True
        self._invalidations.stop()
        self._watchdog.stop()

    def drain(self, seconds: float) -> bool:
        """Wait until no operation is under way; False where some still are after that time."""
        return self._under_way.drain(seconds)

    def figures(self) -> DoorFigures:
        """What was asked until now."""
        return DoorFigures(
            operations={kind: meter.read() for kind, meter in dict(self._meters).items()},
            under_way=len(self._under_way),
            open_directories=len(self._directories),
            inodes=len(self._inodes),
        )

    def _answering(self, opcode: Opcode, perform: Handler) -> Handler:
        name = opcode.name.lower()
        meter = self._meters[name] = OperationMeter()

        def fail(request: Request, number: int) -> None:
            meter.failed(errno.errorcode[number])
            request.fail(number)

        def handler(request: Request) -> None:
            began = self._under_way.begin(name, request.inode)
            try:
                try:
                    request.account = self._ledger.count(request.pid, began)
                    work_for(request.account)
                    perform(request)
                except S3ZipError as error:
                    fail(request, self._errno(request, error))
            except MemoryError:
                log.exception("%s of inode %d: out of memory", name, request.inode)
                fail(request, errno.ENOMEM)
            except Exception:
                log.exception("%s of inode %d: unexpected error", name, request.inode)
                fail(request, errno.EIO)
            finally:
                meter.ended(self._under_way.end(), waited=request.has_waited)

        return handler

    def _errno(self, request: Request, error: S3ZipError) -> int:
        number = errno.ENOTCONN if self._stopping else errno_of(error)
        if number in ORDINARY or isinstance(error, CrawlerRefused):
            return number
        try:
            node = self._inodes.node(request.inode)
        except ObjectChanged:
            node = None
        faults.tell(request, number, node, self._tree, error)
        if isinstance(error, ObjectChanged):
            self._invalidate(node)
        elif isinstance(error, BadMember):
            # The fault shows at the last read: pages that were answered before may hold it.
            self._invalidations.add_pages(request.inode)
        return number

    def _invalidate(self, node: Node | None) -> None:
        """The version of a node is gone: the next path walk must look its names up again."""
        if isinstance(node, ObjectFile | Member):
            folder, _ = self._tree.place(node.info)
            for parent in (folder, replace(folder, raw=True)):
                inode = self._inodes.number(parent)
                for name in names_of(node.info):  # those that the kernel does not know cost nothing
                    self._invalidations.add_name(inode, name)

    def _wait(self, request: Request) -> Wait:
        def interrupted() -> bool:
            return self._stopping or request.interrupted

        return Wait(self._timeout, interrupted, self.crew, request.on_interrupt)

    # Connection

    def _init(self, request: Request) -> None:
        major, minor, readahead, offered = p.INIT_IN.unpack_from(request.body)
        if (major, minor) < (p.MAJOR, p.OLDEST_MINOR):
            needed = (p.MAJOR, p.OLDEST_MINOR)
            log.error("the kernel speaks FUSE %d.%d; %d.%d is needed", major, minor, *needed)
            request.fail(errno.EPROTO)
            return
        # A kernel of a later major version asks again, in ours.
        request.reply(
            p.init_out(
                max_readahead=max(readahead, MAX_READAHEAD),
                flags=_FLAGS & offered,
                max_background=MAX_BACKGROUND,
                max_pages=MAX_READAHEAD // os.sysconf("SC_PAGESIZE"),
            )
        )
        self.initialised.set()

    def _destroy(self, request: Request) -> None:
        request.reply()

    def _statfs(self, request: Request) -> None:
        request.reply(
            p.statfs_out(
                blocks=_STATFS_BLOCKS, files=_STATFS_BLOCKS, block_size=_BLOCK, name_length=255
            )
        )

    # Names

    def _lookup(self, request: Request) -> None:
        wait = self._wait(request)
        directory = self._inodes.node(request.inode)
        self._guard.look(request, directory)
        try:
            found = self._tree.lookup(directory, request.name, wait)
        except NotFound as error:
            request.reply(no_entry(error.valid_for))
            return
        attributes = self._tree.getattr(found.node, wait)
        inode, entry = self._answers.entry(found.node, attributes, found.valid_for)
        if not request.reply(entry):
            self._inodes.forget(inode, 1)  # interrupted: the kernel never learned of it

    def _forget(self, request: Request) -> None:
        self._inodes.forget(request.inode, *p.FORGET_IN.unpack_from(request.body))

    def _forget_many(self, request: Request) -> None:
        count, _ = p.BATCH_FORGET_IN.unpack_from(request.body)
        behind = request.body[p.BATCH_FORGET_IN.size :][: count * p.FORGET_ONE.size]
        for inode, lookups in p.FORGET_ONE.iter_unpack(behind):
            self._inodes.forget(inode, lookups)

    def _getattr(self, request: Request) -> None:
        node = self._inodes.node(request.inode)
        attributes = self._tree.getattr(node, self._wait(request))
        request.reply(self._answers.attributes(request.inode, node, attributes))

    def _readlink(self, request: Request) -> None:
        node = self._inodes.node(request.inode)
        self._guard.look(request, node)
        request.reply(self._tree.readlink(node, self._wait(request)))

    # Files

    def _read(self, request: Request) -> None:
        """The bytes of a file, which the kernel has opened without asking.

        OPEN is answered by ENOSYS once, and never asked again: nothing is to be done there, since
        an inode is a version and its pages never go stale (opens of files whose pages are cached:
        13,000 to 28,000/s with it, 450,000/s without). What can't be read is told here.
        """
        _, offset, size, *_ = p.READ_IN.unpack_from(request.body)
        node = self._inodes.node(request.inode)
        self._guard.read(request, node)
        end = offset + size
        if (failed := self._rereads.find(request.inode, offset, end)) is not None:
            raise failed
        try:
            parts = self._tree.read(node, offset, end, self._wait(request))
        except (DeadlineExceeded, StoreUnavailable) as error:
            self._rereads.add(request.inode, offset, end, error)
            raise
        if request.reply(*parts) and request.account is not None:  # copied out of the blocks
            request.account.bytes_given(sum(map(len, parts)))
