"""Read and write TIFF with any number of pages: its metadata, and the writer of its pages."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any, BinaryIO, Final

from poolcli.formats import START_BYTES, exif, known, tiff_place, tiff_tags
from poolcli.formats.contract import Limits
from poolcli.formats.row import Format
from poolcli.formats.saving import Saving
from poolcli.formats.tiff_layout import end_of
from poolcli.formats.tiff_reader import TiffReader
from poolcli.formats.tiff_tags import BYTE, UNDEFINED, Directory, TagFile
from poolcli.formats.tiff_writer import TiffWriter
from poolcli.picture import Metadata

DESCRIPTION, ORIENTATION, XMP, IPTC, ICC_PROFILE = 270, 274, 700, 33723, 34675
PADDING: Final = 8
"""The number of bytes that programs may add at the end: Pillow adds 4."""

OCTETS: Final = (BYTE, UNDEFINED)
"""The types of values that are stored as plain bytes."""

LAYOUT_DESCRIPTIONS: Final = (b"<?xml", b'{"shape')
"""The beginnings of other descriptions in which programs store the axes and sizes of arrays."""

SHAPE_ALONE: Final = re.compile(rb'\{"shape": \[\d+(, \d+){1,2}\]\}\0*')
"""The description by tifffile of an array that its tags describe too, so that nothing is lost."""


def read(stream: BinaryIO, limits: Limits) -> TiffReader:
    """Open a TIFF."""
    return TiffReader(stream, limits, _orientation, _metadata)


def write(file: BinaryIO, row: Format, saving: Saving, _frames: int | None) -> TiffWriter:
    """Return the writer of a TIFF."""
    return TiffWriter(file, row, saving)


def end(stream: BinaryIO) -> int | None:
    """Return the position of another picture directly behind all pages, or None."""
    first = end_of(TagFile(stream))
    for at in range(first, first + PADDING + 1):
        stream.seek(at)
        if known(stream.read(START_BYTES)):
            return at
    return None


def _metadata(page: Directory) -> Metadata:
    """Return the metadata of a page; damaged parts become warnings."""
    warnings: list[str] = []
    place = tiff_place.place_of(page, warnings.append)
    block = _exif(page, place.keys() & tiff_place.DESCRIPTIONS, warnings)
    profile = _octets(page, ICC_PROFILE, "colour profile", warnings)
    found, _ = exif.describe(block, _octets(page, XMP, "XMP", warnings), warnings)
    resolution = exif.resolution_of(_readable(page, *exif.RESOLUTION))
    return found._replace(icc_profile=profile, resolution=resolution, place=place)


def _exif(page: Directory, described: Collection[str], warnings: list[str]) -> bytes | None:
    """Return the tags that stay true after pooling, packed as EXIF; None if some are damaged.

    Args:
        page: the directory.
        described: what is known of the description already.
        warnings: receives warnings.
    """
    wanted, order = {*exif.TIFF_TAGS, *exif.RESOLUTION, ORIENTATION}, page.file.order
    # Some programs store IPTC as 32-bit numbers, whose byte order is not defined.
    if page.entries.get(IPTC, (BYTE,))[0] not in OCTETS:
        wanted.remove(IPTC)
    try:
        if described:
            wanted.remove(DESCRIPTION)
        elif (text := page.octets(DESCRIPTION)).startswith(LAYOUT_DESCRIPTIONS):
            wanted.remove(DESCRIPTION)
            if not SHAPE_ALONE.fullmatch(text):
                warnings.append("its description of axes and sizes would be false, and was dropped")
        head = tiff_tags.HEADS[order]
        return head + tiff_tags.packed(page.tags(order, wanted), order, len(head))
    except ValueError as fault:
        warnings.append(f"its EXIF is damaged ({fault.args[0]})")
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
