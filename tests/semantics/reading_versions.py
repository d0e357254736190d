"""A reader in a process of its own: opens a path again and again, one line for each outcome.

    whole ID         all bytes of the open file, and all of them of that version
    MIX, CUT         two versions through one open file; a clean end before its size
    ESTALE, ENOENT   or any other errno
    SIGBUS           of a mapping; its reader is a child, since it dies of it

Usage: reading_versions.py pread|shared|private PATH, or tree MOUNTPOINT FILE, where FILE holds
the ETag to pin, and `whole` is followed by it and by a digest of all members.
"""

from __future__ import annotations

import errno
import hashlib
import mmap
import os
import random
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

PIECE = 128 << 10
PAUSE = 0.01  # seconds; half of the reads are slower than the writer, and none starves it


def marks(piece: bytes) -> set[bytes]:
    """The version ids in a piece that begins at a multiple of 8; each id takes 8 bytes."""
    first = piece[:8]
    if piece == first * (len(piece) // 8):
        return {first}
    return {piece[at : at + 8] for at in range(0, len(piece), 8)}


def outcome(seen: set[bytes]) -> str:
    return f"whole {seen.pop().decode()}" if len(seen) == 1 else f"MIX {sorted(seen)[:4]}"


def by_pread(path: str) -> str:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        size = os.fstat(descriptor).st_size
        seen: set[bytes] = set()
        offsets = list(range(0, size, PIECE))
        if random.random() < 0.5:
            random.shuffle(offsets)
        slowly = random.random() < 0.5
        for offset in [*offsets, *random.choices(offsets, k=4)]:  # some again: the page cache
            time.sleep(PAUSE if slowly else 0)
            expected = min(PIECE, size - offset)
            piece = b""
            while len(piece) < expected:  # what comes before a page that fails is a short read
                more = os.pread(descriptor, expected - len(piece), offset + len(piece))
                if not more:
                    return f"CUT at {offset + len(piece)} of {size}"
                piece += more
            seen |= marks(piece)
        return outcome(seen)
    finally:
        os.close(descriptor)


def by_mapping(path: str, flags: int) -> str:
    descriptor = os.open(path, os.O_RDONLY)
    size = os.fstat(descriptor).st_size
    with mmap.mmap(descriptor, size, flags=flags, prot=mmap.PROT_READ) as mapped:
        seen = set()
        slowly = random.random() < 0.5
        for offset in range(0, size, PIECE):
            time.sleep(PAUSE if slowly else 0)
            seen |= marks(mapped[offset : offset + PIECE])
        os.close(descriptor)
        return outcome(seen)


def in_a_child(path: str, flags: int) -> str:
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        try:
            said = by_mapping(path, flags)
        except OSError as error:
            said = errno.errorcode[error.errno or 0]
        os.write(writing, said.encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        said = pipe.read()
    status = os.waitpid(child, 0)[1]
    return signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else said


def tree_digest(folder: Path) -> str:
    """Of all names below a folder, and all their bytes."""
    digest = hashlib.sha256()
    for path in sorted(_files(folder)):
        digest.update(str(path.relative_to(folder)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _files(folder: Path) -> Iterator[Path]:
    for entry in os.scandir(folder):  # Path.rglob passes errors over
        if entry.is_dir():
            yield from _files(Path(entry.path))
        else:
            yield Path(entry.path)


def by_pinned_tree(mountpoint: str, current: str) -> str:
    etag = Path(current).read_text()
    return f"whole {etag} {tree_digest(Path(mountpoint) / f'x.zip@{etag}')}"


def main(mode: str, *arguments: str) -> None:
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    while True:
        try:
            match mode:
                case "pread":
                    said = by_pread(*arguments)
                case "tree":
                    said = by_pinned_tree(*arguments)
                case _:
                    flags = mmap.MAP_SHARED if mode == "shared" else mmap.MAP_PRIVATE
                    said = in_a_child(arguments[0], flags)
        except OSError as error:
            said = errno.errorcode[error.errno or 0]
        print(said, flush=True)
        time.sleep(PAUSE)


if __name__ == "__main__":
    main(*sys.argv[1:])
