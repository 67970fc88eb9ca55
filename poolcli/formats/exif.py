"""EXIF and XMP: checked, rid of what pooling makes false, and packed again."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from fractions import Fraction
from typing import Any, Final, NamedTuple

from PIL import ExifTags, Image

Tag = ExifTags.Base
DETAILS, PLACE = ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo
SIZES: Final = (Tag.Orientation, Tag.ImageWidth, Tag.ImageLength)
SIZES_IN_DETAILS: Final = (Tag.ExifImageWidth, Tag.ExifImageHeight)
RESOLUTION: Final = (Tag.XResolution, Tag.YResolution, Tag.ResolutionUnit)
UNITS_IN_AN_INCH: Final = {2: 1.0, 3: 2.54}
"""The units of resolution in TIFF and EXIF, inch and centimetre, and how many an inch has."""

PAGE_TAGS: Final = (254, 285, 297)
"""Tags of one page among others: its kind, name and number."""

EXIF_PREFIX: Final = b"Exif\0\0"
TYPE_BYTES: Final = dict(enumerate((1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4), 1))
"""Bytes of a value of each type (TIFF 6.0, section 2)."""

OFFSETS: Final = (4, 13)
"""The types of a value that may say where a directory begins: LONG and IFD."""

MOST_XMP_BYTES: Final = 1 << 24
XMP_KEYWORD: Final = b"XML:com.adobe.xmp"
XMP_PREFIX: Final = b"http://ns.adobe.com/xap/1.0/\0"
XMP_ORIENTATION: Final = re.compile(rb"""tiff:Orientation(?:\s*=\s*["']|\s*>)\s*([1-8])\b""")

_FALSE_NAMES: Final = (
    rb"(?:tiff:(?:Orientation|ImageWidth|ImageLength|XResolution|YResolution|ResolutionUnit)"
    rb"|exif:Pixel[XY]Dimension|xmpNote:HasExtendedXMP)"
)
FALSE_XMP: Final = re.compile(
    rb"""\s%b\s*=\s*(?:"[^"<]*"|'[^'<]*')|<(%b)\s*>[^<]*</\1\s*>""" % (_FALSE_NAMES, _FALSE_NAMES)
)


class Described(NamedTuple):
    """What EXIF and XMP say, as far as they can be read.

    Attributes:
        exif: EXIF without what pooling makes false, as `poolcli.picture.Metadata` holds it.
        xmp: likewise XMP.
        orientation: 1 (upright) to 8, by EXIF or else by XMP.
        dpi: pixels an inch along (height, width) by EXIF, or None.
        warnings: why something can't be read, in words.
    """

    exif: bytes | None = None
    xmp: bytes | None = None
    orientation: int = 1
    dpi: tuple[float, float] | None = None
    warnings: tuple[str, ...] = ()


def describe(block: bytes | None, xmp: bytes | None, warnings: Iterable[str] = ()) -> Described:
    """Read a block of EXIF and a packet of XMP; what is broken becomes a warning, never an error.

    Args:
        block: EXIF with or without its prefix, or None.
        xmp: XMP, or None.
        warnings: what is known to be wrong already.
    """
    if not block and not xmp:
        return Described(warnings=tuple(warnings))
    exif, damage = parse_exif(block or b"")
    xmp, complaint = checked_xmp(xmp)
    return described(exif, xmp, (*damage, *complaint, *warnings))


def described(exif: Image.Exif, xmp: bytes | None, warnings: tuple[str, ...]) -> Described:
    """Describe EXIF that is parsed already; the parts that pooling makes false leave it."""
    orientation, dpi = orientation_of(exif, xmp), dpi_of(exif)
    return Described(
        exif=cleaned_exif(exif),
        xmp=None if xmp is None else cleaned_xmp(xmp),
        orientation=orientation,
        dpi=dpi,
        warnings=warnings,
    )


def parse_exif(block: bytes) -> tuple[Image.Exif, tuple[str, ...]]:
    """Parse a block of EXIF; of one that is damaged only the orientation is kept."""
    exif = Image.Exif()
    if not block:
        return exif, ()
    block = block.removeprefix(EXIF_PREFIX)
    reason = _damage(block)
    try:
        exif.load(EXIF_PREFIX + block)
        exif.tobytes()
    except Exception as fault:  # noqa: BLE001  # EXIF from strangers raises almost anything
        reason = reason or str(fault) or type(fault).__name__
    if not reason:
        return exif, ()
    kept = Image.Exif()
    with suppress(Exception):
        if isinstance(value := exif.get(Tag.Orientation), int):
            kept[Tag.Orientation] = value
    return kept, (f"its EXIF is damaged ({reason.strip()})",)


def orientation_of(exif: Mapping[int, Any], xmp: bytes | None) -> int:
    """Return tag 274, else what XMP says: 1 upright, 2 to 8 turned or mirrored."""
    value = exif.get(Tag.Orientation)
    if value is None and xmp is not None and (stated := XMP_ORIENTATION.search(xmp)):
        value = int(stated[1])
    return value if isinstance(value, int) and value in range(1, 9) else 1


def dpi_of(exif: Mapping[int, Any]) -> tuple[float, float] | None:
    """Return the pixels an inch along (height, width) that EXIF states, or None."""
    try:
        units = UNITS_IN_AN_INCH[exif.get(Tag.ResolutionUnit, 2)]
        return checked_dpi(exif[Tag.XResolution] * units, exif[Tag.YResolution] * units)
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return None


def checked_dpi(across: Any, down: Any) -> tuple[float, float] | None:
    """Return pixels an inch along (height, width), or None where they are no resolution."""
    try:
        across, down = float(across), float(down)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return (down, across) if 0 < across < 1e9 and 0 < down < 1e9 else None


def cleaned_exif(exif: Image.Exif) -> bytes | None:
    """Pack EXIF without orientation, sizes and resolution; Pillow leaves the thumbnail behind.

    EXIF that says nothing but the resolution is kept, empty: `packed_exif` puts it in again.
    """
    for tag in SIZES:
        exif.pop(tag, None)
    if DETAILS in exif:
        details = exif.get_ifd(DETAILS)
        for tag in SIZES_IN_DETAILS:
            details.pop(tag, None)
    if not len(exif):
        return None
    for tag in RESOLUTION:
        exif.pop(tag, None)
    return _packed(exif)


def packed_exif(
    block: bytes, dpi: tuple[float, float] | None, without: Iterable[int] = ()
) -> bytes | None:
    """Pack EXIF with the resolution as it is now.

    Args:
        block: as in `poolcli.picture.Metadata`.
        dpi: pixels an inch along (height, width), or None.
        without: tags that are left out.
    """
    exif = Image.Exif()
    exif.load(EXIF_PREFIX + block)
    for tag in without:
        exif.pop(tag, None)
    if dpi is not None:
        down, across = (Fraction(value).limit_denominator(10000) for value in dpi)
        exif[Tag.XResolution], exif[Tag.YResolution] = across, down
        exif[Tag.ResolutionUnit] = 2
    return EXIF_PREFIX + _packed(exif) if len(exif) else None


def checked_xmp(xmp: Any) -> tuple[bytes | None, tuple[str, ...]]:
    """Return XMP, and a warning why it can't be used."""
    if not isinstance(xmp, bytes) or not xmp:
        return None, ()
    if len(xmp) > MOST_XMP_BYTES:
        return None, ("its XMP is too long, and was dropped",)
    if b"\0" in xmp.rstrip(b"\0"):
        return None, ("its XMP is not UTF-8, and was dropped",)
    return xmp.rstrip(b"\0"), ()


def cleaned_xmp(xmp: bytes) -> bytes:
    """Return XMP without orientation, sizes, resolution, thumbnails and its second part's name."""
    begin, end = xmp.find(b"<xmp:Thumbnails"), xmp.find(b"</xmp:Thumbnails>")
    if 0 <= begin < end:
        xmp = xmp[:begin] + xmp[end + len(b"</xmp:Thumbnails>") :]
    return FALSE_XMP.sub(b"", xmp)


def _packed(exif: Image.Exif) -> bytes:
    """Pack EXIF with every byte of its texts."""
    for each in (exif, *(exif.get_ifd(one) for one in (DETAILS, PLACE) if one in exif)):
        for tag, value in list(each.items()):
            if isinstance(value, str) and not value.isascii():
                each[tag] = value.encode("latin-1", "replace")  # as Pillow has read it
    return exif.tobytes().removeprefix(EXIF_PREFIX)


def _damage(block: bytes) -> str:
    """Return what is wrong with the structure of EXIF, in words; empty where nothing is.

    Pillow reads on with a warning, which can't be caught in one thread alone.
    """
    try:
        order = {b"II": "<", b"MM": ">"}[block[:2]]
        (begin,) = struct.unpack_from(f"{order}I", block, 4)
        for tag, end in _value_ends(block, order, begin):
            if end > len(block):
                return f"tag {tag} ends after {end} of {len(block)} bytes"
    except (KeyError, struct.error):
        return "its directory is cut off"
    return ""


def _value_ends(block: bytes, order: str, begin: int) -> Iterator[tuple[int, int]]:
    """Yield each tag of a directory and of those below it, and where its value ends."""
    (count,) = struct.unpack_from(f"{order}H", block, begin)
    for at in range(begin + 2, begin + 2 + 12 * count, 12):
        tag, kind, number, offset = struct.unpack_from(f"{order}HHII", block, at)
        size = TYPE_BYTES.get(kind, 0) * number
        yield tag, offset + size if size > 4 else at + 12
        # Forwards only: they may form a ring. What is no offset is left alone by Pillow too.
        if tag in (DETAILS, PLACE) and kind in OFFSETS and offset > begin:
            yield from _value_ends(block, order, offset)
