"""What a file says beside its pixels, carried from one file to the next."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from fractions import Fraction
from io import BytesIO
from typing import Any, BinaryIO, Final

from PIL import ExifTags, Image

from poolcli.codec import chunks
from poolcli.formats import Format

Exif = ExifTags.Base
STALE: Final = (Exif.Orientation, Exif.ImageWidth, Exif.ImageLength)
STALE_DETAILS: Final = (Exif.ExifImageWidth, Exif.ExifImageHeight)
RESOLUTION: Final = (Exif.XResolution, Exif.YResolution, Exif.ResolutionUnit)
INCHES: Final = {2: 1.0, 3: 2.54}
"""Units of resolution in TIFF and EXIF, and how many of one an inch has."""

TIFF_TAGS: Final = (270, 271, 272, 305, 306, 315, 700, 33432, 34665, 34853)
"""Tags of a TIFF that people write: description, make, model, software, date, artist …"""

JPEG_EXIF_BYTES: Final = 65533
HOLDERS: Final = {
    "png": ("icc_profile", "exif", "dpi"),
    "jpeg": ("icc_profile", "exif", "dpi"),
    "webp": ("icc_profile", "exif"),
    "avif": ("icc_profile", "exif"),
    "tiff": ("icc_profile", "dpi"),
    "bmp": ("dpi",),
}
"""What each format holds, by the names of Pillow's arguments."""

SRGB_CICP: Final = bytes((1, 13))
"""Primaries and transfer of sRGB, by ITU-T H.273."""

SRGB_GAMA: Final = 0.45455
GAMA_SLACK: Final = 0.001


@dataclass(frozen=True, slots=True)
class Metadata:
    """The part of a file that is not pixels.

    Attributes:
        icc_profile: the colour profile as it stood in the file, or None.
        exif: EXIF without what pooling makes false (orientation, sizes, thumbnail), or None.
        dpi: pixels an inch along (height, width), or None.
        dropped: what the file said that is never carried over, in words.
        warnings: what could not be read.
    """

    icc_profile: bytes | None = None
    exif: Image.Exif | None = None
    dpi: tuple[float, float] | None = None
    dropped: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def pooled(self, stride: tuple[int, int]) -> Metadata:
        """The same for the pooled picture, which keeps its size on paper."""
        if self.dpi is None:
            return self
        return replace(self, dpi=(self.dpi[0] / stride[0], self.dpi[1] / stride[1]))

    def arguments(self, target: Format, strip: bool) -> tuple[dict[str, Any], list[str]]:
        """The keyword arguments with which Pillow writes it, and in words what has no place."""
        given: dict[str, Any] = {"icc_profile": self.icc_profile}
        lost: list[str] = []
        if not strip:
            given["exif"] = None if self.exif is None else _exif_bytes(self.exif, self.dpi)
            given["dpi"] = None if self.dpi is None else self.dpi[::-1]
            lost += self.dropped
        if target.name == "jpeg" and given.get("exif") and len(given["exif"]) > JPEG_EXIF_BYTES:
            del given["exif"]
            lost.append("EXIF, which is too long")
        holds = HOLDERS.get(target.name, ())
        arguments = {name: value for name, value in given.items() if value and name in holds}
        words = {"icc_profile": "colour profile", "exif": "EXIF", "dpi": "resolution"}
        if "exif" in arguments:  # it tells the resolution too
            del words["dpi"]
        lost += [word for name, word in words.items() if given.get(name) and name not in arguments]
        return arguments, lost


@dataclass(frozen=True, slots=True)
class ExifFound:
    """The EXIF of a file, as far as it can be read.

    Attributes:
        exif: all of it; empty where there is none.
        warnings: why it can't be read, in words.
    """

    exif: Image.Exif
    warnings: tuple[str, ...] = ()

    @property
    def orientation(self) -> int:
        """Tag 274: 1 upright, 2 to 8 turned or mirrored."""
        value = self.exif.get(Exif.Orientation, 1)
        return value if value in range(1, 9) else 1


def find_exif(image: Image.Image, stream: BinaryIO) -> ExifFound:
    """Read the EXIF of an opened image; what is broken becomes a warning, never an error.

    That of a PNG may stand behind the pixels: Pillow would decode them all to look there.
    """
    if image.format == "PNG" and not {"exif", "Raw profile type exif"} & set(image.info):
        found = chunks.find_png(stream, b"eXIf")
        image.info["exif"] = b"" if found is None else b"Exif\0\0" + found
    try:
        with warnings.catch_warnings(record=True) as complaints:
            warnings.simplefilter("always")
            if image.format != "TIFF":
                probe = Image.Exif()  # a new one: Pillow may have tried already, and keeps still
                probe.load(image.info.get("exif") or b"")
                probe.tobytes()
            exif = image.getexif()
            exif.tobytes()
        if not complaints:
            return ExifFound(exif)
        reason = str(complaints[0].message)
    except Exception as fault:  # noqa: BLE001  # EXIF from strangers raises almost anything
        exif, reason = Image.Exif(), str(fault) or type(fault).__name__
    return ExifFound(exif, (f"its EXIF is damaged ({reason.strip()})",))


def read(image: Image.Image, found: ExifFound, *, turned: bool) -> Metadata:
    """The metadata of an opened image.

    Args:
        image: the image.
        found: its EXIF; the stale parts are taken out of it.
        turned: whether height and width of the upright picture change places.
    """
    dpi = _dpi(image, found.exif)
    is_tiff = image.format == "TIFF"  # its own tags describe its layout, not the picture
    exif = None if is_tiff or not len(found.exif) else _without_stale(found.exif)
    icc_profile = image.info.get("icc_profile")
    return Metadata(
        icc_profile=icc_profile if isinstance(icc_profile, bytes) and icc_profile else None,
        exif=exif,
        dpi=dpi[::-1] if dpi and turned else dpi,
        dropped=tuple(_dropped(image)),
        warnings=found.warnings,
    )


def find_light(image: Image.Image, stream: BinaryIO) -> str:
    """Why a picture's values are not sRGB's code for light, in words; empty where they are."""
    cicp = chunks.find_png(stream, b"cICP") if image.format == "PNG" else None
    if cicp is not None:
        return "" if cicp[:2] == SRGB_CICP else "its cICP names another curve"
    if image.info.get("icc_profile"):
        from PIL import ImageCms  # slow to load, and needed by few

        try:
            profile = ImageCms.getOpenProfile(BytesIO(image.info["icc_profile"]))
            name = ImageCms.getProfileDescription(profile).strip()
        except Exception:  # noqa: BLE001  # profiles from strangers
            name = ""
        return "" if "srgb" in name.lower() else f"its colour profile is {name or 'unreadable'}"
    gamma = image.info.get("gamma")
    if gamma and "srgb" not in image.info and abs(gamma - SRGB_GAMA) > GAMA_SLACK:
        return f"its gAMA is {gamma:g}"
    return ""


def _without_stale(exif: Image.Exif) -> Image.Exif | None:
    """EXIF without what pooling makes false; Pillow leaves the thumbnail behind by itself."""
    for tag in STALE:
        exif.pop(tag, None)
    if ExifTags.IFD.Exif in exif:
        details = exif.get_ifd(ExifTags.IFD.Exif)
        for tag in STALE_DETAILS:
            details.pop(tag, None)
    return exif if len(exif) else None


def _exif_bytes(exif: Image.Exif, dpi: tuple[float, float] | None) -> bytes | None:
    """EXIF with the resolution as it is now, and with every byte of its texts."""
    for stale in RESOLUTION:
        exif.pop(stale, None)
    if dpi is not None:
        down, across = (Fraction(value).limit_denominator(10000) for value in dpi)
        exif[Exif.XResolution], exif[Exif.YResolution] = across, down
        exif[Exif.ResolutionUnit] = 2
    parts = [exif.get_ifd(one) for one in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo) if one in exif]
    for each in (exif, *parts):
        for tag, value in list(each.items()):
            if isinstance(value, str) and not value.isascii():
                each[tag] = value.encode("latin-1", "replace")  # as Pillow read it
    return exif.tobytes() if len(exif) else None


def _dpi(image: Image.Image, exif: Image.Exif) -> tuple[float, float] | None:
    """Pixels an inch along (height, width) as stored, if the file really says so."""
    if image.format == "TIFF":
        stated = {Exif.XResolution, Exif.YResolution} <= set(image.tag_v2)  # type: ignore[attr-defined]
    elif image.format in ("JPEG", "MPO"):
        stated = image.info.get("jfif_unit") in (1, 2)
    else:
        stated = "dpi" in image.info
    try:
        if stated:
            across, down = (float(value) for value in image.info["dpi"])
        else:
            inch = INCHES[exif.get(Exif.ResolutionUnit, 2)]
            across = float(exif[Exif.XResolution]) * inch
            down = float(exif[Exif.YResolution]) * inch
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return None
    return (down, across) if 0 < across < 1e9 and 0 < down < 1e9 else None


def _dropped(image: Image.Image) -> list[str]:
    """What a file says that is not carried over, in words."""
    found = []
    if {"xmp", "XML:com.adobe.xmp"} & set(image.info):
        found.append("XMP")
    if image.info.get("comment"):
        found.append("comment")
    if set(getattr(image, "text", ())) - {"XML:com.adobe.xmp", "Raw profile type exif"}:
        found.append("text")
    if image.format == "TIFF" and set(TIFF_TAGS) & set(image.tag_v2):  # type: ignore[attr-defined]
        found.append("descriptive tags")
    return found
