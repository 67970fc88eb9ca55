"""Bits per sample as the file's own header says, against what Pillow's mode can hold.

Pillow opens 16-bit colour as 8-bit, rescales grey of other depths, drops extra samples and turns
the sign of some, all without a word.
"""

from __future__ import annotations

from typing import BinaryIO, Final

from PIL import Image

from poolcli.codec import chunks
from poolcli.errors import PoolError

BITS_PER_SAMPLE: Final = 258
COMPRESSION: Final = 259
PHOTOMETRIC: Final = 262
SAMPLES_PER_PIXEL: Final = 277
TILE_WIDTH, TILE_LENGTH = 322, 323
EXTRA_SAMPLES: Final = 338
SAMPLE_FORMAT: Final = 339
UNSIGNED, SIGNED, FLOATING = 1, 2, 3
WHITE_IS_0, ASSOCIATED_ALPHA = 0, 1
HOLDS: Final = {
    ("1", 1, UNSIGNED),
    ("P", 1, UNSIGNED),
    ("P", 2, UNSIGNED),
    ("P", 4, UNSIGNED),
    ("P", 8, UNSIGNED),
    ("PA", 8, UNSIGNED),
    ("L", 2, UNSIGNED),
    ("L", 4, UNSIGNED),
    ("L", 8, UNSIGNED),
    ("LA", 8, UNSIGNED),
    ("RGB", 8, UNSIGNED),
    ("RGBA", 8, UNSIGNED),
    ("CMYK", 8, UNSIGNED),
    ("YCbCr", 8, UNSIGNED),
    ("LAB", 8, UNSIGNED),
    ("I;16", 16, UNSIGNED),
    ("I;16B", 16, UNSIGNED),
    ("I", 32, SIGNED),
    ("F", 32, FLOATING),
}
"""(Pillow's mode, bits, sample format) in which the mode holds every bit of the file."""

SWAPPED: Final = ("I", "F")
"""The modes whose compressed samples Pillow swaps once too often in a big-endian TIFF."""

INVERTED: Final = ("1", "L")
"""The modes that Pillow turns to black at 0 where a TIFF has white there."""


def png_is_deep(image: Image.Image, stream: BinaryIO) -> bool:
    """Whether a PNG has 16 bits in more channels than Pillow's one; IHDR, bytes 24 and 25."""
    stream.seek(24)
    depth, colour_type = stream.read(2)
    return depth == 16 and (colour_type != 0 or "transparency" in image.info)


def tiff_is_deep(image: Image.Image) -> bool:
    """Whether Pillow's mode would lose or change something of a TIFF's samples."""
    tags = image.tag_v2  # type: ignore[attr-defined]  # only TiffImageFile has it
    bits = set(tags.get(BITS_PER_SAMPLE, (1,)))
    kinds = set(tags.get(SAMPLE_FORMAT, (UNSIGNED,)))
    held = len(bits) == 1 and len(kinds) == 1 and (image.mode, *bits, *kinds) in HOLDS
    return (
        not held
        or tags.get(SAMPLES_PER_PIXEL, 1) != len(image.getbands())
        or (image.mode in SWAPPED and tags.prefix == b"MM" and tags.get(COMPRESSION, 1) != 1)
        or ASSOCIATED_ALPHA in tags.get(EXTRA_SAMPLES, ())
        or (tags.get(PHOTOMETRIC) == WHITE_IS_0 and image.mode not in INVERTED)
    )


def tiff_tile(image: Image.Image) -> tuple[object, object, int]:
    """Height, width and channels of a TIFF's tiles, which are decoded whole; 0 for strips."""
    tags = image.tag_v2  # type: ignore[attr-defined]  # only TiffImageFile has it
    return tags.get(TILE_LENGTH, 0), tags.get(TILE_WIDTH, 0), len(image.getbands())


def avif_is_rounded(stream: BinaryIO, allow_depth_loss: bool) -> bool:
    """Whether an AVIF has 10 or 12 bits, which Pillow rounds to 8.

    The third byte of each av1C box says so (AV1 in ISO media, 2.3.3).

    Raises:
        PoolError: it has, and its depth may not be lost.
    """
    boxes = list(chunks.find_boxes(stream, b"av1C"))
    deep = [box[2] for box in boxes if len(box) > 2 and box[2] & 0x40]
    if boxes and not deep:
        return False
    if allow_depth_loss:
        return True
    depth = f"{12 if deep[0] & 0x20 else 10}-bit AVIF" if deep else "AVIF of untold depth"
    raise PoolError(f"{depth} can only be read as 8 bits", "give --allow-depth-loss")
