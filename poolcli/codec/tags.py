"""Tags added to TIFFs that are written already (TIFF 6.0, section 2).

What writes the pixels, libtiff or tifffile, takes no EXIF and not every type of tag.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import Final

from PIL import ExifTags, Image

SIZES: Final = dict(enumerate((1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4), 1))
"""Bytes of a value of each type."""

BRANCHES: Final = {
    0: (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo),
    ExifTags.IFD.Exif: (ExifTags.IFD.Interop,),
}
"""The tags that point to a directory, by the directory they stand in; elsewhere they are values."""

EXIF_PREFIX: Final = b"Exif\0\0"
ENTRY_BYTES: Final = 12


def add(file: bytearray, pages: Sequence[Image.Exif]) -> None:
    """Add tags to the directory of each page, in place, instead of those of the same number.

    Args:
        file: a whole TIFF with offsets of 32 bits.
        pages: what to add to each page.
    """
    order = "<" if file.startswith(b"II") else ">"
    pointer = 4
    for tags in pages:
        (begin,) = struct.unpack_from(f"{order}I", file, pointer)
        (count,) = struct.unpack_from(f"{order}H", file, begin)
        end = begin + 2 + ENTRY_BYTES * count
        if len(tags):
            entries = {
                bytes(file[at : at + 2]): bytes(file[at : at + ENTRY_BYTES])
                for at in range(begin + 2, end, ENTRY_BYTES)
            }
            following = bytes(file[end : end + 4])
            entries |= _appended(file, tags, order)
            begin = _even(file)
            struct.pack_into(f"{order}I", file, pointer, begin)
            ordered = sorted(entries, key=lambda tag: struct.unpack(f"{order}H", tag))
            file += struct.pack(f"{order}H", len(entries))
            file += b"".join(entries[tag] for tag in ordered)
            end = len(file)
            file += following
        pointer = end


def _appended(file: bytearray, tags: Image.Exif, order: str) -> dict[bytes, bytes]:
    """Append the values of tags to a file; the entries that point to them, by their numbers."""
    tags.endian = order
    block = bytearray(tags.tobytes().removeprefix(EXIF_PREFIX))
    base = _even(file)
    (root,) = struct.unpack_from(f"{order}I", block, 4)
    places = list(_moved(block, order, root, base))
    file += block
    return {bytes(block[at : at + 2]): bytes(block[at : at + ENTRY_BYTES]) for at in places}


def _moved(block: bytearray, order: str, begin: int, base: int, branch: int = 0) -> Iterator[int]:
    """Let the offsets in a directory and its branches count from elsewhere; its entries' places."""
    (count,) = struct.unpack_from(f"{order}H", block, begin)
    for at in range(begin + 2, begin + 2 + ENTRY_BYTES * count, ENTRY_BYTES):
        tag, kind, number, value = struct.unpack_from(f"{order}HHII", block, at)
        is_branch = tag in BRANCHES.get(branch, ())
        if is_branch:
            for _ in _moved(block, order, value, base, tag):
                pass
        if is_branch or SIZES[kind] * number > 4:
            struct.pack_into(f"{order}I", block, at + 8, base + value)
        yield at


def _even(file: bytearray) -> int:
    """The length of a file, once it is even: directories begin on words."""
    file += bytes(len(file) % 2)
    return len(file)
