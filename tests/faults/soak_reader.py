"""Threads that read members at random, again and again, and verify every byte; a line for each.

    good             all that was read of an open file is right, and of one version
    WRONG, CUT       it is not; a clean end before the file's size
    ESTALE, EIO      or any other errno, and the archive

Usage: soak_reader.py THREADS PATH...
"""

from __future__ import annotations

import errno
import hashlib
import os
import random
import sys
import threading
import time

BLOCK = 4096  # of content; each says of which version and at which place it is, and has a digest
DIGEST = 16
PAUSE = 0.005


def block(version: int, index: int) -> bytes:
    """One block of a member."""
    mark = b"%016x%016x" % (version, index)
    payload = (mark * (BLOCK // len(mark) + 1))[: BLOCK - DIGEST]
    return hashlib.blake2b(payload, digest_size=DIGEST).digest() + payload


def content(version: int, blocks: int) -> bytes:
    """A member; it deflates to a hundredth."""
    return b"".join(block(version, index) for index in range(blocks))


def verify(piece: bytes, index: int, versions: set[bytes]) -> bool:
    """Whether blocks are right and at their place; adds the version of each."""
    for at in range(0, len(piece), BLOCK):
        payload = piece[at + DIGEST : at + BLOCK]
        if hashlib.blake2b(payload, digest_size=DIGEST).digest() != piece[at : at + DIGEST]:
            return False
        if int(payload[16:32], 16) != index + at // BLOCK:
            return False
        versions.add(payload[:16])
    return True


def read(path: str) -> str:
    """Some pieces in random order, or all in order."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        size = os.fstat(descriptor).st_size
        step = random.choice([1, 8, 64]) * BLOCK
        offsets = list(range(0, size, step))
        if random.random() < 0.5:
            offsets = random.choices(offsets, k=min(len(offsets), 16))
        versions: set[bytes] = set()
        for offset in offsets:
            expected = min(step, size - offset)
            piece = b""
            while len(piece) < expected:  # what comes before a page that fails is a short read
                more = os.pread(descriptor, expected - len(piece), offset + len(piece))
                if not more:
                    return "CUT"
                piece += more
            if not verify(piece, offset // BLOCK, versions):
                return "WRONG"
        return "good" if len(versions) == 1 else "WRONG"
    finally:
        os.close(descriptor)


def read_for_ever(paths: list[str]) -> None:
    while True:
        path = random.choice(paths)
        try:
            said = read(path)
        except OSError as error:
            said = f"{errno.errorcode[error.errno or 0]} {path.split('/')[-2]}"
        os.write(1, f"{said}\n".encode())
        time.sleep(PAUSE)


def main(threads: str, *paths: str) -> None:
    for _ in range(int(threads)):
        threading.Thread(target=read_for_ever, args=[list(paths)], daemon=True).start()
    threading.Event().wait()


if __name__ == "__main__":
    main(*sys.argv[1:])
