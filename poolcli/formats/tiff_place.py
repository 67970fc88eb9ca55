"""Rewrite what a TIFF says of the place and scale of its pixels, so that it stays true.

Three programs store it: GIS in the tags of OGC GeoTIFF 1.1, ImageJ in lines of the description,
and OME in XML there. Each output pixel is `Placement.scale` input pixels long, and the first one
begins `Placement.origin` input pixels after the first input pixel.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from poolcli.formats.tiff_ome import rewritten
from poolcli.formats.tiff_tags import ASCII, DOUBLE, SHORT, Directory, Tags, Value
from poolcli.picture import FrameInfo, Placement

Say = Callable[[str], None]
"""Takes a note or a warning."""

DESCRIPTION: Final = 270
GEO, GDAL, IMAGEJ, OME, OVERLAYS = (
    "geo tags",
    "GDAL metadata",
    "ImageJ description",
    "OME-XML",
    "ImageJ overlays",
)
"""The parts of `poolcli.picture.Metadata.place`, as messages call them."""

DESCRIPTIONS: Final = {IMAGEJ, OME}
"""The parts that are stored as the description of the first page."""

PIXEL_SCALE, TIE_POINTS, TRANSFORMATION, GEO_KEYS = 33550, 33922, 34264, 34735
POLYNOMIALS: Final = 50844
"""Rational polynomials of satellites: offsets down and across at 2 and 3, scales at 7 and 8."""

GEO_TAGS: Final = (
    *(PIXEL_SCALE, TIE_POINTS, TRANSFORMATION, GEO_KEYS, 34736, 34737),
    POLYNOMIALS,
)
NUMBERS_OF: Final = {
    PIXEL_SCALE: (3,),
    TRANSFORMATION: (16,),
    TIE_POINTS: range(6, 1 << 20, 6),
    POLYNOMIALS: (92,),
}
"""The most numbers of a tag."""

RASTER_TYPE, IS_POINT = 1025, 2
"""The key that tells whether coordinates are those of a pixel's corner or of its centre."""

GDAL_METADATA, OVERLAY_TAGS = 42112, (50838, 50839)
STATISTICS: Final = re.compile(rb'<Item name="STATISTICS_[^<>]*>[^<]*</Item>\s*')
GDAL_ITEM: Final = re.compile(rb"<Item\b")

IMAGEJ_START: Final = b"ImageJ="
OME_START: Final = re.compile(
    # Each comment ends at its first end, so that a long row of comments is matched in one way.
    rb"\s*(?:<\?xml[^<>]*>\s*)?(?:<!--(?:[^-]|-(?!->))*+-->\s*+)*+<(?:\w+:)?OME\b"
)
COUNTS: Final = ("images", "channels", "slices", "frames", "hyperstack")
MOST_DIGITS: Final = 9


def place_of(page: Directory, warn: Say) -> dict[str, Any]:
    """Return what a page says of the place of its pixels, by the names of messages."""
    found: dict[str, Any] = {}
    try:
        found = {
            GEO: page.tags("<", GEO_TAGS),
            GDAL: STATISTICS.sub(b"", page.octets(GDAL_METADATA)),
            OVERLAYS: bool(page.entries.keys() & {*OVERLAY_TAGS}),
        }
        name, description = description_in(page)
        found[name] = description
    except ValueError:
        warn("its tags of place are damaged, and were dropped")
    if not GDAL_ITEM.search(found.get(GDAL, b"")):
        found.pop(GDAL, None)
    if found.get(GEO) and not _is_geo(found[GEO]):
        found.pop(GEO)
        warn("its geo tags are damaged, and were dropped")
    return {name: value for name, value in found.items() if value}


def description_in(page: Directory) -> tuple[str, bytes]:
    """Return which of `DESCRIPTIONS` a page has, and its text; both are empty if it has none.

    Raises:
        ValueError: the description is damaged.
    """
    description = page.octets(DESCRIPTION)
    if description.startswith(IMAGEJ_START):
        return IMAGEJ, description
    return (OME, description) if OME_START.match(description) else ("", b"")


def geo_tags(place: Mapping[str, Any], placement: Placement) -> Tags:
    """Return the tags of GIS for the pooled picture."""
    tags: Tags = dict(place.get(GEO, {}))
    if GDAL in place:
        tags[GDAL_METADATA] = Value(ASCII, place[GDAL])
    # The centre of an output pixel lies half a pixel of its own further on.
    shift = [
        start + (scale - 1) / 2 if _is_point(tags) else start
        for scale, start in zip(placement.scale, placement.origin, strict=True)
    ][::-1]
    scale = [*placement.scale][::-1]
    if TRANSFORMATION in tags:
        matrix = _numbers(tags[TRANSFORMATION]).reshape(4, 4)
        moved = np.diag([*scale, 1.0, 1.0])
        moved[:2, 3] = shift
        tags[TRANSFORMATION] = _doubles(matrix @ moved)
    if TIE_POINTS in tags:
        points = _numbers(tags[TIE_POINTS]).reshape(-1, 6)
        if PIXEL_SCALE in tags and len(points) == 1:
            # Programs expect the first pixel here, so it keeps its number and gets a new place.
            pixel = _numbers(tags[PIXEL_SCALE])[:2] * (1, -1)
            points[0, 3:5] += (points[0, :2] * scale + shift - points[0, :2]) * pixel
        else:
            points[:, :2] = (points[:, :2] - shift) / scale
        tags[TIE_POINTS] = _doubles(points)
    if PIXEL_SCALE in tags:
        tags[PIXEL_SCALE] = _doubles(_numbers(tags[PIXEL_SCALE]) * (*scale, 1))
    if POLYNOMIALS in tags:
        # They count from the centre of the first pixel, whatever the raster type is.
        numbers, steps = _numbers(tags[POLYNOMIALS]), np.array(placement.scale)
        numbers[2:4] = (numbers[2:4] - placement.origin - (steps - 1) / 2) / steps
        numbers[7:9] /= steps
        tags[POLYNOMIALS] = _doubles(numbers)
    return tags


def description_of(
    place: Mapping[str, Any], placement: Placement, pages: Sequence[FrameInfo], note: Say, warn: Say
) -> bytes:
    """Return the description of the pooled file; empty if there is none.

    Args:
        place: the place of the page with the description.
        placement: where the pooled pixels lie.
        pages: the pages of the pooled file.
        note: takes notes on what was dropped.
        warn: takes warnings.
    """
    if OVERLAYS in place:
        note(f"its {OVERLAYS} were dropped")
    if IMAGEJ in place:
        return _imagej(place[IMAGEJ], placement, len(pages), warn)
    if OME in place:
        try:
            return rewritten(place[OME].rstrip(b"\0"), placement, pages, note) + b"\0"
        except ValueError as fault:
            warn(f"its {OME} was dropped: {fault}")
    return b""


def _imagej(description: bytes, placement: Placement, count: int, warn: Say) -> bytes:
    """Return the description of ImageJ with the counts and the spacing of the pooled file."""
    values = imagej_values(description)
    counts = imagej_counts(values)
    images, channels, frames = (counts.get(key, 1) for key in ("images", "channels", "frames"))
    # `run` tells which planes are left over at the end of a stack.
    expected = images // (channels * frames) // placement.planes * channels * frames
    if images > count != expected:
        warn(f"its {IMAGEJ} counts {images} images, of which {count} were written")
    if images != count:
        slices, rest = divmod(count, channels * frames)
        if rest or not slices:
            values = {key: one for key, one in values.items() if key not in COUNTS}
            slices = count
        values |= {"images": b"%d" % count, "slices": b"%d" % slices}
    _scale(values, "spacing", lambda value: value * placement.planes)
    (down, across), (top, left) = placement.scale, placement.origin
    _scale(values, "yorigin", lambda value: (value - top) / down)
    _scale(values, "xorigin", lambda value: (value - left) / across)
    rows = (key.encode("latin-1") + b"=" + value + b"\n" for key, value in values.items())
    return b"".join(rows) + b"\0"


def imagej_values(description: bytes) -> dict[str, bytes]:
    """Return the lines of ImageJ's description, by their keys."""
    lines = (line.partition(b"=") for line in description.rstrip(b"\0").splitlines())
    return {key.decode("latin-1"): value for key, _, value in lines}


def imagej_counts(values: Mapping[str, bytes]) -> dict[str, int]:
    """Return the counts among the lines of ImageJ's description; what is no number counts as 1."""
    return {key: _whole(values[key]) for key in COUNTS if key in values}


def _scale(values: dict[str, bytes], key: str, change: Callable[[float], float]) -> None:
    """Change a number of ImageJ's description, if it is there."""
    if key in values:
        try:
            values[key] = _text(change(float(values[key])))
        except ValueError:
            del values[key]


def _is_geo(tags: Tags) -> bool:
    """Return whether the tags of place have the numbers that they need."""
    return all(
        isinstance(value := tags[tag], Value)
        and value.kind == DOUBLE
        and len(value.octets) // 8 in counts
        for tag, counts in NUMBERS_OF.items()
        if tag in tags
    ) and bool(tags.keys() & {*NUMBERS_OF, GEO_KEYS})


def _is_point(tags: Tags) -> bool:
    """Return whether coordinates are those of the centres of pixels."""
    keys = tags.get(GEO_KEYS)
    if not isinstance(keys, Value) or keys.kind != SHORT:
        return False
    entries = struct.iter_unpack("<4H", keys.octets[: len(keys.octets) // 8 * 8])
    return any(key == RASTER_TYPE and value == IS_POINT for key, _, _, value in entries)


def _numbers(value: Any) -> NDArray[np.float64]:
    """Return the numbers of a tag, which may be changed."""
    return np.frombuffer(value.octets, "<f8").astype(np.float64)


def _doubles(numbers: NDArray[np.float64]) -> Value:
    """Return numbers as the value of a tag."""
    return Value(DOUBLE, numbers.astype("<f8").tobytes())


def _whole(text: bytes) -> int:
    """Return a count of ImageJ's description; 1 if it is none."""
    return max(1, int(text)) if text.isdigit() and len(text) <= MOST_DIGITS else 1


def _text(number: float) -> bytes:
    """Return a number in decimal digits."""
    return repr(number).removesuffix(".0").encode()
