"""What a file says beside its pixels, carried from one file to the next."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from typing import Any, BinaryIO, Final, NamedTuple

from PIL import Image, PngImagePlugin

from poolcli.codec import chunks
from poolcli.codec.exif import (
    DESCRIPTIVE,
    EXTENDED_XMP,
    INCHES,
    PAGE_TAGS,
    RAW_PROFILE,
    STALE_TEXT,
    XMP,
    XMP_KEYWORD,
    Exif,
    ExifFound,
    exif_bytes,
    take_false_tags,
    true_xmp,
    without_stale,
)
from poolcli.formats import Format

JPEG_ICC_BYTES: Final = 255 * 65519
JPEG_EXIF_BYTES: Final = 65533
JPEG_XMP_BYTES: Final = 65504
JPEG_COMMENT_BYTES: Final = 65533
JPEG_DENSITIES: Final = range(1, 1 << 16)
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
TEXT_CHUNKS: Final = (b"tEXt", b"zTXt", b"iTXt")
COLOUR_CHUNKS: Final = (b"gAMA", b"cHRM", b"sRGB", b"cICP")
SRGB_CICP: Final = bytes((1, 13))
"""Primaries and transfer of sRGB, by ITU-T H.273."""

SRGB_GAMA: Final = 0.45455
GAMA_SLACK: Final = 0.001


class Metadata(NamedTuple):
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
        return self._replace(dpi=(self.dpi[0] / stride[0], self.dpi[1] / stride[1]))

    def arguments(self, target: Format, strip: bool) -> tuple[dict[str, Any], list[str]]:
        """The keyword arguments with which Pillow writes it, and in words what has no place."""
        given: dict[str, Any] = {"icc_profile": self.icc_profile, "colour": self.colour}
        lost: list[str] = []
        if self.exif is not None and target.name != "tiff":
            for tag in PAGE_TAGS:
                self.exif.pop(tag, None)
        if not strip:
            given |= {"xmp": self.xmp, "texts": self.texts, "comment": self.comment}
            given["exif"] = None if self.exif is None else exif_bytes(self.exif, self.dpi)
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
            tags.load(exif_bytes(self.exif, None) or b"")
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
    """Take out what is too long or too large for the segments of a JPEG, and say so."""
    lost = []
    limits = {
        "icc_profile": JPEG_ICC_BYTES,
        "exif": JPEG_EXIF_BYTES,
        "xmp": JPEG_XMP_BYTES,
        "comment": JPEG_COMMENT_BYTES,
    }
    if not all(round(one) in JPEG_DENSITIES for one in held.get("dpi", ())):
        del held["dpi"]  # it would be written modulo 65536
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


def read(image: Image.Image, stream: BinaryIO, found: ExifFound, *, turned: bool) -> Metadata:
    """The metadata of an opened image.

    Args:
        image: the image.
        stream: its file.
        found: its EXIF and XMP; the stale parts are taken out of it.
        turned: whether height and width of the upright picture change places.
    """
    dpi = _dpi(image, found.exif)
    icc_profile, comment = image.info.get("icc_profile"), _comment(image)
    exif = found.exif
    false: tuple[str, ...] = ()
    if image.info.get("icc_profile", b"") is None:  # Pillow found parts, and no whole
        false = ("its colour profile is damaged, and was dropped",)
    if image.format == "TIFF":  # most of its tags describe its layout, not the picture
        false = tuple(take_false_tags(exif))
    carried = (*TEXT_CHUNKS, *COLOUR_CHUNKS)
    png = list(chunks.png_chunks(stream, *carried)) if image.format == "PNG" else []
    return Metadata(
        icc_profile=icc_profile if isinstance(icc_profile, bytes) and icc_profile else None,
        exif=without_stale(exif) if len(exif) else None,
        dpi=dpi[::-1] if dpi and turned else dpi,
        xmp=None if found.xmp is None else true_xmp(found.xmp),
        comment=comment if isinstance(comment, bytes) and comment else None,
        texts=tuple(one for one in png if one[0] in TEXT_CHUNKS and not _is_elsewhere(one[1])),
        colour=tuple(one for one in png if one[0] in COLOUR_CHUNKS),
        plays=image.info.get("loop", 0),
        dropped=tuple(_dropped(image)),
        warnings=(*found.warnings, *false),
    )


def _comment(image: Image.Image) -> Any:
    """What a file says in words; of several in a JPEG Pillow has the last alone."""
    segments = getattr(image, "applist", ())
    return b"\n".join(one for name, one in segments if name == "COM") or image.info.get("comment")


def _is_elsewhere(body: bytes) -> bool:
    """Whether a textual chunk is carried as XMP or EXIF, or would be false."""
    raw = tuple(RAW_PROFILE + kind for kind in (b"exif", b"xmp", b"APP1"))
    return body.startswith((XMP_KEYWORD, *raw)) or STALE_TEXT.match(body) is not None


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
    if any(body.startswith(EXTENDED_XMP) for _, body in getattr(image, "applist", ())):
        yield "second part of its XMP"
