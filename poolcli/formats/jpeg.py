"""JPEG through Pillow; precision and components are read from the segments themselves."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from io import BytesIO
from typing import Any, BinaryIO, Final

from PIL.JpegImagePlugin import JpegImageFile, get_sampling

from poolcli.errors import PoolError
from poolcli.formats import Format
from poolcli.formats.carried import WORDS, carried, no_place
from poolcli.formats.contract import Limits, WholeFrameWriter
from poolcli.formats.exif import Described, checked_dpi, describe
from poolcli.formats.pillow import PillowReader, info_of, open_image, save_image, to_image
from poolcli.formats.saving import Saving
from poolcli.picture import Encoding, Metadata, Picture, Stored

START: Final = b"\xff\xd8"
FILL, SCAN, COMMENT, COLOUR_TRANSFORM = 0xFF, 0xDA, 0xFE, 0xEE
FRAME_HEADERS: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""The markers of frame headers, SOF0 to SOF15 (ITU-T T.81, table B.1)."""

WITHOUT_SEGMENT: Final = frozenset((0x00, 0x01, *range(0xD0, 0xDA), FILL))
"""The markers that stand alone, and the bytes that may follow a 0xFF that is no marker."""

DESCRIPTIVE: Final = frozenset(range(0xE0, 0xF0)) - {COLOUR_TRANSFORM} | {COMMENT}
"""The markers of segments without which the picture would look the same."""

EXTENDED_XMP: Final = b"http://ns.adobe.com/xmp/extension/\0"
DENSITY_UNITS: Final = (1, 2)
"""The units of JFIF's density that are lengths, inch and centimetre."""

DENSITIES: Final = range(1, 1 << 16)
"""The pixels an inch that JFIF can state; others would be written modulo 65536."""

LONGEST: Final = {"icc_profile": 255 * 65519, "exif": 65533, "xmp": 65504, "comment": 65533}
"""The most bytes of metadata; only the colour profile may go over several segments."""

DAMAGED: Final = "its metadata is damaged, and was dropped"
QUALITY: Final = 90


def read(stream: BinaryIO, limits: Limits) -> PillowReader:
    """Open a JPEG, or the first picture of an MPO."""
    stored = _stored(stream)
    image, stream, warnings = _open(stream)
    limits.check(image.height, image.width)
    described = describe(image.info.get("exif"), image.info.get("xmp"))
    encoding = Encoding("jpeg", lossy=True, details=_tables(image))
    info = info_of(image, stored, encoding, described.orientation)
    metadata = _metadata(image, described, warnings)
    return PillowReader(info, metadata, image, partial(open_image, _Jpeg, stream))


def write(file: BinaryIO, row: Format, saving: Saving, _frames: int | None) -> JpegWriter:
    """Begin to write a JPEG."""
    return JpegWriter(file, row, saving)


class _Jpeg(JpegImageFile):
    """A JPEG as Pillow opens it, but for its EXIF.

    Where JFIF states no resolution, Pillow looks for it there, and warns of EXIF that is damaged:
    warnings can't be caught in one thread alone.
    """

    def _read_dpi_from_exif(self) -> None:
        """Do nothing: EXIF is read by us."""


class JpegWriter(WholeFrameWriter):
    """A JPEG that is written, with the tables and subsampling of a source that was one too."""

    def write_frame(self, picture: Picture) -> None:
        """Encode the picture."""
        info, saving = picture.info, self.saving
        held, notes = carried(
            picture.metadata, self.row, info.mode, strip=saving.strip, longest=LONGEST
        )
        if not all(round(one) in DENSITIES for one in held.get("dpi", ())):
            del held["dpi"]
            notes += [] if "exif" in held else [no_place(self.row, WORDS["dpi"])]
        self.note(*notes)
        arguments: dict[str, Any] = {"quality": QUALITY}
        if info.encoding.format == self.row.name and saving.quality is None:
            arguments |= _repeated(picture)
        arguments |= held | saving.for_format(self.row)
        image = to_image(picture, self.row.modes[info.mode])
        save_image(self.file, image, "JPEG", **arguments)


def _repeated(picture: Picture) -> dict[str, Any]:
    """Return the arguments that repeat the tables of a source; grey has no subsampling."""
    tables = dict(picture.info.encoding.details)
    if picture.array.ndim == 2:
        tables.pop("subsampling", None)
    return {"quality": -1, **tables} if tables else {}


def _open(stream: BinaryIO) -> tuple[JpegImageFile, BinaryIO, tuple[str, ...]]:
    """Open a JPEG, without its metadata if they are damaged; return its stream and warnings too."""
    try:
        return open_image(_Jpeg, stream), stream, ()
    except SyntaxError:
        remainder = _without_metadata(stream)
        if remainder is None:
            raise
    return open_image(_Jpeg, remainder), remainder, (DAMAGED,)


def _segments(stream: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Yield marker and whole segment up to the first scan; junk between them is skipped."""
    stream.seek(len(START))
    while byte := stream.read(1):
        while byte and byte[0] == FILL:
            byte = stream.read(1)
            if byte and byte[0] not in WITHOUT_SEGMENT:
                length = stream.read(2)
                content = stream.read(max(0, int.from_bytes(length, "big") - 2))
                yield byte[0], bytes((FILL, byte[0])) + length + content
                if byte[0] == SCAN:
                    return


def _stored(stream: BinaryIO) -> Stored:
    """Read precision and components from the frame header.

    Raises:
        PoolError: there is none, or it states samples that can't be decoded.
    """
    for marker, segment in _segments(stream):
        if marker in FRAME_HEADERS and len(segment) > 9:
            bits, components = segment[4], segment[9]
            if bits != 8:
                raise PoolError(
                    f"its samples have {bits} bits, and only JPEGs of 8 bits can be read",
                    "convert it first to a 16-bit PNG or TIFF",
                )
            return Stored("unsigned", bits, (1 << bits) - 1, components)
    raise PoolError("its frame header is missing", "is the file complete?")


def _without_metadata(stream: BinaryIO) -> BytesIO | None:
    """Return a JPEG without what its pixels don't need; None where there is nothing else in it."""
    segments = list(_segments(stream))
    kept = [segment for marker, segment in segments if marker not in DESCRIPTIVE]
    if len(kept) == len(segments):
        return None
    return BytesIO(b"".join((START, *kept, stream.read())))


def _tables(image: JpegImageFile) -> dict[str, Any]:
    """Return the quantisation tables and subsampling, as Pillow takes them."""
    subsampling = get_sampling(image)
    tables: dict[str, Any] = {"qtables": image.quantization} if image.quantization else {}
    return tables | {"subsampling": subsampling} if tables and subsampling >= 0 else tables


def _metadata(image: JpegImageFile, described: Described, warnings: tuple[str, ...]) -> Metadata:
    """Collect what stands beside the pixels."""
    found, segments = image.info, image.applist
    dpi = described.dpi
    if found.get("jfif_unit") in DENSITY_UNITS:
        dpi = checked_dpi(*found["dpi"])
    if found.get("icc_profile", b"") is None:  # Pillow has found some of its parts
        warnings = ("its colour profile is damaged, and was dropped", *warnings)
    dropped = []
    if "photoshop" in found or found.get("mp"):
        dropped.append("blocks of other programs")
    if any(content.startswith(EXTENDED_XMP) for _, content in segments):
        dropped.append("second part of its XMP")
    return Metadata(
        icc_profile=found.get("icc_profile") or None,
        exif=described.exif,
        dpi=dpi,
        xmp=described.xmp,
        # Of several comments Pillow's `info` has the last one only.
        comment=b"\n".join(one for name, one in segments if name == "COM") or None,
        dropped=tuple(dropped),
        warnings=(*described.warnings, *warnings),
    )
