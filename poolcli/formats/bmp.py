"""BMP through Pillow; bits and channels are read from the header itself."""

from __future__ import annotations

import struct
from functools import partial
from typing import BinaryIO, Final, NamedTuple

from PIL.BmpImagePlugin import BmpImageFile

from poolcli.errors import PoolError
from poolcli.formats import Format
from poolcli.formats.carried import carried
from poolcli.formats.contract import Limits, WholeFrameWriter
from poolcli.formats.exif import checked_dpi
from poolcli.formats.pillow import PillowReader, info_of, open_image, save_image, to_image
from poolcli.formats.saving import Saving
from poolcli.picture import Encoding, Metadata, Picture, Stored

FILE_HEAD, CORE_HEAD = 14, 12
"""Bytes of the file header, and of the oldest of the bitmap headers that may follow."""

ALPHA_HEAD: Final = 56
"""Bytes of the bitmap header from which on there is a mask for alpha."""

MASKS_AT: Final = 54
UNCOMPRESSED, BIT_FIELDS = 0, 3
USUAL_MASKS: Final = {16: (0x7C00, 0x3E0, 0x1F)}
BLACK_AND_WHITE: Final = (b"\0\0\0", b"\xff\xff\xff")


class _Header(NamedTuple):
    """What the headers say.

    Attributes:
        head_bytes: bytes of the bitmap header.
        bits: bits of a pixel.
        compression: how the rows are packed.
        colours: entries of the palette; 0 for as many as the bits can count.
    """

    head_bytes: int
    bits: int
    compression: int = UNCOMPRESSED
    colours: int = 0


def read(stream: BinaryIO, limits: Limits) -> PillowReader:
    """Open a BMP."""
    image = open_image(BmpImageFile, stream)
    limits.check(image.height, image.width)
    header = _read_header(stream)
    if image.mode == "L" and header.bits == 4 and header.compression == UNCOMPRESSED:
        # Pillow would take the two pixels of each byte for one.
        raise PoolError("its palette of 16 greys can't be read", "convert it first to PNG")
    info = info_of(image, _stored(stream, header), Encoding("bmp"))
    dpi = checked_dpi(*image.info["dpi"]) if "dpi" in image.info else None
    return PillowReader(info, Metadata(dpi=dpi), image, partial(open_image, BmpImageFile, stream))


def write(file: BinaryIO, row: Format, saving: Saving, _frames: int | None) -> BmpWriter:
    """Begin to write a BMP."""
    return BmpWriter(file, row, saving)


class BmpWriter(WholeFrameWriter):
    """A BMP that is written."""

    def write_frame(self, picture: Picture) -> None:
        """Encode the picture."""
        mode = picture.info.mode
        held, notes = carried(picture.metadata, self.row, mode, strip=self.saving.strip)
        self.note(*notes)
        save_image(self.file, to_image(picture, self.row.modes[mode]), "BMP", **held)


def _read_header(stream: BinaryIO) -> _Header:
    """Read the headers; those of OS/2 and Windows have most fields at the same place."""
    stream.seek(FILE_HEAD)
    head = stream.read(40)
    (head_bytes,) = struct.unpack_from("<I", head)
    if head_bytes == CORE_HEAD:
        return _Header(head_bytes, *struct.unpack_from("<H", head, 10))
    return _Header(head_bytes, *struct.unpack_from("<HI12xI", head, 14))


def _stored(stream: BinaryIO, header: _Header) -> Stored:
    """Return the samples as the headers state them."""
    if header.bits <= 8:
        bits = 1 if header.bits == 1 and _is_bilevel(stream, header) else 8
        return Stored("unsigned", bits, (1 << bits) - 1, 1)
    masks = USUAL_MASKS.get(header.bits, (0xFF0000, 0xFF00, 0xFF))
    if header.compression == BIT_FIELDS:
        count = 4 if header.head_bytes >= ALPHA_HEAD else 3
        stream.seek(MASKS_AT)
        masks = struct.unpack(f"<{count}I", stream.read(4 * count))
    depths = [mask.bit_count() for mask in masks if mask]
    bits = max(depths, default=8)
    return Stored("unsigned", bits, (1 << bits) - 1, max(len(depths), 3))


def _is_bilevel(stream: BinaryIO, header: _Header) -> bool:
    """Return whether the palette of two colours is black and white, in this order."""
    stream.seek(FILE_HEAD + header.head_bytes)
    entry_bytes = 3 if header.head_bytes == CORE_HEAD else 4
    entries = [stream.read(entry_bytes)[:3] for _ in range(min(header.colours or 2, 2))]
    return entries == [*BLACK_AND_WHITE[: len(entries)]]
