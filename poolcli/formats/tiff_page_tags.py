"""Make the tags of a TIFF's page that describe its samples and hold its metadata."""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from io import BytesIO
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from poolcli.formats import exif
from poolcli.formats.carried import EXIF_PREFIX
from poolcli.formats.tiff_layout import (
    BITS,
    BLACK_IS_0,
    CHANNELS,
    CIELAB,
    COLOR_MAP,
    EXTRA_SAMPLES,
    HEIGHT,
    PALETTE,
    PHOTOMETRIC,
    PLANAR,
    RGB,
    SAMPLE_FORMAT,
    SEPARATED,
    STRAIGHT_ALPHA,
    WIDTH,
    YCBCR,
)
from poolcli.formats.tiff_tags import (
    ASCII,
    BYTE,
    LONG,
    RATIONAL,
    SHORT,
    UNDEFINED,
    Directory,
    TagFile,
    Tags,
    Value,
)
from poolcli.picture import MODES, FrameInfo, Resolution

SUBSAMPLING, REFERENCE_BLACK_WHITE = 530, 532
DESCRIPTION, XMP, ICC_PROFILE = 270, 700, 34675

NEEDED: Final = {BLACK_IS_0: 1, RGB: 3, PALETTE: 1, SEPARATED: 4, YCBCR: 3, CIELAB: 3}
"""The number of channels that each photometric interpretation needs."""

PHOTOMETRICS: Final = {"CMYK": SEPARATED, "YCbCr": YCBCR, "LAB": CIELAB}
UNSPECIFIED: Final = 0
"""The meaning of extra samples of which nothing is known."""

KINDS: Final = {"i": 2, "f": 3}
"""The sample formats by the kind of a NumPy type; unsigned integers need no tag."""


def bits_of(info: FrameInfo) -> int:
    """Return the bits of a sample in the file; of an index, if the frame has a palette."""
    if info.palette is not None:
        return next(bits for bits in (1, 2, 4, 8, 16) if len(info.palette) <= 1 << bits)
    if info.dtype.kind in "bu":
        return info.maxval.bit_length()
    return 8 * info.dtype.itemsize


def layout_tags(info: FrameInfo, bits: int) -> Tags:
    """Return the tags that describe size, type and meaning of the samples."""
    height, width = info.shape[:2]
    count = channels_of(info)
    photometric, extra = _meaning(info, count)
    tags: Tags = {
        WIDTH: longs(width),
        HEIGHT: longs(height),
        BITS: shorts(*[bits] * count),
        PHOTOMETRIC: shorts(photometric),
        CHANNELS: shorts(count),
        PLANAR: shorts(1),
    }
    if extra:
        tags[EXTRA_SAMPLES] = shorts(*extra)
    if info.dtype.kind in KINDS:
        tags[SAMPLE_FORMAT] = shorts(*[KINDS[info.dtype.kind]] * count)
    if info.palette is not None:
        tags[COLOR_MAP] = _colour_map(info.palette, 1 << bits)
    if photometric == YCBCR:
        tags[SUBSAMPLING] = shorts(1, 1)
        numbers = (0, 1, 255, 1, 128, 1, 255, 1, 128, 1, 255, 1)
        tags[REFERENCE_BLACK_WHITE] = Value(RATIONAL, struct.pack("<12I", *numbers))
    return tags


def metadata_tags(held: Mapping[str, Any]) -> Tags:
    """Return metadata as tags.

    Args:
        held: the fields that TIFF can store, as `poolcli.formats.carried.carried` returns them.
    """
    tags: Tags = {}
    if "exif" in held:
        block = TagFile(BytesIO(held["exif"].removeprefix(EXIF_PREFIX)))
        tags = Directory(block, block.page_offsets()[0]).tags("<", exif.TIFF_TAGS)
    if "resolution" in held:
        tags |= _resolution_tags(held["resolution"])
    if "icc_profile" in held:
        tags[ICC_PROFILE] = Value(UNDEFINED, held["icc_profile"])
    if "xmp" in held:
        tags[XMP] = Value(BYTE, held["xmp"])
    if "comment" in held:
        tags.setdefault(DESCRIPTION, Value(ASCII, held["comment"] + b"\0"))
    return tags


def shorts(*numbers: int) -> Value:
    """Return 16-bit numbers as the value of a tag."""
    return Value(SHORT, struct.pack(f"<{len(numbers)}H", *numbers))


def longs(*numbers: int) -> Value:
    """Return 32-bit numbers as the value of a tag."""
    return Value(LONG, struct.pack(f"<{len(numbers)}I", *numbers))


def channels_of(info: FrameInfo) -> int:
    """Return the number of samples of a pixel in the file."""
    return 1 if info.palette is not None else math.prod(info.shape[2:])


def _meaning(info: FrameInfo, count: int) -> tuple[int, list[int]]:
    """Return the photometric interpretation and the meaning of the extra samples.

    Args:
        info: the frame.
        count: the number of channels.
    """
    mode = MODES[info.mode]
    if info.palette is not None:
        return PALETTE, []
    if mode.channels:
        colours = count - bool(mode.without_alpha)
        usual = BLACK_IS_0 if colours == 1 else RGB
        return PHOTOMETRICS.get(info.mode, usual), [STRAIGHT_ALPHA] * (count - colours)
    # The mode of arrays says nothing: a TIFF's own tags do.
    own = info.encoding.details if info.encoding.format == "tiff" else {}
    photometric = own.get("photometric", BLACK_IS_0)
    if NEEDED.get(photometric, count + 1) > count:
        photometric = BLACK_IS_0
    extra = [*own.get("extrasamples", ()), *[UNSPECIFIED] * count]
    return photometric, extra[: count - NEEDED[photometric]]


def _colour_map(palette: NDArray[Any], count: int) -> Value:
    """Return a palette as the value of ColorMap: 16-bit reds, greens and blues.

    Args:
        palette: (N,) or (N, 3), of 8 or 16 bits.
        count: the number of entries; missing ones are black.
    """
    entries = np.zeros((3, count), "<u2")
    factor = 257 if palette.dtype == np.uint8 else 1
    entries[:, : len(palette)] = palette.T.astype("<u2") * factor
    return Value(SHORT, entries.tobytes())


def _resolution_tags(resolution: Resolution) -> Tags:
    """Return the tags of the resolution."""
    values = (exif.rational(one).as_integer_ratio() for one in (resolution.across, resolution.down))
    across, down = (Value(RATIONAL, struct.pack("<2I", *one)) for one in values)
    unit = shorts(exif.UNIT_NUMBERS[resolution.unit])
    return dict(zip(exif.RESOLUTION, (across, down, unit), strict=True))
