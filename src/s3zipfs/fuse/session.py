"""One mount's connection to the kernel: requests in, replies out, on the threads of a crew.

libfuse's loop is not used. A request through it and ctypes took twice the CPU of one that is read
and answered here (19,000 files of 64 KiB opened, read and closed, and 10,000 missing names: 1.07 s
against 0.78, without OPEN 0.70 against 0.35): each callback from a foreign thread makes and drops a
Python thread state.
"""

from __future__ import annotations

import errno
import logging
import os
import queue
import threading
from collections.abc import Callable, Mapping, Sequence

from s3zipfs.fuse import protocol as p
from s3zipfs.fuse.crew import Crew
from s3zipfs.fuse.ledger import Account
from s3zipfs.fuse.protocol import Opcode

log = logging.getLogger(__name__)

_MOST_PARTS = os.sysconf("SC_IOV_MAX") - 1  # of one writev, less the header

# The kernel's answers to a read of the device that is no request (fuse_dev_do_read)
_AGAIN = frozenset({errno.ENOENT, errno.EINTR, errno.EAGAIN})  # ENOENT: taken back meanwhile
_UNMOUNTED = frozenset({errno.ENODEV, errno.ECONNABORTED})


class Request:
    """One request of the kernel; it is answered exactly once."""

    __slots__ = (
        "_session",
        "_wake",
        "account",
        "body",
        "inode",
        "interrupted",
        "opcode",
        "pid",
        "unique",
    )

    def __init__(self, session: Session, header: tuple[int, ...], body: memoryview) -> None:
        self._session = session
        # `pid` is a thread's number; 0: the kernel's own, or of another pid namespace.
        _, self.opcode, self.unique, self.inode, _, _, self.pid, _ = header
        self.account: Account | None = None  # who asks, once it is counted
        self.body = body  # valid until the handler returns
        self.interrupted = False  # whoever asked has been killed, and waits for our answer only
        self._wake: Callable[[], None] | None = None

    def on_interrupt(self, wake: Callable[[], None]) -> None:
        """Call that, once, should it be interrupted from now on; the handler asks for the past."""
        self._wake = wake

    @property
    def has_waited(self) -> bool:
        """Whether something was not there yet when it was wanted."""
        return self._wake is not None

    def interrupt(self) -> None:
        """Whoever asked wants no answer but the end."""
        self.interrupted = True
        if (wake := self._wake) is not None:
            wake()

    @property
    def name(self) -> bytes:
        """The NUL-terminated name that is all of the body."""
        return bytes(self.body[:-1])

    def reply(self, *parts: bytes | memoryview) -> bool:
        """Success, with that body; False where the kernel has given up, and learnt nothing."""
        size = sum(map(len, parts))
        if len(parts) > _MOST_PARTS:
            parts = (b"".join(parts),)
        return self._session.send(self.unique, 0, size, parts)

    def fail(self, number: int) -> bool:
        """An errno."""
        return self._session.send(self.unique, -number, 0, ())


Handler = Callable[[Request], None]


class Session:
    """One mount. Each handler answers its requests itself; what has none is ENOSYS."""

    def __init__(self, device: int, handlers: Mapping[Opcode, Handler], crew: Crew) -> None:
        self._device = device  # a descriptor of /dev/fuse
        self._handlers = {int(opcode): handler for opcode, handler in handlers.items()}
        self._handlers[int(Opcode.INTERRUPT)] = self._interrupt
        self._crew = crew
        self._buffers = threading.local()  # each thread's own, for requests
        self._active: dict[int, Request] = {}  # by unique; single operations of it are atomic
        self._ended: queue.SimpleQueue[int] = queue.SimpleQueue()  # errno, 0 after an unmount

    def run(self) -> int:
        """Answer requests until unmounted or told to exit; the errno where it failed."""
        if not self._crew.start(self._serve):
            return errno.EAGAIN
        return self._ended.get()

    def exit(self) -> None:
        """Make `run` return; what is under way goes on."""
        self._ended.put(0)

    def invalidate_entry(self, parent: int, name: bytes) -> None:
        """Make the kernel look that name up again. Never call it from a handler (deadlock)."""
        self._notify(p.inval_entry(parent, name))

    def invalidate_pages(self, inode: int) -> None:
        """Make the kernel forget all bytes of a file. Never call it from a handler (deadlock)."""
        self._notify(p.inval_inode(inode))

    def send(self, unique: int, error: int, size: int, parts: Sequence[bytes | memoryview]) -> bool:
        """Write one reply; see `Request`."""
        header = p.OUT_HEADER.pack(p.OUT_HEADER.size + size, error, unique)
        try:
            os.writev(self._device, (header, *parts))
        except OSError as failed:
            if failed.errno not in _UNMOUNTED and failed.errno != errno.ENOENT:  # interrupted
                log.error("a reply was refused by the kernel: %s", failed)  # noqa: TRY400
            return False
        return True

    def _notify(self, message: bytes) -> None:
        try:
            os.write(self._device, message)
        except OSError as failed:
            if failed.errno not in _UNMOUNTED and failed.errno != errno.ENOENT:  # not known to it
                log.warning("the kernel refused an invalidation: %s", failed)

    def _serve(self) -> bool:
        """Read and answer one request; False where there are no more."""
        buffer = self._buffer()
        try:
            length = os.readv(self._device, [buffer])
        except OSError as failed:
            self._crew.has_read()
            if failed.errno in _AGAIN:
                return True
            self._ended.put(0 if failed.errno in _UNMOUNTED else failed.errno or errno.EIO)
            return False
        self._crew.has_read()
        self._answer(buffer, memoryview(buffer), length)
        return True

    def _buffer(self) -> bytearray:
        try:
            found: bytearray = self._buffers.found
        except AttributeError:
            found = self._buffers.found = bytearray(p.REQUEST_SIZE)
        return found

    def _answer(self, buffer: bytearray, view: memoryview, length: int) -> None:
        header = p.IN_HEADER.unpack_from(buffer)
        request = Request(self, header, view[p.IN_HEADER.size : length])
        handler = self._handlers.get(request.opcode)
        if handler is None:
            request.fail(errno.ENOSYS)
            return
        self._active[request.unique] = request
        try:
            handler(request)
        finally:
            del self._active[request.unique]

    def _interrupt(self, request: Request) -> None:
        (unique,) = p.INTERRUPT_IN.unpack_from(request.body)
        interrupted = self._active.get(unique)
        if interrupted is not None:
            interrupted.interrupt()
        else:  # answered by now, or not begun: then the kernel sends this once more
            request.fail(errno.EAGAIN)
