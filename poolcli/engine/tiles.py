"""A picture's windows cut into tiles whose working set fits a cache, and reduced tile by tile.

Reductions are separable: rows are reduced first, whole rows at a time, which is contiguous; then
columns, on the few rows that are left.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import isqrt
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from poolcli.engine.kernels import Block, Reduction, Scratch, cast, slide, subsample, van_herk
from poolcli.engine.window import Axis, ceil_div

BlockReader: TypeAlias = Callable[[slice, slice], Block]
"""Gives the block of some pixels, in native byte order: (picture rows, picture columns) → block.

Rows may have a step, columns have none.
"""

ALIGNED: Final = 8
"""The length of a block's rows is a multiple of so many elements, so that each row begins at a
machine word and `subsample` can read words."""


class Tuning(NamedTuple):
    """Sizes that decide how fast the engine is, and never what it computes.

    The defaults are for a second-level cache of 1 to 2 MB.

    Attributes:
        tile_bytes: of one tile between the reduction of rows and that of columns.
        tall_tile_bytes: what a tile may grow to, so that it is as high as a window under
            `van_herk`.
        band_bytes: of the rows that all passes of `slide` go through before the next rows follow.
        most_folded: rows are combined tap by tap where this takes at most so many operations for
            each row of the picture. `van_herk` takes three and a copy, however many taps.
    """

    tile_bytes: int = 1 << 21
    tall_tile_bytes: int = 1 << 22
    band_bytes: int = 1 << 20
    most_folded: int = 4


TUNED: Final = Tuning()


class Tile(NamedTuple):
    """A rectangle of windows, that is, of pixels of the result."""

    rows: slice
    columns: slice

    @property
    def shape(self) -> tuple[int, int]:
        """The number of windows along both axes."""
        return self.rows.stop - self.rows.start, self.columns.stop - self.columns.start

    def part(self, rows: slice) -> Tile:
        """Return some rows of the tile, counted from its first."""
        top = self.rows.start
        return Tile(slice(top + rows.start, top + rows.stop), self.columns)


def array_reader(array: NDArray[Any]) -> BlockReader:
    """Read the pixels of an (H, W, C) array of any layout and byte order.

    Rows that are contiguous and native are viewed in place; others are copied block by block.
    """
    channels = array.shape[2]
    native = array.dtype.newbyteorder("=")
    if array[:1].flags.c_contiguous and array.dtype.isnative and array.flags.aligned:
        flat = array.reshape(array.shape[0], -1)
        return lambda rows, columns: flat[rows, columns.start * channels : columns.stop * channels]

    def read(rows: slice, columns: slice) -> Block:
        part = np.ascontiguousarray(array[rows, columns], native)
        return part.reshape(part.shape[0], -1)

    return read


def table_reader(array: NDArray[Any], table: NDArray[np.float64]) -> BlockReader:
    """Read the entries of a table at the indices that an (H, W, C) array holds."""

    def read(rows: slice, columns: slice) -> Block:
        part: Block = table[array[rows, columns]]
        return part.reshape(part.shape[0], -1)

    return read


class Grid:
    """The windows over one picture of interleaved channels, and the memory to reduce them.

    Args:
        rows: the windows along the height.
        columns: the windows along the width.
        channels: values of a pixel.
        tuning: sizes of the working set.
    """

    def __init__(self, rows: Axis, columns: Axis, channels: int, tuning: Tuning = TUNED) -> None:
        """Trim both axes to the taps that are on pixels."""
        self.rows = rows.trimmed()
        self.columns = columns.trimmed()
        self.channels = channels
        self.tuning = tuning
        self.scratch = Scratch()

    def with_channels(self, channels: int) -> Grid:
        """Return the same windows over pixels of another number of channels."""
        return Grid(self.rows, self.columns, channels, self.tuning)

    @property
    def uses_van_herk(self) -> bool:
        """True where windows have so many rows in common that `van_herk` beats folding."""
        return self.rows.size - 1 > self.tuning.most_folded * self.rows.stride

    def tiles(self, itemsize: int) -> Iterator[Tile]:
        """Cut the result into tiles that hold about `Tuning.tile_bytes` of such elements.

        Tiles are as wide as the result. Under `van_herk` they are at least as high as a window,
        since most rows would be read for two tiles otherwise: they may first grow to
        `Tuning.tall_tile_bytes`, and are then made narrower.
        """
        rows, columns, tuning = self.rows, self.columns, self.tuning
        pixel = itemsize * self.channels
        if not pixel:
            return
        high = rows.size // rows.stride if self.uses_van_herk else 0
        tall = min(high * columns.total_span * pixel, tuning.tall_tile_bytes)
        room = max(tuning.tile_bytes, tall) // pixel
        # Not higher than wide, since neighbouring narrow tiles would read many columns twice.
        high = max(1, min(high, isqrt(room)))
        fitting = (room // high - columns.span) // columns.stride + 1
        width = _even_part(columns.out, max(fitting, ceil_div(columns.span, columns.stride)))
        row = _aligned(((width - 1) * columns.stride + columns.span) * self.channels)
        height = max(1, room * self.channels // row)
        if self.uses_van_herk and height > rows.size:
            height -= height % rows.size  # complete groups of `van_herk`
        for top in range(0, rows.out, height):
            for left in range(0, columns.out, width):
                yield Tile(
                    slice(top, min(top + height, rows.out)),
                    slice(left, min(left + width, columns.out)),
                )

    def reduce(
        self, tile: Tile, read: BlockReader, reduction: Reduction, out: NDArray[Any]
    ) -> None:
        """Reduce the windows of a tile into ``out``, (rows, columns, channels)."""
        for rows, block in self.bands(tile, read, reduction):
            self.reduce_columns(block, reduction, out[rows])

    def bands(
        self, tile: Tile, read: BlockReader, reduction: Reduction
    ) -> Iterator[tuple[slice, Block]]:
        """Reduce a tile's windows along the height: yield (rows of the tile, their block).

        Columns of a block are those that the windows span; padding holds the neutral value.
        """
        channels = self.channels
        seen, columns = self.columns.part(tile.columns.start, tile.columns.stop)
        # A whole stride follows the last window too, so that `subsample` can read words.
        width = _aligned(max(columns.total_span, columns.out * columns.stride) * channels)
        shape = tile.shape[0], width
        block = self.scratch.take("rows", shape, reduction.dtype(self.rows.size))
        left, right = columns.before * channels, (columns.before + columns.extent) * channels
        block[:, :left] = reduction.neutral
        block[:, right:] = reduction.neutral
        reduce_rows = self._van_herk_rows if self.uses_van_herk else self._fold_rows
        reduce_rows(tile.rows, seen, read, reduction, block[:, left:right])
        height = len(block)
        if self.uses_van_herk:
            # Such windows are mostly wide too, and `slide` goes through its block many times.
            itemsize = reduction.dtype(self.rows.size * columns.size).itemsize
            height = max(1, self.tuning.band_bytes // (width * itemsize))
        for top in range(0, len(block), height):
            rows = slice(top, min(top + height, len(block)))
            yield rows, block[rows]

    def reduce_columns(self, block: Block, reduction: Reduction, out: NDArray[Any]) -> None:
        """Reduce what is left of the windows along the width into ``out``.

        All is computed at stride 1 and then subsampled: contiguous passes over all pixels are
        faster than strided ones over some.
        """
        columns, channels, held = self.columns, self.channels, self.rows.size
        shift = columns.dilation * channels
        flat = out.reshape(len(out), -1) if columns.stride == 1 else None
        slid = slide(block, reduction, columns.size, shift, self.scratch, held, flat)
        if flat is None:
            subsample(slid, columns.stride, channels, out)

    def _fold_rows(
        self, windows: slice, columns: slice, read: BlockReader, reduction: Reduction, out: Block
    ) -> None:
        """Combine rows tap by tap: size - 1 operations for each row of the result."""
        rows, room = self.rows, self.tuning.tile_bytes
        if reduction.idempotent or rows.size < max(2, rows.stride):
            seen, part = rows.part(windows.start, windows.stop)
            top = seen.start
            _fold(
                part,
                lambda at: read(slice(top + at.start, top + at.stop, at.step), columns),
                reduction,
                out,
            )
            return
        # Sums are wider than pixels: each pixel is cast once for all taps that read it, unless
        # there are rows that no tap reads.
        for part_columns, target in self._strips(columns, out, rows.span, room):
            step = max(1, (room // target[:1].nbytes - rows.span) // rows.stride + 1)
            for first in range(windows.start, windows.stop, step):
                seen, part = rows.part(first, min(first + step, windows.stop))
                block = cast(read(seen, part_columns), out.dtype, "wide", self.scratch)
                top = first - windows.start
                _fold(part, block.__getitem__, reduction, target[top : top + part.out])

    def _van_herk_rows(
        self, windows: slice, columns: slice, read: BlockReader, reduction: Reduction, out: Block
    ) -> None:
        """Combine rows by `van_herk`, at stride 1, each phase of the dilation on its own."""
        seen, rows = self.rows.part(windows.start, windows.stop)
        dtype, height = out.dtype, rows.total_span
        room = self.tuning.tall_tile_bytes * 5 // 4  # a tile and the window that hangs over it
        for part_columns, target in self._strips(columns, out, height, room):
            block = cast(read(seen, part_columns), dtype, "wide", self.scratch)
            if len(block) < height:
                padded = self.scratch.take("padded", (height, block.shape[1]), dtype)
                bottom = rows.before + rows.extent
                padded[: rows.before] = padded[bottom:] = reduction.neutral
                padded[rows.before : bottom] = block
                block = padded
            every = target  # the result of every row, from which the stride picks some
            if rows.stride > 1:
                shape = height - rows.span + 1, block.shape[1]
                every = self.scratch.take("every row", shape, dtype)
            for phase in range(min(rows.dilation, len(every))):
                apart = slice(phase, None, rows.dilation)
                van_herk(block[apart], reduction.ufunc, rows.size, every[apart], self.scratch)
            if rows.stride > 1:
                target[...] = every[:: rows.stride]

    def _strips(
        self, columns: slice, out: Block, height: int, room: int
    ) -> Iterator[tuple[slice, Block]]:
        """Cut columns so that ``height`` rows fit ``room`` bytes: yield (columns, their out)."""
        widest = room // (height * out.itemsize * self.channels)
        strip = _even_part(columns.stop - columns.start, widest)
        for left in range(columns.start, columns.stop, strip):
            part = slice(left, min(left + strip, columns.stop))
            start, stop = ((at - columns.start) * self.channels for at in (part.start, part.stop))
            yield part, out[:, start:stop]


def _fold(rows: Axis, read: Callable[[slice], Block], reduction: Reduction, out: Block) -> None:
    """Combine the rows of every window tap by tap into the rows of ``out``."""
    ufunc, taps = reduction.ufunc, iter(range(rows.size))
    if len(rows.interior) == rows.out and rows.size > 1:
        # Two taps at once save the pass that would fill the result with the neutral value.
        first, second = (read(rows.pixels_at(next(taps))[1]) for _ in range(2))
        ufunc(first, second, out=out, dtype=out.dtype)
    else:
        out[...] = reduction.neutral
    for tap in taps:
        windows, pixels = rows.pixels_at(tap)
        target = out[windows]
        if len(target):
            ufunc(target, read(pixels), out=target, dtype=out.dtype)


def _even_part(total: int, most: int) -> int:
    """Return the length of equal parts, each of at most ``most`` (at least 1), of a total."""
    return ceil_div(total, ceil_div(total, max(1, most)))


def _aligned(elements: int) -> int:
    """Return the number of elements, rounded up to a multiple of `ALIGNED`."""
    return ceil_div(elements, ALIGNED) * ALIGNED
