"""Read and write BMP with Pillow.

Depth and alpha are parsed from the header here, because Pillow does not tell all of them.
"""

from __future__ import annotations

from functools import partial
from typing import BinaryIO, Final

from PIL.BmpImagePlugin import BmpImageFile

from poolcli.errors import PoolError
from poolcli.formats import Format
from poolcli.formats.carried import no_place
from poolcli.formats.contract import Limits, WholeFrameWriter
from poolcli.formats.exif import checked_resolution
from poolcli.formats.pillow import PillowReader, info_of, open_image, save_image, to_image
from poolcli.formats.saving import Saving
from poolcli.picture import Encoding, Metadata, Picture, Resolution, Stored

FILE_HEAD, CORE_HEAD, ALPHA_HEAD = 14, 12, 56
"""Bytes of the file header, of the oldest bitmap header, and of the first with an alpha mask."""

BIT_FIELDS: Final = 3
DEPTHS: Final = {"BGR;15": 5, "BGR;16": 6}
"""The most bits of a channel in 16-bit pixels, by Pillow's raw mode."""


def read(stream: BinaryIO, limits: Limits) -> PillowReader:
    """Open a BMP."""
    image = open_image(BmpImageFile, stream)
    limits.check(image.height, image.width)
    info = info_of(image, _stored(stream, image), Encoding("bmp"))
    metadata = Metadata(resolution=checked_resolution(*image.info.get("dpi", (0, 0))))
    return PillowReader(info, metadata, image, partial(open_image, BmpImageFile, stream))


def write(file: BinaryIO, row: Format, saving: Saving, _frames: int | None) -> BmpWriter:
    """Return the writer of a BMP."""
    return BmpWriter(file, row, saving)


class BmpWriter(WholeFrameWriter):
    """The writer of a BMP."""

    def write_frame(self, picture: Picture) -> None:
        """Encode the picture with its resolution."""
        mode = picture.info.mode
        resolution: Resolution | None
        resolution = self.held(picture.info, picture.metadata).get("resolution")
        options = {}
        if resolution is not None and resolution.unit:
            inch = resolution.per_inch()
            options["dpi"] = inch.across, inch.down
        elif resolution is not None:
            self.note(no_place(self.row, "ratio of its resolutions"))
        save_image(self.file, to_image(picture, self.row.modes[mode]), "BMP", **options)


def _stored(stream: BinaryIO, image: BmpImageFile) -> Stored:
    """Return the samples as the header states them.

    Raises:
        PoolError: Pillow would read them wrongly.
    """
    stream.seek(FILE_HEAD)
    head = stream.read(ALPHA_HEAD)
    head_bytes = int.from_bytes(head[:4], "little")
    pixel_bits = head[10 if head_bytes == CORE_HEAD else 14]
    decoder, _, _, arguments = image.tile[0]
    packing = arguments[0] if arguments else ""
    if image.mode == "L" and decoder == "raw" and pixel_bits < 8:
        # Pillow would read all the pixels that share a byte as one pixel.
        raise PoolError(
            f"its palette of {1 << pixel_bits} greys can't be read", "convert it first to PNG"
        )
    bits = 1 if image.mode == "1" and pixel_bits == 1 else DEPTHS.get(packing, 8)
    channels = len(image.getbands())
    if image.info["compression"] == BIT_FIELDS and head_bytes >= ALPHA_HEAD and any(head[52:]):
        channels = 4  # Pillow ignores alpha of 1 bit, which `check_depth` refuses then
    return Stored("unsigned", bits, (1 << bits) - 1, channels)
