"""What a file says beside its pixels, carried from one file to the next."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

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
