"""Read and write the headers of a BMP: those of Windows, versions 1 to 5, and of OS/2.

See BITMAPINFOHEADER, BITMAPV5HEADER and BITMAPCOREHEADER of the Windows API, and BITMAPINFOHEADER2
of OS/2, which may be cut off after any field.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import BinaryIO, Final, NamedTuple

from poolcli.errors import PoolError
from poolcli.picture import Pair

FILE_HEAD, CORE_HEAD, INFO_HEAD, V4_HEAD, V5_HEAD = 14, 12, 40, 108, 124
"""Bytes of the file header, and of bitmap headers that follow it."""

WINDOWS_HEADS: Final = (INFO_HEAD, 52, 56, V4_HEAD, V5_HEAD)
UNCOMPRESSED, RLE8, RLE4, MASKS, ALPHA_MASKS = 0, 1, 2, 3, 6
COMPRESSIONS: Final = {4: "JPEG", 5: "PNG", 11: "CMYK", 12: "CMYK RLE", 13: "CMYK RLE"}
OS_2_COMPRESSIONS: Final = {3: "Huffman 1D", 4: "RLE of 24 bits"}
"""The names of compressions that can't be read."""

RLE_BITS: Final = {RLE8: 8, RLE4: 4}
DEPTHS: Final = (1, 2, 4, 8, 16, 24, 32)
USUAL_MASKS: Final = {16: (0x7C00, 0x3E0, 0x1F, 0), 32: (0xFF0000, 0xFF00, 0xFF, 0)}
RGBA_MASKS: Final = (0xFF0000, 0xFF00, 0xFF, 0xFF000000)
LARGEST_FILE: Final = (1 << 32) - 1

EMBEDDED, LINKED, SRGB = b"DEBM", b"KNIL", b"BGRs"
"""The kinds of colour spaces in a header, as they stand in the file."""

CALIBRATED: Final = bytes(4)
INTENT: Final = 4
"""The rendering intent that is written, LCS_GM_IMAGES: perceptual."""


class Header(NamedTuple):
    """The header of a BMP.

    Attributes:
        size: (H, W).
        is_top_down: whether the first row of the file is the top row.
        bits: the bits of a pixel.
        compression: how the pixels are stored.
        masks: the bits of red, green, blue and alpha in a pixel of 16 or 32 bits.
        palette: blue, green and red of each entry, and a filler in all but the oldest files.
        entry_bytes: the bytes of an entry.
        density: pixels per metre: (across, down).
        profile: the colour profile, or None.
        lost: what it says of the colours that is not kept, in words.
        offset: the position of the pixels.
        end: the position after everything that the header names.
    """

    size: Pair
    is_top_down: bool
    bits: int
    compression: int
    masks: tuple[int, ...]
    palette: bytes
    entry_bytes: int
    density: Pair
    profile: bytes | None
    lost: tuple[str, ...]
    offset: int
    end: int

    @property
    def stride(self) -> int:
        """The bytes of a row of uncompressed pixels."""
        return row_bytes(self.size[1], self.bits)

    @property
    def filler(self) -> int:
        """The bytes at the end of such a row that hold no pixels; some files end before them."""
        return self.stride - (self.size[1] * self.bits + 7) // 8


def row_bytes(width: int, bits: int) -> int:
    """Return the bytes of a row, which is filled up to four."""
    return (width * bits + 31) // 32 * 4


def read_header(stream: BinaryIO) -> Header:
    """Read the headers and the palette.

    Raises:
        PoolError: they are damaged, or state pixels that can't be read.
    """
    start = stream.seek(0)
    head = _exactly(stream, FILE_HEAD + 4)
    file_bytes, offset, length = struct.unpack_from("<2xI4xII", head)
    is_core = length == CORE_HEAD
    if not is_core and not 16 <= length <= 64 and length not in WINDOWS_HEADS:
        raise PoolError(f"its header has {length} bytes, as in no BMP", "is the file damaged?")
    fields = _exactly(stream, length - 4)
    if is_core:
        width, height, _, bits = struct.unpack("<HHHH", fields)
        compression = packed_bytes = across = down = used = 0
    else:
        # A header of OS/2 may end after the bits of a pixel: the fields that are missing are 0.
        width, height, _, bits, compression, packed_bytes, across, down, used = struct.unpack_from(
            "<iiHHIIiiI", fields.ljust(INFO_HEAD, b"\0")
        )
    is_os_2 = not is_core and length not in WINDOWS_HEADS
    _check(width, height, bits, compression, is_os_2=is_os_2)
    masks = _masks(stream, fields, bits, compression)
    entry_bytes = 3 if is_core else 4
    # Entries that no index reaches are left out.
    at, count = stream.tell(), min(used or 1 << bits, 1 << bits) if bits <= 8 else 0
    if offset <= at:  # some programs leave the palette out of the offset, or state none
        offset = at + count * entry_bytes
    # The palette may be shorter than it should be: the pixels begin at their offset.
    palette = stream.read(min(count * entry_bytes, offset - at))
    stored = packed_bytes if compression in RLE_BITS else abs(height) * row_bytes(width, bits)
    profile, lost, end = _colours(stream, fields, max(offset + stored, start))
    if compression in RLE_BITS and not packed_bytes:
        end = max(end, file_bytes)
    return Header(
        size=(abs(height), width),
        is_top_down=height < 0,
        bits=bits,
        compression=compression,
        masks=masks,
        palette=palette,
        entry_bytes=entry_bytes,
        density=(across, down),
        profile=profile,
        lost=lost,
        offset=offset,
        end=end,
    )


def written_header(
    size: Pair,
    bits: int,
    palette: Sequence[tuple[int, int, int]],
    density: Pair,
    profile: bytes | None,
) -> bytes:
    """Return the headers and the palette of a BMP, up to the first pixel.

    Args:
        size: (H, W).
        bits: the bits of a pixel: 1, 4 or 8 with a palette, 24, or 32 with alpha.
        palette: red, green and blue of each entry.
        density: pixels per metre: (across, down).
        profile: the colour profile, which follows the pixels; or None.

    Raises:
        PoolError: the file would be too large.
    """
    height, width = size
    has_alpha = bits == 32
    length = V5_HEAD if profile else V4_HEAD if has_alpha else INFO_HEAD
    entries = b"".join(bytes((*reversed(colour), 0)) for colour in palette)
    offset, pixels = FILE_HEAD + length + len(entries), height * row_bytes(width, bits)
    total = offset + pixels + len(profile or b"")
    if total > LARGEST_FILE:
        raise PoolError(f"BMP holds at most {LARGEST_FILE} bytes, the result {total}", "write .png")
    compression, masks = (MASKS, RGBA_MASKS) if has_alpha else (UNCOMPRESSED, (0,) * 4)
    fields = (width, height, 1, bits, compression, pixels, *density, len(palette), 0, *masks)
    space = struct.pack("<4s48x", EMBEDDED if profile else SRGB)
    place = struct.pack("<IIII", INTENT, length + len(entries) + pixels, len(profile or b""), 0)
    head = struct.pack("<IiiHHIIiiII4I", length, *fields) + space + place
    return struct.pack("<2sIHHI", b"BM", total, 0, 0, offset) + head[:length] + entries


def _check(width: int, height: int, bits: int, compression: int, *, is_os_2: bool) -> None:
    """Refuse pixels that can't be read.

    Raises:
        PoolError: the size, the depth or the compression is unknown.
    """
    if width < 1 or not height:
        raise PoolError(f"it has {abs(height)}×{width} pixels", "is the file damaged?")
    known = (UNCOMPRESSED, RLE8, RLE4) if is_os_2 else (*range(4), ALPHA_MASKS)
    if compression not in known:
        names = OS_2_COMPRESSIONS if is_os_2 else COMPRESSIONS
        name = names.get(compression, f"number {compression}")
        raise PoolError(f"its compression, {name}, can't be read", "convert it first to PNG")
    allowed = {MASKS: (16, 32), ALPHA_MASKS: (16, 32), RLE8: (8,), RLE4: (4,)}
    if bits not in allowed.get(compression, DEPTHS):
        raise PoolError(f"BMP has no such pixels of {bits} bits", "is the file damaged?")


def _masks(stream: BinaryIO, fields: bytes, bits: int, compression: int) -> tuple[int, ...]:
    """Return the masks of red, green, blue and alpha; they follow the older headers.

    Raises:
        PoolError: the bits of a mask are not adjacent.
    """
    if compression not in (MASKS, ALPHA_MASKS):
        return USUAL_MASKS.get(bits, (0,) * 4)
    octets = fields[INFO_HEAD - 4 : INFO_HEAD + 12]
    if not octets:
        octets = _exactly(stream, 16 if compression == ALPHA_MASKS else 12)
    masks: tuple[int, ...] = struct.unpack("<4I", octets.ljust(16, b"\0"))
    masks = tuple(mask & (1 << bits) - 1 for mask in masks)
    for mask in masks:
        lowest = mask & -mask
        if (mask + lowest) & mask:
            raise PoolError(f"the bits of its mask {mask:#x} are not adjacent", "convert it first")
    return masks


def _colours(
    stream: BinaryIO, fields: bytes, end: int
) -> tuple[bytes | None, tuple[str, ...], int]:
    """Return the profile, what is lost of the colour space, and the position after all."""
    if len(fields) < V4_HEAD - 4:
        return None, (), end
    space, calibration = fields[52:56], fields[56:104]
    if space == EMBEDDED and len(fields) == V5_HEAD - 4:
        place, length = struct.unpack_from("<II", fields, 108)
        stream.seek(FILE_HEAD + place)
        profile = stream.read(length)
        if length and len(profile) == length:
            return profile, (), max(end, FILE_HEAD + place + length)
        return None, ("colour profile, which is cut off",), end
    if space == LINKED:
        return None, ("name of a colour profile",), end
    is_calibrated = space == CALIBRATED and any(calibration)
    return None, ("calibration of its colours",) if is_calibrated else (), end


def _exactly(stream: BinaryIO, count: int) -> bytes:
    """Return exactly ``count`` bytes.

    Raises:
        PoolError: the file ends before.
    """
    octets = stream.read(count)
    if len(octets) < count:
        raise PoolError("it ends within its header", "is the file complete?")
    return octets
