"""Bits per sample as the file's own header says: what Pillow's mode would hide is refused here.

Pillow opens 16-bit colour as 8-bit, rescales grey of other depths and turns the sign of some
samples, all without a word.
"""

from __future__ import annotations

from typing import BinaryIO, Final

from PIL import Image

from poolcli.errors import PoolError

BITS_PER_SAMPLE: Final = 258
PHOTOMETRIC: Final = 262
SAMPLES_PER_PIXEL: Final = 277
SAMPLE_FORMAT: Final = 339
UNSIGNED, SIGNED, FLOATING = 1, 2, 3
SAMPLE_NAMES: Final = {UNSIGNED: "unsigned", SIGNED: "signed", FLOATING: "floating-point"}
HOLDS: Final = {
    ("1", 1, UNSIGNED),
    ("P", 1, UNSIGNED),
    ("P", 2, UNSIGNED),
    ("P", 4, UNSIGNED),
    ("P", 8, UNSIGNED),
    ("L", 2, UNSIGNED),
    ("L", 4, UNSIGNED),
    ("L", 8, UNSIGNED),
    ("LA", 8, UNSIGNED),
    ("RGB", 8, UNSIGNED),
    ("RGBA", 8, UNSIGNED),
    ("I;16", 16, UNSIGNED),
    ("I;16B", 16, UNSIGNED),
    ("I", 32, SIGNED),
    ("F", 32, FLOATING),
}
"""(Pillow's mode, bits, sample format) in which the mode holds every bit of the file."""


def check(image: Image.Image, stream: BinaryIO) -> None:
    """Refuse a picture whose samples Pillow's mode can't hold.

    Raises:
        PoolError: naming the samples, before any pixel is decoded.
    """
    if image.format == "PNG":
        _check_png(image, stream)
    elif image.format == "TIFF":
        _check_tiff(image)
    elif image.format == "PPM":
        _check_pnm(image)
    elif image.format == "AVIF":
        _check_avif(stream)


def _refuse(what: str) -> PoolError:
    """One wording for all."""
    return PoolError(
        f"{what}, which would lose depth",
        "convert it first to 8 bits a channel, or to 16-bit grey",
    )


def _check_png(image: Image.Image, stream: BinaryIO) -> None:
    """PNG: bit depth and colour type stand in IHDR, bytes 24 and 25."""
    stream.seek(24)
    depth, colour_type = stream.read(2)
    if depth == 16 and (colour_type != 0 or "transparency" in image.info):
        kind = {0: "grey with a transparent key", 2: "RGB", 4: "grey with alpha", 6: "RGBA"}
        raise _refuse(f"16-bit {kind.get(colour_type, 'colour')} PNG")


def _check_tiff(image: Image.Image) -> None:
    """TIFF: bits, sample format and number of samples stand in tags; all samples must agree."""
    tags = image.tag_v2  # type: ignore[attr-defined]  # only TiffImageFile has it
    bits = set(tags.get(BITS_PER_SAMPLE, (1,)))
    kinds = set(tags.get(SAMPLE_FORMAT, (UNSIGNED,)))
    samples = tags.get(SAMPLES_PER_PIXEL, 1)
    what = (
        f"TIFF of {samples} × {'/'.join(map(str, sorted(bits)))}-bit "
        f"{'/'.join(SAMPLE_NAMES.get(kind, 'untyped') for kind in sorted(kinds))} samples"
    )
    held = len(bits) == 1 and len(kinds) == 1 and (image.mode, *bits, *kinds) in HOLDS
    if not held or samples != len(image.getbands()):
        raise _refuse(what)


def _check_pnm(image: Image.Image) -> None:
    """PNM: Pillow rescales every maxval but 255, and 65535 of grey."""
    _, _, _, args = image.tile[0]  # type: ignore[attr-defined]  # only ImageFile has it
    maxval = args[-1] if isinstance(args, tuple) and isinstance(args[-1], int) else 0
    if image.mode != "F" and maxval not in (0, 255) and not (image.mode == "I" and maxval == 65535):
        raise _refuse(f"PNM with a maxval of {maxval}")


def _check_avif(stream: BinaryIO) -> None:
    """AVIF: the third byte of each av1C box says whether samples have 10 or 12 bits."""
    stream.seek(0)
    content = stream.read()
    at = content.find(b"av1C")
    if at < 0:
        raise _refuse("AVIF that doesn't say its depth")
    while at >= 0:
        flags = content[at + 6 : at + 7]
        if flags and flags[0] & 0x40:
            raise _refuse(f"{12 if flags[0] & 0x20 else 10}-bit AVIF")
        at = content.find(b"av1C", at + 4)
