"""Read the bytes of the strips and tiles of a TIFF's page."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from poolcli.errors import PoolError
from poolcli.formats.tiff_layout import STRIP_TABLES, TILE_TABLES, UNCOMPRESSED, Layout, table
from poolcli.picture import Pair

SPARE_BYTES: Final = 1 << 16
"""The number of bytes by which a compressed segment may be longer than twice its pixels."""


class Segments:
    """The strips or tiles of a page; the tables of offsets and lengths are read with the first."""

    def __init__(self, layout: Layout) -> None:
        """Keep the layout."""
        self.layout = layout
        self._is_raw = layout.compression == UNCOMPRESSED

    @property
    def is_sparse(self) -> bool:
        """Return whether some segments are not stored."""
        return not (self._offsets.all() and self._counts.all())

    def read(self, row: int) -> Iterator[bytes]:
        """Yield the bytes of all segments in a row of the grid, plane after plane.

        Those that are not stored are empty.

        Raises:
            PoolError: a segment lies outside of the file.
        """
        down, across = self.layout.grid
        starts = range(row * across, len(self._offsets), down * across)
        for one in starts:
            for index in range(one, one + across):
                yield self._segment(index, row)

    def _segment(self, index: int, row: int) -> bytes:
        """Return the bytes of one segment, at most as many as it may need."""
        offset, count = int(self._offsets[index]), int(self._counts[index])
        if not offset or not count:
            return b""
        whole = self.layout.bytes_of(self.layout.rows_of(row))
        # A short file could state the same long segment for each of a million tiles.
        most = whole if self._is_raw else 2 * whole + SPARE_BYTES
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
