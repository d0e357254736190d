"""Members through their decoders: small ones whole, large ones piece by piece."""

from __future__ import annotations

from collections.abc import Callable

from isal import isal_zlib

from s3zipfs.archive.decoders import HEAD, METHODS, Decoder, IsalError, open_decoder
from s3zipfs.cache.extents import joined
from s3zipfs.errors import BadMember, UnsupportedMember
from s3zipfs.waiting import Wait
from s3zipfs.zipformat.member import Member
from s3zipfs.zipformat.methods import DEFLATED, method_name

FEED = 128 << 10  # compressed bytes given to a decoder at once
PIECE = 512 << 10  # most bytes taken from it at once

STREAM_COST = FEED + PIECE  # bytes beside the decoder's: what it was fed, and gave last

RawRead = Callable[[int, int, Wait], memoryview]


def broken(member: Member, what: str) -> BadMember:
    """The error for a damaged member; says which."""
    return BadMember(f"{_named(member)}: {what}")


def _named(member: Member) -> str:
    return f"member {member.raw_name.decode('utf-8', 'backslashreplace')}"


def verify(member: Member, crc32: int) -> None:
    """Raise `BadMember` where the bytes read are not those that were zipped (APPNOTE 4.4.7)."""
    if crc32 != member.crc32:
        raise broken(member, f"CRC-32: expected {member.crc32:08x}, found {crc32:08x}")


def whole_cost(member: Member) -> int:
    """Bytes of memory that `decode_whole` takes at most, what it is given and returns included."""
    size = member.compressed_size + member.uncompressed_size
    if member.method == DEFLATED:
        return size
    # The pieces before they are joined, and a window that is never larger than what has come out.
    return size + 2 * member.uncompressed_size + METHODS[member.method].overhead


def decode_whole(member: Member, data: memoryview, wait: Wait) -> memoryview:
    """All bytes of a member, verified; `data` is its compressed data (APPNOTE 4.3.8).

    Raises:
        BadMember: it is damaged.
        UnsupportedMember: it needs a larger window than is given.
    """
    if member.method == DEFLATED:
        return _inflate_whole(member, data)
    decoding = Decoding(member, start_decoder(member, data[:HEAD]))
    pieces: list[memoryview] = []
    while not decoding.finished:
        at = decoding.position
        decoding.advance(lambda start, end, _wait: data[start:end], wait)
        if decoding.position > at:
            pieces.append(decoding.last)
    return joined(pieces)


def _inflate_whole(member: Member, data: memoryview) -> memoryview:
    """The same in one call, for what nearly all members are."""
    inflater = isal_zlib.decompressobj(-15)
    try:
        inflated = inflater.decompress(data, member.uncompressed_size + 1)
    except IsalError as error:
        raise broken(member, f"deflate data: {error}") from error
    if not inflater.eof or inflater.unused_data or len(inflated) != member.uncompressed_size:
        raise _length_fault(member, len(inflated), ended=inflater.eof)
    verify(member, isal_zlib.crc32(inflated))
    return memoryview(inflated)


def _length_fault(member: Member, found: int, *, ended: bool) -> BadMember:
    name, size = method_name(member.method), member.uncompressed_size
    if found > size or (found == size and not ended):
        return broken(member, f"{name} data does not end: expected {size} bytes, found more")
    if found == size:
        return broken(member, f"{name} data ends before the compressed size")
    state = "ends" if ended else "is cut off"
    return broken(member, f"{name} data {state}: expected {size} bytes, found {found}")


def start_decoder(member: Member, head: memoryview) -> Decoder:
    """A decoder for the member; its errors name the member."""
    try:
        return open_decoder(member, head)
    except (BadMember, UnsupportedMember) as error:
        raise type(error)(f"{_named(member)}: {error}") from error


def end_of_feed(member: Member, fed: int) -> int:
    """Up to where a decoder is given compressed data next, of which it was given `fed` bytes."""
    return min(fed + FEED, member.compressed_size)


class Decoding:
    """One member on its way through its decoder. Used by one thread at a time.

    Reading raw bytes may fail or be interrupted at any time: nothing is lost, the next `advance`
    goes on from there. After any other error it is not `usable`.
    """

    def __init__(
        self, member: Member, decoder: Decoder, *, position: int = 0, fed: int = 0
    ) -> None:
        self.member = member
        self.decoder = decoder
        self.fed = fed  # the compressed bytes before this were given
        self.position = position  # the content before this was produced
        self.begun = position
        self.crc32 = 0
        self.last = memoryview(b"")  # ends at `position`
        # All was produced; where it began at the start it is what was zipped as well.
        self.finished = False
        self.usable = True

    @property
    def reach(self) -> int:
        """The first byte that can still be had."""
        return self.position - len(self.last)

    def advance(self, read_raw: RawRead, wait: Wait, most: int = PIECE) -> None:
        """Produce the next bytes, `most` of them, as `last`; after the member's last check it all.

        `read_raw` may give fewer bytes than it was asked for, but some.

        Raises:
            BadMember: damaged, or its size or CRC-32 are not those declared.
        """
        member = self.member
        if self.position < member.uncompressed_size and not self._step(read_raw, wait, most):
            self.usable = False
            raise _length_fault(member, self.position, ended=True)
        if self.position >= member.uncompressed_size:
            # An end mark may stand behind the last byte; `_step` refuses any byte more.
            while self._step(read_raw, wait, PIECE):
                pass
            self.usable = False
            if not self.begun:
                verify(member, self.crc32)
            self.usable = self.finished = True

    def _step(self, read_raw: RawRead, wait: Wait, most: int) -> bool:
        """Decode until there are bytes (True), or the data has ended as it should."""
        member, decoder = self.member, self.decoder
        while True:
            wait.check()
            data = memoryview(b"")
            if decoder.needs_input:
                end = end_of_feed(member, self.fed)
                if end == self.fed:
                    if decoder.complete:
                        return False
                    self.usable = False
                    raise _length_fault(member, self.position, ended=False)
                data = read_raw(self.fed, end, wait)
                self.fed += len(data)
            self.usable = False
            try:
                piece = decoder.decode(data, min(most, member.uncompressed_size + 1))
            except BadMember as error:
                raise broken(member, str(error)) from error
            if self.position + len(piece) > member.uncompressed_size:
                raise _length_fault(member, self.position + len(piece), ended=False)
            self.usable = True
            if piece:
                self.position += len(piece)
                self.last = memoryview(piece)
                self.crc32 = isal_zlib.crc32(piece, self.crc32)
                return True
