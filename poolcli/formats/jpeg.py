"""Read and write JPEG with Pillow; read other depths than 8 bits with imagecodecs."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from functools import partial
from io import BytesIO
from typing import Any, BinaryIO, Final
from zlib import crc32

import numpy as np
from numpy.typing import NDArray
from PIL.JpegImagePlugin import JpegImageFile, get_sampling

from poolcli.errors import PoolError
from poolcli.formats.contract import DecodedReader, FurtherReader, Limits, Reader, WholeFrameWriter
from poolcli.formats.exif import checked_resolution, describe, packed_exif, whole_ratio
from poolcli.formats.extras import library
from poolcli.formats.jpeg_markers import (
    DECODED,
    END,
    LOSSLESS,
    SCAN,
    Header,
    end_of,
    further_pictures,
    has_end,
    is_whole,
    read_header,
    segments,
    without_metadata,
)
from poolcli.formats.pillow import PillowReader, encoded, info_of, open_image, rows_of, to_image
from poolcli.formats.row import Format
from poolcli.formats.saving import Saving
from poolcli.picture import (
    MODES,
    Encoding,
    FrameInfo,
    Metadata,
    Pair,
    Picture,
    Resolution,
    ResolutionUnit,
    Stored,
)

EXTENDED_XMP: Final = b"http://ns.adobe.com/xmp/extension/\0"
DENSITY_UNITS: Final[tuple[ResolutionUnit, ...]] = ("", "inch", "cm")
"""The unit of JFIF's density by its number."""

DENSITIES: Final = range(1, 1 << 16)
"""The pixels per unit that JFIF can store."""

JFIF, DENSITY_AT = slice(6, 11), 13
"""The bytes of a file that libjpeg has written: the name of its first segment, and the density."""

LONGEST: Final = {"icc_profile": 255 * 65519, "exif": 65533, "xmp": 65504, "comment": 65533}
"""The most bytes of each kind of metadata; only the colour profile may use several segments."""

INDEX: Final = b"MPF\0"
"""The beginning of the index of further pictures in the same file (CIPA DC-007)."""

QUALITY: Final = 90
CHECKED_ROWS: Final = 64


def read(stream: BinaryIO, limits: Limits) -> Reader:
    """Open a JPEG, and the further pictures that its index names: those of an MPO.

    Raises:
        PoolError: it is too large, or its samples can't be read.
    """
    reader, spans = _open(stream, limits)
    return FurtherReader(reader, [partial(_open_part, stream, limits, *span) for span in spans])


def write(file: BinaryIO, row: Format, saving: Saving, _frames: int | None) -> JpegWriter:
    """Return the writer of a JPEG."""
    return JpegWriter(file, row, saving)


def end(stream: BinaryIO) -> int | None:
    """Return the position after the picture; None if it has no end, or an index of pictures."""
    scan = next((begin for marker, begin, _ in segments(stream) if marker == SCAN), 0)
    stream.seek(0)
    octets = stream.read()
    return None if INDEX in octets[:scan] else end_of(octets, scan)


class _Jpeg(JpegImageFile):
    """A JPEG that Pillow opens without looking for the resolution in EXIF.

    Pillow would emit Python warnings for damaged EXIF, which can't be caught for one thread alone.
    """

    def _read_dpi_from_exif(self) -> None:
        """Do nothing: `poolcli.formats.exif` reads EXIF."""


class JpegWriter(WholeFrameWriter):
    """The writer of a JPEG; it uses the quantisation tables and subsampling of a JPEG source."""

    def write_frame(self, picture: Picture) -> None:
        """Encode the picture with its metadata."""
        info, saving = picture.info, self.saving
        held = self.held(info, picture.metadata, longest=LONGEST)
        resolution: Resolution | None = held.pop("resolution", None)
        density = None if resolution is None or info.mode == "CMYK" else _density(resolution)
        if resolution is not None and density is None:  # CMYK has no JFIF segment
            held.setdefault("exif", packed_exif(b"", resolution))
        arguments: dict[str, Any] = {"quality": QUALITY}
        if info.encoding.format == self.row.name and saving.quality is None:
            arguments |= info.encoding.details
        arguments |= held | saving.for_format(self.row)
        octets = encoded(to_image(picture, self.row.modes[info.mode]), "JPEG", **arguments)
        if density is not None and bytes(octets[JFIF]) == b"JFIF\0":
            struct.pack_into(">BHH", octets, DENSITY_AT, *density)
        self.file.write(octets)


def _density(resolution: Resolution) -> tuple[int, int, int] | None:
    """Return the number of the unit and the density (across, down); None if JFIF can't store it."""
    if not resolution.unit:
        across, down = whole_ratio(resolution, DENSITIES[-1])
    else:
        across, down = round(resolution.across), round(resolution.down)
        if (across, down) != (resolution.across, resolution.down):
            resolution = resolution.per_inch()  # which is rounded less than centimetres are
            across, down = round(resolution.across), round(resolution.down)
    unit = DENSITY_UNITS.index(resolution.unit)
    return (unit, across, down) if across in DENSITIES and down in DENSITIES else None


def _open_part(stream: BinaryIO, limits: Limits, begin: int, end: int) -> Reader:
    """Open a picture that is a part of a file."""
    stream.seek(begin)
    return _open(BytesIO(stream.read(end - begin)), limits)[0]


def _open(stream: BinaryIO, limits: Limits) -> tuple[Reader, list[Pair]]:
    """Open one picture; return its reader, and the positions of further pictures.

    Args:
        stream: a file that begins with the picture.
        limits: the limits on its size.
    """
    header = read_header(stream)
    limits.check(header.height, header.width)
    mode = _mode(header)
    warnings: tuple[str, ...] = ()
    if not has_end(stream, header.scan):
        stream.seek(0)
        octets = stream.read().rstrip(END[:1])  # half of a marker
        if not is_whole(octets, header, _deep_checksum if mode else _checksum):
            raise PoolError("it is cut off: samples are missing", "is the file complete?")
        stream, warnings = BytesIO(octets + END), ("the marker at its end is missing",)
    try:
        image = _opened(stream, header)
    except (SyntaxError, OSError):
        stream = without_metadata(stream, header.scan)
        header = read_header(stream)
        warnings = (*warnings, "its metadata is damaged, and was dropped")
        image = _opened(stream, header)
    try:
        spans = further_pictures(stream, image.info.get("mp", b""), image.info.get("mpoffset", 0))
    except (ValueError, struct.error):
        spans, warnings = [], (*warnings, "its index of further pictures is damaged")
    described, orientation = describe(image.info.get("exif"), image.info.get("xmp"), warnings)
    metadata = _metadata(image, described)
    stored = Stored("unsigned", header.bits, (1 << header.bits) - 1, len(header.components))
    if mode:
        info = _deep_info(header, mode, stored, orientation)
        return DecodedReader(info, partial(_decode, stream), lambda: metadata), spans
    info = info_of(image, stored, _encoding(image, header), orientation)
    return PillowReader(info, metadata, image, partial(open_image, _Jpeg, stream)), spans


def _opened(stream: BinaryIO, header: Header) -> JpegImageFile:
    """Open a picture with Pillow; one of another depth only for its metadata, as if it had 8 bits.

    Such a picture can't be decoded.
    """
    if header.bits == 8:
        return open_image(_Jpeg, stream)
    stream.seek(0)
    octets = bytearray(stream.read())
    octets[header.place] = 8
    return open_image(_Jpeg, BytesIO(octets))


def _encoding(image: JpegImageFile, header: Header) -> Encoding:
    """Return how a picture is encoded, with the tables that a JPEG written from it repeats."""
    if header.marker in LOSSLESS:
        return Encoding("jpeg")
    tables = {"quality": -1, "qtables": image.quantization, "subsampling": get_sampling(image)}
    return Encoding("jpeg", lossy=True, details=tables)


def _mode(header: Header) -> str:
    """Return the mode of a picture that only imagecodecs can decode; empty if Pillow can.

    Raises:
        PoolError: pictures of such a depth can't be read.
    """
    bits, channels = header.bits, len(header.components)
    if header.marker not in DECODED:
        raise PoolError("it is coded in a way that can't be read", "convert it first to PNG")
    if bits == 8:
        return ""
    depths = range(2, 17) if header.marker in LOSSLESS else (12,)
    if channels not in (1, 3) or bits not in depths:
        raise PoolError(
            f"its samples have {bits} bits in {channels} channels, which can't be read",
            "convert it first to a 16-bit PNG or TIFF",
        )
    library("imagecodecs", "deep")
    if channels == 3:
        return "RGB;16" if bits == 16 else "RGB;M"
    return "I;16" if bits == 16 else "L;M"


def _deep_info(header: Header, mode: str, stored: Stored, orientation: int) -> FrameInfo:
    """Return the `FrameInfo` of a picture that imagecodecs decodes."""
    shape, channels = (header.height, header.width), MODES[mode].channels
    return FrameInfo(
        (*shape, channels) if channels > 1 else shape,
        np.dtype(np.uint16 if header.bits > 8 else np.uint8),
        mode,
        stored.maxval,
        stored,
        orientation,
        encoding=Encoding("jpeg", lossy=header.marker not in LOSSLESS),
    )


def _decode(stream: BinaryIO) -> NDArray[Any]:
    """Decode the samples in their own depth; the colours of lossless pictures are not converted."""
    codec = library("imagecodecs", "deep")
    header = read_header(stream)
    is_kept = header.marker in LOSSLESS and len(header.components) == 3
    spaces = {"colorspace": "RGB", "outcolorspace": "RGB"} if is_kept else {}
    stream.seek(0)
    array: NDArray[Any] = codec.jpeg8_decode(stream.read(), **spaces)
    return array


def _deep_checksum(stream: BinaryIO) -> int:
    """Return a checksum of the pixels that imagecodecs decodes."""
    return crc32(_decode(stream).tobytes())


def _checksum(stream: BinaryIO) -> int:
    """Return a checksum of the pixels that Pillow decodes.

    Raises:
        OSError: they can't be decoded.
    """
    image, found = open_image(_Jpeg, stream), 0
    image.load()
    for top in range(0, image.height, CHECKED_ROWS):
        rows = rows_of(image, image.mode, top, min(top + CHECKED_ROWS, image.height))
        found = crc32(rows.tobytes(), found)
    return found


def _metadata(image: JpegImageFile, described: Metadata) -> Metadata:
    """Complete the metadata from EXIF and XMP with that of the other segments."""
    found, segments, warnings = image.info, image.applist, described.warnings
    if found.get("icc_profile", b"") is None:  # Pillow has found only some parts of the profile
        warnings = (*warnings, "its colour profile is damaged, and was dropped")
    dropped = []
    if "photoshop" in found:
        dropped.append("blocks of other programs")
    if any(content.startswith(EXTENDED_XMP) for _, content in segments):
        dropped.append("second part of its XMP")
    return described._replace(
        icc_profile=found.get("icc_profile") or None,
        resolution=_resolution(found, described.resolution),
        # Pillow's `info` only has the last one of several comments.
        comment=b"\n".join(one for name, one in segments if name == "COM") or None,
        dropped=tuple(dropped),
        warnings=warnings,
    )


def _resolution(found: Mapping[Any, Any], other: Resolution | None) -> Resolution | None:
    """Return the resolution that JFIF states, or else ``other``, that of EXIF."""
    unit = found.get("jfif_unit", -1)
    if unit not in range(len(DENSITY_UNITS)):
        return other
    across, down = found["jfif_density"]
    own = checked_resolution(across, down, DENSITY_UNITS[unit])
    # Most encoders state 1:1, which says less than EXIF.
    return other if own is None or (own.is_plain and other) else own
