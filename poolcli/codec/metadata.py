"""What a file says beside its pixels, carried from one file to the next."""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from io import BytesIO
from typing import Any, BinaryIO, Final

from PIL import ExifTags, Image

from poolcli.formats import Format

Exif = ExifTags.Base
STALE: Final = (
    Exif.Orientation,
    Exif.ImageWidth,
    Exif.ImageLength,
    Exif.XResolution,
    Exif.YResolution,
    Exif.ResolutionUnit,
)
STALE_DETAILS: Final = (Exif.ExifImageWidth, Exif.ExifImageHeight)
PNG_BEGIN: Final = 8
SRGB_CICP: Final = bytes((1, 13))
"""Primaries and transfer of sRGB, by ITU-T H.273."""

SRGB_GAMA: Final = 0.45455
GAMA_SLACK: Final = 0.001
HOLDERS: Final = {
    "png": ("icc_profile", "exif", "dpi"),
    "jpeg": ("icc_profile", "exif", "dpi"),
    "webp": ("icc_profile", "exif"),
    "avif": ("icc_profile", "exif"),
    "tiff": ("icc_profile", "exif", "dpi"),
    "bmp": ("dpi",),
}
"""What each format holds, by the names of Pillow's arguments."""


@dataclass(frozen=True, slots=True)
class Metadata:
    """The part of a file that is not pixels.

    Attributes:
        icc_profile: the colour profile as it stood in the file, or None.
        exif: EXIF without what pooling makes false (orientation, sizes, thumbnail), or None.
        dpi: pixels an inch along (height, width), or None.
        warnings: what could not be read.
    """

    icc_profile: bytes | None = None
    exif: bytes | None = None
    dpi: tuple[float, float] | None = None
    warnings: tuple[str, ...] = ()

    def pooled(self, stride: tuple[int, int]) -> Metadata:
        """The same for the pooled picture, which keeps its size on paper."""
        if self.dpi is None:
            return self
        return replace(self, dpi=(self.dpi[0] / stride[0], self.dpi[1] / stride[1]))

    def arguments(self, target: Format, strip: bool) -> dict[str, Any]:
        """The keyword arguments with which Pillow writes it into a format that holds it."""
        given = {
            "icc_profile": self.icc_profile,
            "exif": None if strip else self.exif,
            "dpi": None if strip or self.dpi is None else self.dpi[::-1],
        }
        holds = HOLDERS.get(target.name, ())
        return {name: value for name, value in given.items() if value and name in holds}

    def lost(self, target: Format) -> tuple[str, ...]:
        """What the format can't hold, in words."""
        words = {"icc_profile": "colour profile", "exif": "EXIF", "dpi": "resolution"}
        holds = HOLDERS.get(target.name, ())
        return tuple(
            word for name, word in words.items() if getattr(self, name) and name not in holds
        )


def read(image: Image.Image, orientation: int) -> Metadata:
    """The metadata of an opened image; what is broken becomes a warning, never an error."""
    warnings = []
    try:
        exif = _exif(image)
    except Exception as fault:  # noqa: BLE001  # EXIF from strangers raises almost anything
        exif = None
        warnings.append(f"EXIF can't be read and is dropped ({type(fault).__name__})")
    icc_profile = image.info.get("icc_profile")
    return Metadata(
        icc_profile=icc_profile if isinstance(icc_profile, bytes) else None,
        exif=exif,
        dpi=_dpi(image, turned=orientation >= 5),
        warnings=tuple(warnings),
    )


def find_exif(image: Image.Image, stream: BinaryIO) -> None:
    """Put the EXIF of a PNG where Pillow looks for it.

    It may stand behind the pixels, and Pillow would decode them all to look there.
    """
    if image.format == "PNG" and not {"exif", "Raw profile type exif"} & set(image.info):
        found = _png_chunk(stream, b"eXIf")
        image.info["exif"] = b"" if found is None else b"Exif\0\0" + found


def find_light(image: Image.Image, stream: BinaryIO) -> str:
    """Why a picture's values are not sRGB's code for light, in words; empty where they are."""
    cicp = _png_chunk(stream, b"cICP") if image.format == "PNG" else None
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


def _png_chunk(stream: BinaryIO, wanted: bytes) -> bytes | None:
    """The body of the first chunk of a name, found by hopping from length to length."""
    at, end = PNG_BEGIN, stream.seek(0, 2)
    while at + 12 <= end:
        stream.seek(at)
        length, name = struct.unpack(">I4s", stream.read(8))
        if name == wanted:
            return stream.read(length)
        at += length + 12
    return None


def orientation(image: Image.Image) -> int:
    """EXIF's tag 274: 1 upright, 2 to 8 turned or mirrored; what can't be read is upright."""
    try:
        value = image.getexif().get(Exif.Orientation, 1)
    except Exception:  # noqa: BLE001  # the same strangers
        return 1
    return value if value in range(1, 9) else 1


def _exif(image: Image.Image) -> bytes | None:
    """EXIF without the tags that pooling makes false; Pillow leaves the thumbnail behind."""
    exif = image.getexif()
    if image.format == "TIFF":
        return None  # a TIFF's own tags describe its layout, not the picture
    for tag in STALE:
        exif.pop(tag, None)
    details = exif.get_ifd(ExifTags.IFD.Exif)
    for tag in STALE_DETAILS:
        details.pop(tag, None)
    return exif.tobytes() if len(exif) else None


def _dpi(image: Image.Image, turned: bool) -> tuple[float, float] | None:
    """Pixels an inch along (height, width) of the upright picture."""
    try:
        across, down = (float(value) for value in image.info["dpi"])
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return None
    if not (0 < across < float("inf") and 0 < down < float("inf")):
        return None
    return (across, down) if turned else (down, across)
