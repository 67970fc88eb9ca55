"""Read the bytes of the strips and tiles of a TIFF's page."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from functools import cached_property
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from poolcli.errors import PoolError
from poolcli.formats.tiff_layout import STRIP_TABLES, TILE_TABLES, UNCOMPRESSED, Layout, table
from poolcli.picture import Pair

DEFLATE: Final = (8, 32946)
"""The numbers of the compression."""

SPARE_BYTES: Final = 1 << 16
"""The number of bytes by which a compressed segment may be longer than twice its pixels."""


class Block(NamedTuple):
    """Adjacent segments of a page, which are decoded together.

    Attributes:
        rows: their rows in the grid of the page.
        columns: their columns.
        layout: the layout of a page that consists of them.
    """

    rows: range
    columns: range
    layout: Layout

    @property
    def part(self) -> tuple[slice, slice]:
        """Return the rows and columns of pixels that they have in the page."""
        (height, width), (step, across) = self.layout.size, self.layout.segment
        top, left = self.rows.start * step, self.columns.start * across
        return slice(top, top + height), slice(left, left + width)

    def places(self) -> Iterator[tuple[int, int, tuple[slice, ...]]]:
        """Yield the row, the column and the pixels of each segment, in the order of `read`.

        The rows and columns of pixels are counted from the first of the block. If each channel is
        stored as a plane of its own, the pixels are those of one channel.
        """
        planes, (step, across) = self.layout.planes, self.layout.segment
        for plane in range(planes):
            for row in range(len(self.rows)):
                for column in range(len(self.columns)):
                    down, right = row * step, column * across
                    part = slice(down, down + step), slice(right, right + across)
                    more = (slice(plane, plane + 1),) if planes > 1 else ()
                    yield row, plane * self.layout.grid[1] + column, (*part, *more)


def unpacked(octets: bytes, whole: int) -> bytes:
    """Decompress a segment of deflate, and verify its checksum.

    libtiff stops when the pixels are full, so that it may read neither the end of damaged data nor
    their checksum (RFC 1950). A segment may lack its checksum, or have further data.

    Args:
        octets: the segment.
        whole: the bytes of its pixels.

    Raises:
        PoolError: the data are damaged.
    """
    unpacking = zlib.decompressobj()
    try:
        pixels = unpacking.decompress(octets, whole)
        unpacking.decompress(unpacking.unconsumed_tail, SPARE_BYTES)
    except zlib.error:
        raise PoolError("its pixels are damaged", "get another copy of the file") from None
    return pixels


def most_bytes(whole: int) -> int:
    """Return how long a compressed segment may be whose pixels have ``whole`` bytes."""
    return 2 * whole + SPARE_BYTES


class Segments:
    """The strips or tiles of a page; the tables of offsets and lengths are read with the first."""

    def __init__(self, layout: Layout) -> None:
        """Keep the layout."""
        self.layout = layout
        self._is_raw = layout.compression == UNCOMPRESSED

    def blocks(self, first: int, last: int, most_bytes: int | None) -> Iterator[Block]:
        """Yield the segments in some rows of the grid, in blocks from left to right.

        Args:
            first: the first row of the grid.
            last: the row after the last one.
            most_bytes: the most bytes of the pixels of a block, if a segment isn't larger; None
                for one block.
        """
        layout, across = self.layout, self.layout.grid[1]
        if most_bytes is None:
            yield self._block(range(first, last), range(across))
            return
        segment_bytes = layout.planes * layout.bytes_of(layout.segment[0])
        count = max(1, most_bytes // segment_bytes)
        down = max(1, count // across)
        for row in range(first, last, down):
            for column in range(0, across, count):
                rows = range(row, min(row + down, last))
                yield self._block(rows, range(column, min(column + count, across)))

    def _block(self, rows: range, columns: range) -> Block:
        """Return a block of segments."""
        (height, width), (step, across) = self.layout.size, self.layout.segment
        size = (
            min(rows.stop * step, height) - rows.start * step,
            min(columns.stop * across, width) - columns.start * across,
        )
        return Block(rows, columns, self.layout._replace(size=size))

    def read(self, block: Block, *, verify: bool = True) -> Iterator[bytes]:
        """Yield the bytes of all segments of a block, plane after plane and row after row.

        Those that are not stored are empty.

        Args:
            block: the segments.
            verify: whether deflate is checked, and yielded without compression.

        Raises:
            PoolError: a segment lies outside of the file.
        """
        down, across = self.layout.grid
        for plane in range(self.layout.planes):
            for row in block.rows:
                for column in block.columns:
                    octets = self._segment((plane * down + row) * across + column, row)
                    if verify and octets and self.layout.compression in DEFLATE:
                        whole = self.layout.bytes_of(self.layout.rows_of(row))
                        octets = zlib.compress(unpacked(octets, whole), 0)
                    yield octets

    def _segment(self, index: int, row: int) -> bytes:
        """Return the bytes of one segment, at most as many as it may need."""
        offset, count = int(self._offsets[index]), int(self._counts[index])
        if not offset or not count:
            return b""
        whole = self.layout.bytes_of(self.layout.rows_of(row))
        # A short file could state the same long segment for each of a million tiles.
        most = whole if self._is_raw else most_bytes(whole)
        try:
            return self.layout.directory.file.read(offset, min(count, most))
        except ValueError:
            raise PoolError(
                f"one of its {self.layout.segments} lies outside of the file",
                "is the file complete?",
            ) from None

    @cached_property
    def _offsets(self) -> NDArray[Any]:
        """The offset of each segment."""
        return self._tables[0]

    @cached_property
    def _counts(self) -> NDArray[Any]:
        """The length of each segment."""
        return self._tables[1]

    @cached_property
    def _tables(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """The offsets and the lengths of the segments; surplus ones are left out.

        Raises:
            PoolError: there are fewer than segments.
        """
        layout, directory = self.layout, self.layout.directory
        stored = layout._replace(segment=(layout.strip_rows, layout.segment[1]))
        number = layout.planes * stored.grid[0] * stored.grid[1]
        # Some programs store the offsets of tiles under the tags of strips.
        tags: Pair = TILE_TABLES if TILE_TABLES[0] in directory.entries else STRIP_TABLES
        offsets, counts = (table(directory, tag)[:number] for tag in tags)
        if len(offsets) < number:
            raise PoolError(
                f"it has {len(offsets)} of its {number} {layout.segments}", "is the file complete?"
            )
        # Some programs store no lengths or, for a single strip, false ones.
        if len(counts) < number or not counts.any() or (number == 1 and self._is_raw):
            counts = np.full(number, layout.directory.file.size, np.uint64)
            if not self._is_raw:
                counts -= np.minimum(offsets, counts)
        return self._in_parts(offsets, counts, stored.grid[0])

    def _in_parts(
        self, offsets: NDArray[Any], counts: NDArray[Any], strips: int
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return the offsets and lengths of the parts of long strips.

        Args:
            offsets: the offset of each strip.
            counts: the length of each strip.
            strips: the number of strips of a plane.
        """
        layout = self.layout
        if layout.segment[0] == layout.strip_rows:
            return offsets, counts
        rows = np.arange(0, layout.size[0], layout.segment[0])
        strip, inside = np.divmod(rows, layout.strip_rows)
        before = inside * layout.bytes_of(1)
        first, held = (
            numbers.reshape(-1, strips)[:, strip].astype(np.int64) for numbers in (offsets, counts)
        )
        # A part beyond the end of its strip must not count as empty, which is read as zeros.
        lengths = np.where(held > 0, np.maximum(held - before, 1), 0)
        return np.where(first > 0, first + before, 0).ravel(), lengths.ravel()
