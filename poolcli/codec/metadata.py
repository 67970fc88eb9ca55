"""What a file says beside its pixels, carried from one file to the next."""

from __future__ import annotations

import re
import warnings
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from io import BytesIO
from typing import Any, BinaryIO, Final

from PIL import ExifTags, Image, PngImagePlugin

from poolcli.codec import chunks
from poolcli.formats import Format

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

JPEG_EXIF_BYTES: Final = 65533
JPEG_XMP_BYTES: Final = 65504
JPEG_COMMENT_BYTES: Final = 65533
MOST_XMP_BYTES: Final = 1 << 24
HOLDERS: Final = {
    "png": ("icc_profile", "exif", "dpi", "xmp", "texts", "comment", "colour"),
    "jpeg": ("icc_profile", "exif", "dpi", "xmp", "comment"),
    "webp": ("icc_profile", "exif", "xmp"),
    "avif": ("icc_profile", "exif", "xmp"),
    "tiff": ("icc_profile", "exif", "dpi", "xmp", "comment"),
    "gif": ("comment",),
    "bmp": ("dpi",),
}
"""What each format holds."""

WORDS: Final = {
    "icc_profile": "colour profile",
    "exif": "EXIF",
    "dpi": "resolution",
    "xmp": "XMP",
    "texts": "text",
    "comment": "comment",
    "colour": "colour chunks",
}
XMP_KEYWORD: Final = b"XML:com.adobe.xmp"
TEXT_CHUNKS: Final = (b"tEXt", b"zTXt", b"iTXt")
COLOUR_CHUNKS: Final = (b"gAMA", b"cHRM", b"sRGB", b"cICP")
XMP_ORIENTATION: Final = re.compile(rb"""tiff:Orientation(?:\s*=\s*["']|\s*>)\s*([1-8])\b""")
_STALE_NAMES: Final = (
    rb"(?:tiff:(?:Orientation|ImageWidth|ImageLength|XResolution|YResolution|ResolutionUnit)"
    rb"|exif:Pixel[XY]Dimension)"
)
STALE_XMP: Final = re.compile(
    rb"""\s%b\s*=\s*(?:"[^"<]*"|'[^'<]*')|<(%b)\s*>[^<]*</\1\s*>""" % (_STALE_NAMES, _STALE_NAMES)
)

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
        xmp: XMP without the same, or None.
        comment: what a JPEG or GIF says in words, or None.
        texts: the textual chunks of a PNG as they stood in the file: (name, body).
        colour: likewise those that say what its colours mean.
        plays: how often a film is shown; 0 for ever.
        dropped: what the file said that is never carried over, in words.
        warnings: what could not be read, or would be false.
    """

    icc_profile: bytes | None = None
    exif: Image.Exif | None = None
    dpi: tuple[float, float] | None = None
    xmp: bytes | None = None
    comment: bytes | None = None
    texts: tuple[tuple[bytes, bytes], ...] = ()
    colour: tuple[tuple[bytes, bytes], ...] = ()
    plays: int = 0
    dropped: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def pooled(self, stride: tuple[int, int]) -> Metadata:
        """The same for the pooled picture, which keeps its size on paper."""
        if self.dpi is None:
            return self
        return replace(self, dpi=(self.dpi[0] / stride[0], self.dpi[1] / stride[1]))

    def arguments(self, target: Format, strip: bool) -> tuple[dict[str, Any], list[str]]:
        """The keyword arguments with which Pillow writes it, and in words what has no place."""
        given: dict[str, Any] = {"icc_profile": self.icc_profile, "colour": self.colour}
        lost: list[str] = []
        if self.exif is not None and target.name != "tiff":
            for tag in PAGE_TAGS:
                self.exif.pop(tag, None)
        if not strip:
            given |= {"xmp": self.xmp, "texts": self.texts, "comment": self.comment}
            given["exif"] = None if self.exif is None else _exif_bytes(self.exif, self.dpi)
            given["dpi"] = None if self.dpi is None else self.dpi[::-1]
            lost += self.dropped
        if target.name in ("jpeg", "gif", "tiff") and given.get("texts"):
            given["comment"], given["texts"] = _comment_of(self.texts)
        holds = HOLDERS.get(target.name, ())
        held = {name: value for name, value in given.items() if value and name in holds}
        if target.name == "jpeg":
            lost += _cut_for_jpeg(held, given)
        told = {"dpi"} if "exif" in held else set()  # it tells the resolution too
        lost += [
            WORDS[name]
            for name, value in given.items()
            if value and name not in held and name not in told
        ]
        return _for_pillow(held, target), lost

    def tags(self, strip: bool) -> Image.Exif:
        """What stands in the tags of a TIFF."""
        tags = Image.Exif()
        if strip:
            return tags
        if self.exif is not None:
            tags.load(_exif_bytes(self.exif, None) or b"")
            for tag in set(tags) - {*DESCRIPTIVE, *PAGE_TAGS}:
                del tags[tag]
            for tag, value in list(tags.items()):
                if isinstance(value, str) and not value.isascii():
                    tags[tag] = value.encode("latin-1", "replace")  # as Pillow read it
        if self.xmp is not None:
            tags[XMP] = self.xmp
        comment = self.comment or _comment_of(self.texts)[0]
        if comment and Exif.ImageDescription not in tags:
            tags[Exif.ImageDescription] = _as_text(comment)
        return tags


def _cut_for_jpeg(held: dict[str, Any], given: dict[str, Any]) -> list[str]:
    """Take out what is too long for a segment of a JPEG, and say so."""
    lost = []
    limits = {"exif": JPEG_EXIF_BYTES, "xmp": JPEG_XMP_BYTES, "comment": JPEG_COMMENT_BYTES}
    for name, most in limits.items():
        if len(held.get(name, b"")) > most:
            del held[name], given[name]
            lost.append(f"{WORDS[name]}, which is too long")
    return lost


def _for_pillow(held: dict[str, Any], target: Format) -> dict[str, Any]:
    """The keyword arguments of a format for what it holds."""
    if target.name == "tiff":
        return {name: held[name] for name in ("icc_profile", "dpi") if name in held}
    if target.name != "png":
        return held
    info = PngImagePlugin.PngInfo()
    for name, body in (*held.pop("colour", ()), *held.pop("texts", ())):
        info.add(name, body)
    if xmp := held.pop("xmp", None):
        info.add(b"iTXt", XMP_KEYWORD + bytes(5) + xmp)
    if comment := held.pop("comment", None):
        info.add_text("Comment", _as_text(comment))
    return {**held, "pnginfo": info} if info.chunks else held


def _comment_of(
    texts: tuple[tuple[bytes, bytes], ...],
) -> tuple[bytes | None, tuple[tuple[bytes, bytes], ...]]:
    """The plain comment among the texts of a PNG, and the other texts."""
    for place, (name, body) in enumerate(texts):
        if name == b"tEXt" and body.startswith(b"Comment\0"):
            return body[8:], texts[:place] + texts[place + 1 :]
    return None, texts


def _as_text(octets: bytes) -> str:
    """Words of a file that doesn't say how they are encoded."""
    try:
        return octets.decode()
    except UnicodeDecodeError:
        return octets.decode("latin-1")


@dataclass(frozen=True, slots=True)
class ExifFound:
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
    if image.format == "PNG" and not {"exif", "Raw profile type exif"} & set(image.info):
        found = chunks.find_png(stream, b"eXIf")
        image.info["exif"] = b"" if found is None else b"Exif\0\0" + found
    xmp, complaint = _take_xmp(image, stream)
    try:
        with warnings.catch_warnings(record=True) as complaints:
            warnings.simplefilter("always")
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
        exif, reason = Image.Exif(), str(fault) or type(fault).__name__
    return ExifFound(exif, xmp, (f"its EXIF is damaged ({reason.strip()})", *complaint))


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
        xmp = _png_xmp(stream)
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
    return None


def read(image: Image.Image, stream: BinaryIO, found: ExifFound, *, turned: bool) -> Metadata:
    """The metadata of an opened image.

    Args:
        image: the image.
        stream: its file.
        found: its EXIF and XMP; the stale parts are taken out of it.
        turned: whether height and width of the upright picture change places.
    """
    dpi = _dpi(image, found.exif)
    icc_profile, comment = image.info.get("icc_profile"), image.info.get("comment")
    exif = found.exif
    false: tuple[str, ...] = ()
    if image.format == "TIFF":  # most of its tags describe its layout, not the picture
        false = tuple(_take_false_tags(exif))
    png = list(chunks.png_chunks(stream)) if image.format == "PNG" else []
    return Metadata(
        icc_profile=icc_profile if isinstance(icc_profile, bytes) and icc_profile else None,
        exif=_without_stale(exif) if len(exif) else None,
        dpi=dpi[::-1] if dpi and turned else dpi,
        xmp=None if found.xmp is None else _true_xmp(found.xmp),
        comment=comment if isinstance(comment, bytes) and comment else None,
        texts=tuple(one for one in png if one[0] in TEXT_CHUNKS and not _is_known(one[1])),
        colour=tuple(one for one in png if one[0] in COLOUR_CHUNKS),
        plays=image.info.get("loop", 0),
        dropped=tuple(_dropped(image)),
        warnings=(*found.warnings, *false),
    )


def _is_known(body: bytes) -> bool:
    """Whether a textual chunk is carried as XMP or EXIF."""
    return body.startswith((XMP_KEYWORD, b"Raw profile type exif", b"Raw profile type APP1"))


def _true_xmp(xmp: bytes) -> bytes:
    """XMP without orientation, sizes, resolution and thumbnails."""
    begin, end = xmp.find(b"<xmp:Thumbnails"), xmp.find(b"</xmp:Thumbnails>")
    if 0 <= begin < end:
        xmp = xmp[:begin] + xmp[end + len(b"</xmp:Thumbnails>") :]
    return STALE_XMP.sub(b"", xmp)


def _take_false_tags(tags: Image.Exif) -> Iterator[str]:
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
    if DETAILS in exif:
        details = exif.get_ifd(DETAILS)
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
    parts = [exif.get_ifd(one) for one in (DETAILS, PLACE) if one in exif]
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


def _dropped(image: Image.Image) -> Iterator[str]:
    """What a file says that is not carried over, in words."""
    if "photoshop" in image.info or image.info.get("mp"):
        yield "blocks of other programs"
