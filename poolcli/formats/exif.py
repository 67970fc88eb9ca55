"""Read and pack EXIF and XMP, without the properties that pooling makes false."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from fractions import Fraction
from io import BytesIO
from typing import TYPE_CHECKING, Any, Final

from poolcli.formats.carried import EXIF_PREFIX, MOST_XMP_BYTES
from poolcli.formats.tiff_tags import Directory, TagFile
from poolcli.picture import Metadata, Placement, Resolution, ResolutionUnit

if TYPE_CHECKING:
    from PIL import Image

WIDTH, LENGTH, ORIENTATION = 256, 257, 274
X_RESOLUTION, Y_RESOLUTION, UNIT = RESOLUTION = 282, 283, 296
DETAILS, PLACE = 34665, 34853
SIZES: Final = (ORIENTATION, WIDTH, LENGTH)
SIZES_IN_DETAILS: Final = (40962, 40963)
FOCAL_PLANE: Final = (41486, 41487)
"""Pixels per unit of length on the camera's sensor, across and down."""

SUBJECT: Final = (41492, 37396)
"""The pixel of the subject, or of its centre and then a diameter or a width and a height."""

UNMOVED: Final = Placement((1, 1), (0, 0))
MOST_SHORT: Final = (1 << 16) - 1
UNITS: Final[Mapping[int, ResolutionUnit]] = {1: "", 2: "inch", 3: "cm"}
"""The unit of the resolution by its number in EXIF and TIFF."""

UNIT_NUMBERS: Final = {unit: number for number, unit in UNITS.items()}
MOST_RESOLUTION: Final = 1e9

PAGE_TAGS: Final = (254, 285, 297)
"""The tags for the kind, name and number of a page in a file of several pages."""

TIFF_TAGS: Final = frozenset(
    (
        *(269, 270, 271, 272, 305, 306, 315, 316, 33432, 33723),
        *(DETAILS, PLACE, 18246, 18249, 40091, 40092, 40093, 40094, 40095),
        *PAGE_TAGS,
    )
)
"""The tags of a page with text and photographic data, which stay true after pooling."""

MOST_NUMBER: Final = (1 << 32) - 1
XMP_NAMES: Final = {
    b"XResolution": X_RESOLUTION,
    b"YResolution": Y_RESOLUTION,
    b"ResolutionUnit": UNIT,
}
XMP_RESOLUTION: Final = re.compile(
    rb"""tiff:([XY]Resolution|ResolutionUnit)(?:\s*=\s*["']|\s*>)\s*(\d{1,10}(?:/\d{1,10})?)\s*["'<]"""
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
    from poolcli.formats.xmp import cleaned  # few pictures have XMP

    exif, damage = _parsed(block or b"")
    xmp, complaint = _checked_xmp(xmp)
    orientation = orientation_of(exif, xmp)
    resolution = resolution_of(exif) or (None if xmp is None else resolution_of(_xmp_numbers(xmp)))
    xmp, gone = (None, ()) if xmp is None else cleaned(xmp)
    warnings = (*damage, *complaint, *gone, *warnings)
    kept = _cleaned_exif(exif, orientation)
    return Metadata(exif=kept, resolution=resolution, xmp=xmp, warnings=warnings), orientation


def orientation_of(exif: Mapping[int, Any], xmp: bytes | None) -> int:
    """Return the orientation from EXIF or else XMP: 1 is upright, 2 to 8 turned or mirrored."""
    value = exif.get(ORIENTATION)
    if value is None and xmp is not None:
        from poolcli.formats.xmp import ORIENTATION as STATED

        value = int(stated[1]) if (stated := STATED.search(xmp)) else None
    return value if isinstance(value, int) and value in range(1, 9) else 1


def resolution_of(tags: Mapping[int, Any]) -> Resolution | None:
    """Return the resolution that tags of EXIF or TIFF state, or None."""
    unit = tags.get(UNIT, UNIT_NUMBERS["inch"])
    if not isinstance(unit, int) or unit not in UNITS:
        return None
    across, down = tags.get(X_RESOLUTION), tags.get(Y_RESOLUTION)
    return checked_resolution(across, down, UNITS[unit])


def _xmp_numbers(xmp: bytes) -> dict[int, Any]:
    """Return the resolution and its unit as XMP states them, by the tags of EXIF."""
    numbers: dict[int, Any] = {}
    for name, number in XMP_RESOLUTION.findall(xmp):
        with suppress(ZeroDivisionError):
            numbers[XMP_NAMES[name]] = Fraction(number.decode())
    if UNIT in numbers:
        numbers[UNIT] = int(numbers[UNIT])
    return numbers


def checked_resolution(across: Any, down: Any, unit: ResolutionUnit = "inch") -> Resolution | None:
    """Return the resolution of two numbers; None if one is missing or out of range."""
    try:
        across, down = float(across), float(down)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    is_possible = 0 < across < MOST_RESOLUTION and 0 < down < MOST_RESOLUTION
    return Resolution(down, across, unit) if is_possible else None


def rational(value: float) -> Fraction:
    """Return the fraction of two 32-bit numbers that is nearest to a positive number."""
    return Fraction(value).limit_denominator(int(MOST_NUMBER / max(value, 1)))


def whole_ratio(resolution: Resolution, most: int) -> tuple[int, int]:
    """Return (across, down) as the nearest pair of whole numbers up to ``most``."""
    low, high = sorted((resolution.across, resolution.down))
    ratio = max(Fraction(low / high).limit_denominator(most), Fraction(1, most))
    numbers = ratio.as_integer_ratio()
    return numbers if resolution.across == low else numbers[::-1]


def packed_exif(
    block: bytes,
    resolution: Resolution | None,
    without: Iterable[int] = (),
    placement: Placement = UNMOVED,
) -> bytes | None:
    """Pack EXIF with the resolution of the pooled picture; return None if no tag is left.

    Args:
        block: EXIF as in `poolcli.picture.Metadata`.
        resolution: the resolution of the pooled picture, or None.
        without: tags to leave out.
        placement: where the pooled pixels lie.
    """
    exif = _no_tags()
    if block:
        exif.load(EXIF_PREFIX + block)
    for tag in without:
        exif.pop(tag, None)
    if DETAILS in exif and placement != UNMOVED:
        _place(exif.get_ifd(DETAILS), placement)
    if resolution is not None:
        exif[X_RESOLUTION] = rational(resolution.across)
        exif[Y_RESOLUTION] = rational(resolution.down)
        exif[UNIT] = UNIT_NUMBERS[resolution.unit]
    return EXIF_PREFIX + _packed(exif) if len(exif) else None


def _place(details: dict[int, Any], placement: Placement) -> None:
    """Rewrite what EXIF says of places on the picture and on the camera's sensor."""
    scales, origin = placement.scale[::-1], placement.origin[::-1]
    for tag, scale in zip(FOCAL_PLANE, scales, strict=True):
        if tag in details:
            focal = checked_resolution(details[tag], 1)
            from PIL.TiffImagePlugin import IFDRational  # few pictures need it

            value = rational(focal.across / scale) if focal else Fraction(1)
            details[tag] = IFDRational(value.numerator, value.denominator)
    for name in SUBJECT:
        if (numbers := details.pop(name, None)) is None:
            continue
        with suppress(TypeError, ValueError, OverflowError):  # such as an infinite number
            x, y, *extents = map(int, numbers)
            across, down = scales
            if len(extents) == 1 and across != down:
                extents *= 2  # a circle becomes a rectangle
            first = (
                (one - start) // scale
                for one, start, scale in zip((x, y), origin, scales, strict=True)
            )
            sizes = (
                max(1, one / scale)
                for one, scale in zip(extents, scales[: len(extents)], strict=True)
            )
            details[name] = tuple(min(max(round(one), 0), MOST_SHORT) for one in (*first, *sizes))


def _no_tags() -> Image.Exif:
    """Return EXIF without tags."""
    from PIL import Image  # most PNGs have no EXIF, and need nothing else of Pillow's

    return Image.Exif()


def _parsed(block: bytes) -> tuple[Image.Exif, tuple[str, ...]]:
    """Parse a block of EXIF; return it with warnings. From a damaged one keep the orientation."""
    exif = _no_tags()
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
    except Exception:  # noqa: BLE001  # Pillow raises many types on damaged EXIF
        reason = reason or "it has an odd structure"
    if not reason:
        return exif, ()
    kept = _no_tags()
    with suppress(Exception):
        if isinstance(value := exif.get(ORIENTATION), int):
            kept[ORIENTATION] = value
    return kept, (f"its EXIF is damaged ({reason})",)


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
        for tag in directory.entries:
            directory.octets(tag)


def _cleaned_exif(exif: Image.Exif, orientation: int) -> bytes | None:
    """Pack EXIF without orientation, sizes, resolution and thumbnail; return None without EXIF.

    Places on the picture are left out if it will be turned.

    EXIF that only has a resolution becomes an empty block, to which `packed_exif` adds the
    resolution of the pooled picture. Pillow drops the thumbnail by itself.
    """
    for tag in SIZES:
        exif.pop(tag, None)
    if DETAILS in exif:
        details = exif.get_ifd(DETAILS)
        for tag in (*SIZES_IN_DETAILS, *(SUBJECT if orientation > 1 else ())):
            details.pop(tag, None)
        if orientation >= 5:
            across, down = (details.pop(tag, None) for tag in FOCAL_PLANE)
            exchanged = zip(FOCAL_PLANE, (down, across), strict=True)
            details.update({tag: value for tag, value in exchanged if value is not None})
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


def _packed(exif: Image.Exif) -> bytes:
    """Pack EXIF; keep texts that are not ASCII, which Pillow would change, byte for byte."""
    for each in (exif, *(exif.get_ifd(one) for one in (DETAILS, PLACE) if one in exif)):
        for tag, value in list(each.items()):
            if isinstance(value, str) and not value.isascii():
                each[tag] = value.encode("latin-1", "replace")  # Pillow decodes texts as Latin-1
    return exif.tobytes().removeprefix(EXIF_PREFIX)
