"""Check the sizes that compressed strips and tiles state of themselves.

JPEG, PNG, WebP, JPEG 2000, JPEG XR, JPEG XL and LERC hold a whole picture with a size of its own.
It could be far larger than the strip or tile and take more memory than `--max-pixels` allows.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable, Mapping
from typing import Final

from poolcli.errors import PoolError
from poolcli.formats.extras import library
from poolcli.picture import Pair

SizeOf = Callable[[bytes], Pair]

LERC: Final = 34887
LERC_NAME: Final = b"Lerc2 "
ZSTANDARD: Final = b"\x28\xb5\x2f\xfd"
"""The first bytes of a LERC2 blob, and of a Zstandard frame (RFC 8878)."""


def unwrapped(octets: bytes, compression: int, most: int) -> bytes:
    """Return a segment of LERC without the deflate or Zstandard in which GDAL may wrap it.

    imagecodecs does the same, but without a limit.

    Args:
        octets: the segment; those of other compressions are returned as they are.
        compression: the number of its compression.
        most: the most bytes of the result.

    Raises:
        PoolError: it is wrapped in something else.
    """
    if compression != LERC or octets.startswith(LERC_NAME):
        return octets
    if octets.startswith(ZSTANDARD):
        return bytes(library("imagecodecs", "deep").zstd_decode(octets, out=most))
    try:
        return zlib.decompressobj().decompress(octets, most)
    except zlib.error:
        raise PoolError("a strip or tile has no valid header", "is the file damaged?") from None


def check_codestream(octets: bytes, compression: int, most: Pair) -> None:
    """Refuse a segment whose own header states more rows or columns than the segment has.

    Args:
        octets: the segment.
        compression: the number of its compression.
        most: (H, W) of the segment.

    Raises:
        PoolError: it is larger, or its size can't be found.
    """
    if compression not in SIZES:
        return
    try:
        height, width = SIZES[compression](octets)
    except (struct.error, ValueError, IndexError):
        raise PoolError("a strip or tile has no valid header", "is the file damaged?") from None
    if height > most[0] or width > most[1]:
        raise PoolError(
            f"a strip or tile of {most[0]}×{most[1]} holds a picture of {height}×{width}",
            "is the file damaged?",
        )


def _jpeg(octets: bytes) -> Pair:
    """Return the size that the frame header of a JPEG states (ITU-T T.81, B.2.2)."""
    at = 2
    while True:
        mark, code, length = struct.unpack_from(">BBH", octets, at)
        if mark != 0xFF:
            raise ValueError
        if 0xC0 <= code <= 0xCF and code not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack_from(">HH", octets, at + 5)
            return height, width
        at += 1 if code == 0xFF else 2 + length


def _png(octets: bytes) -> Pair:
    """Return the size in a PNG's IHDR."""
    width, height = struct.unpack_from(">II", octets, 16)
    return height, width


def _webp(octets: bytes) -> Pair:
    """Return the size in the first chunk of a WebP (RFC 9649)."""
    name = octets[12:16]
    if name == b"VP8X":
        width, height = (int.from_bytes(octets[at : at + 3], "little") + 1 for at in (24, 27))
    elif name == b"VP8L":
        (bits,) = struct.unpack_from("<I", octets, 21)
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    elif name == b"VP8 ":
        width, height = (one & 0x3FFF for one in struct.unpack_from("<HH", octets, 26))
    else:
        raise ValueError
    return height, width


def _jpeg_2000(octets: bytes) -> Pair:
    """Return the size of the reference grid in a JPEG 2000 codestream (ITU-T T.800, A.5.1)."""
    at = octets.index(b"\xff\x4f\xff\x51")
    right, bottom, left, top = struct.unpack_from(">4I", octets, at + 8)
    return bottom - top, right - left


def _jpeg_xr(octets: bytes) -> Pair:
    """Return the size in the image header of a JPEG XR (ITU-T T.832, 8.3)."""
    at = octets.index(b"WMPHOTO\0")
    is_short = octets[at + 10] >> 7
    width, height = struct.unpack_from(">HH" if is_short else ">II", octets, at + 12)
    return height + 1, width + 1


def _lerc(octets: bytes) -> Pair:
    """Return the size in a LERC2 blob; from version 3 on a checksum stands before it."""
    found = re.match(LERC_NAME + rb"(....)", octets, re.DOTALL)
    if not found:
        raise ValueError
    (version,) = struct.unpack("<i", found[1])
    height, width = struct.unpack_from("<ii", octets, 14 if version >= 3 else 10)
    return height, width


def _jpeg_xl(octets: bytes) -> Pair:
    """Return the size in the header of a JPEG XL."""
    from poolcli.formats.jxl import size_of

    return size_of(octets)


SIZES: Final[Mapping[int, SizeOf]] = {
    7: _jpeg,
    34933: _png,
    **dict.fromkeys((34927, 50001), _webp),
    **dict.fromkeys((33004, 33005, 34712), _jpeg_2000),
    **dict.fromkeys((22610, 34934), _jpeg_xr),
    **dict.fromkeys((50002, 52546), _jpeg_xl),
    LERC: _lerc,
}
"""The functions that find the size, by the number of the compression."""
