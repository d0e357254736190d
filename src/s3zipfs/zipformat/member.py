"""One member of an archive, as the central directory tells of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

FLAG_ENCRYPTED: Final = 1 << 0  # APPNOTE 4.4.4
FLAG_DATA_DESCRIPTOR: Final = 1 << 3
FLAG_STRONG_ENCRYPTION: Final = 1 << 6
FLAG_UTF8: Final = 1 << 11
FLAG_MASKED_HEADER: Final = 1 << 13

ENCRYPTED_FLAGS: Final = FLAG_ENCRYPTED | FLAG_STRONG_ENCRYPTION | FLAG_MASKED_HEADER


@dataclass(frozen=True, slots=True)
class Member:
    """A file or symlink inside an archive. Sizes and offsets are bytes."""

    number: int  # the node's number in its `MemberIndex`
    raw_name: bytes  # as in the central directory, to be compared with the local header
    local_header_offset: int  # absolute in the object: the prefix of the archive is added
    compressed_size: int  # APPNOTE 4.4.8
    uncompressed_size: int  # APPNOTE 4.4.9
    crc32: int  # APPNOTE 4.4.7, of the uncompressed data
    method: int  # APPNOTE 4.4.5
    flags: int  # general purpose bit flag, APPNOTE 4.4.4
    mode: int  # st_mode: type and permissions, without any write or setuid bit
    modified: float  # seconds since the epoch, UTC
    damaged: str | None = None  # why it cannot be read, known from the central directory alone

    @property
    def is_encrypted(self) -> bool:
        """Traditional, strong or masked: no key, no data (APPNOTE 4.4.4, 6, 7)."""
        return bool(self.flags & ENCRYPTED_FLAGS)

    @property
    def has_data_descriptor(self) -> bool:
        """The local header may hold no sizes and no CRC (APPNOTE 4.4.4, bit 3)."""
        return bool(self.flags & FLAG_DATA_DESCRIPTOR)
