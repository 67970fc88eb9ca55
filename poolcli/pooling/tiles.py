"""A picture's windows cut into tiles whose working set fits a cache, and reduced one by one.

Rows are reduced first, whole rows at a time; then columns, on the few rows that are left.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from poolcli.pooling.kernels import Block, Reduction, Scratch, pick, slide
from poolcli.window import Axis

Term: TypeAlias = Callable[[slice, slice], Block]
"""What is reduced: (picture rows, picture columns) → a block of native elements."""

TILE_BYTES = 1 << 21
"""Bytes of one tile between the rows' reduction and the columns'; tests lower it."""

BAND_BYTES = 1 << 20
"""Bytes of one of the few blocks that a slide goes through again and again."""

ALIGNED: Final = 8
"""Elements that the rows of a block come in, so that each begins at a whole word."""

OVERLAP_BYTES = 1 << 23
"""The most that a tile may grow to, so that large windows share their rows."""


class Tile(NamedTuple):
    """A rectangle of the result."""

    rows: slice
    columns: slice

    @property
    def shape(self) -> tuple[int, int]:
        """Windows along both axes."""
        return self.rows.stop - self.rows.start, self.columns.stop - self.columns.start

    def part(self, rows: slice) -> Tile:
        """Some rows of the tile, counted from its first."""
        top = self.rows.start
        return Tile(slice(top + rows.start, top + rows.stop), self.columns)


def pixels(array: NDArray[Any]) -> Term:
    """The pixels of an (H, W, C) array of any layout and byte order.

    Rows that are contiguous and native are seen in place, others are copied part by part.
    """
    channels = array.shape[2]
    native = array.dtype.newbyteorder("=")
    if array[:1].flags.c_contiguous and array.dtype.isnative and array.flags.aligned:
        flat = array.reshape(array.shape[0], -1)
        return lambda rows, columns: flat[rows, columns.start * channels : columns.stop * channels]

    def copied(rows: slice, columns: slice) -> Block:
        part = np.ascontiguousarray(array[rows, columns], native)
        return part.reshape(part.shape[0], -1)

    return copied


def looked_up(array: NDArray[Any], table: NDArray[np.float64]) -> Term:
    """What a table says of each pixel of an (H, W, C) array of its indices."""

    def found(rows: slice, columns: slice) -> Block:
        part: Block = table[array[rows, columns]]
        return part.reshape(part.shape[0], -1)

    return found


class Grid:
    """The windows over one picture of interleaved channels, and the scratch to reduce them.

    Args:
        rows: the windows along the height.
        columns: the windows along the width.
        channels: values of a pixel.
    """

    def __init__(self, rows: Axis, columns: Axis, channels: int) -> None:
        """Trim both axes to the taps that matter."""
        self.rows = rows.trimmed()
        self.columns = columns.trimmed()
        self.channels = channels
        self.scratch = Scratch()

    def of(self, channels: int) -> Grid:
        """The same windows over pixels of another number of channels."""
        return Grid(self.rows, self.columns, channels)

    @property
    def slides(self) -> bool:
        """Whether rows overlap so much that doubling beats folding tap by tap."""
        size, stride = self.rows.size, self.rows.stride
        return size - 1 > stride * ((size - 1).bit_length() + 1)

    def tiles(self, itemsize: int) -> Iterator[Tile]:
        """Cut the result into tiles that hold about `TILE_BYTES` of ``itemsize`` elements."""
        rows, columns = self.rows, self.columns
        pixel = itemsize * self.channels
        fitting = (TILE_BYTES // pixel - columns.span) // columns.stride + 1
        width = min(columns.out, max(1, fitting, -(-columns.span // columns.stride)))
        row_bytes = ((width - 1) * columns.stride + columns.span) * pixel
        height = max(1, TILE_BYTES // row_bytes)
        if self.slides:
            shared = min(rows.span // rows.stride, OVERLAP_BYTES // row_bytes)
            height = max(height, shared)
        for top in range(0, rows.out, height):
            for left in range(0, columns.out, width):
                yield Tile(
                    slice(top, min(top + height, rows.out)),
                    slice(left, min(left + width, columns.out)),
                )

    def reduce(self, tile: Tile, term: Term, reduction: Reduction, out: NDArray[Any]) -> None:
        """Reduce the windows of a tile into ``out``, (rows, columns, channels)."""
        for rows, block in self.bands(tile, term, reduction):
            self.reduce_columns(block, reduction, out[rows])

    def bands(self, tile: Tile, term: Term, reduction: Reduction) -> Iterator[tuple[slice, Block]]:
        """Reduce the rows of a tile's windows: (which of its rows, what is left of them).

        Cost: see `_fold_rows` and `_slide_rows`.
        """
        columns, channels = self.columns, self.channels
        left = columns.start(tile.columns.start)
        right = columns.start(tile.columns.stop - 1) + columns.span
        seen = slice(max(left, 0), min(right, columns.extent))
        width = max(right - left, tile.shape[1] * columns.stride) * channels
        shape = tile.shape[0], -(-width // ALIGNED) * ALIGNED
        block = self.scratch.take("rows", shape, reduction.dtype(self.rows.size))
        body = slice((seen.start - left) * channels, (seen.stop - left) * channels)
        block[:, : body.start] = reduction.neutral
        block[:, body.stop :] = reduction.neutral
        reduce_rows = self._slide_rows if self.slides else self._fold_rows
        reduce_rows(tile.rows, seen, term, reduction, block[:, body])
        itemsize = reduction.dtype(self.rows.size * columns.size).itemsize
        height = max(1, BAND_BYTES // (shape[1] * itemsize)) if self.slides else len(block)
        for top in range(0, len(block), height):
            rows = slice(top, min(top + height, len(block)))
            yield rows, block[rows]

    def reduce_columns(self, block: Block, reduction: Reduction, out: NDArray[Any]) -> None:
        """Reduce the columns of a band into ``out``, (rows, columns, channels): slide, pick."""
        columns, channels, held = self.columns, self.channels, self.rows.size
        shift = columns.dilation * channels
        flat = out.reshape(len(out), -1) if columns.stride == 1 else None
        slid = slide(block, reduction, columns.size, shift, 1, self.scratch, held, flat)
        if flat is None:
            pick(slid, columns.stride, channels, out)

    def _fold_rows(
        self, windows: slice, columns: slice, term: Term, reduction: Reduction, out: Block
    ) -> None:
        """Combine the rows tap by tap: size - 1 operations for each row of the result."""
        rows, ufunc = self.rows, reduction.ufunc
        taps = iter(range(rows.size))
        inside = rows.inside
        if windows.start >= inside.start and windows.stop <= inside.stop and rows.size > 1:
            first, second = (term(self._tapped(windows, next(taps))[1], columns) for _ in range(2))
            ufunc(first, second, out=out, dtype=out.dtype)
        else:
            out[...] = reduction.neutral
        for tap in taps:
            windows_inside, read = self._tapped(windows, tap)
            target = out[windows_inside]
            if len(target):
                ufunc(target, term(read, columns), out=target, dtype=out.dtype)

    def _tapped(self, windows: slice, tap: int) -> tuple[slice, slice]:
        """Which of the windows have ``tap`` on a row of the picture, and which rows these are."""
        rows = self.rows
        first = rows.start(windows.start) + tap * rows.dilation
        skipped = max(0, -(first // rows.stride)) if first < 0 else 0
        first += skipped * rows.stride
        count = min(
            windows.stop - windows.start - skipped,
            max(0, -((first - rows.extent) // rows.stride)),
        )
        count = max(0, count)
        stop = first + (count - 1) * rows.stride + 1 if count else first
        return slice(skipped, skipped + count), slice(first, stop, rows.stride)

    def _slide_rows(
        self, windows: slice, columns: slice, term: Term, reduction: Reduction, out: Block
    ) -> None:
        """Combine rows by doubling (see `slide`), in strips of columns that fit the scratch."""
        rows, channels = self.rows, self.channels
        top = rows.start(windows.start)
        bottom = rows.start(windows.stop - 1) + rows.span
        seen = slice(max(top, 0), min(bottom, rows.extent))
        strip = max(1, BAND_BYTES // ((bottom - top) * out.itemsize * channels))
        for left in range(columns.start, columns.stop, strip):
            part = slice(left, min(left + strip, columns.stop))
            block = term(seen, part)
            if (seen.start, seen.stop) != (top, bottom):
                padded = self.scratch.take("padded", (bottom - top, block.shape[1]), block.dtype)
                padded[: seen.start - top] = reduction.neutral
                padded[seen.start - top : seen.stop - top] = block
                padded[seen.stop - top :] = reduction.neutral
                block = padded
            start = (part.start - columns.start) * channels
            target = out[:, start : start + block.shape[1]]
            direct = target if rows.stride == 1 else None
            slid = slide(block, reduction, rows.size, rows.dilation, 0, self.scratch, out=direct)
            if direct is None:
                target[...] = slid[:: rows.stride][: len(out)]
