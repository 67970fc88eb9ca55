"""EXIF and XMP: found in any format, rid of what pooling makes false, and packed again."""

from __future__ import annotations

import re
import warnings
import zlib
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from typing import Any, BinaryIO, Final, NamedTuple

from PIL import ExifTags, Image

from poolcli.codec import chunks

Exif = ExifTags.Base
STALE: Final = (Exif.Orientation, Exif.ImageWidth, Exif.ImageLength)
STALE_DETAILS: Final = (Exif.ExifImageWidth, Exif.ExifImageHeight)
RESOLUTION: Final = (Exif.XResolution, Exif.YResolution, Exif.ResolutionUnit)
INCHES: Final = {2: 1.0, 3: 2.54}
"""Units of resolution in TIFF and EXIF, and how many of one an inch has."""

XMP, IPTC = 700, 33723
DETAILS, PLACE = ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo
KIND_OF_PAGE: Final = 254
PAGE_TAGS: Final = (KIND_OF_PAGE, 285, 297)
"""Tags of one page among others: its kind, name and number."""

DESCRIPTIVE: Final = (
    *(269, 270, 271, 272, 305, 306, 315, 316, IPTC, 33432, DETAILS, PLACE),
    *(18246, 18249, 40091, 40092, 40093, 40094, 40095),
)
"""Tags of a TIFF that say what people know of a picture, and not how it is laid out."""

GEO_TAGS: Final = (33550, 33922, 34264, 34735, 34736, 34737)
"""Where on the earth a TIFF's pixels lie (OGC GeoTIFF 1.1): false for other pixels."""

LAYOUT_DESCRIPTIONS: Final = ("ImageJ=", "<?xml", "<OME", '{"shape')
"""How the descriptions begin in which programs note the axes and extents of their pixels."""

MOST_XMP_BYTES: Final = 1 << 24
XMP_KEYWORD: Final = b"XML:com.adobe.xmp"
EXTENDED_XMP: Final = b"http://ns.adobe.com/xmp/extension/\0"
XMP_PREFIX: Final = b"http://ns.adobe.com/xap/1.0/\0"
EXIF_PREFIX: Final = b"Exif\0\0"
RAW_PROFILE: Final = b"Raw profile type "
XMP_ORIENTATION: Final = re.compile(rb"""tiff:Orientation(?:\s*=\s*["']|\s*>)\s*([1-8])\b""")

_STALE_NAMES: Final = (
    rb"(?:tiff:(?:Orientation|ImageWidth|ImageLength|XResolution|YResolution|ResolutionUnit)"
    rb"|exif:Pixel[XY]Dimension|xmpNote:HasExtendedXMP)"
)
STALE_XMP: Final = re.compile(
    rb"""\s%b\s*=\s*(?:"[^"<]*"|'[^'<]*')|<(%b)\s*>[^<]*</\1\s*>""" % (_STALE_NAMES, _STALE_NAMES)
)

STALE_TEXT: Final = re.compile(
    rb"(?:exif|tiff):(?:Orientation|Image(?:Width|Length)|Pixel[XY]Dimension"
    rb"|[XY]Resolution|ResolutionUnit|thumbnail:[^\0]*)\0"
)
"""What ImageMagick notes of EXIF in the textual chunks of a PNG."""


class ExifFound(NamedTuple):
    """The EXIF and XMP of a file, as far as they can be read.

    Attributes:
        exif: all of it; empty where there is none.
        xmp: all of it, or None.
        warnings: why something can't be read, in words.
    """

    exif: Image.Exif
    xmp: bytes | None = None
    warnings: tuple[str, ...] = ()

    @property
    def is_tag(self) -> bool:
        """Whether the orientation stands in EXIF, or in the tags of a TIFF."""
        return Exif.Orientation in self.exif

    @property
    def orientation(self) -> int:
        """Tag 274, else that of XMP: 1 upright, 2 to 8 turned or mirrored."""
        value = self.exif.get(Exif.Orientation)
        if value is None and self.xmp is not None and (said := XMP_ORIENTATION.search(self.xmp)):
            value = int(said[1])
        return value if isinstance(value, int) and value in range(1, 9) else 1


def find_exif(image: Image.Image, stream: BinaryIO) -> ExifFound:
    """Read the EXIF and XMP of an opened image; what is broken becomes a warning, never an error.

    Those of a PNG may stand behind the pixels: Pillow would decode them all to look there.
    """
    xmp, complaint = _take_xmp(image, stream)
    try:
        with warnings.catch_warnings(record=True) as complaints:
            warnings.simplefilter("always")
            if image.format == "PNG" and not {"exif", "Raw profile type exif"} & set(image.info):
                image.info["exif"] = _png_exif(stream)
            if image.format != "TIFF":
                probe = Image.Exif()  # a new one: Pillow may have tried already, and keeps still
                probe.load(image.info.get("exif") or b"")
                probe.tobytes()
            exif = image.getexif()
            hide_xmp(image)
            exif.tobytes()
        if not complaints:
            return ExifFound(exif, xmp, complaint)
        reason = str(complaints[0].message)
    except Exception as fault:  # noqa: BLE001  # EXIF from strangers raises almost anything
        exif, reason = _orientation_alone(image), str(fault) or type(fault).__name__
    return ExifFound(exif, xmp, (f"its EXIF is damaged ({reason.strip()})", *complaint))


def _orientation_alone(image: Image.Image) -> Image.Exif:
    """Of EXIF that can't be packed again what turns the picture, if that can be read."""
    kept = Image.Exif()
    with suppress(Exception):
        hide_xmp(image)
        if isinstance(value := image.getexif().get(Exif.Orientation), int):
            kept[Exif.Orientation] = value
        for branch in (DETAILS, PLACE):  # Pillow would look there again when it loads a TIFF
            image.getexif().pop(branch, None)
    return kept


def hide_xmp(image: Image.Image) -> None:
    """Keep Pillow from turning a TIFF by its XMP, of which it does not think everywhere."""
    image.info.pop("xmp", None)
    if image.format == "TIFF" and Exif.Orientation not in image.tag_v2:  # type: ignore[attr-defined]
        image.getexif().pop(Exif.Orientation, None)


def _take_xmp(image: Image.Image, stream: BinaryIO) -> tuple[bytes | None, tuple[str, ...]]:
    """The XMP of an opened image, and why it can't be used."""
    xmp = image.info.pop("xmp", None)
    if image.format == "PNG":
        image.info.pop(XMP_KEYWORD.decode(), None)
        try:
            xmp = _png_xmp(stream)
        except (ValueError, zlib.error):
            return None, ("its XMP is damaged, and was dropped",)
    if not isinstance(xmp, bytes) or not xmp:
        return None, ()
    if len(xmp) > MOST_XMP_BYTES:
        return None, ("its XMP is too long, and was dropped",)
    if b"\0" in xmp.rstrip(b"\0"):
        return None, ("its XMP is not UTF-8, and was dropped",)
    return xmp.rstrip(b"\0"), ()


def _png_xmp(stream: BinaryIO) -> bytes | None:
    """The XMP of a PNG, wherever it stands."""
    for _, body in chunks.png_chunks(stream, b"iTXt"):
        if not body.startswith(XMP_KEYWORD + b"\0"):
            continue
        compressed = body[len(XMP_KEYWORD) + 1 : len(XMP_KEYWORD) + 2] == b"\1"
        _, _, text = body[len(XMP_KEYWORD) + 3 :].split(b"\0", 2)
        return zlib.decompressobj().decompress(text, MOST_XMP_BYTES + 1) if compressed else text
    for profile in _raw_profiles(stream, b"xmp", b"APP1"):
        if not profile.startswith(EXIF_PREFIX):
            return profile.removeprefix(XMP_PREFIX)
    return None


def _png_exif(stream: BinaryIO) -> bytes:
    """The EXIF of a PNG, wherever it stands; empty where there is none."""
    found = chunks.find_png(stream, b"eXIf")
    if found is not None:
        return EXIF_PREFIX + found
    profiles = _raw_profiles(stream, b"exif", b"APP1")
    return next((one for one in profiles if one.startswith(EXIF_PREFIX)), b"")


def _raw_profiles(stream: BinaryIO, *kinds: bytes) -> Iterator[bytes]:
    """What stands in hexadecimal in the textual chunks of a PNG, as ImageMagick writes it."""
    wanted = {RAW_PROFILE + kind for kind in kinds}
    for name, body in chunks.png_chunks(stream, b"tEXt", b"zTXt"):
        keyword, _, text = body.partition(b"\0")
        if keyword not in wanted:
            continue
        if name == b"zTXt":
            unpacking = zlib.decompressobj()
            text = unpacking.decompress(text[1:], MOST_XMP_BYTES)
            if unpacking.unconsumed_tail:
                raise ValueError(f"{keyword.decode()} is too long")
        yield bytes.fromhex(b"".join(text.split(b"\n")[3:]).decode())


def true_xmp(xmp: bytes) -> bytes:
    """XMP without orientation, sizes, resolution, thumbnails and the name of a second part."""
    begin, end = xmp.find(b"<xmp:Thumbnails"), xmp.find(b"</xmp:Thumbnails>")
    if 0 <= begin < end:
        xmp = xmp[:begin] + xmp[end + len(b"</xmp:Thumbnails>") :]
    return STALE_XMP.sub(b"", xmp)


def take_false_tags(tags: Image.Exif) -> Iterator[str]:
    """Take the tags out that say nothing true of the pooled picture; geo tags are worth a word."""
    if set(tags) & set(GEO_TAGS):
        yield "its geo tags would be false, and were dropped"
    description = tags.get(Exif.ImageDescription)
    if isinstance(description, str) and description.startswith(LAYOUT_DESCRIPTIONS):
        del tags[Exif.ImageDescription]
        yield "its description tells axes and extents that would be false, and was dropped"
    kept = {*DESCRIPTIVE, *PAGE_TAGS, *RESOLUTION} - ({IPTC} if _is_odd(tags.get(IPTC)) else set())
    for tag in set(tags) - kept:
        del tags[tag]


def _is_odd(value: Any) -> bool:
    """Whether a tag of bytes has been stored as something else."""
    return value is not None and not isinstance(value, bytes)


def without_stale(exif: Image.Exif) -> Image.Exif | None:
    """EXIF without what pooling makes false; Pillow leaves the thumbnail behind by itself."""
    for tag in STALE:
        exif.pop(tag, None)
    if DETAILS in exif:
        details = exif.get_ifd(DETAILS)
        for tag in STALE_DETAILS:
            details.pop(tag, None)
    return exif if len(exif) else None


def exif_bytes(exif: Image.Exif, dpi: tuple[float, float] | None) -> bytes | None:
    """EXIF with the resolution as it is now, and with every byte of its texts."""
    for stale in RESOLUTION:
        exif.pop(stale, None)
    if dpi is not None:
        down, across = (Fraction(value).limit_denominator(10000) for value in dpi)
        exif[Exif.XResolution], exif[Exif.YResolution] = across, down
        exif[Exif.ResolutionUnit] = 2
    parts = [exif.get_ifd(one) for one in (DETAILS, PLACE) if one in exif]
    for each in (exif, *parts):
        for tag, value in list(each.items()):
            if isinstance(value, str) and not value.isascii():
                each[tag] = value.encode("latin-1", "replace")  # as Pillow read it
    return exif.tobytes() if len(exif) else None
