"""Compression methods by number (APPNOTE 6.3.10, 4.4.5)."""

from __future__ import annotations

from typing import Final

STORED: Final = 0
DEFLATED: Final = 8
DEFLATE64: Final = 9
BZIP2: Final = 12
LZMA: Final = 14
ZSTANDARD_DEPRECATED: Final = 20
ZSTANDARD: Final = 93
XZ: Final = 95
AES: Final = 99  # WinZip AE-x: the true method stands in the extra 0x9901

METHOD_NAMES: Final[dict[int, str]] = {
    STORED: "stored",
    1: "shrunk",
    2: "reduced, factor 1",
    3: "reduced, factor 2",
    4: "reduced, factor 3",
    5: "reduced, factor 4",
    6: "imploded",
    7: "tokenized",
    DEFLATED: "deflated",
    DEFLATE64: "deflate64",
    10: "PKWARE DCL imploded",
    BZIP2: "bzip2",
    LZMA: "lzma",
    16: "IBM z/OS CMPSC",
    18: "IBM TERSE",
    19: "IBM LZ77 z",
    ZSTANDARD_DEPRECATED: "zstd (deprecated number)",
    ZSTANDARD: "zstd",
    94: "mp3",
    XZ: "xz",
    96: "jpeg",
    97: "WavPack",
    98: "PPMd version I, revision 1",
    AES: "AES encrypted",
}


def method_name(method: int) -> str:
    """A method's name for a person: `"deflated"`, or `"unknown method 77"`."""
    return METHOD_NAMES.get(method, f"unknown method {method}")
