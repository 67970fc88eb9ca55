"""Decode rows of strips or tiles with NumPy, Pillow or the optional tifffile.

Pillow and tifffile get small TIFFs in memory, each with some rows of segments and the tags that
describe them. So neither sees damaged tags, other pages, large offsets or surplus segments.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from importlib import import_module
from io import BytesIO
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL.TiffImagePlugin import TiffImageFile

from poolcli.errors import PoolError
from poolcli.formats import by_name
from poolcli.formats import tiff_layout as tags
from poolcli.formats.extras import require_all
from poolcli.formats.pillow import LAB_SIGNS, PillowFrame, open_image
from poolcli.formats.tiff_codestreams import check_codestream
from poolcli.formats.tiff_layout import WHITE_IS_0, Layout
from poolcli.formats.tiff_segments import Segments
from poolcli.formats.tiff_tags import HEADS, LONG, Tags, Value, packed
from poolcli.picture import FrameInfo, Metadata

DecodeRows: TypeAlias = Callable[[int, int], NDArray[Any]]
"""Returns the pixels of the rows of segments from a first to a last one, (rows, W[, C])."""

DecodeSegment: TypeAlias = Callable[[bytes, int, int], NDArray[Any]]
"""Returns the pixels (H, W, C) of a segment, from its bytes, its height and its place in a row."""

SHORT: Final = 3
DTYPE_KINDS: Final = {"unsigned": "u", "signed": "i", "float": "f"}
"""The `dtype.kind` of NumPy by the kind of the samples."""


def by_segment(
    segments: Segments, dtype: np.dtype[Any], fill: Any, decode: DecodeSegment
) -> DecodeRows:
    """Return a decoder of rows of segments that decodes each segment on its own.

    Args:
        segments: the segments of the page.
        dtype: the type of the decoded samples.
        fill: the sample of segments that are not stored.
        decode: decodes a segment.
    """
    layout = segments.layout
    (height, width), (step, columns), across = layout.size, layout.segment, layout.grid[1]

    def decode_rows(first: int, last: int) -> NDArray[Any]:
        top, bottom = first * step, min(last * step, height)
        array = np.empty((bottom - top, width, layout.channels), dtype)
        for row in range(first, last):
            band = array[row * step - top : (row + 1) * step - top]
            for index, octets in enumerate(segments.read(row)):
                plane, left = index // across, index % across * columns
                part = band[:, left : left + columns]
                if layout.planes > 1:
                    part = part[..., plane : plane + 1]
                if octets:
                    pixels = decode(octets, layout.rows_of(row), index)
                    part[...] = pixels[: part.shape[0], : part.shape[1]]
                else:
                    part[...] = fill
        return array if layout.channels > 1 else array[..., 0]

    return decode_rows


def uncompressed(layout: Layout, mode: str) -> DecodeSegment:
    """Return the decoder of uncompressed segments whose samples have 8, 16, 32 or 64 bits.

    Args:
        layout: the layout of the page.
        mode: the mode of the frame.
    """
    order = layout.directory.file.order
    dtype = np.dtype(order + sample_type(layout).str[1:])
    columns, channels = layout.segment[1], layout.channels // layout.planes

    def decode(octets: bytes, rows: int, _index: int) -> NDArray[Any]:
        if len(octets) < layout.bytes_of(rows):
            raise PoolError("its pixels are cut off", "is the file complete?")
        array = np.frombuffer(octets, dtype).reshape(rows, columns, channels)
        if mode == "LAB":
            return array ^ LAB_SIGNS
        return _black_at_0(array, layout)

    return decode


def by_tifffile(layout: Layout) -> DecodeSegment:
    """Return the decoder of segments that tifffile decodes.

    Raises:
        PoolError: a package of the extra is missing.
    """
    require_all(by_name("tiff").extra)
    planes, across = layout.planes, layout.grid[1]
    exact = layout.channels // planes, sample_type(layout)

    @cache
    def page_of(rows: int) -> Any:
        return _template(small_tiff(layout, rows, [b""] * (planes * across)))

    def decode(octets: bytes, rows: int, index: int) -> NDArray[Any]:
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


def by_pillow(segments: Segments, info: FrameInfo, fill: Any) -> DecodeRows:
    """Return a decoder that gives Pillow several rows of segments at once."""
    layout = segments.layout
    height, (step, columns), across = layout.size[0], layout.segment, layout.grid[1]

    def decode_rows(first: int, last: int) -> NDArray[Any]:
        step_by = 1 if segments.is_sparse else last - first
        parts = [decode_part(row, row + step_by) for row in range(first, last, step_by)]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def decode_part(first: int, last: int) -> NDArray[Any]:
        rows = min(last * step, height) - first * step
        octets = [[*segments.read(row)] for row in range(first, last)]
        # The segments of a plane follow each other, from its first row to its last.
        planes = range(0, layout.planes * across, across)
        parts = [part for at in planes for row in octets for part in row[at : at + across]]
        # Pillow can't leave out segments, so it decodes another one in place of a missing one.
        stored = next((part for part in parts if part), b"")
        missing = [index for index, part in enumerate(parts) if not part]
        if not stored:
            dtype = np.uint8 if info.palette is not None else info.dtype
            return np.full((rows, *info.shape[1:]), fill, dtype)
        block = small_tiff(layout, rows, [part or stored for part in parts])
        image = open_image(TiffImageFile, BytesIO(block))
        pixels = PillowFrame(info, lambda: image, Metadata).rows(0, rows)
        if missing:
            pixels = pixels.copy()
            for index in missing:
                left = index % across * columns
                pixels[:, left : left + columns] = fill
        return pixels

    return decode_rows


def small_tiff(layout: Layout, rows: int, segments: Sequence[bytes]) -> bytes:
    """Return a classic TIFF of one page, in the byte order of the file.

    Args:
        layout: the layout of the page.
        rows: the height of the page, instead of that of the layout.
        segments: the bytes of all segments; empty ones are stated but not stored.
    """
    order = layout.directory.file.order
    lengths = np.array([len(one) for one in segments], np.int64)
    offsets = len(HEADS["<"]) + np.cumsum(lengths) - lengths
    tables = tags.TILE_TABLES if layout.is_tiled else tags.STRIP_TABLES
    numbers: dict[int, Any] = {
        tags.WIDTH: layout.size[1],
        tags.HEIGHT: rows,
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
    body = b"".join(segments)
    at = len(HEADS["<"]) + len(body)
    head = HEADS[order][:4] + np.array([at], f"{order}u4").tobytes()
    return head + body + packed(directory, order, at)


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
