"""Read and write JPEG with Pillow."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from functools import partial
from io import BytesIO
from typing import Any, BinaryIO, Final

from PIL.JpegImagePlugin import JpegImageFile, get_sampling

from poolcli.errors import PoolError
from poolcli.formats import Format
from poolcli.formats.contract import Limits, WholeFrameWriter
from poolcli.formats.exif import checked_resolution, describe, packed_exif, whole_ratio
from poolcli.formats.pillow import PillowReader, encoded, info_of, open_image, to_image
from poolcli.formats.saving import Saving
from poolcli.picture import Encoding, Metadata, Picture, Resolution, ResolutionUnit, Stored

SCAN: Final = b"\xff\xda"
FILL, COMMENT, COLOUR_TRANSFORM = 0xFF, 0xFE, 0xEE
FRAME_HEADERS: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""The markers of frame headers, SOF0 to SOF15 (ITU-T T.81, table B.1)."""

WITHOUT_SEGMENT: Final = frozenset((0x00, 0x01, *range(0xD0, 0xDA), FILL))
"""The markers without a segment, and the bytes after a 0xFF that is not part of a marker."""

DESCRIPTIVE: Final = frozenset(range(0xE0, 0xF0)) - {COLOUR_TRANSFORM} | {COMMENT}
"""The markers of segments that don't change how the picture looks."""

EXTENDED_XMP: Final = b"http://ns.adobe.com/xmp/extension/\0"
DENSITY_UNITS: Final[tuple[ResolutionUnit, ...]] = ("", "inch", "cm")
"""The unit of JFIF's density by its number."""

DENSITIES: Final = range(1, 1 << 16)
"""The pixels per unit that JFIF can store."""

JFIF, DENSITY_AT = slice(6, 11), 13
"""The bytes of a file that libjpeg has written: the name of its first segment, and the density."""

LONGEST: Final = {"icc_profile": 255 * 65519, "exif": 65533, "xmp": 65504, "comment": 65533}
"""The most bytes of each kind of metadata; only the colour profile may use several segments."""

QUALITY: Final = 90


def read(stream: BinaryIO, limits: Limits) -> PillowReader:
    """Open a JPEG, or the first picture of an MPO.

    Raises:
        PoolError: it is too large, or its samples can't be read.
    """
    warnings: tuple[str, ...] = ()
    try:
        image = open_image(_Jpeg, stream)
    except (SyntaxError, OSError):
        stream = _without_metadata(stream)
        warnings = ("its metadata is damaged, and was dropped",)
        image = open_image(_Jpeg, stream)
    limits.check(image.height, image.width)
    described, orientation = describe(image.info.get("exif"), image.info.get("xmp"), warnings)
    stored = Stored("unsigned", image.bits, (1 << image.bits) - 1, image.layers)
    tables = {"quality": -1, "qtables": image.quantization, "subsampling": get_sampling(image)}
    encoding = Encoding("jpeg", lossy=True, details=tables)
    info = info_of(image, stored, encoding, orientation)
    return PillowReader(
        info, _metadata(image, described), image, partial(open_image, _Jpeg, stream)
    )


def write(file: BinaryIO, row: Format, saving: Saving, _frames: int | None) -> JpegWriter:
    """Return the writer of a JPEG."""
    return JpegWriter(file, row, saving)


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


def _without_metadata(stream: BinaryIO) -> BytesIO:
    """Return a copy of a JPEG without the metadata segments, which keep Pillow from opening it.

    Raises:
        PoolError: the frame header is missing, or the samples don't have 8 bits.
    """
    stream.seek(0)
    octets, at, bits = stream.read(), 2, None
    kept = [octets[:at]]
    while at + 4 < len(octets) and octets[at : at + 2] != SCAN:
        marker = octets[at + 1]
        if octets[at] != FILL or marker in WITHOUT_SEGMENT:
            at += 1  # skip bytes between segments that belong to none
            continue
        end = at + 2 + int.from_bytes(octets[at + 2 : at + 4], "big")
        if marker in FRAME_HEADERS:
            bits = octets[at + 4]
        if marker not in DESCRIPTIVE:
            kept.append(octets[at:end])
        at = end
    if bits is None:
        raise PoolError("its frame header is missing", "is the file complete?")
    if bits != 8:
        raise PoolError(
            f"its samples have {bits} bits, but only 8-bit JPEG can be read",
            "convert it first to a 16-bit PNG or TIFF",
        )
    return BytesIO(b"".join((*kept, octets[at:])))


def _metadata(image: JpegImageFile, described: Metadata) -> Metadata:
    """Complete the metadata from EXIF and XMP with that of the other segments."""
    found, segments, warnings = image.info, image.applist, described.warnings
    if found.get("icc_profile", b"") is None:  # Pillow has found only some parts of the profile
        warnings = (*warnings, "its colour profile is damaged, and was dropped")
    dropped = []
    if "photoshop" in found or found.get("mp"):
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
