"""Read and write TIFF with any number of pages.

Pillow decodes pages whose samples fit one of its modes, tifffile decodes the others.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from functools import partial
from io import BytesIO
from typing import Any, BinaryIO, Final

from PIL.TiffImagePlugin import TiffImageFile

from poolcli.errors import PoolError
from poolcli.formats import Format, exif, tiff_deep, tiff_tags
from poolcli.formats.carried import carried
from poolcli.formats.contract import DecodedFrame, Limits, WholeFrameWriter
from poolcli.formats.pillow import (
    NATIVE_16,
    PILLOW_MODES,
    PillowFrame,
    info_of,
    open_image,
    to_image,
)
from poolcli.formats.saving import Saving
from poolcli.formats.tiff_deep import DeepPages
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
from poolcli.picture import Encoding, Frame, FrameInfo, Metadata, Picture, Resolution, Stored

BITS, COMPRESSION, PHOTOMETRIC, CHANNELS = 258, 259, 262, 277
TILE_WIDTH, TILE_LENGTH, EXTRA_SAMPLES, SAMPLE_FORMAT = 322, 323, 338, 339
DESCRIPTION, ORIENTATION, XMP, IPTC, ICC_PROFILE = 270, 274, 700, 33723, 34675
WHITE_IS_0, PALETTE, ASSOCIATED_ALPHA, UNCOMPRESSED = 0, 3, 1, 1
OCTETS: Final = (BYTE, UNDEFINED)
"""The types of values that are stored as plain bytes."""

MOST_BITS: Final = 64
PALETTE_BITS: Final = 8
"""The bits of a palette's entries as Pillow reads them; TIFF stores 16."""

LAYOUT: Final = {
    *(256, 257, BITS, COMPRESSION, PHOTOMETRIC, 266, 273, CHANNELS, 278, 279, 284, 317, 320),
    *(TILE_WIDTH, TILE_LENGTH, 324, 325, EXTRA_SAMPLES, SAMPLE_FORMAT, 347, 529, 530, 532),
}
"""The tags that describe how the pixels are stored; Pillow is given only these."""

KINDS: Final[Mapping[int | str, Any]] = {2: "signed", 3: "float", "i": "signed", "f": "float"}
"""The kinds of samples other than unsigned, by TIFF's sample format and by NumPy's `dtype.kind`."""

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
    return TiffReader(stream, limits)


def write(file: BinaryIO, row: Format, saving: Saving, _frames: int | None) -> TiffWriter:
    """Return the writer of a TIFF."""
    return TiffWriter(file, row, saving)


class TiffReader:
    """The reader of the pages of a TIFF."""

    format = "tiff"

    def __init__(self, stream: BinaryIO, limits: Limits) -> None:
        """Find the directory of each page; nothing else is read.

        Raises:
            PoolError: the file has no pages.
            ValueError: a directory is cut off, or directories overlap.
        """
        self._stream, self._limits = stream, limits
        self._file = TagFile(stream)
        self._offsets = self._file.page_offsets()
        self._deep = DeepPages(stream)
        self.count = len(self._offsets)
        if not self.count:
            raise PoolError("it has no pages", "is the file complete?")

    def frames(self) -> Iterator[Frame]:
        """Yield the pages in order."""
        for offset in self._offsets:
            yield self._frame(Directory(self._file, offset))

    def _frame(self, page: Directory) -> Frame:
        """Open a page with Pillow if it reads all samples exactly, else with tifffile."""
        # Tiles are decoded whole, even if only a few of their pixels belong to the page.
        tile = page.number(TILE_LENGTH, 0), page.number(TILE_WIDTH, 0)
        self._limits.check_tile(*tile, page.number(CHANNELS, 1))
        stored, orientation, metadata = _stored(page), _orientation(page), partial(_metadata, page)
        frame: PillowFrame | DecodedFrame
        image = _opened_by_pillow(self._stream, page)
        if image is None or (info := _pillow_info(page, image, stored, orientation)) is None:
            frame = self._deep.frame(page.offset, stored, orientation, metadata)
        else:
            frame = PillowFrame(info, lambda: image, metadata)
        self._limits.check(*frame.info.shape)
        return frame


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


class _OnePage:
    """A view of a TIFF that has only one page with the tags of `LAYOUT`, for Pillow.

    From the whole file Pillow would read the directories of all earlier pages, apply the
    orientation, and fail on damaged tags that the pixels don't need.
    """

    def __init__(self, stream: BinaryIO, page: Directory) -> None:
        """Prepare the two replaced parts: the offset of the first page, and its directory."""
        file = page.file
        offset = struct.pack(file.order + file.pointer, page.offset)
        self._stream = stream
        self._replaced = ((file.first, offset), (page.offset, page.only(LAYOUT)))

    def read(self, size: int = -1) -> bytes:
        """Read from the file, with the two parts replaced."""
        begin = self._stream.tell()
        octets = self._stream.read(size)
        for place, others in self._replaced:
            low, high = max(begin, place), min(begin + len(octets), place + len(others))
            if low < high:
                part = others[low - place : high - place]
                octets = octets[: low - begin] + part + octets[high - begin :]
        return octets

    def __getattr__(self, name: str) -> Any:
        """Return an attribute of the file itself: libtiff uses its descriptor or its buffer."""
        return getattr(self._stream, name)


def _opened_by_pillow(stream: BinaryIO, page: Directory) -> TiffImageFile | None:
    """Open a page with Pillow; return None if Pillow does not support it."""
    # Pillow reads a big-endian BigTIFF as a classic TIFF.
    if page.file.is_big and page.file.order == ">":
        return None
    try:
        return open_image(TiffImageFile, _OnePage(stream, page))
    except SyntaxError:  # Pillow's plugins raise it for unsupported files
        return None


def _pillow_info(
    page: Directory, image: TiffImageFile, stored: Stored, orientation: int
) -> FrameInfo | None:
    """Return the `FrameInfo` of a page; None if Pillow would lose or change samples."""
    is_compressed = page.number(COMPRESSION, UNCOMPRESSED) != UNCOMPRESSED
    # Pillow swaps the bytes of compressed 32-bit samples although libtiff has done so already.
    is_swapped = stored.bits == 32 and page.file.order == ">" and is_compressed
    # Pillow inverts samples with white at 0 only if they have at most 8 bits.
    is_negative = stored.bits > 8 and page.number(PHOTOMETRIC) == WHITE_IS_0
    is_premultiplied = ASSOCIATED_ALPHA in page.numbers(EXTRA_SAMPLES)
    is_odd = NATIVE_16.get(image.mode, image.mode) not in (*PILLOW_MODES, "P", "PA")
    if is_swapped or is_negative or is_premultiplied or is_odd:
        return None
    if len(image.getbands()) != stored.channels:
        return None
    info = info_of(image, stored, Encoding("tiff"), orientation)
    depth = KINDS.get(info.dtype.kind, "unsigned"), 8 * info.dtype.itemsize
    return info if depth == (stored.kind, max(stored.bits, 8)) else None


def _stored(page: Directory) -> Stored:
    """Return the samples as the tags of a page state them; for a palette, as Pillow reads it."""
    bits = max(int(one) for one in page.numbers(BITS) or (1,))
    if page.number(PHOTOMETRIC) == PALETTE:
        bits = PALETTE_BITS
    kind = KINDS.get(page.number(SAMPLE_FORMAT), "unsigned")
    maxval = (1 << min(bits, MOST_BITS)) - 1 if kind == "unsigned" else 0
    return Stored(kind, bits, maxval, int(page.number(CHANNELS, 1)))


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
