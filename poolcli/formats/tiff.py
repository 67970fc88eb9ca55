"""Read and write TIFF with any number of pages: its metadata, and the writer of its pages."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from io import BytesIO
from typing import Any, BinaryIO, Final

from PIL.TiffImagePlugin import TiffImageFile

from poolcli.formats import Format, exif, tiff_deep, tiff_tags
from poolcli.formats.carried import carried
from poolcli.formats.contract import Limits, WholeFrameWriter
from poolcli.formats.pillow import PILLOW_MODES, to_image
from poolcli.formats.saving import Saving
from poolcli.formats.tiff_reader import TiffReader
from poolcli.formats.tiff_tags import (
    ASCII,
    BYTE,
    RATIONAL,
    SHORT,
    UNDEFINED,
    Directory,
    TagFile,
    Tags,
    Value,
)
from poolcli.picture import Metadata, Picture, Resolution

DESCRIPTION, ORIENTATION, XMP, IPTC, ICC_PROFILE = 270, 274, 700, 33723, 34675
OCTETS: Final = (BYTE, UNDEFINED)
"""The types of values that are stored as plain bytes."""

DESCRIPTIVE: Final = (
    *(269, DESCRIPTION, 271, 272, 305, 306, 315, 316, IPTC, 33432),
    *(tiff_tags.EXIF, tiff_tags.GPS, 18246, 18249, 40091, 40092, 40093, 40094, 40095),
)
"""The tags with text and photographic data, which stay true after pooling."""

GEO_TAGS: Final = (33550, 33922, 34264, 34735, 34736, 34737)
"""The tags that place the pixels on the earth (OGC GeoTIFF 1.1); pooling makes them false."""

LAYOUT_DESCRIPTIONS: Final = (b"ImageJ=", b"<?xml", b"<OME", b'{"shape')
"""The beginnings of descriptions in which programs store the axes and sizes of their arrays."""

COMPRESSIONS: Final = {"none": "raw", "lzw": "tiff_lzw", "deflate": "tiff_adobe_deflate"}
"""Pillow's names of compressions, where they differ from those of `--save-option`."""

DEFAULT_COMPRESSION: Final = "deflate"


def read(stream: BinaryIO, limits: Limits) -> TiffReader:
    """Open a TIFF."""
    return TiffReader(stream, limits, _orientation, _metadata)


def write(file: BinaryIO, row: Format, saving: Saving, _frames: int | None) -> TiffWriter:
    """Return the writer of a TIFF."""
    return TiffWriter(file, row, saving)


class TiffWriter(WholeFrameWriter):
    """The writer of a TIFF, page by page."""

    def __init__(self, file: BinaryIO, row: Format, saving: Saving) -> None:
        """Begin with no page written."""
        super().__init__(file, row, saving)
        self._tags: list[Tags] = []
        self._pointer = 0

    def write_frame(self, picture: Picture) -> None:
        """Append a page, and keep its metadata tags for `write_end`."""
        mode = picture.info.mode
        held, notes = carried(picture.metadata, self.row, mode, strip=self.saving.strip)
        self.note(*notes)
        compression = str(self.saving.for_format(self.row).get("compression", DEFAULT_COMPRESSION))
        if mode not in PILLOW_MODES:
            page = tiff_deep.encode(picture, compression, held)
        else:
            page = _encode(picture, self.row.modes[mode], compression, held)
        self._pointer = tiff_tags.append(self.file, page, self._pointer)
        self._tags.append(_tags_of(held))

    def write_end(self) -> None:
        """Add the metadata tags to all pages."""
        # They are not part of the appended pages because `append` does not correct the offsets
        # within EXIF.
        if len(self._tags) > 1:
            tiff_tags.align(self.file, tiff_tags.PAGE_ALIGNMENT)
        tiff_tags.add(self.file, self._tags)


def _metadata(page: Directory) -> Metadata:
    """Return the metadata of a page; damaged parts become warnings."""
    warnings: list[str] = []
    block = _exif(page, warnings)
    profile = _octets(page, ICC_PROFILE, "colour profile", warnings)
    found, _ = exif.describe(block, _octets(page, XMP, "XMP", warnings), warnings)
    return found._replace(
        icc_profile=profile, resolution=exif.resolution_of(_readable(page, *exif.RESOLUTION))
    )


def _exif(page: Directory, warnings: list[str]) -> bytes | None:
    """Return the tags that stay true after pooling, packed as EXIF; None if some are damaged."""
    wanted, order = {*DESCRIPTIVE, *exif.PAGE_TAGS, *exif.RESOLUTION}, page.file.order
    if page.entries.keys() & {*GEO_TAGS}:
        warnings.append("its geo tags would be false, and were dropped")
    # Some programs store IPTC as 32-bit numbers, whose byte order is not defined.
    if page.entries.get(IPTC, (BYTE,))[0] not in OCTETS:
        wanted.remove(IPTC)
    try:
        if page.octets(DESCRIPTION).startswith(LAYOUT_DESCRIPTIONS):
            wanted.remove(DESCRIPTION)
            warnings.append("its description of axes and sizes would be false, and was dropped")
        head = tiff_tags.HEADS[order]
        return head + tiff_tags.packed(page.tags(order, wanted), order, len(head))
    except ValueError as fault:
        warnings.append(f"its EXIF is damaged ({fault})")
        return None


def _octets(page: Directory, tag: int, name: str, warnings: list[str]) -> bytes | None:
    """Return the bytes of a tag; None if it is missing, empty, damaged or of another type.

    Args:
        page: the directory.
        tag: the tag.
        name: its name in the warning.
        warnings: receives a warning if the tag is damaged.
    """
    if page.entries.get(tag, (0,))[0] not in OCTETS:
        return None
    try:
        return page.octets(tag) or None
    except ValueError:
        warnings.append(f"its {name} is damaged, and was dropped")
        return None


def _orientation(page: Directory) -> int:
    """Return the EXIF orientation of a page from its tag, or else from XMP."""
    known = _readable(page, ORIENTATION)
    return exif.orientation_of(known, None if known else _octets(page, XMP, "XMP", []))


def _readable(page: Directory, *tags: int) -> dict[int, Any]:
    """Return the first number of each tag, without tags that can't be read."""
    numbers = {tag: page.number(tag) for tag in tags}
    return {tag: number for tag, number in numbers.items() if number is not None}


def _encode(picture: Picture, stored: str, compression: str, held: Mapping[str, Any]) -> BytesIO:
    """Encode a page with Pillow."""
    # libtiff would convert YCbCr to RGB before it compresses it.
    word = "raw" if stored == "YCbCr" else COMPRESSIONS.get(compression, compression)
    colour = {"icc_profile": held["icc_profile"]} if "icc_profile" in held else {}
    buffer = BytesIO()
    to_image(picture, stored).save(buffer, TiffImageFile.format, compression=word, **colour)
    return buffer


def _tags_of(held: Mapping[str, Any]) -> Tags:
    """Return the metadata that neither Pillow nor tifffile writes, as tags."""
    tags: Tags = {}
    if "exif" in held:
        block = TagFile(BytesIO(held["exif"].removeprefix(exif.EXIF_PREFIX)))
        tags = Directory(block, block.page_offsets()[0]).tags("<", {*DESCRIPTIVE, *exif.PAGE_TAGS})
    if "resolution" in held:
        tags |= _resolution_tags(held["resolution"])
    if "xmp" in held:
        tags[XMP] = Value(BYTE, held["xmp"])
    if "comment" in held:
        tags.setdefault(DESCRIPTION, Value(ASCII, held["comment"] + b"\0"))
    return tags


def _resolution_tags(resolution: Resolution) -> Tags:
    """Return the tags of the resolution."""
    values = (exif.rational(one).as_integer_ratio() for one in (resolution.across, resolution.down))
    across, down = (Value(RATIONAL, struct.pack("<2I", *one)) for one in values)
    unit = Value(SHORT, struct.pack("<H", exif.UNIT_NUMBERS[resolution.unit]))
    return dict(zip(exif.RESOLUTION, (across, down, unit), strict=True))
