"""Decode rows of strips or tiles with NumPy, Pillow or the optional tifffile.

Pillow and tifffile get small TIFFs in memory, each with a block of segments and the tags that
describe them. So neither sees damaged tags, other pages, large offsets or surplus segments.
Compressed blocks are decoded on threads: the decoders release the interpreter's lock.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache, lru_cache
from importlib import import_module
from io import BytesIO
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL.TiffImagePlugin import TiffImageFile

from poolcli.cpus import usable_threads
from poolcli.errors import PoolError
from poolcli.formats import by_name
from poolcli.formats import tiff_layout as tags
from poolcli.formats.extras import require_all
from poolcli.formats.pillow import LAB_SIGNS, PillowFrame, open_image
from poolcli.formats.tiff_codestreams import check_codestream, unwrapped
from poolcli.formats.tiff_layout import WHITE_IS_0, Layout
from poolcli.formats.tiff_segments import Block, Segments, most_bytes, unpacked
from poolcli.formats.tiff_tags import HEADS, LONG, Tags, Value, packed
from poolcli.picture import FrameInfo, Metadata
from poolcli.threads import in_order

DecodeRows: TypeAlias = Callable[[int, int], NDArray[Any]]
"""Returns the pixels of the rows of segments from a first to a last one, (rows, W[, C])."""

DecodeBlock: TypeAlias = Callable[[Block], NDArray[Any]]
"""Returns the pixels of a block of segments, (H, W[, C])."""

DecodeSegment: TypeAlias = Callable[[bytes, int, int], NDArray[Any]]
"""Returns the pixels (H, W, C) of a segment, from its bytes, its height and its place in a row."""

BLOCK_BYTES: Final = 1 << 20
"""The most bytes of the pixels of a block, which one thread decodes in some milliseconds. Half of
it takes 10 % more time, since each block has tags of its own, and all tiles of a wide picture take
25 % more, since they don't fit the cache."""

MOST_THREADS: Final = 8
"""More threads would wait for the calling one, which pools the pixels of all."""

SHORT: Final = 3
PREDICTOR, DIFFERENCES = 317, 2
"""The tag of the predictor, and its number for differences of neighbouring pixels."""

DTYPE_KINDS: Final = {"unsigned": "u", "signed": "i", "float": "f"}
"""The `dtype.kind` of NumPy by the kind of the samples."""


def in_blocks(
    segments: Segments,
    decode: DecodeBlock,
    block_bytes: int | None = BLOCK_BYTES,
    threads: int | None = None,
) -> DecodeRows:
    """Return a decoder of rows of segments that decodes several blocks of them at the same time.

    Args:
        segments: the segments of the page.
        decode: decodes a block.
        block_bytes: the most bytes of the pixels of a block, if a segment isn't larger; None for
            one block.
        threads: how many blocks are decoded at the same time; None for one for each CPU.
    """
    number = cache(lambda: usable_threads(MOST_THREADS) if threads is None else threads)

    def decode_rows(first: int, last: int) -> NDArray[Any]:
        blocks = [*segments.blocks(first, last, block_bytes)]
        if len(blocks) == 1:
            return decode(blocks[0])
        (height, width), step = segments.layout.size, segments.layout.segment[0]
        top, bottom = first * step, min(last * step, height)
        array = np.empty(0)
        decoded = in_order(decode, blocks, number())
        for block, pixels in zip(blocks, decoded, strict=True):
            if block is blocks[0]:
                array = np.empty((bottom - top, width, *pixels.shape[2:]), pixels.dtype)
            rows, columns = block.part
            array[rows.start - top : rows.stop - top, columns] = pixels
        return array

    return decode_rows


def by_segment(
    segments: Segments,
    dtype: np.dtype[Any],
    fill: Any,
    decode: DecodeSegment,
    *,
    verify: bool = True,
) -> DecodeBlock:
    """Return a decoder of blocks that decodes each segment on its own.

    Args:
        segments: the segments of the page.
        dtype: the type of the decoded samples.
        fill: the sample of segments that are not stored.
        decode: decodes a segment.
        verify: whether checksums are verified before.
    """

    def decode_block(block: Block) -> NDArray[Any]:
        layout = block.layout
        array = np.empty((*layout.size, layout.channels), dtype)
        parts = segments.read(block, verify=verify)
        for octets, (row, at, place) in zip(parts, block.places(), strict=True):
            part = array[place]
            if octets:
                pixels = decode(octets, layout.rows_of(row), at)
                part[...] = pixels[: part.shape[0], : part.shape[1]]
            else:
                part[...] = fill
        return array if layout.channels > 1 else array[..., 0]

    return decode_block


def unsigned_lab(decode: DecodeBlock) -> DecodeBlock:
    """Return a decoder of 8-bit CIELAB whose signed channels a* and b* have 0 at 128."""
    return lambda block: decode(block) ^ LAB_SIGNS


def uncompressed(layout: Layout) -> DecodeSegment:
    """Return the decoder of uncompressed segments whose samples have 8, 16, 32 or 64 bits."""
    order = layout.directory.file.order
    dtype = np.dtype(order + sample_type(layout).str[1:])
    columns, channels = layout.segment[1], layout.channels // layout.planes

    def decode(octets: bytes, rows: int, _index: int) -> NDArray[Any]:
        if len(octets) < layout.bytes_of(rows):
            raise PoolError("its pixels are cut off", "is the file complete?")
        array = np.frombuffer(octets, dtype).reshape(rows, columns, channels)
        return _black_at_0(array, layout)

    return decode


def inflated(layout: Layout) -> DecodeSegment:
    """Return the decoder of segments of deflate whose samples have 8, 16, 32 or 64 bits."""
    plain = uncompressed(layout)
    has_differences = layout.directory.number(PREDICTOR, 1) == DIFFERENCES

    def decode(octets: bytes, rows: int, index: int) -> NDArray[Any]:
        array = plain(unpacked(octets, layout.bytes_of(rows)), rows, index)
        return np.add.accumulate(array, axis=1, dtype=array.dtype) if has_differences else array

    return decode


def by_tifffile(layout: Layout) -> DecodeSegment:
    """Return the decoder of segments that tifffile decodes.

    Raises:
        PoolError: a package of the extra is missing.
    """
    require_all(by_name("tiff").extra)
    segments = layout.planes * layout.grid[1]
    exact = layout.channels // layout.planes, sample_type(layout)

    @cache
    def page_of(rows: int) -> Any:
        row = layout._replace(size=(rows, layout.size[1]))
        return _template(small_tiff(row, [b""] * segments))

    def decode(octets: bytes, rows: int, index: int) -> NDArray[Any]:
        octets = unwrapped(octets, layout.compression, most_bytes(layout.bytes_of(rows)))
        check_codestream(octets, layout.compression, (rows, layout.segment[1]))
        page = page_of(rows)
        tables = {"jpegtables": page.jpegtables} if layout.compression == tags.JPEG else {}
        array: NDArray[Any] = page.decode(octets, index, **tables)[0][0]
        if (array.shape[2], array.dtype) != exact:
            raise PoolError(
                f"a segment holds {array.shape[2]} channels of {array.dtype}, "
                f"but its tags state {exact[0]} of {exact[1]}",
                "is the file damaged?",
            )
        return _widened(_black_at_0(array, layout), layout)

    return decode


def by_pillow(segments: Segments, info: FrameInfo, fill: Any) -> DecodeBlock:
    """Return a decoder that gives Pillow a block of segments at once."""
    dtype, channels = info.dtype, info.shape[2:]
    if info.palette is not None:
        dtype, channels = np.dtype(np.uint8), ()

    def decode_block(block: Block) -> NDArray[Any]:
        octets = [*segments.read(block)]
        # Pillow can't leave out segments, so it decodes another one in place of a missing one.
        stored = next((part for part in octets if part), b"")
        if not stored:
            return np.full((*block.layout.size, *channels), fill, dtype)
        file = small_tiff(block.layout, [part or stored for part in octets])
        image = open_image(TiffImageFile, BytesIO(file))
        pixels = PillowFrame(info, lambda: image, Metadata).rows(0, block.layout.size[0])
        if not all(octets):
            pixels = pixels.copy()
            for part, (_, _, place) in zip(octets, block.places(), strict=True):
                if not part:
                    pixels[place] = fill
        return pixels

    return decode_block


def first_of(quick: DecodeBlock, tolerant: DecodeBlock) -> DecodeBlock:
    """Return a decoder that asks another one for blocks that the first one refuses.

    tifffile verifies the checksum of deflate by itself, in the same pass. It refuses strips without
    one, or with more rows than the picture has.
    """

    def decode_block(block: Block) -> NDArray[Any]:
        with suppress(Exception):
            return quick(block)
        return tolerant(block)

    return decode_block


def small_tiff(layout: Layout, segments: Sequence[bytes]) -> bytes:
    """Return a classic TIFF of one page, in the byte order of the file.

    Args:
        layout: the layout of the page.
        segments: the bytes of all segments; empty ones are stated but not stored.
    """
    order = layout.directory.file.order
    lengths = np.array([len(one) for one in segments], np.int64)
    offsets = len(HEADS["<"]) + np.cumsum(lengths) - lengths
    tables = tags.TILE_TABLES if layout.is_tiled else tags.STRIP_TABLES
    numbers: dict[int, Any] = {
        tags.WIDTH: layout.size[1],
        tags.HEIGHT: layout.size[0],
        tags.COMPRESSION: layout.compression,
        tags.PHOTOMETRIC: layout.photometric,
        tags.FILL_ORDER: layout.directory.number(tags.FILL_ORDER, 1),
        tags.CHANNELS: layout.channels,
        tags.PLANAR: 1 if layout.planes == 1 else 2,
        tables[0]: offsets,
        tables[1]: lengths,
    }
    if layout.is_tiled:
        numbers |= {tags.TILE_HEIGHT: layout.segment[0], tags.TILE_WIDTH: layout.segment[1]}
    else:
        numbers[tags.ROWS_PER_STRIP] = layout.segment[0]
    directory: Tags = {
        tag: Value(LONG, np.atleast_1d(number).astype(f"{order}u4").tobytes())
        for tag, number in numbers.items()
    }
    # Pillow compares these with its table; the numbers of all channels have to be there.
    formats = {kind: number for number, kind in reversed(tags.KINDS.items())}
    shorts: dict[int, Any] = {
        tags.BITS: [layout.bits] * layout.channels,
        tags.SAMPLE_FORMAT: [formats[layout.kind]] * layout.channels,
    }
    if layout.extra:
        shorts[tags.EXTRA_SAMPLES] = layout.extra
    if layout.photometric == tags.PALETTE:
        shorts[tags.COLOR_MAP] = tags.color_map(layout).ravel()
    for tag, values in shorts.items():
        directory[tag] = Value(SHORT, np.array(values, f"{order}u2").tobytes())
    directory |= layout.directory.tags(order, tags.DECODING)
    at = len(HEADS["<"]) + int(lengths.sum())
    head = HEADS[order][:4] + np.array([at], f"{order}u4").tobytes()
    return b"".join((head, *segments, packed(directory, order, at)))


@lru_cache(maxsize=16)
def mode_of_pillow(header: bytes) -> tuple[str, int] | None:
    """Return the mode in which Pillow opens a small TIFF, and its number of channels.

    Returns:
        None if Pillow does not support it.
    """
    try:
        image = open_image(TiffImageFile, BytesIO(header))
    except SyntaxError:  # Pillow's plugins raise it for unsupported files
        return None
    return image.mode, len(image.getbands())


def sample_type(layout: Layout) -> np.dtype[Any]:
    """Return the type of the samples as they are decoded, before they are widened."""
    if layout.bits == 1:
        return np.dtype(bool)
    size = next((size for size in (1, 2, 4) if layout.bits <= 8 * size), 8)
    return np.dtype(f"{DTYPE_KINDS[layout.kind]}{size}")


@lru_cache(maxsize=4)
def _template(octets: bytes) -> Any:
    """Return tifffile's page of a small TIFF; pages of equal layout share it."""
    return import_module("tifffile").TiffFile(BytesIO(octets)).pages[0]


def _black_at_0(array: NDArray[Any], layout: Layout) -> NDArray[Any]:
    """Return samples with black at 0."""
    if layout.photometric != WHITE_IS_0:
        return array
    return ~array if array.dtype.kind == "b" else ((1 << layout.bits) - 1) - array


def _widened(array: NDArray[Any], layout: Layout) -> NDArray[Any]:
    """Return samples of 1, 2 and 4 bits as 0…255; a bilevel picture stays one."""
    if layout.kind != "unsigned" or layout.bits not in tags.WIDENED or is_bilevel(layout):
        return array
    return array.astype(np.uint8) * np.uint8(255 // ((1 << layout.bits) - 1))


def is_bilevel(layout: Layout) -> bool:
    """Return whether a page has one channel of 1 bit."""
    return layout.bits == layout.channels == 1
