"""Zips of very many empty members, whose directory numpy writes and whose other bytes are zeros."""

from __future__ import annotations

import struct

import numpy as np

from s3zipfs.stores.memory import Computed
from s3zipfs.zipformat.scan import HEADER_DTYPE

NAME = b"x/00/00/00000000.dat"  # x/12/34/00123456.dat
LOCAL_BYTES = 30 + len(NAME)  # 4.3.7


def large_name(number: int) -> bytes:
    """The name of a member."""
    return b"x/%02d/%02d/%08d.dat" % (number // 10000 % 100, number // 100 % 100, number)


def large_directory(count: int) -> bytes:
    """Central directory headers of `count` members; 66 bytes each."""
    number = np.arange(count)
    rows = np.zeros(count, np.dtype([("header", HEADER_DTYPE), ("name", "u1", len(NAME))]))
    header, name = rows["header"], rows["name"]
    header["signature"] = 0x02014B50
    header["version_made_by"] = 3 << 8  # Unix
    header["name_length"] = len(NAME)
    header["modified_date"] = 44 << 9 | 5 << 5 | 17
    header["external_attributes"] = 0o100644 << 16
    header["local_header_offset"] = number * LOCAL_BYTES
    name[:] = np.frombuffer(NAME, np.uint8)
    for column, width, value in ((2, 2, number // 10000), (5, 2, number // 100), (8, 8, number)):
        for digit in range(width):
            name[:, column + width - 1 - digit] += (value // 10**digit % 10).astype(np.uint8)
    return rows.tobytes()


def large_tail(count: int) -> bytes:
    """The directory and the end records (4.3.14-4.3.16)."""
    directory = large_directory(count)
    start, size = count * LOCAL_BYTES, len(directory)
    record = struct.pack(
        "<LQHHLLQQQQ", 0x06064B50, 44, 45, 45, 0, 0, count, count, size, start
    )  # fmt: skip
    locator = struct.pack("<LLQL", 0x07064B50, 0, start + size, 1)
    end = struct.pack("<LHHHHLLH", 0x06054B50, 0, 0, 65535, 65535, 2**32 - 1, 2**32 - 1, 0)
    return directory + record + locator + end


def large_zip(count: int) -> Computed:
    """An archive of `count` members as an object of a memory store."""
    tail = large_tail(count)
    start = count * LOCAL_BYTES

    def read(first: int, last: int) -> bytes:
        zeros = bytes(max(0, min(last, start) - first))
        return zeros + tail[max(0, first - start) : max(0, last - start)]

    return Computed(start + len(tail), read)
