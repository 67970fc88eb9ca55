"""Read HEIC with pillow-heif.

Depth and channels are parsed from the boxes here, because pillow-heif does not tell all of them.
"""

from __future__ import annotations

from functools import partial
from io import BytesIO
from typing import Any, BinaryIO

import numpy as np

from poolcli.errors import PoolError
from poolcli.formats.boxes import (
    PROPERTIES,
    SRGB_CURVES,
    SRGB_PRIMARIES,
    read_boxes,
    read_items,
    unwritten,
)
from poolcli.formats.boxes import end as end
from poolcli.formats.coded_size import check_coded, hevc_sizes
from poolcli.formats.contract import DecodedReader, FurtherReader, Limits
from poolcli.formats.exif import describe
from poolcli.formats.extras import library
from poolcli.picture import MODES, Encoding, FrameInfo, Stored

CHROMA, LUMA_DEPTH, CHROMA_DEPTH = 16, 17, 18
"""The positions in hvcC of the chroma format and the two depths (ISO/IEC 14496-15, 8.3.3.1)."""


def read(stream: BinaryIO, limits: Limits) -> FurtherReader:
    """Open a HEIC; its primary picture comes first, at any place in the file."""
    primary, items = read_items(stream)
    file = _file(stream)
    sides = [max(one.size[side] for one in file) for side in (1, 0)]
    check_coded(hevc_sizes(stream, items.values()), *sides)
    numbers = sorted(range(len(file)), key=lambda number: number != file.primary_index)
    every = [*read_boxes(stream, *PROPERTIES, b"hvcC")]
    # A grid has none of its own, but those of its tiles.
    properties = items[primary].properties if primary in items else []
    own = [box for name, box in properties if name == b"hvcC"]
    warnings = unwritten(items.values())
    first, *further = (
        partial(_read_one, stream, limits, number, every if place or not own else own, warnings)
        for place, number in enumerate(numbers)
    )
    return FurtherReader(first(), further)


def _read_one(
    stream: BinaryIO, limits: Limits, number: int, boxes: list[bytes], warnings: tuple[str, ...]
) -> DecodedReader:
    """Open one picture; pillow-heif applies the orientation.

    Args:
        stream: the file.
        limits: the limits on its size.
        number: the number of the picture.
        boxes: the boxes that may state its depth and channels.
        warnings: on the whole file.
    """
    image = _file(stream)[number]
    limits.check(image.size[1], image.size[0])
    info = _info(image, boxes)
    if info.unread_colour:
        warnings = (*warnings, f"{info.unread_colour}; it was taken for sRGB")
    described, _ = describe(image.info.get("exif"), image.info.get("xmp"), warnings)
    metadata = described._replace(
        icc_profile=image.info.get("icc_profile") or None,
        dropped=("auxiliary pictures",) if image.info.get("aux") else (),
    )
    return DecodedReader(info, lambda: np.asarray(_file(stream)[number]), lambda: metadata)


def _file(stream: BinaryIO) -> Any:
    """Open the file with samples as stored; it is a sequence of its pictures.

    A picture that follows is cut off: the decoder would take its boxes for those of the file.
    """
    heif = library("pillow_heif", "heif", "it is HEIC, which")
    behind = end(stream)
    stream.seek(0)
    file = stream if behind is None else BytesIO(stream.read(behind))
    return heif.open_heif(file, convert_hdr_to_8bit=False, hdr_to_16bit=False)


def _info(image: Any, boxes: list[bytes]) -> FrameInfo:
    """Return the `FrameInfo` of a picture.

    Raises:
        PoolError: alpha is premultiplied.
    """
    if image.premultiplied_alpha:
        raise PoolError("its colours are multiplied by alpha", "save it with straight alpha")
    base, _, bits = image.mode.partition(";")  # such as RGB, I;10 or RGBA;12
    mode = {"I": "L;M"}.get(base, f"{base};M") if bits else base
    channels, (width, height) = MODES[mode].channels, image.size
    return FrameInfo(
        (height, width, channels) if channels > 1 else (height, width),
        np.dtype(np.uint16 if bits else np.uint8),
        mode,
        (1 << int(bits or 8)) - 1,
        _stored(boxes, has_alpha=bool(MODES[mode].without_alpha)),
        encoding=Encoding("heic", lossy=True),
        unread_colour=_unread_colour(image),
    )


def _stored(boxes: list[bytes], *, has_alpha: bool) -> Stored:
    """Return depth and channels; the largest ones if several boxes state them.

    Raises:
        PoolError: no box states them.
    """
    found = [box for box in boxes if len(box) > CHROMA_DEPTH]
    if not found:
        raise PoolError("no box states its depth", "is the file complete?")
    bits = 8 + max(box[at] & 7 for box in found for at in (LUMA_DEPTH, CHROMA_DEPTH))
    colours = 3 if any(box[CHROMA] & 3 for box in found) else 1
    return Stored("unsigned", bits, (1 << bits) - 1, colours + has_alpha)


def _unread_colour(image: Any) -> str:
    """Return why the colour encoding can't be kept; empty if it is sRGB or has an ICC profile."""
    stated = image.info.get("nclx_profile")
    if image.info.get("icc_profile") or not stated:
        return ""
    is_srgb = stated["color_primaries"] in SRGB_PRIMARIES
    is_srgb &= stated["transfer_characteristics"] in SRGB_CURVES
    return "" if is_srgb else "its colour encoding is not that of sRGB"
