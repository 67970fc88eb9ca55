"""Find the pictures of a TIFF among its directories, and how the pixels of each are stored."""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterable
from contextlib import suppress
from itertools import islice
from typing import Any, Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from poolcli.errors import PoolError
from poolcli.formats import tiff_tags as tags
from poolcli.formats.contract import Limits
from poolcli.formats.tiff_tags import CODES, VALUE_BYTES, Directory, TagFile
from poolcli.picture import Pair

SUBFILE_TYPE, OLD_SUBFILE_TYPE, SUBDIRECTORIES, NODATA = 254, 255, 330, 42113
WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, FILL_ORDER, CHANNELS = (
    256,
    257,
    258,
    259,
    262,
    266,
    277,
)
ROWS_PER_STRIP, PLANAR, COLOR_MAP, EXTRA_SAMPLES, SAMPLE_FORMAT = 278, 284, 320, 338, 339
TILE_WIDTH, TILE_HEIGHT, DEPTHS = 322, 323, (32997, 32998)
STRIP_TABLES, TILE_TABLES, THUMBNAIL = (273, 279), (324, 325), (513, 514)
"""The tags of the offsets and of the lengths of strips, of tiles, and of an embedded JPEG."""

POINTERS: Final = (SUBDIRECTORIES, tags.EXIF, tags.GPS, tags.INTEROPERABILITY)
"""The tags that refer to other directories."""

DECODING: Final = {292, 293, 317, 347, 529, 530, 531, 532, 50674}
"""The tags that only decoders need: options of fax, the predictor, the tables of JPEG, the
subsampling and range of YCbCr, the parameters of LERC."""

LAYOUT: Final = {
    *(WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, FILL_ORDER, CHANNELS, ROWS_PER_STRIP, PLANAR),
    *(COLOR_MAP, EXTRA_SAMPLES, SAMPLE_FORMAT, TILE_WIDTH, TILE_HEIGHT, *DEPTHS, *DECODING),
    *(*STRIP_TABLES, *TILE_TABLES),
}
"""The tags that describe how the pixels are stored."""

REDUCED, MASK = 1, 4
"""The bits of NewSubfileType for a smaller copy of another page, and for a transparency mask."""

OLD_REDUCED: Final = 2
"""The number of the older SubfileType for a smaller copy."""

UNCOMPRESSED, FAX, JPEG = 1, (2, 3, 4), 7
WHITE_IS_0, BLACK_IS_0, RGB, PALETTE, MASK_COLOURS = 0, 1, 2, 3, 4
SEPARATED, YCBCR, CIELAB = 5, 6, 8
COLOURS: Final = {RGB: 3, SEPARATED: 4, YCBCR: 3, CIELAB: 3}
"""The number of channels that are no extra samples, where it is not 1."""

MOST_PALETTE_BITS, MAP_255, MAP_SCALE = 16, 255, 257
"""The most bits of an index; the largest colour of 8 bits, and what it is multiplied by."""

WIDENED: Final = (1, 2, 4)
"""The bits of samples that are widened to 0…255, which keeps all values."""

ASSOCIATED_ALPHA, STRAIGHT_ALPHA, COREL_ALPHA = 1, 2, 999
KINDS: Final[dict[int, Literal["unsigned", "signed", "float"]]] = {
    1: "unsigned",
    2: "signed",
    3: "float",
    4: "unsigned",
}
"""The kinds of samples by TIFF's sample format; 4 is undefined data."""

SPLIT_BYTES: Final = 1 << 18
"""The number of bytes above which an uncompressed strip is read in parts."""


class Layout(NamedTuple):
    """The layout of the pixels of a page.

    Attributes:
        directory: the directory of the page.
        size: (H, W).
        channels: samples of a pixel.
        bits: bits of a sample.
        kind: the kind of the samples.
        compression: the number of the compression.
        photometric: the meaning of the colours.
        extra: the meaning of each sample beyond the colours.
        planes: the number of channels if each is stored as a plane of its own, else 1.
        segment: (H, W) of a strip or a tile; of a part, if long strips are read in parts.
        strip_rows: the height of a strip or tile as it is stored.
        is_tiled: whether the segments are tiles.
    """

    directory: Directory
    size: Pair
    channels: int
    bits: int
    kind: Literal["unsigned", "signed", "float"]
    compression: int
    photometric: int
    extra: tuple[int, ...]
    planes: int
    segment: Pair
    strip_rows: int
    is_tiled: bool

    @property
    def segments(self) -> str:
        """The word for its segments in messages."""
        return "tiles" if self.is_tiled else "strips"

    @property
    def grid(self) -> Pair:
        """The number of segments in a column and in a row of one plane."""
        (height, width), (rows, columns) = self.size, self.segment
        return -(-height // rows), -(-width // columns)

    def rows_of(self, row: int) -> int:
        """Return the height of the segments in a row of the grid; the last strip may be shorter."""
        rows = self.segment[0]
        return rows if self.is_tiled else min(rows, self.size[0] - row * rows)

    def bytes_of(self, rows: int) -> int:
        """Return the number of bytes of an uncompressed segment of so many rows."""
        samples = self.segment[1] * (self.channels // self.planes)
        return rows * -(-samples * self.bits // 8)


def table(directory: Directory, tag: int) -> NDArray[Any]:
    """Return the whole numbers of a tag; none if it is missing."""
    kind, _, _ = directory.entries.get(tag, (0, 0, 0))
    if CODES.get(kind) not in ("B", "H", "I", "Q"):
        return np.empty(0, np.uint64)
    return np.frombuffer(directory.octets(tag), directory.file.order + CODES[kind])


def pictures_of(file: TagFile) -> array[int]:
    """Return the offset of each picture's directory, each followed by that of its mask or by 0.

    Smaller copies of a picture are no pictures of their own. In a file that holds nothing else,
    such as a raw photograph, the larger pictures stand in subdirectories of them.

    Raises:
        ValueError: a directory is cut off, or directories overlap.
    """
    chain = file.page_offsets()
    found = _paired(file, chain)
    if not found:
        below = (int(one) for at in chain for one in Directory(file, at).numbers(SUBDIRECTORIES))
        # A hostile file could list the same subdirectories again and again.
        found = _paired(file, islice(below, file.size // file.entry_bytes))
    return found or array("Q", (each for at in chain for each in (at, 0)))


def end_of(file: TagFile) -> int:
    """Return the end of what the directories refer to: other bytes belong to no picture.

    Raises:
        PoolError: the directories are damaged.
    """
    last, room, offsets = 0, file.size, [*file.page_offsets()]
    for offset in offsets:
        directory = Directory(file, offset)
        below = (number for tag in POINTERS for number in directory.numbers(tag))
        # A hostile file could list the same subdirectories or segments again and again.
        offsets += islice(below, max(0, file.size // file.entry_bytes - len(offsets)))
        values = [
            (place, count * VALUE_BYTES[kind]) for kind, count, place in directory.entries.values()
        ]
        if (room := room - sum(length for _, length in values)) < 0:
            raise PoolError("its tags overlap", tags.DAMAGED)
        next_pointer = file.end_of_entries(offset), struct.calcsize(file.pointer)
        last = max(last, *map(sum, (next_pointer, *values)))
        for pair in (STRIP_TABLES, TILE_TABLES, THUMBNAIL):
            begins, lengths = (table(directory, tag).astype(np.uint64) for tag in pair)
            count = min(len(begins), len(lengths))
            last = max(last, int((begins[:count] + lengths[:count]).max(initial=0)))
    return last


def _paired(file: TagFile, offsets: Iterable[int]) -> array[int]:
    """Return the directories of full size, each followed by that of its mask or by 0."""
    found = array("Q")
    for offset in offsets:
        directory = Directory(file, offset)
        kind = directory.number(SUBFILE_TYPE)
        if not isinstance(kind, int):
            kind = REDUCED if directory.number(OLD_SUBFILE_TYPE) == OLD_REDUCED else 0
        if kind & REDUCED:
            continue
        if kind & MASK and found:
            found[-1] = found[-1] or offset
        else:
            found.extend((offset, 0))
    return found


def layout_of(directory: Directory, limits: Limits) -> Layout:
    """Return how the pixels of a page are stored, as its tags state it.

    Raises:
        PoolError: the tags are damaged, or the picture is too large or can't be pooled.
    """
    _check_places(directory)
    width, height, channels = (
        _whole(directory, tag, default) for tag, default in ((WIDTH, 0), (HEIGHT, 0), (CHANNELS, 1))
    )
    limits.check(height, width, channels)
    is_tiled = TILE_WIDTH in directory.entries
    if is_tiled:
        segment = _whole(directory, TILE_HEIGHT, 0), _whole(directory, TILE_WIDTH, 0)
        # Tiles are decoded whole, even if only a few of their pixels belong to the page.
        limits.check_tile(*segment, channels)
    else:
        rows = directory.number(ROWS_PER_STRIP)
        segment = min(rows if isinstance(rows, int) and rows > 0 else height, height), width
    if any(directory.number(tag, 1) != 1 for tag in DEPTHS):
        raise PoolError("a TIFF with volumes can't be pooled", "save each slice as a page")
    compression = directory.number(COMPRESSION, UNCOMPRESSED)
    photometric = directory.number(PHOTOMETRIC)
    if photometric is None:
        photometric = WHITE_IS_0 if compression in FAX else RGB if channels > 2 else BLACK_IS_0
    if photometric == MASK_COLOURS:
        photometric = BLACK_IS_0
    stated = [*directory.numbers(EXTRA_SAMPLES)]
    extra = (stated + [0] * channels)[: max(channels - COLOURS.get(photometric, 1), 0)]
    layout = Layout(
        directory=directory,
        size=(height, width),
        channels=channels,
        bits=int(_common(directory, BITS, channels)),
        kind=_kind(directory, channels),
        compression=compression,
        photometric=photometric,
        # Corel writes 999 for alpha that the colours are not multiplied by.
        extra=tuple(STRAIGHT_ALPHA if one == COREL_ALPHA else int(one) for one in extra if stated),
        planes=channels if directory.number(PLANAR, 1) == 2 else 1,
        segment=segment,
        strip_rows=segment[0],
        is_tiled=is_tiled,
    )
    return layout._replace(segment=(_rows_at_once(layout), segment[1]))


def _rows_at_once(layout: Layout) -> int:
    """Return the number of rows of a strip that are read together.

    An uncompressed strip is as good as many shorter ones: the whole picture may be one strip.
    """
    rows, row_bytes = layout.strip_rows, layout.bytes_of(1)
    is_splittable = layout.compression == UNCOMPRESSED and layout.photometric != YCBCR
    if layout.is_tiled or not is_splittable or rows * row_bytes <= SPLIT_BYTES:
        return rows
    return max(1, SPLIT_BYTES // row_bytes) if rows == layout.size[0] else 1


def color_map(layout: Layout) -> NDArray[np.uint16]:
    """Return the palette of a page as an array (3, N) of red, green and blue from 0 to 65535.

    Raises:
        PoolError: there is no palette of three equal parts.
    """
    numbers, count = table(layout.directory, COLOR_MAP), 1 << min(layout.bits, MOST_PALETTE_BITS)
    if not len(numbers) or len(numbers) % 3:
        raise PoolError(f"its palette has {len(numbers)} numbers", "is the file damaged?")
    found = numbers.reshape(3, -1)[:, :count].astype(np.uint16)
    # Some programs store 8 bits of each colour: libtiff takes it so if no number is above 255.
    scale = MAP_SCALE if found.max() <= MAP_255 else 1
    entries = np.zeros((3, count), np.uint16)
    entries[:, : found.shape[1]] = found * scale
    return entries


def palette_of(layout: Layout) -> NDArray[Any]:
    """Return the pixel of each index, (N,) or (N, 3), with 8 bits if these hold all colours."""
    entries: NDArray[Any] = color_map(layout)
    high = (entries >> 8).astype(np.uint8)
    # Colours of 8 bits are stored times 257, or times 256 by careless programs.
    if (entries == high * np.uint16(MAP_SCALE)).all() or not (entries & MAP_255).any():
        entries = high
    is_grey = (entries == entries[0]).all()
    return entries[0] if is_grey else np.ascontiguousarray(entries.T)


def fill_of(layout: Layout, dtype: np.dtype[Any], maxval: int) -> Any:
    """Return the sample of segments that are not stored: the nodata value of GDAL, or else 0."""
    value: Any = 0
    with suppress(ValueError, OverflowError):
        value = float(layout.directory.octets(NODATA).strip(b"\0 "))
    if dtype.kind != "f":
        limits = np.iinfo(dtype if dtype.kind in "iu" else np.uint8)
        value = int(value) if limits.min <= value <= limits.max and value % 1 == 0 else 0
    return maxval - value if layout.photometric == WHITE_IS_0 and maxval else value


def nodata_of(layout: Layout) -> str:
    """Return the nodata value of GDAL as the file states it; empty if there is none."""
    with suppress(ValueError):
        return layout.directory.octets(NODATA).partition(b"\0")[0].strip().decode("ascii")
    return ""


def _check_places(directory: Directory) -> None:
    """Refuse a page with a tag of its layout outside of the file, which would count as missing."""
    for tag in LAYOUT & directory.entries.keys():
        kind, count, place = directory.entries[tag]
        if place + VALUE_BYTES[kind] * count > directory.file.size:
            raise PoolError(f"its tag {tag} lies outside of the file", "is the file complete?")


def _whole(directory: Directory, tag: int, default: int) -> int:
    """Return the number of a tag, which must be whole and positive."""
    number = directory.number(tag, default)
    if not isinstance(number, int) or number <= 0:
        raise PoolError("its size is no whole number of pixels", "is the file damaged?")
    return number


def _common(directory: Directory, tag: int, channels: int) -> Any:
    """Return the number that all channels have in common; 1 is the default of all such tags."""
    numbers = {*directory.numbers(tag)[:channels]} or {1}
    if len(numbers) > 1:
        listed = ", ".join(str(one) for one in directory.numbers(tag)[:channels])
        raise PoolError(
            f"its channels differ: tag {tag} states {listed}",
            "save the same depth for all channels",
        )
    return numbers.pop()


def _kind(directory: Directory, channels: int) -> Literal["unsigned", "signed", "float"]:
    """Return the kind of the samples."""
    number = _common(directory, SAMPLE_FORMAT, channels)
    if number not in KINDS:
        raise PoolError("its samples are complex numbers", "save real and imaginary parts")
    return KINDS[number]
