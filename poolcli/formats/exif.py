"""Read and pack EXIF and XMP, without the properties that pooling makes false."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from fractions import Fraction
from io import BytesIO
from typing import Any, Final

from PIL import ExifTags, Image

from poolcli.formats.tiff_tags import Directory, TagFile
from poolcli.picture import Metadata

Tag = ExifTags.Base
DETAILS, PLACE = ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo
SIZES: Final = (Tag.Orientation, Tag.ImageWidth, Tag.ImageLength)
SIZES_IN_DETAILS: Final = (Tag.ExifImageWidth, Tag.ExifImageHeight)
RESOLUTION: Final = (Tag.XResolution, Tag.YResolution, Tag.ResolutionUnit)
UNITS_IN_AN_INCH: Final = {2: 1.0, 3: 2.54}
"""How many units an inch has, by the number of the unit: 2 is inch, 3 centimetre."""

PAGE_TAGS: Final = (254, 285, 297)
"""The tags for the kind, name and number of a page in a file of several pages."""

EXIF_PREFIX: Final = b"Exif\0\0"
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


def describe(
    block: bytes | None, xmp: bytes | None, warnings: Iterable[str] = ()
) -> tuple[Metadata, int]:
    """Read a block of EXIF and a packet of XMP; damaged ones cause a warning, never an error.

    Args:
        block: EXIF with or without its prefix, or None.
        xmp: XMP, or None.
        warnings: further warnings that the result shall have.

    Returns:
        The metadata that stays true after pooling; and the orientation, 1 (upright) to 8, from
        EXIF or else from XMP.
    """
    if not block and not xmp:
        return Metadata(warnings=tuple(warnings)), 1
    exif, damage = _parsed(block or b"")
    xmp, complaint = _checked_xmp(xmp)
    orientation, dpi = orientation_of(exif, xmp), dpi_of(exif)
    xmp = None if xmp is None else _cleaned_xmp(xmp)
    warnings = (*damage, *complaint, *warnings)
    return Metadata(exif=_cleaned_exif(exif), dpi=dpi, xmp=xmp, warnings=warnings), orientation


def orientation_of(exif: Mapping[int, Any], xmp: bytes | None) -> int:
    """Return the orientation from EXIF or else XMP: 1 is upright, 2 to 8 turned or mirrored."""
    value = exif.get(Tag.Orientation)
    if value is None and xmp is not None and (stated := XMP_ORIENTATION.search(xmp)):
        value = int(stated[1])
    return value if isinstance(value, int) and value in range(1, 9) else 1


def dpi_of(exif: Mapping[int, Any]) -> tuple[float, float] | None:
    """Return the pixels per inch along (height, width) that EXIF states, or None."""
    try:
        units = UNITS_IN_AN_INCH[exif.get(Tag.ResolutionUnit, 2)]
        return checked_dpi(exif[Tag.XResolution] * units, exif[Tag.YResolution] * units)
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return None


def checked_dpi(across: Any, down: Any) -> tuple[float, float] | None:
    """Return (across, down) as pixels per inch along (height, width); None if out of range."""
    try:
        across, down = float(across), float(down)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return (down, across) if 0 < across < 1e9 and 0 < down < 1e9 else None


def packed_exif(
    block: bytes, dpi: tuple[float, float] | None, without: Iterable[int] = ()
) -> bytes | None:
    """Pack EXIF with the resolution of the pooled picture; return None if no tag is left.

    Args:
        block: EXIF as in `poolcli.picture.Metadata`.
        dpi: pixels per inch along (height, width), or None.
        without: tags to leave out.
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


def _parsed(block: bytes) -> tuple[Image.Exif, tuple[str, ...]]:
    """Parse a block of EXIF; return it with warnings. From a damaged one keep the orientation."""
    exif = Image.Exif()
    if not block:
        return exif, ()
    block, reason = block.removeprefix(EXIF_PREFIX), ""
    try:
        _check_places(block)
    except ValueError:
        reason = "it is cut off"
    try:
        exif.load(EXIF_PREFIX + block)
        exif.tobytes()
    except Exception as fault:  # noqa: BLE001  # Pillow raises many types on damaged EXIF
        reason = reason or str(fault) or type(fault).__name__
    if not reason:
        return exif, ()
    kept = Image.Exif()
    with suppress(Exception):
        if isinstance(value := exif.get(Tag.Orientation), int):
            kept[Tag.Orientation] = value
    return kept, (f"its EXIF is damaged ({reason.strip()})",)


def _check_places(block: bytes) -> None:
    """Refuse EXIF with a value outside of the block.

    Pillow would only emit a Python warning, which can't be caught for one thread alone.

    Raises:
        ValueError: a value or directory lies outside.
    """
    file = TagFile(BytesIO(block))
    main = Directory(file, file.number("I", file.first))
    offsets = [main.number(tag) for tag in (DETAILS, PLACE)]
    below = [Directory(file, offset) for offset in offsets if isinstance(offset, int)]
    for directory in (main, *below):
        directory.only(directory.entries)


def _cleaned_exif(exif: Image.Exif) -> bytes | None:
    """Pack EXIF without orientation, sizes, resolution and thumbnail; return None without EXIF.

    EXIF that only has a resolution becomes an empty block, to which `packed_exif` adds the
    resolution of the pooled picture. Pillow drops the thumbnail by itself.
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


def _checked_xmp(xmp: Any) -> tuple[bytes | None, tuple[str, ...]]:
    """Return XMP, or None with a warning if it can't be used."""
    if not isinstance(xmp, bytes) or not xmp:
        return None, ()
    if len(xmp) > MOST_XMP_BYTES:
        return None, (f"its XMP is longer than {MOST_XMP_BYTES} bytes, and was dropped",)
    if b"\0" in xmp.rstrip(b"\0"):
        return None, ("its XMP is not UTF-8, and was dropped",)
    return xmp.rstrip(b"\0"), ()


def _cleaned_xmp(xmp: bytes) -> bytes:
    """Return XMP without orientation, sizes, resolution, thumbnails and reference to a 2nd part."""
    begin, end = xmp.find(b"<xmp:Thumbnails"), xmp.find(b"</xmp:Thumbnails>")
    if 0 <= begin < end:
        xmp = xmp[:begin] + xmp[end + len(b"</xmp:Thumbnails>") :]
    return FALSE_XMP.sub(b"", xmp)


def _packed(exif: Image.Exif) -> bytes:
    """Pack EXIF; keep texts that are not ASCII, which Pillow would change, byte for byte."""
    for each in (exif, *(exif.get_ifd(one) for one in (DETAILS, PLACE) if one in exif)):
        for tag, value in list(each.items()):
            if isinstance(value, str) and not value.isascii():
                each[tag] = value.encode("latin-1", "replace")  # Pillow decodes texts as Latin-1
    return exif.tobytes().removeprefix(EXIF_PREFIX)
