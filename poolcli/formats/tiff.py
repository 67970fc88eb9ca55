"""TIFF: pages of any samples. Pillow decodes what its modes hold, tifffile the rest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import partial
from io import BytesIO
from typing import Any, BinaryIO, Final, Literal

from PIL.TiffImagePlugin import TiffImageFile

from poolcli.errors import PoolError
from poolcli.formats import Format, tiff_deep, tiff_tags
from poolcli.formats.carried import carried
from poolcli.formats.contract import Limits, WholeFrameWriter
from poolcli.formats.exif import (
    EXIF_PREFIX,
    PAGE_TAGS,
    RESOLUTION,
    Tag,
    describe,
    dpi_of,
    orientation_of,
)
from poolcli.formats.pillow import PILLOW_MODES, PillowFrame, info_of, open_image, to_image
from poolcli.formats.saving import Saving
from poolcli.formats.tiff_deep import DeepPages
from poolcli.formats.tiff_tags import ASCII, BYTE, UNDEFINED, Directory, TagFile, Tags, Value
from poolcli.picture import Encoding, Frame, Metadata, Picture, Stored

BITS, COMPRESSION, PHOTOMETRIC, CHANNELS = 258, 259, 262, 277
TILE_WIDTH, TILE_LENGTH, EXTRA_SAMPLES, SAMPLE_FORMAT = 322, 323, 338, 339
XMP, IPTC, ICC_PROFILE = 700, 33723, 34675
WHITE_IS_0, PALETTE, ASSOCIATED_ALPHA, UNCOMPRESSED = 0, 3, 1, 1
OCTETS: Final = (BYTE, UNDEFINED)
"""The types of values that are bytes and nothing else."""

MOST_BITS: Final = 64
PALETTE_BITS: Final = 8
"""Bits of a palette's entries as Pillow has them."""

LAYOUT: Final = {
    *(256, 257, BITS, COMPRESSION, PHOTOMETRIC, 266, 273, CHANNELS, 278, 279, 284, 317, 320),
    *(TILE_WIDTH, TILE_LENGTH, 324, 325, EXTRA_SAMPLES, SAMPLE_FORMAT, 347, 529, 530, 532),
}
"""The tags that say how the pixels are stored: all that is shown to Pillow."""

UNSIGNED, SIGNED, FLOATING = 1, 2, 3
KINDS: Final[Mapping[int, Literal["unsigned", "signed", "float"]]] = {
    SIGNED: "signed",
    FLOATING: "float",
}
HELD: Final[Mapping[str, tuple[int, set[int]]]] = {
    **dict.fromkeys(("PA", "LA", "RGB", "RGBA", "CMYK", "YCbCr", "LAB"), (UNSIGNED, {8})),
    **dict.fromkeys(("I;16", "I;16B"), (UNSIGNED, {16})),
    "1": (UNSIGNED, {1}),
    "P": (UNSIGNED, {1, 2, 4, 8}),
    "L": (UNSIGNED, {2, 4, 8}),
    "I": (SIGNED, {32}),
    "F": (FLOATING, {32}),
}
"""For each mode of Pillow the format and the bits of the samples that it holds unchanged."""

SWAPPED: Final = ("I", "F")
"""The modes whose compressed samples Pillow swaps once too often in a big-endian TIFF."""

INVERTED: Final = ("1", "L")
"""The modes that Pillow turns to black at 0 where a TIFF has white there."""

DESCRIPTIVE: Final = (
    *(269, Tag.ImageDescription, 271, 272, 305, 306, 315, 316, IPTC, 33432),
    *(tiff_tags.EXIF, tiff_tags.GPS, 18246, 18249, 40091, 40092, 40093, 40094, 40095),
)
"""Tags that say what people know of a picture, and not how it is laid out."""

GEO_TAGS: Final = (33550, 33922, 34264, 34735, 34736, 34737)
"""Where on the earth the pixels lie (OGC GeoTIFF 1.1): false for other pixels."""

LAYOUT_DESCRIPTIONS: Final = (b"ImageJ=", b"<?xml", b"<OME", b'{"shape')
"""How the descriptions begin in which programs note the axes and extents of their pixels."""

COMPRESSIONS: Final = {"none": "raw", "lzw": "tiff_lzw", "deflate": "tiff_adobe_deflate"}
"""The words for which Pillow has others."""

DEFAULT_COMPRESSION: Final = "deflate"


def read(stream: BinaryIO, limits: Limits) -> TiffReader:
    """Open a TIFF."""
    return TiffReader(stream, limits)


def write(file: BinaryIO, row: Format, saving: Saving, _frames: int | None) -> TiffWriter:
    """Begin to write a TIFF."""
    return TiffWriter(file, row, saving)


class TiffReader:
    """The pages of a TIFF."""

    format = "tiff"

    def __init__(self, stream: BinaryIO, limits: Limits) -> None:
        """Find the pages; none is looked at.

        Raises:
            PoolError: there is none.
        """
        self._stream, self._limits = stream, limits
        self._file = TagFile(stream)
        self._offsets = self._file.page_offsets()
        self._deep = DeepPages(stream)
        self.count = len(self._offsets)
        if not self.count:
            raise PoolError("it has no pages", "is the file complete?")

    def frames(self) -> Iterator[Frame]:
        """Yield one page after the other."""
        for offset in self._offsets:
            yield self._frame(Directory(self._file, offset))

    def _frame(self, page: Directory) -> Frame:
        """Open a page with the library that holds its samples."""
        # Tiles are decoded whole, however few pixels of them belong to the page.
        tile = page.number(TILE_LENGTH, 0), page.number(TILE_WIDTH, 0)
        self._limits.check_tile(*tile, page.number(CHANNELS, 1))
        image, metadata = _opened(self._stream, page), partial(_metadata, page)
        if image is None or not _is_held(page, image):
            deep = self._deep.frame(page.offset, _stored(page), _orientation(page), metadata)
            self._limits.check(*deep.info.shape)
            return deep
        self._limits.check(*image.size[::-1])
        info = info_of(image, _stored(page), Encoding(self.format), _orientation(page))
        return PillowFrame(info, lambda: image, metadata)


class TiffWriter(WholeFrameWriter):
    """A TIFF that is written page by page."""

    def __init__(self, file: BinaryIO, row: Format, saving: Saving) -> None:
        """Begin without a page."""
        super().__init__(file, row, saving)
        self._tags: list[Tags] = []
        self._pointer = 0

    def write_frame(self, picture: Picture) -> None:
        """Append a page, and keep its tags until the end."""
        mode = picture.info.mode
        held, notes = carried(picture.metadata, self.row, mode, strip=self.saving.strip)
        self.note(*notes)
        compression = str(self.saving.for_format(self.row).get("compression", DEFAULT_COMPRESSION))
        if mode not in PILLOW_MODES:
            page = tiff_deep.encode(picture, compression, held)
        else:
            page = _encode(picture, self.row.modes[mode], compression, held)
        self._pointer = tiff_tags.append(self.file, page, self._pointer)
        self._tags.append(_tags_of(held, tiff_tags.order_of(page)))

    def write_end(self) -> None:
        """Add the tags: `append` would not move the offsets in EXIF's directories."""
        if len(self._tags) > 1:
            tiff_tags.align(self.file, tiff_tags.PAGE_ALIGNMENT)
        tiff_tags.add(self.file, self._tags)


class _OnePage:
    """A page of a TIFF, shown to Pillow as a file of this page alone, with the tags of `LAYOUT`.

    Pillow would walk through all pages before it, turn it upright, and stumble over damage in tags
    that have nothing to do with pixels.
    """

    def __init__(self, stream: BinaryIO, page: Directory) -> None:
        """Prepare what is shown in place of the file's head and of the page's directory."""
        self._stream = stream
        self._shown = ((page.file.first, page.packed_offset()), (page.begin, page.only(LAYOUT)))

    def read(self, size: int = -1) -> bytes:
        """Read as from the file."""
        begin = self._stream.tell()
        octets = self._stream.read(size)
        for place, shown in self._shown:
            low, high = max(begin, place), min(begin + len(octets), place + len(shown))
            if low < high:
                part = shown[low - place : high - place]
                octets = octets[: low - begin] + part + octets[high - begin :]
        return octets

    def __getattr__(self, name: str) -> Any:
        """Do anything else as the file does; libtiff reads by its descriptor or from its memory."""
        return getattr(self._stream, name)


def _opened(stream: BinaryIO, page: Directory) -> TiffImageFile | None:
    """Open a page by Pillow; return None where Pillow doesn't know such pages."""
    if page.file.is_big and page.file.order == ">":  # Pillow takes it for a classic TIFF
        return None
    try:
        return open_image(TiffImageFile, _OnePage(stream, page))
    except SyntaxError:  # so its plugins say it
        return None


def _is_held(page: Directory, image: TiffImageFile) -> bool:
    """Return whether Pillow's mode holds the samples of a page, all and unchanged."""
    bits, kinds = {*(page.numbers(BITS) or (1,))}, {*(page.numbers(SAMPLE_FORMAT) or (UNSIGNED,))}
    kind, depths = HELD.get(image.mode, (0, set()))
    is_compressed = page.number(COMPRESSION, UNCOMPRESSED) != UNCOMPRESSED
    is_swapped = image.mode in SWAPPED and page.file.order == ">" and is_compressed
    is_negative = page.number(PHOTOMETRIC) == WHITE_IS_0 and image.mode not in INVERTED
    return (
        (len(bits) == 1 and bits <= depths and kinds == {kind})
        and page.number(CHANNELS, 1) == len(image.getbands())
        and ASSOCIATED_ALPHA not in page.numbers(EXTRA_SAMPLES)
        and not (is_swapped or is_negative)
    )


def _stored(page: Directory) -> Stored:
    """Return the samples as the tags of a page state them; of a palette, as Pillow makes them."""
    bits = max(int(one) for one in page.numbers(BITS) or (1,))
    if page.number(PHOTOMETRIC) == PALETTE:
        bits = PALETTE_BITS
    kind = KINDS.get(page.number(SAMPLE_FORMAT, UNSIGNED), "unsigned")
    maxval = (1 << min(bits, MOST_BITS)) - 1 if kind == "unsigned" else 0
    return Stored(kind, bits, maxval, int(page.number(CHANNELS, 1)))


def _metadata(page: Directory) -> Metadata:
    """Return what a page states beside its pixels; what is damaged becomes a warning."""
    warnings: list[str] = []
    block = None
    try:
        tags = _descriptive(page, warnings)
        if tags:
            order = page.file.order
            head = tiff_tags.HEADS[order]
            block = head + tiff_tags.packed(tags, order, len(head))
    except ValueError as fault:
        warnings.append(f"its EXIF is damaged ({fault})")
    profile = _octets(page, ICC_PROFILE, "colour profile", warnings)
    found, _ = describe(block, _octets(page, XMP, "XMP", warnings), warnings)
    return Metadata(
        icc_profile=profile,
        exif=found.exif,
        dpi=dpi_of(_known(page, *RESOLUTION)),
        xmp=found.xmp,
        warnings=found.warnings,
    )


def _descriptive(page: Directory, warnings: list[str]) -> Tags:
    """Return the tags that stay true of the pooled picture.

    Raises:
        ValueError: some are damaged.
    """
    wanted = {*DESCRIPTIVE, *PAGE_TAGS, *RESOLUTION}
    if page.entries.keys() & {*GEO_TAGS}:
        warnings.append("its geo tags would be false, and were dropped")
    if page.octets(Tag.ImageDescription).startswith(LAYOUT_DESCRIPTIONS):
        wanted.remove(Tag.ImageDescription)
        warnings.append(
            "its description tells axes and extents that would be false, and was dropped"
        )
    if page.entries.get(IPTC, (BYTE,))[0] not in OCTETS:  # some programs store it as numbers
        wanted.remove(IPTC)
    return page.tags(page.file.order, wanted)


def _octets(page: Directory, tag: int, name: str, warnings: list[str]) -> bytes | None:
    """Return the bytes of a tag, or None."""
    if page.entries.get(tag, (0,))[0] not in OCTETS:
        return None
    try:
        return page.octets(tag) or None
    except ValueError:
        warnings.append(f"its {name} is damaged, and was dropped")
        return None


def _orientation(page: Directory) -> int:
    """Return how a page is to be turned, by its tag or else by XMP."""
    known = _known(page, Tag.Orientation)
    return orientation_of(known, None if known else _octets(page, XMP, "XMP", []))


def _known(page: Directory, *tags: int) -> dict[int, Any]:
    """Return the first number of each tag that can be read."""
    known = {}
    for tag in tags:
        with suppress(ValueError):
            known[tag] = page.number(tag)
    return {tag: value for tag, value in known.items() if value is not None}


def _encode(picture: Picture, stored: str, compression: str, held: Mapping[str, Any]) -> memoryview:
    """Encode a page by Pillow."""
    # libtiff would turn YCbCr into RGB to compress it.
    word = "raw" if stored == "YCbCr" else COMPRESSIONS.get(compression, compression)
    colour = {name: held[name] for name in ("icc_profile", "dpi") if name in held}
    buffer = BytesIO()
    to_image(picture, stored).save(buffer, TiffImageFile.format, compression=word, **colour)
    return buffer.getbuffer()


def _tags_of(held: Mapping[str, Any], order: str) -> Tags:
    """Return what of a picture's metadata stands in tags that are added."""
    tags: Tags = {}
    if "exif" in held:
        block = TagFile(BytesIO(held["exif"].removeprefix(EXIF_PREFIX)))
        tags = Directory(block, block.page_offsets()[0]).tags(order, {*DESCRIPTIVE, *PAGE_TAGS})
    if "xmp" in held:
        tags[XMP] = Value(BYTE, held["xmp"])
    if "comment" in held:
        tags.setdefault(Tag.ImageDescription, Value(ASCII, held["comment"] + b"\0"))
    return tags
