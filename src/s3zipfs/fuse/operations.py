"""The FUSE operations: each translates a request for the tree, and its answer for the kernel."""

from __future__ import annotations

import ctypes as c
import errno
import logging
import os
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from s3zipfs.errors import BadMember, NotFound, ObjectChanged, S3ZipError
from s3zipfs.fuse import lowlevel as ll
from s3zipfs.fuse.answers import Answers, attr_timeout
from s3zipfs.fuse.directories import Directories
from s3zipfs.fuse.errnos import ORDINARY, errno_of
from s3zipfs.fuse.inodes import Inodes
from s3zipfs.fuse.invalidation import Invalidations
from s3zipfs.fuse.underway import UnderWay
from s3zipfs.fuse.watchdog import Watchdog
from s3zipfs.tree.nodes import Member, ObjectFile
from s3zipfs.tree.tree import Tree
from s3zipfs.waiting import Wait

log = logging.getLogger(__name__)
lib = ll.lib

# Free space is shown although nothing can be written: monitors raise an alarm at a full disk.
_STATFS_BLOCKS = 1 << 38  # of 4 KiB: 1 PiB, as rclone shows
_BLOCK = 4096
_MOST_PARTS = os.sysconf("SC_IOV_MAX") // 2  # of one reply; libfuse adds a header

# Requests answered at once, and those of them that may wait for the store: threads are left for
# INTERRUPT, and for all that needs no network (statfs, the root, what is cached).
MAX_THREADS = 512
MAX_WAITING = 448
MAX_BACKGROUND = 64  # read-ahead requests of the kernel under way at once
MAX_READAHEAD = 1 << 20  # bytes; bdi read_ahead_kb may raise or lower it

Request = int
Handler = Callable[..., None]


class Operations:
    """Handlers for one tree. Every one of them replies exactly once, whatever happens."""

    def __init__(self, tree: Tree, *, timeout: float) -> None:
        self._tree = tree
        self._timeout = timeout
        self._inodes = Inodes(tree.root)
        self._answers = Answers(self._inodes)
        self._directories = Directories(tree, self._inodes, self._answers, self._wait)
        self._places = threading.Semaphore(MAX_WAITING)
        self._stopping = False
        self._under_way = UnderWay()
        self._invalidations = Invalidations(self._under_way)
        self._watchdog = Watchdog(self._under_way, timeout=timeout)
        self.initialised = threading.Event()  # the kernel's INIT was answered

    def handlers(self) -> dict[str, Handler]:
        """The callbacks for `lowlevel.Session`, by the names of `struct fuse_lowlevel_ops`."""
        own = "lookup getattr readlink open read release statfs"
        performed = {name: getattr(self, f"_{name}") for name in own.split()}
        performed |= self._directories.handlers()
        wrapped = {name: self._answering(name, handler) for name, handler in performed.items()}
        return {
            "init": self._init,
            "forget": self._forget,
            "forget_multi": self._forget_multi,
            **wrapped,
        }

    # Life

    def start(self, session: ll.Session) -> None:
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

    def _answering(self, name: str, perform: Handler) -> Handler:
        def handler(request: Request, inode: int, *arguments: Any) -> None:
            self._under_way.begin(name, inode)
            try:
                perform(request, inode, *arguments)
            except S3ZipError as error:
                lib.fuse_reply_err(request, self._errno(name, inode, error))
            except MemoryError:
                log.exception("%s of inode %d: out of memory", name, inode)
                lib.fuse_reply_err(request, errno.ENOMEM)
            except Exception:
                log.exception("%s of inode %d: unexpected error", name, inode)
                lib.fuse_reply_err(request, errno.EIO)
            finally:
                self._under_way.end()

        return handler

    def _errno(self, name: str, inode: int, error: S3ZipError) -> int:
        number = errno.ENOTCONN if self._stopping else errno_of(error)
        if number not in ORDINARY:
            log.warning("%s: %s: %s", name, errno.errorcode[number], error)
        if isinstance(error, ObjectChanged):
            self._invalidate(inode)
        elif isinstance(error, BadMember):
            # The fault shows at the last read: pages that were answered before may hold it.
            self._invalidations.add_pages(inode)
        return number

    def _invalidate(self, inode: int) -> None:
        """The version behind an inode is gone: the next path walk must look its name up again."""
        try:
            node = self._inodes.node(inode)
        except ObjectChanged:
            return
        if isinstance(node, ObjectFile | Member):
            folder, component = self._tree.place(node.info)
            self._invalidations.add_name(self._inodes.number(folder), component)

    def _wait(self, request: Request) -> Wait:
        def interrupted() -> bool:
            return self._stopping or bool(lib.fuse_req_interrupted(request))

        return Wait(self._timeout, interrupted, self._places)

    # Connection

    def _init(self, _userdata: Any, connection: Any) -> None:
        info = connection.contents
        info.want |= info.capable & (
            ll.CAP_READDIRPLUS | ll.CAP_PARALLEL_DIROPS | ll.CAP_CACHE_SYMLINKS
        )
        # Always readdirplus: a stat walk after a cached plain walk was the one slow row.
        info.want &= ~ll.CAP_READDIRPLUS_AUTO
        info.max_background = MAX_BACKGROUND
        info.congestion_threshold = MAX_BACKGROUND * 3 // 4
        info.max_readahead = MAX_READAHEAD
        self.initialised.set()

    def _statfs(self, request: Request, _inode: int) -> None:
        answer = ll.StatVfs()
        answer.f_bsize = answer.f_frsize = _BLOCK
        answer.f_blocks = answer.f_bfree = answer.f_bavail = _STATFS_BLOCKS
        answer.f_files = answer.f_ffree = answer.f_favail = _STATFS_BLOCKS
        answer.f_namemax = 255
        lib.fuse_reply_statfs(request, c.byref(answer))

    # Names

    def _lookup(self, request: Request, parent: int, name: bytes) -> None:
        wait = self._wait(request)
        directory = self._inodes.node(parent)
        try:
            found = self._tree.lookup(directory, name, wait)
        except NotFound as error:
            # A negative entry: inode 0 with a timeout (FUSE_LOOKUP).
            lib.fuse_reply_entry(request, c.byref(ll.Entry(entry_timeout=error.valid_for)))
            return
        attributes = self._tree.getattr(found.node, wait)
        entry = self._answers.entry(found.node, attributes, found.valid_for)
        if lib.fuse_reply_entry(request, c.byref(entry)):
            self._inodes.forget(entry.ino, 1)  # interrupted: the kernel never learned of it

    def _forget(self, request: Request, inode: int, lookups: int) -> None:
        self._inodes.forget(inode, lookups)
        lib.fuse_reply_none(request)

    def _forget_multi(self, request: Request, count: int, forgotten: Any) -> None:
        for each in forgotten[:count]:
            self._inodes.forget(each.ino, each.nlookup)
        lib.fuse_reply_none(request)

    def _getattr(self, request: Request, inode: int, _file: Any) -> None:
        node = self._inodes.node(inode)
        answer = ll.Stat()
        self._answers.fill(answer, inode, self._tree.getattr(node, self._wait(request)))
        lib.fuse_reply_attr(request, c.byref(answer), attr_timeout(node))

    def _readlink(self, request: Request, inode: int) -> None:
        target = self._tree.readlink(self._inodes.node(inode), self._wait(request))
        lib.fuse_reply_readlink(request, target)

    # Files

    def _open(self, request: Request, inode: int, file: Any) -> None:
        if file.contents.flags & (os.O_WRONLY | os.O_RDWR):
            lib.fuse_reply_err(request, errno.EROFS)
            return
        self._tree.check_open(self._inodes.node(inode), self._wait(request))
        file.contents.keep_cache = 1  # an inode is a version: its pages never go stale
        lib.fuse_reply_open(request, file)

    def _read(self, request: Request, inode: int, size: int, offset: int, _file: Any) -> None:
        node = self._inodes.node(inode)
        parts = self._tree.read(node, offset, offset + size, self._wait(request))
        # The kernel copies straight out of the block; `parts` keeps it alive until then.
        if len(parts) == 1:
            lib.fuse_reply_buf(request, _address(parts[0]), len(parts[0]))
        elif len(parts) <= _MOST_PARTS:
            vectors = (ll.IoVector * len(parts))(*[ll.IoVector(_address(p), len(p)) for p in parts])
            lib.fuse_reply_iov(request, vectors, len(parts))
        else:
            whole = memoryview(b"".join(parts))
            lib.fuse_reply_buf(request, _address(whole), len(whole))

    def _release(self, request: Request, _inode: int, _file: Any) -> None:
        lib.fuse_reply_err(request, 0)


def _address(view: memoryview) -> int:
    return int(np.frombuffer(view, np.uint8).__array_interface__["data"][0])
