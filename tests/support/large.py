"""Large pictures that take little time to make and little room on a disk."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import imagecodecs
import numpy as np

from tests.pictures import chunk

TILE: Final = 256
STRIP_ROWS: Final = 16
FAR: Final = 5 << 30
"""An offset that needs more than 32 bits."""

Make = Callable[[Path, int, int], None]
"""Writes a grey picture of so many rows and columns."""


def sparse(path: Path, head: bytes, size: int) -> None:
    """Write a head and so many zeros, which take no room on most file systems."""
    with path.open("wb") as file:
        file.write(head)
        file.truncate(len(head) + size)


def npy(path: Path, height: int, width: int) -> None:
    with path.open("wb") as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": (height, width)}
        np.lib.format.write_array_header_1_0(file, header)
        file.truncate(file.tell() + height * width)


def pgm(path: Path, height: int, width: int) -> None:
    sparse(path, b"P5 %d %d 255\n" % (width, height), height * width)


def pam(path: Path, height: int, width: int) -> None:
    """Write a picture with alpha."""
    head = f"P7\nWIDTH {width}\nHEIGHT {height}\nDEPTH 4\nMAXVAL 255\nTUPLTYPE RGB_ALPHA\nENDHDR\n"
    sparse(path, head.encode(), height * width * 4)


def bmp(path: Path, height: int, width: int) -> None:
    """A grey palette of 256 entries precedes the rows, whose width must be a multiple of 4."""
    begin = 14 + 40 + 1024
    sizes = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 0, 0, 3780, 3780, 256, 0)
    head = b"BM" + struct.pack("<IHHI", begin + height * width, 0, 0, begin) + sizes
    greys = np.arange(256, dtype=np.uint8)[:, None] * np.array([1, 1, 1, 0], np.uint8)
    sparse(path, head + greys.tobytes(), height * width)


def png(path: Path, height: int, width: int, rows: int = 64) -> None:
    """The compressed bytes of some rows are repeated: no byte of theirs refers to earlier ones."""
    noisy = np.random.default_rng(0).integers(0, 4, width // 8, np.uint8)
    row = b"\0" + np.resize(noisy, width).tobytes()
    packer = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS)
    block = packer.compress(row * rows) + packer.flush(zlib.Z_FULL_FLUSH)
    checksum = 1
    for _ in range(height // rows):
        checksum = zlib.adler32(row * rows, checksum)
    end = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS).flush() + struct.pack(">I", checksum)
    header = struct.pack(">IIBBBBB", width, height // rows * rows, 8, 0, 0, 0, 0)
    with path.open("wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"\x78\x01"))
        for _ in range(height // rows):
            file.write(chunk(b"IDAT", block))
        file.write(chunk(b"IDAT", end) + chunk(b"IEND", b""))


def tiff(
    path: Path,
    height: int,
    width: int,
    *,
    is_tiled: bool = True,
    is_big: bool = False,
    packed: tuple[int, bytes] = (1, b""),
    channels: int = 1,
) -> None:
    """Write a TIFF whose segments are holes or, if they are compressed, one and the same.

    Args:
        path: the file.
        height: the rows.
        width: the columns.
        is_tiled: whether the segments are tiles.
        is_big: whether it is a BigTIFF, whose segments lie beyond 4 GB.
        packed: the number of the compression, and the bytes of a compressed tile or strip.
        channels: samples of a pixel.
    """
    down, across = (TILE, TILE) if is_tiled else (STRIP_ROWS, width)
    count = -(-height // down) * -(-width // across)
    compression, octets = packed
    size = len(octets) or down * across * channels
    pointer = "<u8" if is_big else "<u4"
    begin = FAR if is_big else 8
    offsets = begin + (np.zeros(count) if octets else np.arange(count) * size).astype(pointer)
    at = begin + (size if octets else count * size)
    offset_tag, count_tag = (324, 325) if is_tiled else (273, 279)
    values: dict[int, Any] = {
        256: width,
        257: height,
        258: [8] * channels,
        259: compression,
        262: 2 if channels == 3 else 1,
        277: channels,
        **({322: across, 323: down} if is_tiled else {278: down}),
        offset_tag: offsets.astype(pointer),
        count_tag: np.full(count, size, pointer),
    }
    with path.open("wb") as file:
        head = struct.pack("<2sHHHQ", b"II", 43, 8, 0, at) if is_big else b"II*\0"
        file.write(head if is_big else head + struct.pack("<I", at))
        file.seek(begin)
        file.write(octets)
        file.truncate(at)
        file.seek(at)
        file.write(_directory(values, at, is_big=is_big))


def _directory(values: dict[int, Any], at: int, *, is_big: bool) -> bytes:
    """Return a directory and its values, all of them whole numbers as wide as offsets."""
    code, entry_bytes, kind = ("Q", 20, 16) if is_big else ("I", 12, 4)
    width = struct.calcsize(code)
    table = struct.pack("<Q" if is_big else "<H", len(values))
    place, more = at + len(table) + entry_bytes * len(values) + width, b""
    for tag, value in sorted(values.items()):
        octets = np.atleast_1d(value).astype(f"<u{width}").tobytes()
        field = octets if len(octets) <= width else struct.pack(f"<{code}", place + len(more))
        more += b"" if field is octets else octets
        table += struct.pack(f"<HH{code}", tag, kind, len(octets) // width) + field
    return table + bytes(width) + more


def compressed_tile(compression: str, channels: int = 1) -> tuple[int, bytes]:
    """Return the number of a compression, and the bytes of a tile of noise on a slope."""
    noise = np.random.default_rng(0).integers(0, 16, (TILE, TILE, channels), np.uint8)
    slope = np.indices((TILE, TILE)).sum(axis=0)[..., None] // 4
    array = (noise + slope).astype(np.uint8)
    array = array if channels > 1 else array[..., 0]
    number, encode = {
        "deflate": (8, imagecodecs.zlib_encode),
        "LZW": (5, imagecodecs.lzw_encode),
        "Zstandard": (50000, imagecodecs.zstd_encode),
        "JPEG": (7, imagecodecs.jpeg8_encode),
    }[compression]
    return number, bytes(encode(array if compression == "JPEG" else array.tobytes()))
